"""A Llama written out plainly, with places where a formula can be put in."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.support.lm.tuning_methods import TOKENS, tiny_llama

#: (layer, target, weight, x) to y; (layer, "attention" or "mlp", x, h) to h.
LinearRule = Callable[[int, str, Tensor, Tensor], Tensor]
SublayerRule = Callable[[int, str, Tensor, Tensor], Tensor]
#: (layer, x) to keys, values [heads, L, d] and the factor [B, T] of their mass.
PrefixRule = Callable[[int, Tensor], tuple[Tensor, Tensor, Tensor]]


def plain_linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
    return x @ weight.T


def plain_sublayer(layer: int, kind: str, x: Tensor, h: Tensor) -> Tensor:
    return h


def literal_logits(
    *,
    linear: LinearRule = plain_linear,
    sublayer: SublayerRule = plain_sublayer,
    prefix: PrefixRule | None = None,
    before: Tensor | None = None,
    tokens: Tensor = TOKENS,
) -> Tensor:
    """Logits [B, T, V] of the tiny model. before: vectors [L, D] in front of each text."""
    model = tiny_llama()
    with torch.no_grad():
        h = model.model.embed_tokens(tokens)
        skip = 0
        if before is not None:
            skip = len(before)
            h = torch.cat([before.expand(len(h), -1, -1), h], 1)
        for number, layer in enumerate(model.model.layers):
            x = _normed(h, layer.input_layernorm)
            a = _attention(layer.self_attn, number, x, linear, prefix)
            h = h + sublayer(number, "attention", x, a)
            x = _normed(h, layer.post_attention_layernorm)
            mlp = layer.mlp
            gate = linear(number, "gate_proj", mlp.gate_proj.weight, x)
            up = linear(number, "up_proj", mlp.up_proj.weight, x)
            inner = gate * torch.sigmoid(gate) * up
            m = linear(number, "down_proj", mlp.down_proj.weight, inner)
            h = h + sublayer(number, "mlp", x, m)
        logits: Tensor = _normed(h, model.model.norm)[:, skip:] @ model.lm_head.weight.T
    return logits


def _normed(h: Tensor, norm: Any) -> Tensor:
    scaled: Tensor = h / (h.square().mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight
    return scaled


def _attention(
    attention: Any, number: int, x: Tensor, linear: LinearRule, prefix: PrefixRule | None
) -> Tensor:
    q, k, v = (
        linear(number, name, getattr(attention, name).weight, x)
        for name in ("q_proj", "k_proj", "v_proj")
    )
    heads, width, group = 4, 8, 2
    made = torch.zeros_like(q)
    for b in range(len(x)):
        for head in range(heads):
            columns = slice(head * width, (head + 1) * width)
            shared = slice(head // group * width, (head // group + 1) * width)
            keys = torch.stack([_rotated(k[b, s, shared], s) for s in range(len(k[b]))])
            for t in range(len(x[b])):
                scores = keys[: t + 1] @ _rotated(q[b, t, columns], t) / math.sqrt(width)
                mass, values = scores.exp(), v[b, : t + 1, shared]
                if prefix is not None:
                    p_k, p_v, factor = prefix(number, x)
                    own = q_dot(p_k[head // group], _rotated(q[b, t, columns], t), width)
                    mass = torch.cat([own * factor[b, t], mass])
                    values = torch.cat([p_v[head // group], values])
                made[b, t, columns] = mass / mass.sum() @ values
    return linear(number, "o_proj", attention.o_proj.weight, made)


def q_dot(keys: Tensor, query: Tensor, width: int) -> Tensor:
    """exp(q . k / sqrt(d)) for each key."""
    return (keys @ query / math.sqrt(width)).exp()


def _rotated(vector: Tensor, place: int) -> Tensor:
    half = len(vector) // 2
    turned = torch.empty_like(vector)
    for i in range(half):
        angle = place * 10000.0 ** (-i / half)
        x, y = vector[i], vector[i + half]
        turned[i] = x * math.cos(angle) - y * math.sin(angle)
        turned[i + half] = y * math.cos(angle) + x * math.sin(angle)
    return turned
