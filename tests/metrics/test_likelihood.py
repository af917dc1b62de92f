"""Empirical likelihood against an independent maximisation, and in limits that are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import chi2

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics.bootstrap import Interval
from adwright.metrics.offpolicy import likelihood_interval


def literal_ratio(z: np.ndarray) -> float:
    """-2 log R by root finding on the dual, written down without any safeguard."""
    low, high = -1 / z.max(), -1 / z.min()
    gap = (high - low) * 1e-10
    solution = brentq(lambda m: (z / (1 + m * z)).sum(), low + gap, high - gap, xtol=1e-14)
    weights = 1 / (len(z) * (1 + solution * z))
    assert weights.sum() == pytest.approx(1)
    assert weights @ z == pytest.approx(0, abs=1e-9)
    return float(-2 * np.log(len(z) * weights).sum())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_ends_lie_where_the_statistic_is_the_quantile(seed: int, confidence: float) -> None:
    rng = np.random.default_rng(seed)
    top, bottom = rng.exponential(1, 40) * rng.integers(0, 2, 40), rng.uniform(0.5, 2, 40)
    interval = likelihood_interval(top, bottom, confidence=confidence)
    limit = chi2.ppf(confidence, 1)
    for end in (interval.low, interval.high):
        assert literal_ratio(top - end * bottom) == pytest.approx(limit, rel=1e-6)
    assert interval.low < interval.value < interval.high


def test_rare_terms_reach_further_up_than_down_and_stay_above_zero() -> None:
    top = np.zeros(1000)
    top[:3] = (1, 1, 8)
    interval = likelihood_interval(top, np.ones(1000))
    assert interval.low > 0
    assert interval.high - interval.value > 1.5 * (interval.value - interval.low)


@settings(max_examples=30)
@given(st.lists(st.integers(-5, 5), min_size=3, max_size=12), st.floats(-3, 3))
def test_moving_and_scaling_the_terms_moves_and_scales_the_interval(
    values: list[int], shift: float
) -> None:
    top = np.array(values, float)
    if np.ptp(top) == 0:
        return
    plain = likelihood_interval(top, np.ones(len(top)))
    moved = likelihood_interval(2 * top + shift, np.ones(len(top)))
    expected = Interval(*(2 * end + shift for end in (plain.value, plain.low, plain.high)))
    assert moved.low == pytest.approx(expected.low, abs=1e-6)
    assert moved.high == pytest.approx(expected.high, abs=1e-6)


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(DataError, match="all rounds agree"):
        likelihood_interval(np.zeros(5), np.ones(5))
    with pytest.raises(DataError, match="all rounds agree"):
        likelihood_interval(np.full(5, 0.3), np.full(5, 0.1))
    with pytest.raises(DataError, match="sum to nothing"):
        likelihood_interval([], [])
    with pytest.raises(DataError, match="expected 2 rows and found 3"):
        likelihood_interval([1, 2], [1, 1, 1])
    with pytest.raises(ValueInvalidError, match="row 1, column numerators"):
        likelihood_interval([1, np.nan], [1, 1])
    with pytest.raises(ValueInvalidError, match="confidence"):
        likelihood_interval([1, 2], [1, 1], confidence=1)
