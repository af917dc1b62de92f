"""The likelihood against a literal reference, bin by bin and unit by unit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from adwright.creative.lifetime.hazards.likelihood import (
    BinTargets,
    hazard_loss,
    log_hazards,
    marginal_logits,
)

EDGES = (1.0, 3.0, 5.0, 7.0, 10.0)


def _lives(units: int, causes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Entry, time and cause: before the first edge, on edges, between them, beyond the last."""
    rng = np.random.default_rng(seed)
    entry = rng.choice([0, 1, 2, 3, 4, 5.5, 9, 11], units).astype(np.float32)
    time = (entry + rng.choice([0.5, 1, 2, 2.5, 4, 6, 9], units)).astype(np.float32)
    return entry, time, rng.integers(0, causes + 1, units).astype(np.int8)


def _literal(logits: list[list[float]], entry: float, time: float, cause: int) -> float:
    """Minus the log-likelihood of one unit: logits[j][c] of bin j and cause c."""
    total = 0.0
    for j, scores in enumerate(logits):
        left, right = EDGES[j], EDGES[j + 1]
        z = 1 + sum(math.exp(a) for a in scores)
        if entry > left:
            continue  # It came in the midst of the bin, or later.
        if cause and left < time <= right:
            total -= math.log(math.exp(scores[cause - 1]) / z)
        elif time >= right:
            total -= math.log(1 / z)
    return total


@pytest.mark.parametrize("causes", [1, 2, 3])
def test_the_loss_is_that_of_the_literal_reference(causes: int) -> None:
    entry, time, cause = _lives(500, causes)
    torch.manual_seed(0)
    logits = 2 * torch.randn(500, 4, causes, dtype=torch.float64)
    found = hazard_loss(logits, BinTargets.of(EDGES, entry, time, cause))
    rows = zip(logits.tolist(), entry.tolist(), time.tolist(), cause.tolist(), strict=True)
    wanted = [_literal(*row) for row in rows]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=1e-12)
    single = hazard_loss(logits.float(), BinTargets.of(EDGES, entry, time, cause))
    np.testing.assert_allclose(single.numpy(), wanted, rtol=1e-6, atol=1e-6)


def test_toy_lives_have_the_closed_form() -> None:
    """Hazards of 1/2, 1/4, 1/5, 1/10: an ending in the third bin, a loss after the second, one
    that lives on, one that came at 5 and ended in the last bin."""
    h = torch.tensor([1 / 2, 1 / 4, 1 / 5, 1 / 10], dtype=torch.float64)
    logits = torch.logit(h)[None, :, None].expand(4, -1, -1)
    entry, time = np.array([1, 1, 0, 5], np.float32), np.array([6, 5.5, 99, 10], np.float32)
    found = hazard_loss(logits, BinTargets.of(EDGES, entry, time, np.array([1, 0, 0, 1])))
    lives = [1 / 2 * 3 / 4 * 1 / 5, 1 / 2 * 3 / 4, 1 / 2 * 3 / 4 * 4 / 5 * 9 / 10, 4 / 5 * 1 / 10]
    np.testing.assert_allclose(found.numpy(), -np.log(lives), atol=1e-6)


def test_bins_are_open_at_their_left_and_closed_at_their_right() -> None:
    time = np.array([1, 1.5, 3, 3.5, 10, 10.5], np.float32)
    targets = BinTargets.of(EDGES, np.zeros(6, np.float32), time, np.ones(6, np.int8))
    assert targets.first.tolist() == [0] * 6
    # Ended at the first edge: before all bins. Ended after the last one: survived all of them.
    assert targets.stop.tolist() == [0, 1, 1, 2, 4, 4]
    assert targets.cause.tolist() == [0, 1, 1, 1, 1, 0]


def test_a_part_of_a_bin_says_nothing() -> None:
    entry, time = np.array([2, 2, 2], np.float32), np.array([2.5, 4, 5], np.float32)
    targets = BinTargets.of(EDGES, entry, time, np.array([1, 0, 0]))
    assert targets.at_risk(4).tolist() == [
        [False] * 4,  # Ended in the bin that it came in.
        [False] * 4,  # Lost in the midst of the next one.
        [False, True, False, False],
    ]
    assert targets.ended(4).any(1).tolist() == [False] * 3


def test_what_a_unit_was_not_at_risk_in_has_no_gradient() -> None:
    entry, time, cause = _lives(300, 2, seed=1)
    targets = BinTargets.of(EDGES, entry, time, cause)
    logits = torch.randn(300, 4, 2, requires_grad=True)
    hazard_loss(logits, targets).sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    moved = logits.grad.abs().sum(2) > 0
    assert torch.equal(moved, targets.at_risk(4))


def test_one_cause_is_the_softmax_of_two_outcomes() -> None:
    entry, time, cause = _lives(200, 1, seed=2)
    targets = BinTargets.of(EDGES, entry, time, cause)
    logits = torch.randn(200, 4, 1, dtype=torch.float64)
    never = torch.full_like(logits, -1e4)
    both = hazard_loss(torch.cat([logits, never], 2), targets)
    torch.testing.assert_close(hazard_loss(logits, targets), both)


@pytest.mark.parametrize("causes", [1, 2])
@pytest.mark.parametrize("size", [1e3, -1e3])
def test_logits_of_any_size_give_finite_numbers(causes: int, size: float) -> None:
    entry, time, cause = _lives(50, causes, seed=3)
    logits = torch.full((50, 4, causes), size, requires_grad=True)
    loss = hazard_loss(logits, BinTargets.of(EDGES, entry, time, cause))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    step, share = log_hazards(logits.detach())
    for value in (loss, logits.grad, step, share):
        assert bool(value.isfinite().all())


@pytest.mark.parametrize("causes", [1, 3])
def test_log_hazards_are_the_literal_ones(causes: int) -> None:
    logits = torch.randn(20, 4, causes, dtype=torch.float64)
    step, share = log_hazards(logits)
    z = 1 + logits.exp().sum(2)
    torch.testing.assert_close(step.exp(), 1 / z)
    torch.testing.assert_close(share * (1 - 1 / z)[:, :, None], logits.exp() / z[:, :, None])


@pytest.mark.parametrize("causes", [1, 2])
def test_marginal_hazards_are_counted(causes: int) -> None:
    entry, time, cause = _lives(400, causes, seed=4)
    targets = BinTargets.of(EDGES, entry, time, cause)
    logits = marginal_logits(targets, 4, causes)
    at_risk, ended = targets.at_risk(4), targets.ended(4)
    for j in range(4):
        survived = float((at_risk[:, j] & ~ended[:, j]).sum())
        for c in range(causes):
            died = float((ended[:, j] & (targets.cause == c + 1)).sum())
            wanted = math.log((died + 0.5) / (survived + 0.5))
            assert float(logits[j, c]) == pytest.approx(wanted, abs=1e-5)


def test_marginal_hazards_are_where_the_loss_is_least() -> None:
    entry, time, cause = _lives(2000, 2, seed=5)
    targets = BinTargets.of(EDGES, entry, time, cause)

    def loss(logits: Tensor) -> float:
        return float(hazard_loss(logits.expand(2000, -1, -1), targets).sum())

    best = marginal_logits(targets, 4, 2)[None]
    for shift in (0.1, -0.1):
        assert loss(best) < loss(best + shift)


def test_rows_can_be_taken() -> None:
    entry, time, cause = _lives(10, 1)
    targets = BinTargets.of(EDGES, entry, time, cause)
    rows = torch.tensor([7, 2, 2])
    taken = targets.take(rows)
    assert len(taken) == 3
    assert torch.equal(taken.stop, targets.stop[rows])
    assert torch.equal(taken.at_risk(4), targets.at_risk(4)[rows])
