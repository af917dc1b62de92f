"""The prior is that of greatest likelihood, and shrinks as its formula says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import beta

from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.creative.response.rates import BetaPrior, fit_prior


def _drawn(a: float, b: float, rows: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    n = rng.integers(50, 4000, rows)
    return rng.binomial(n, rng.beta(a, b, rows)), n


def test_it_finds_the_prior_that_counts_were_drawn_from() -> None:
    found = fit_prior(*_drawn(2.0, 120.0))
    assert found.a == pytest.approx(2.0, rel=0.08)
    assert found.mean == pytest.approx(2 / 122, rel=0.05)


def test_creatives_that_do_not_differ_have_a_prior_that_is_nearly_sure() -> None:
    found = fit_prior(np.full(50, 10), np.full(50, 100))
    assert found.a + found.b > 1e5
    assert found.mean == pytest.approx(0.1, rel=1e-3)


def test_rates_and_weights_follow_their_formulas() -> None:
    prior = BetaPrior(2.0, 98.0)
    np.testing.assert_allclose(prior.smoothed([5, 0], [100, 1]), [7 / 200, 2 / 101])
    logs = np.log(beta(2, 98).rvs(400_000, random_state=0))
    assert prior.log_variance == pytest.approx(logs.var(), rel=0.01)
    noise = 0.98 / (1000 * 0.02)
    expected = prior.log_variance / (prior.log_variance + noise)
    assert prior.weights([1000])[0] == pytest.approx(expected)
    assert np.all(np.diff(prior.weights([1, 10, 100, 10_000])) > 0)


@pytest.mark.parametrize(("clicks", "impressions"), [([0, 0], [5, 9]), ([3, 2], [3, 2])])
def test_no_prior_of_no_click(clicks: list[int], impressions: list[int]) -> None:
    with pytest.raises(DataError, match="0 or 1 alone"):
        fit_prior(clicks, impressions)


@pytest.mark.parametrize("clicks", [[1, 4], [1, -1], [1, math.nan]])
def test_counts_that_cannot_be_name_their_row(clicks: list[float]) -> None:
    with pytest.raises(ValueInvalidError) as caught:
        fit_prior(clicks, [3, 3])
    assert caught.value.row == 1
    with pytest.raises(DataError, match="one length"):
        fit_prior([1], [3, 3])
    with pytest.raises(ConfigError):
        BetaPrior(0.0, 1.0)
