"""MeZO: its step and its memory."""

from __future__ import annotations

import pytest
import torch

from adwright.tuning.efficient.memory import MeZO
from adwright.tuning.methods import apply
from tests.support.lm.tuning_methods import loss_of, tiny_llama


def test_a_step_is_the_formula() -> None:
    method = MeZO(epsilon=1e-2)
    tuned = apply(tiny_llama(), method)
    before = [parameter.detach().clone() for parameter in tuned.parameters()]
    loss = method.search(tuned, lambda: loss_of(tuned), rate=1e-3, seed=5)
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
    assert loss == pytest.approx((above + below) / 2, rel=1e-5)
    for now, first, z in zip(after, before, drawn, strict=True):
        assert torch.allclose(now, first - 1e-3 * gradient * z, atol=1e-5)


def test_no_graph_is_built() -> None:
    tuned = apply(tiny_llama(), MeZO())
    made = []

    def loss() -> torch.Tensor:
        made.append(loss_of(tuned))
        return made[-1]

    MeZO().search(tuned, loss, rate=1e-3, seed=0)
    assert [each.requires_grad for each in made] == [False, False]
    assert all(parameter.grad is None for parameter in tuned.parameters())
