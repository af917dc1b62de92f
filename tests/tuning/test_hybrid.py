"""MAM and UniPELT against their formulas, gates included."""

from __future__ import annotations

import torch
from torch import Tensor

from adwright.tuning.hybrid import MAM, UniPELT
from adwright.tuning.methods import apply
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import base_logits, logits_of, shake, tiny_llama


def test_mam_is_the_formula() -> None:
    tuned = apply(tiny_llama(), MAM(length=2, size=4, scale=3.0))
    shake(tuned, size=0.2)

    def prefix(layer: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keys, values = tuned.layers()[layer].self_attn.prefix.maker()
        return keys, values, torch.ones(x.shape[:2])

    def sublayer(layer: int, kind: str, x: Tensor, h: Tensor) -> Tensor:
        if kind == "attention":
            return h
        own = tuned.layers()[layer].mlp.beside.adapter
        inner = torch.clamp(x @ own.down.T + own.inner_bias, min=0)
        return h + 3.0 * (inner @ own.up.T + own.outer_bias)

    wanted = literal_logits(prefix=prefix, sublayer=sublayer)
    assert torch.allclose(logits_of(tuned), wanted, atol=1e-4)


def test_the_defaults_of_mam_are_the_papers() -> None:
    prefix, adapter = MAM().methods
    assert (prefix.length, adapter.scale, adapter.beside) == (30, 4.0, "mlp")
    assert prefix.made_by == "direct"


def gate_of(gate: torch.nn.Module, x: Tensor) -> Tensor:
    return torch.sigmoid(x @ gate.weight.T + gate.bias)


def test_unipelt_is_the_formula() -> None:
    tuned = apply(tiny_llama(), UniPELT(rank=2, alpha=3.0, length=2, size=4))
    shake(tuned, size=0.2)
    layers = tuned.layers()

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        if target not in ("q_proj", "v_proj"):
            return x @ weight.T
        own = getattr(layers[layer].self_attn, target)
        return x @ weight.T + gate_of(own.gate, x) * 1.5 * (x @ own.a.T @ own.b.T)

    def prefix(layer: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        own = layers[layer].self_attn.prefix
        return *own.maker(), gate_of(own.gate, x)[..., 0]

    def sublayer(layer: int, kind: str, x: Tensor, h: Tensor) -> Tensor:
        if kind == "attention":
            return h
        gated = layers[layer].mlp.down_proj.adapter
        own = gated.inner
        inner = torch.clamp(h @ own.down.T + own.inner_bias, min=0)
        return h + gate_of(gated.gate, h) * (inner @ own.up.T + own.outer_bias)

    wanted = literal_logits(linear=linear, prefix=prefix, sublayer=sublayer)
    assert torch.allclose(logits_of(tuned), wanted, atol=1e-4)


def test_shut_gates_give_the_base() -> None:
    tuned = apply(tiny_llama(), UniPELT(rank=2, length=2, size=4))
    shake(tuned, size=0.2)
    for name, parameter in tuned.named_parameters():
        if ".gate." in name:
            parameter.data.fill_(-100.0 if name.endswith("bias") else 0.0)
    assert torch.allclose(logits_of(tuned), base_logits(), atol=1e-5)
