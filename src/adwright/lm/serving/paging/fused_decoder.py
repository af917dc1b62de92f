"""The layers of a Llama in as few calls of torch as it takes.

Where one row writes, most of what a pass takes beside reading the weights are calls: of modules in
transformers, and of small operations in torch. A decoder of Llama's form is computed here in about
half of them, from the same modules and weights, for any number of tokens [N]:

    h = norm(x);  q, k, v = maps(h);  (q, k) <- (q, k) cos + swapped halves (q, k) (-sin, sin)
    x <- x + o(attention(q, k, v));   h = norm(x);   x <- x + down(act(gate(h)) up(h))

Whether a decoder has that form is not read off its name: its layers have these parameters and no
others, and `PagedNetwork` compares the hidden states of a few tokens with those of transformers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from adwright.lm.serving.paging.one_row import LlamaLayer, RowNorm, through_layers
from adwright.lm.serving.paging.paged_attention import PagedAttention

__all__ = ["FusedDecoder"]

_MAPS = (
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
)
_NORMS = ("input_layernorm", "post_attention_layernorm")


class FusedDecoder:
    """A decoder of transformers in the form of the module. `of` says whether it has it."""

    def __init__(self, decoder: Any) -> None:
        self._embed, self._rotary = decoder.embed_tokens, decoder.rotary_emb
        self._norm = _norm(decoder.norm)
        self._layers = [_layer(layer) for layer in decoder.layers]
        self._by_row = all(hasattr(own, "row") for layer in self._layers for own in layer.maps)
        attention = decoder.layers[0].self_attn
        self._width, self._scale = int(attention.head_dim), float(attention.scaling)

    @staticmethod
    def of(decoder: Any) -> FusedDecoder | None:
        """The decoder in this form where its modules are those of it; None else. What they
        compute is for the caller to compare."""
        parts = ("embed_tokens", "rotary_emb", "norm", "layers")
        if not all(isinstance(getattr(decoder, part, None), nn.Module) for part in parts):
            return None
        for layer in decoder.layers:
            names = {name.rsplit(".", 1)[0] for name, _ in layer.named_parameters()}
            if {name.removesuffix(".base") for name in names} != {*_MAPS, *_NORMS}:
                return None
        norms = [decoder.norm, *(getattr(at, name) for at in decoder.layers for name in _NORMS)]
        if not all(hasattr(norm, "variance_epsilon") for norm in norms):
            return None
        attention = decoder.layers[0].self_attn
        has = all(hasattr(attention, name) for name in ("head_dim", "scaling"))
        return FusedDecoder(decoder) if has and hasattr(decoder.layers[0].mlp, "act_fn") else None

    def hidden(self, tokens: Tensor, positions: Tensor, attention: PagedAttention) -> Tensor:
        """Last hidden states [N, D] of tokens int64 [N] at positions int64 [N]."""
        N, W = len(tokens), self._width
        x = self._embed(tokens[None])
        cos, sin = self._rotary(x, positions[None])
        sin = torch.cat([-sin[..., : W // 2], sin[..., W // 2 :]], -1)
        cos, sin = cos[0, :, None], sin[0, :, None]  # [N, 1, W]
        for at, layer in enumerate(self._layers):
            h = layer.first(x)
            query, value = layer.q.forward(h), layer.v.forward(h)
            both = torch.cat([query, layer.k.forward(h)], -1).view(N, -1, W)  # queries, then keys
            both = torch.addcmul(both * cos, both.roll(W // 2, -1), sin).transpose(0, 1)[None]
            H = query.shape[-1] // W
            values = value.view(1, N, -1, W).transpose(1, 2)
            made = attention.attend(at, both[:, :H], both[:, H:], values, self._scale)
            x = x + layer.o.forward(made.view(1, N, -1))
            h = layer.second(x)
            inner = layer.act(layer.gate.forward(h)) * layer.up.forward(h)
            x = x + layer.down.forward(inner)
        return self._norm(x)[0]

    def row_hidden(
        self, tokens: Tensor, positions: Tensor, attention: PagedAttention
    ) -> Tensor | None:
        """As `hidden`, in fewer calls still, where the pass is one token of one row and the maps
        have a `row`; None else."""
        pages = attention.row_pages() if self._by_row else None
        if pages is None:
            return None
        x = self._embed(tokens[None])
        cos, sin = self._rotary(x, positions[None])
        x = torch.cat([x[0], -x[0]])
        turn = cos[0, 0], sin[0, 0]
        x = through_layers(self._layers, x, turn, pages, attention.heads, self._scale)
        return self._norm.mirrored(x)[0]


def _layer(module: Any) -> LlamaLayer:
    first, second = (_norm(getattr(module, name)) for name in _NORMS)
    q, k, v, o, gate, up, down = (module.get_submodule(name) for name in _MAPS)
    return LlamaLayer(first, second, q, k, v, o, gate, up, down, module.mlp.act_fn)


def _norm(module: Any) -> RowNorm:
    return RowNorm(module.weight, float(module.variance_epsilon))
