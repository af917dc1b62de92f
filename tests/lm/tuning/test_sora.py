"""SoRA: gates, and the step that shuts them."""

from __future__ import annotations

import torch
from torch import Tensor

from adwright.lm.tuning.methods import apply
from adwright.lm.tuning.sora import GatedLinear, SoRA, alive
from tests.lm.tuning.literal import literal_logits
from tests.lm.tuning.tiny import logits_of, shake, tiny_llama, train


def test_is_the_formula() -> None:
    method = SoRA(rank=4, alpha=6.0)
    tuned = apply(tiny_llama(), method)
    shake(tuned)
    modules = {(p.layer, p.target): p.linear for p in tuned.places(method.targets)}

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        own = modules[layer, target]
        return x @ (weight + 1.5 * own.b @ torch.diag(own.gate) @ own.a).T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)


def test_the_proximal_step_is_a_soft_threshold() -> None:
    tuned = apply(tiny_llama(), SoRA(rank=4, threshold=0.3))
    module = tuned.places(("q_proj",))[0].linear
    assert isinstance(module, GatedLinear)
    module.gate.data.copy_(torch.tensor([1.0, -1.0, 0.2, -0.3]))
    tuned.after_step(0, 1)
    assert torch.allclose(module.gate, torch.tensor([0.7, -0.7, 0.0, 0.0]))
    assert alive(tuned)["model.model.layers.0.self_attn.q_proj"] == 2


def test_a_large_threshold_shuts_everything() -> None:
    tuned = apply(tiny_llama(), SoRA(rank=4, threshold=0.5))
    train(tuned, steps=4)
    assert sum(alive(tuned).values()) == 0
