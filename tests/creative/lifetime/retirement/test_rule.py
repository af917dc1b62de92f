"""The rule against loops over ages, and a simulation of what it values."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.creative.lifetime.hazards.curves import LifeCurves
from adwright.creative.lifetime.hazards.terms import LifeTerms
from adwright.creative.lifetime.retirement.rates import Rates
from adwright.creative.lifetime.retirement.rule import (
    RetireConfig,
    break_even_of,
    decide,
    flat_outlook,
    keeping_index,
    keeping_value,
    outlook_of,
)
from tests.support.data.small_life_log import small_life_log

TERMS = LifeTerms(short=(0.0, 1.0, 2.0, 4.0), long=(0.0, 4.0, 8.0, 14.0))
LAST = 14


def curves(units: int = 40, *, causes: int = 1, terms: LifeTerms = TERMS) -> LifeCurves:
    rng = np.random.default_rng(5)
    steps = tuple(
        np.log1p(-rng.uniform(0.02, 0.7, (units, len(edges) - 1))).astype(np.float32)
        for edges in terms.heads
    )
    shares = tuple(rng.dirichlet(np.ones(causes), step.shape).astype(np.float32) for step in steps)
    names = tuple(f"cause {c}" for c in range(causes))
    entry = rng.integers(0, LAST + 3, units).astype(np.float32)
    return LifeCurves(terms, names, entry, steps, shares if causes > 1 else None)


def rates(units: int = 40, seed: int = 0) -> Rates:
    rng = np.random.default_rng(seed)
    mean, spread = rng.uniform(0, 2, units), rng.uniform(0, 0.5, units)
    spread[::7] = 0
    recent = rng.uniform(1, 5, units)
    return Rates(mean, spread, mean, mean, mean, recent, 1.5, math.inf, 1.0, 1.0, 1.0)


def survival(found: LifeCurves, unit: int, age: float) -> float:
    """S at an age given survival to entry, the last bin going on beyond the curve."""
    hazard, edges = found.hazard[unit].sum(1), found.edges

    def log_s(until: float) -> float:
        total = 0.0
        for j, h in enumerate(hazard):
            right = math.inf if j == len(hazard) - 1 else edges[j + 1]
            lived = min(max(until - edges[j], 0), right - edges[j])
            total += math.log1p(-float(h)) * lived / (edges[j + 1] - edges[j])
        return total

    return math.exp(log_s(age) - log_s(float(found.entry[unit])))


@pytest.mark.parametrize("horizon", [1, 9, 30])
def test_what_lies_ahead_is_the_sum_over_ages(horizon: int) -> None:
    found = curves()
    outlook = outlook_of(found, horizon)
    for unit, entry in enumerate(found.entry.tolist()):
        ages = [entry + 1 + j for j in range(horizon)]
        expected = [survival(found, unit, age) for age in ages]
        assert outlook.next[unit] == pytest.approx(expected[0], rel=1e-5)
        assert outlook.further[unit] == pytest.approx(sum(expected), rel=1e-5)
    # On the curve it is what the curve itself says.
    young = found.take(found.entry == found.entry.min())
    on_curve = np.arange(young.entry[0] + 1, LAST + 1, dtype=np.float32)
    there = outlook_of(young, horizon).survival
    assert there is not None
    np.testing.assert_allclose(there[:, : len(on_curve)], young.at(on_curve), rtol=1e-4)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_periods_left_are_whole_ones_on_the_curve(share: float) -> None:
    found = curves()
    left = outlook_of(found, 5).left(share)
    for unit, entry in enumerate(found.entry.tolist()):
        expected, age = math.inf, entry + 1
        for periods in range(LAST):
            if age + periods <= LAST and 1 - survival(found, unit, age + periods) >= share:
                expected = periods
                break
        assert left[unit] == expected
    assert 0 < np.isfinite(left).mean() < 1


def test_the_chance_to_end_within_some_periods() -> None:
    found = curves()
    ends = outlook_of(found, 5).ends_within(3)
    for unit, entry in enumerate(found.entry.tolist()):
        assert ends[unit] == pytest.approx(1 - survival(found, unit, entry + 4), rel=1e-5)


def test_the_index_is_the_break_even_at_which_keeping_is_worth_nothing() -> None:
    found, known = curves(), rates()
    outlook = outlook_of(found, 20)
    index = keeping_index(known, outlook)
    for unit in range(0, 40, 3):
        one = replace(
            known,
            **{name: getattr(known, name)[unit : unit + 1] for name in ("mean", "spread")},
            recent=known.recent[unit : unit + 1],
        )
        ahead = replace(
            outlook, next=outlook.next[unit : unit + 1], further=outlook.further[unit : unit + 1]
        )
        step = 1e-4
        assert keeping_value(one, ahead, float(index[unit]) - step)[0] > 0
        assert keeping_value(one, ahead, float(index[unit]) + step)[0] < 0
    sure = replace(known, spread=np.zeros(40))
    np.testing.assert_allclose(keeping_index(sure, outlook), known.mean)


def test_keeping_is_worth_what_a_simulation_says() -> None:
    found, known, b = curves(6), rates(6), 1.0
    outlook = outlook_of(found, 20)
    value, rng = keeping_value(known, outlook, b), np.random.default_rng(0)
    for unit in range(6):
        # A period passes and teaches what it can, and the unit is kept if that pays.
        q, m = outlook.next[unit], outlook.further[unit]
        later = known.mean[unit] + known.learned[unit] * rng.normal(size=400_000)
        expected = q * (known.mean[unit] - b + (m / q - 1) * np.maximum(later - b, 0).mean())
        assert value[unit] == pytest.approx(expected, abs=0.01)


def test_a_unit_that_may_yet_do_well_is_kept_and_a_certain_failure_is_not() -> None:
    known, outlook = rates(4), outlook_of(curves(4), 20)
    known = replace(known, mean=np.full(4, 0.9), spread=np.zeros(4))
    assert (keeping_value(known, outlook, 1.0) < 0).all()
    unsure = replace(known, spread=np.full(4, 5.0))
    assert (keeping_value(unsure, outlook, 1.0)[outlook.further > 1] > 0).all()
    # Without time to make use of it, finding out is worth nothing.
    alone = replace(outlook, further=outlook.next)
    np.testing.assert_allclose(keeping_value(unsure, alone, 1.0), outlook.next * -0.1)


@pytest.mark.parametrize("gap", [0, 3])
def test_without_a_model_one_share_of_last_periods_counts(gap: int) -> None:
    log = replace(small_life_log(), gap=gap)
    at_risk = ends = 0
    for first, last in zip(log.first, log.last, strict=True):
        for week in range(first, last + 1):
            if week + gap < 14:
                at_risk += 1
                ends += week == last
    hazard = ends / at_risk
    outlook = flat_outlook(log, 14, 3)
    np.testing.assert_allclose(outlook.further - 1, (1 - hazard) / hazard)
    assert outlook.next.tolist() == [1, 1, 1]
    assert np.isnan(outlook.left(0.5)).all()
    assert np.isnan(outlook.ends_within(2)).all()
    assert flat_outlook(log, 14, 1, horizon=2).further[0] == 3
    # Nothing ended yet.
    young = replace(log, last=np.full(len(log), 20))
    assert flat_outlook(young, 3, 1).further[0] == 4


def test_units_are_stopped_refreshed_or_kept() -> None:
    found, known = curves(200), rates(200)
    config = RetireConfig(break_even=1.0, ahead=2)
    decided = decide(config, found, known)
    outlook = outlook_of(found, 14)
    score, ends = keeping_value(known, outlook, 1.0), outlook.ends_within(2)
    for unit, entry in enumerate(found.entry.tolist()):
        old = entry + 1 > 4
        expected = "stop" if score[unit] < 0 else "refresh" if old and ends[unit] >= 0.5 else "keep"
        assert decided.action[unit] == expected
        assert decided.cause[unit] == ("wear-out" if old else "cut-out")
    assert set(decided.action) == {"stop", "refresh", "keep"}
    np.testing.assert_allclose(decided.saving, known.recent * outlook.further)
    np.testing.assert_allclose(decided.loss, known.mean * decided.saving)
    np.testing.assert_allclose(decided.net, decided.saving - decided.loss)
    assert set(decided.ending) == {""}
    assert decided.left.shape == (200, 3)


def test_of_several_causes_the_likelier_is_named() -> None:
    found = curves(50, causes=2)
    decided = decide(RetireConfig(), found, rates(50))
    likely = found.incidence[:, -1].argmax(1)
    assert decided.ending.tolist() == [f"cause {c}" for c in likely]


def test_one_head_knows_no_terms() -> None:
    decided = decide(RetireConfig(), curves(50, terms=TERMS.one_head), rates(50))
    assert set(decided.cause) == {""}
    assert "refresh" not in decided.action


def test_every_setting_changes_what_is_decided() -> None:
    found, known = curves(200), rates(200)
    base = decide(RetireConfig(), found, known)
    assert break_even_of(RetireConfig(), known) == 0.75
    assert break_even_of(RetireConfig(break_even=0.2), known) == 0.2
    for config in (
        RetireConfig(floor=0.9),
        RetireConfig(break_even=0.2),
        RetireConfig(threshold=0.5),
        RetireConfig(ahead=1),
    ):
        assert (decide(config, found, known).action != base.action).any(), config
    short = decide(RetireConfig(horizon=2), found, known)
    assert (short.saving <= base.saving).all()
    assert (RetireConfig().ahead_of(TERMS), RetireConfig().horizon_of(TERMS)) == (4, 14)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="break_even is a number from 0 on"):
        RetireConfig(break_even=-1.0)
    with pytest.raises(ConfigError, match="horizon is a number from 1 on"):
        RetireConfig(horizon=0)
    with pytest.raises(ConfigError, match="half-life"):
        RetireConfig(half_life=0.0)
    with pytest.raises(ConfigError, match="threshold"):
        RetireConfig(threshold=math.inf)
    with pytest.raises(ConfigError, match="each curve needs a rate"):
        decide(RetireConfig(), curves(3), rates(2))
