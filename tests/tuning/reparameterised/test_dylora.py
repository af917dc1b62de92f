"""DyLoRA: nested ranks, drawn in training and chosen in use."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.tuning.methods import apply
from adwright.tuning.reparameterised.lora import DyLoRA, NestedLinear, RankSchedule
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import logits_of, shake, tiny_llama


@pytest.mark.parametrize("serve", [0, 2])
def test_is_the_formula(serve: int) -> None:
    method = DyLoRA(rank=4, serve=serve, alpha=6.0)
    tuned = apply(tiny_llama(), method)
    shake(tuned)
    modules = {(p.layer, p.target): p.linear for p in tuned.places(method.targets)}
    b = serve or 4

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        own = modules[layer, target]
        update = sum(torch.outer(own.b[:, k], own.a[k]) for k in range(b))
        return x @ (weight + 6.0 / b * update).T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)


def test_every_rank_is_drawn_and_the_served_one_comes_back() -> None:
    tuned = apply(tiny_llama(), DyLoRA(rank=4, serve=3))
    linear = tuned.places(("q_proj",))[1].linear
    assert isinstance(linear, NestedLinear)
    assert isinstance(tuned.schedule, RankSchedule)
    drawn = []
    for step in range(40):
        tuned.before_step(step, 40)
        drawn.append(linear.used)
        tuned.after_step(step, 40)
        assert linear.used == 3
    assert set(drawn) == {1, 2, 3, 4}


def test_no_more_is_served_than_trained() -> None:
    with pytest.raises(ConfigError, match="rank 5 is served and 4 are trained"):
        DyLoRA(rank=4, serve=5)
