"""D-calibration against its definition, unit by unit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from adwright.core.errors import ValueInvalidError
from benchmarks.lifetime._calibration import chi_square_tail, d_calibration


def lives(units: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weekly ages, ends, and the true chance of ending in each week."""
    rng = np.random.default_rng(seed)
    chance = rng.uniform(0.1, 0.6, units)
    true, until = rng.geometric(chance), rng.integers(1, 9, units)
    return np.minimum(true, until).astype(float), true <= until, chance


def literal_mass(ended: bool, low: float, high: float, bins: int) -> np.ndarray:
    """Of one unit, by its formulas: a point, a fall, or all that is left."""
    mass = np.zeros(bins)
    if ended and low == high:
        mass[min(int(low * bins), bins - 1)] = 1
        return mass
    begin, end = (low, high) if ended else (0.0, low)
    for place in range(bins):
        overlap = min(end, (place + 1) / bins) - max(begin, place / bins)
        mass[place] = max(overlap, 0) / (end - begin)
    return mass


@pytest.mark.parametrize("periods", [False, True])
def test_d_calibration_spreads_the_censored_and_the_periods(periods: bool) -> None:
    time, ended, chance = lives()
    at, before = (1 - chance) ** time, (1 - chance) ** (time - 1)
    mass = np.random.default_rng(2).integers(0, 3, 120)
    found = d_calibration(ended, at, before=before if periods else None, weights=mass, bins=8)
    expected = sum(
        count * literal_mass(over, low, high if periods else low, 8)
        for count, over, low, high in zip(mass, ended, at, before, strict=True)
    )
    np.testing.assert_allclose(found.mass, expected)
    chi = stats.chisquare(found.mass)
    assert found.statistic == pytest.approx(chi.statistic)
    assert found.p_value == pytest.approx(chi.pvalue)
    assert found.worst == pytest.approx(np.abs(found.mass / mass.sum() - 1 / 8).max())


def test_true_weekly_curves_are_calibrated_where_periods_are_spread() -> None:
    time, ended, chance = lives(20_000)
    at, before = (1 - chance) ** time, (1 - chance) ** (time - 1)
    assert d_calibration(ended, at, before=before).worst < 0.01
    assert d_calibration(ended, at).worst > 0.02
    assert d_calibration(ended, at**3, before=before**3).p_value < 1e-6
    with pytest.raises(ValueInvalidError, match="survival rises"):
        d_calibration([1], [0.5], before=[0.4])


def test_a_curve_that_reaches_nothing_or_is_still_whole_has_its_bins() -> None:
    assert d_calibration([1, 1, 0, 0], [0.0, 1.0, 0.0, 1.0], bins=2).mass.tolist() == [2.5, 1.5]


@pytest.mark.parametrize("freedom", [1, 2, 3, 9, 10])
@pytest.mark.parametrize("value", [0.0, 0.3, 8.0, 60.0])
def test_the_tail_of_chi_square_is_that_of_scipy(freedom: int, value: float) -> None:
    assert chi_square_tail(value, freedom) == pytest.approx(stats.chi2.sf(value, freedom))


def test_chi_square_is_not_negative() -> None:
    with pytest.raises(ValueInvalidError, match="not negative"):
        chi_square_tail(-1, 2)
