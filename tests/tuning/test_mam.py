"""MAM is its two parts together."""

from __future__ import annotations

import torch
from torch import Tensor

from adwright.tuning.mam import MAM
from adwright.tuning.methods import apply
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import logits_of, shake, tiny_llama


def test_is_the_formula() -> None:
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


def test_the_defaults_are_the_papers() -> None:
    prefix, adapter = MAM().parts
    assert (prefix.length, adapter.scale, adapter.beside) == (30, 4.0, "mlp")
    assert prefix.made_by == "direct"
