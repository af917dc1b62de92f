"""MoSLoRA against its formula."""

from __future__ import annotations

import torch
from torch import Tensor

from adwright.tuning.methods import apply
from adwright.tuning.reparameterised.lora import MixedLinear, MoSLoRA
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import logits_of, shake, tiny_llama


def test_is_the_formula() -> None:
    method = MoSLoRA(rank=3, alpha=6.0)
    tuned = apply(tiny_llama(), method)
    modules = {(p.layer, p.target): p.linear for p in tuned.places(method.targets)}
    first = modules[0, "q_proj"]
    assert isinstance(first, MixedLinear)
    assert torch.allclose(first.mixer @ first.mixer.T, torch.eye(3), atol=1e-5)
    shake(tuned)

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        own = modules[layer, target]
        return x @ (weight + 2.0 * own.b @ own.mixer @ own.a).T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)
