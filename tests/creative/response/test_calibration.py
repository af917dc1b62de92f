"""Expected clicks are those found, and intervals cover what was measured."""

from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import DataError
from adwright.creative.response.calibration import RateCalibration
from adwright.creative.response.rates import BetaPrior


def _drawn(seed: int, rows: int = 1500) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    known = rng.normal(-4, 0.5, rows)
    impressions = rng.integers(500, 4000, rows)
    rates = np.exp(known + rng.normal(0, 0.3, rows))
    return known, rng.binomial(impressions, np.minimum(rates, 1)), impressions


def test_expected_clicks_are_those_found() -> None:
    known, clicks, impressions = _drawn(0)
    made = RateCalibration.fit(known - 1, clicks, impressions, BetaPrior(2, 100))
    value, _, _ = made.rates(known - 1)
    assert (value * impressions).sum() == pytest.approx(clicks.sum())
    assert made.level == pytest.approx(1 + 0.045, abs=0.05)


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_rates_of_new_ads_are_covered_noise_and_all(coverage: float) -> None:
    known, clicks, impressions = _drawn(1)
    prior = BetaPrior(2, 100)
    made = RateCalibration.fit(known, clicks, impressions, prior, coverage=coverage)
    known, clicks, impressions = _drawn(2, 4000)
    value, low, high = made.rates(known)
    inside = (low <= clicks / impressions) & (clicks / impressions <= high)
    assert abs(inside.mean() - coverage) < 0.025
    assert (low <= value).all()
    assert (value <= high).all()
    assert made.rates(np.array([5.0]))[0][0] == 1


def test_no_level_without_a_click() -> None:
    known, clicks, impressions = _drawn(0)
    with pytest.raises(DataError, match="no held-out ad"):
        RateCalibration.fit(known, clicks * 0, impressions, BetaPrior(2, 100))
