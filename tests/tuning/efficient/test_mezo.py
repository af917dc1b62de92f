"""MeZO: its step, its memory, and taking steps again."""

from __future__ import annotations

import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.tuning.efficient.mezo import MeZO, MezoStep, mezo_step, replay
from adwright.tuning.methods import apply
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.tuning_methods import loss_of, tiny_llama


def test_a_step_is_the_formula() -> None:
    tuned = apply(tiny_llama(), MeZO(epsilon=1e-2))
    before = [parameter.detach().clone() for parameter in tuned.parameters()]
    step = mezo_step(tuned, lambda: loss_of(tuned), rate=1e-3, seed=5)
    after = [parameter.detach().clone() for parameter in tuned.parameters()]
    generator = torch.Generator().manual_seed(5)
    drawn = [torch.randn(each.shape, generator=generator) for each in before]

    def loss_at(scale: float) -> float:
        with torch.no_grad():
            for parameter, first, z in zip(tuned.parameters(), before, drawn, strict=True):
                parameter.copy_(first + scale * z)
            return float(loss_of(tuned))

    above, below = loss_at(1e-2), loss_at(-1e-2)
    gradient = (above - below) / 2e-2
    assert step.gradient == pytest.approx(gradient, rel=1e-3)
    assert step.loss == pytest.approx((above + below) / 2, rel=1e-5)
    for now, first, z in zip(after, before, drawn, strict=True):
        assert torch.allclose(now, first - 1e-3 * gradient * z, atol=1e-5)


def test_no_graph_is_built() -> None:
    tuned = apply(tiny_llama(), MeZO())
    made = []

    def loss() -> torch.Tensor:
        made.append(loss_of(tuned))
        return made[-1]

    mezo_step(tuned, loss, rate=1e-3, seed=0)
    assert [each.requires_grad for each in made] == [False, False]
    assert all(parameter.grad is None for parameter in tuned.parameters())


def test_steps_are_taken_again_from_their_seeds() -> None:
    first = apply(tiny_llama(), MeZO(rank=2))
    steps = [mezo_step(first, lambda: loss_of(first), rate=1e-2, seed=at) for at in range(3)]
    second = apply(tiny_llama(), MeZO(rank=2))
    replay(second, steps)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert isinstance(steps[0], MezoStep)


def test_another_method_has_no_such_step() -> None:
    tuned = apply(tiny_llama(), LoRA())
    with pytest.raises(ConfigError, match="not tuned by MeZO"):
        mezo_step(tuned, lambda: loss_of(tuned), rate=1.0, seed=0)
