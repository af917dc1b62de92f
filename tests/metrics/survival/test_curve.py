"""Kaplan-Meier and the curve of censoring, against loops and lifelines."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from lifelines import KaplanMeierFitter

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics.survival import as_lives
from benchmarks.lifetime._calibration import (
    censoring_curve,
    kaplan_meier,
    known_weights,
    refuse_truncated,
)


def lives(units: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ages, ends, entries; ages and entries are whole weeks, and many are equal."""
    rng = np.random.default_rng(seed)
    time = np.minimum(rng.geometric(0.4, units), 8).astype(np.float64)
    entry = np.where(rng.random(units) < 0.5, np.floor(rng.random(units) * time), 0)
    return time, rng.random(units) < 0.7, entry


def literal(
    time: np.ndarray, event: np.ndarray, entry: np.ndarray, mass: np.ndarray, *, before: np.ndarray
) -> dict[float, float]:
    """The product, age by age; who is in `before` at an age leaves before its events."""
    share, curve = 1.0, {}
    for age in sorted(set(time.tolist())):
        there = (entry < age) & (time >= age) & ~(before & (time == age))
        happened = (time == age) & event
        if mass[there].sum() > 0:
            share *= 1 - mass[happened].sum() / mass[there].sum()
        curve[age] = share
    return curve


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_both_curves_are_their_products(late: bool, weighted: bool) -> None:
    time, ended, entry = lives()
    entry = entry if late else time * 0
    mass = np.random.default_rng(1).integers(0, 4, 300).astype(float) if weighted else time**0
    given = {"entry": entry if late else None, "weights": mass if weighted else None}
    curve = kaplan_meier(time, ended, **given)
    expected = literal(time, ended, entry, mass, before=np.zeros(300, bool))
    np.testing.assert_allclose(curve.survival, list(expected.values()), atol=1e-12)
    assert curve.times.tolist() == list(expected)
    censoring = censoring_curve(time, ended, **given)
    expected = literal(time, ~ended, entry, mass, before=ended)
    np.testing.assert_allclose(censoring.survival, list(expected.values()), atol=1e-12)


def test_they_are_those_of_lifelines() -> None:
    time, ended, entry = lives()
    ages = np.unique(time)
    # lifelines counts who enters at an age as at risk there, so entries lie between ages.
    theirs = KaplanMeierFitter().fit(time, ended, entry=entry + 0.5)
    ours = kaplan_meier(time, ended, entry=entry + 0.5)
    np.testing.assert_allclose(ours.survival, theirs.survival_function_at_times(ages), atol=1e-12)
    np.testing.assert_allclose(ours.at_risk, theirs.event_table.loc[ages, "at_risk"])
    # Censorings after the ends of an age: moved a little behind it.
    theirs = KaplanMeierFitter().fit(time + np.where(ended, 0, 1e-6), ~ended)
    ours = censoring_curve(time, ended)
    after = theirs.survival_function_at_times(ages + 1e-5)
    np.testing.assert_allclose(ours.survival, after, atol=1e-12)


def test_a_curve_is_read_after_an_age_or_before_it() -> None:
    curve = kaplan_meier([1, 2, 2, 4], [1, 1, 0, 1])
    assert curve.survival.tolist() == [0.75, 0.5, 0.0]
    assert curve.at([0, 1, 1.5, 2, 9]).tolist() == [1, 0.75, 0.75, 0.5, 0]
    assert curve.at([[1, 2], [3, 4]], before=True).tolist() == [[1, 0.75], [0.5, 0.5]]
    assert curve.ended.tolist() == [1, 1, 1]


def test_a_curve_that_falls_to_nothing_too_early_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "adwright"):
        curve = kaplan_meier([1, 5, 6], [1, 1, 1], entry=[0, 3, 3])
    assert curve.survival[0] == 0
    assert "falls to 0 at age 1" in caplog.text


def test_known_states_stand_for_all_in_expectation() -> None:
    rng = np.random.default_rng(4)
    true = rng.geometric(0.3, 200_000).astype(float)
    until = rng.integers(1, 8, 200_000).astype(float)
    # An end comes before a censoring of its age.
    ended, time = true <= until, np.minimum(true, until)
    units = as_lives(time, ended)
    weights = known_weights(units, 4, censoring_curve(time, ended))
    assert weights[(time < 4) & ~ended].max() == 0
    assert weights.sum() / 200_000 == pytest.approx(1, abs=0.01)
    over = weights @ (ended & (time <= 4)) / weights.sum()
    assert over == pytest.approx((true <= 4).mean(), abs=0.01)
    doubled = known_weights(
        as_lives(time, ended, weights=2 * true**0), 4, censoring_curve(time, ended)
    )
    np.testing.assert_allclose(doubled, 2 * weights)


def test_a_horizon_beyond_all_that_is_known_is_refused() -> None:
    units = as_lives([1, 2, 9], [0, 0, 1])
    with pytest.raises(DataError, match="choose an earlier horizon"):
        known_weights(units, 5, censoring_curve([1, 2], [0, 0]))


def test_truncated_lives_are_told_from_those_of_one_landmark() -> None:
    assert not as_lives([3, 4], [1, 0], entry=[2, 2]).truncated
    late = as_lives([3, 4], [1, 0], entry=[0, 3])
    assert late.truncated
    with pytest.raises(DataError, match="from one landmark on"):
        refuse_truncated(late)
    with pytest.raises(DataError, match="from one landmark on"):
        known_weights(late, 3, censoring_curve([3, 4], [1, 0]))
    assert not as_lives([3, 4], [0, 0], entry=[0, 3]).truncated


def test_lives_are_checked() -> None:
    with pytest.raises(DataError, match="no lives"):
        as_lives([], [])
    with pytest.raises(ValueInvalidError, match="not above its entry"):
        as_lives([3], [1], entry=[3])
    with pytest.raises(ValueInvalidError, match="entry is negative"):
        as_lives([3], [1], entry=[-1])
    with pytest.raises(DataError, match="2 rows and found 1"):
        as_lives([3, 4], [1])
