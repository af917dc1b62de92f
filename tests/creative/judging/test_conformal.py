"""Split conformal intervals cover what they promise, whatever the distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.creative.judging.conformal import ConformalInterval, ResidualScale


def test_bounds_are_the_residuals_of_their_ranks() -> None:
    found = np.arange(99.0)
    made = ConformalInterval.fit(np.zeros(99), found, coverage=0.9)
    assert (made.below, made.above, made.count) == (4.0, 94.0, 99)
    scaled = ConformalInterval.fit(np.zeros(99), found, np.full(99, 2.0), coverage=0.9)
    assert (scaled.below, scaled.above) == (2.0, 47.0)
    low, high = scaled.bounds([1.0], [4.0])
    assert (low.tolist(), high.tolist()) == ([1.0], [189.0])


@given(st.integers(0, 10_000), st.sampled_from([0.5, 0.8, 0.9]))
def test_of_exchangeable_ads_the_promised_share_is_covered(seed: int, coverage: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=4000)
    found = values + rng.gamma(0.5, size=4000) * np.exp(values)
    made = ConformalInterval.fit(values[:2000], found[:2000], coverage=coverage)
    low, high = made.bounds(values[2000:])
    inside = ((low <= found[2000:]) & (found[2000:] <= high)).mean()
    # What covers less than is asked for by 5 standard errors is wrong; values inside may add.
    assert inside > coverage - 5 * np.sqrt(2 * coverage * (1 - coverage) / 2000)


def test_a_scale_makes_intervals_as_wide_as_ads_need() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 5, 4000)
    found = values + values * rng.normal(size=4000)
    scale = ResidualScale.fit(values, found)
    assert scale(5.0) / scale(1.0) == pytest.approx(5, rel=0.25)
    made = ConformalInterval.fit(values, found, scale(values))
    low, high = made.bounds(values, scale(values))
    inside = (low <= found) & (found <= high)
    for part in (values < 2, values > 4):
        assert inside[part].mean() == pytest.approx(0.9, abs=0.03)
    assert (scale([-100.0, 100.0]) > 0).all()


def test_they_are_stored_as_plain_values() -> None:
    made = ConformalInterval.fit(np.zeros(30), np.arange(30.0))
    assert from_jsonable(ConformalInterval, to_jsonable(made)) == made
    scale = ResidualScale.fit([1.0, 1.0], [2.0, 0.0])
    assert from_jsonable(ResidualScale, to_jsonable(scale)) == scale
    assert scale([3.0]).tolist() == [1.0]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match="takes 19"):
        ConformalInterval.fit(np.zeros(18), np.arange(18.0))
    assert ConformalInterval.fit(np.zeros(19), np.arange(19.0)).above == 18
    with pytest.raises(ConfigError):
        ConformalInterval.fit(np.zeros(30), np.zeros(30), coverage=1.0)
    with pytest.raises(DataError):
        ConformalInterval.fit(np.zeros(30), np.zeros(29))
    with pytest.raises(DataError, match="scales"):
        ConformalInterval.fit(np.zeros(30), np.zeros(30), np.zeros(30))
    with pytest.raises(ValueInvalidError) as caught:
        ResidualScale.fit([0.0, np.nan], [0.0, 1.0])
    assert caught.value.row == 1
