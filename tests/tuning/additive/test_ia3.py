"""(IA)3 against its formula."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adwright.tuning.additive.adapters import IA3, Rescaled
from adwright.tuning.methods import apply
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import logits_of, shake, tiny_llama


def test_is_the_formula() -> None:
    tuned = apply(tiny_llama(), IA3())
    shake(tuned)
    layers = tuned.layers()

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        if target in ("k_proj", "v_proj"):
            return getattr(layers[layer].self_attn, target).factor * (x @ weight.T)
        if target == "down_proj":
            return (layers[layer].mlp.down_proj.factor * x) @ weight.T
        return x @ weight.T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)


def test_merging_keeps_a_bias() -> None:
    for side in ("in", "out"):
        module = Rescaled(nn.Linear(3, 2).requires_grad_(False), side)
        module.factor.data.uniform_(0.5, 2)
        x = torch.randn(4, 3)
        before = module(x)
        assert torch.allclose(module.merged()(x), before, atol=1e-6)
