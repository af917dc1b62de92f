"""The loss against its formula, written out test by test."""

from __future__ import annotations

import math

import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.creative.response.losses import click_rate_loss, listwise_loss, regression_loss

SCORES = torch.tensor([0.3, -1.0, 2.0, 0.1, 0.7, -0.2], dtype=torch.float64)
RATES = torch.tensor([0.02, 0.03, 0.01, 0.05, 0.02, 0.04], dtype=torch.float64)
WEIGHTS = torch.tensor([1.0, 0.5, 0.25, 1.0, 2.0, 0.5], dtype=torch.float64)
TESTS = torch.tensor([4, 0, 4, 0, 4, -1])


def test_it_is_its_formula() -> None:
    total = 0.0
    for test in (0, 4):
        rows = [row for row in range(6) if TESTS[row] == test]
        p = sum(float(RATES[row]) for row in rows)
        s = sum(math.exp(float(SCORES[row])) for row in rows)
        divergence = sum(
            float(RATES[row]) / p * math.log(float(RATES[row]) / p / (math.exp(SCORES[row]) / s))
            for row in rows
        )
        total += sum(float(WEIGHTS[row]) for row in rows) * divergence
    assert float(listwise_loss(SCORES, RATES, WEIGHTS, TESTS)) == pytest.approx(total, rel=1e-9)
    level = sum(
        float(w) * (float(s) - math.log(float(p))) ** 2 / 2
        for s, p, w in zip(SCORES, RATES, WEIGHTS, strict=True)
    )
    assert float(regression_loss(SCORES, RATES, WEIGHTS)) == pytest.approx(level, rel=1e-9)
    both = click_rate_loss(SCORES, RATES, WEIGHTS, TESTS, regression=0.3)
    assert float(both) == pytest.approx(total + 0.3 * level, rel=1e-9)


def test_the_order_within_tests_does_not_ask_for_a_level() -> None:
    moved = SCORES + 5.0 * (TESTS == 4)
    same = listwise_loss(SCORES, RATES, WEIGHTS, TESTS)
    torch.testing.assert_close(listwise_loss(moved, RATES, WEIGHTS, TESTS), same)
    best = RATES.log() - 2
    assert float(listwise_loss(best, RATES, WEIGHTS, TESTS)) == pytest.approx(0, abs=1e-12)
    assert regression_loss(best, RATES, WEIGHTS) > 1


def test_a_creative_of_no_test_has_a_level_alone() -> None:
    none = torch.full_like(TESTS, -1)
    assert float(listwise_loss(SCORES, RATES, WEIGHTS, none)) == 0
    grown = SCORES.clone().requires_grad_()
    click_rate_loss(grown, RATES, WEIGHTS, none, regression=1.0).backward()
    assert grown.grad is not None
    assert (grown.grad != 0).all()


def test_rows_in_another_order_and_large_scores() -> None:
    order = torch.tensor([5, 2, 0, 1, 4, 3])
    moved = listwise_loss(SCORES[order], RATES[order], WEIGHTS[order], TESTS[order])
    torch.testing.assert_close(moved, listwise_loss(SCORES, RATES, WEIGHTS, TESTS))
    assert torch.isfinite(listwise_loss(SCORES * 1e4, RATES, WEIGHTS, TESTS))
    with pytest.raises(ConfigError):
        click_rate_loss(SCORES, RATES, WEIGHTS, TESTS, regression=-1.0)
