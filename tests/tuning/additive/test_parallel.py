"""Parallel adapters against their formula."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from adwright.tuning.additive.adapters import ParallelAdapter, ParallelModule
from adwright.tuning.methods import apply
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import logits_of, shake, tiny_llama


@pytest.mark.parametrize("beside", ["mlp", "attention", "both"])
def test_is_the_formula(beside: Literal["mlp", "attention", "both"]) -> None:
    tuned = apply(tiny_llama(), ParallelAdapter(size=4, beside=beside, scale=1.5))
    shake(tuned)

    def sublayer(layer: int, kind: str, x: Tensor, h: Tensor) -> Tensor:
        if beside not in (kind, "both"):
            return h
        name = "self_attn" if kind == "attention" else "mlp"
        module = getattr(tuned.layers()[layer], name).beside
        assert isinstance(module, ParallelModule)
        own = module.adapter
        inner = torch.clamp(x @ own.down.T + own.inner_bias, min=0)
        return h + 1.5 * (inner @ own.up.T + own.outer_bias)

    assert torch.allclose(logits_of(tuned), literal_logits(sublayer=sublayer), atol=1e-5)
