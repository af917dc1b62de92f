"""Rules of fatigue against a loop over periods."""

from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import ConfigError, DataError
from adwright.creative.lifetime.fatigue import (
    FatigueRule,
    LifeSeries,
    fall_from_peak,
    fires_at,
    low_in_a_row,
)


def series(units: int = 200, seed: int = 0) -> LifeSeries:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 12, units)
    shown = rng.integers(0, 5, lengths.sum()) * 10.0
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    return LifeSeries(rng.binomial(shown.astype(int), 0.3).astype(float), shown, offsets)


def literal(lives: LifeSeries, rule: FatigueRule) -> list[tuple[int, float]]:
    found = []
    for unit in range(len(lives.offsets) - 1):
        peak, row, fired, fall = 0.0, 0, 0, 0.0
        for age, place in enumerate(range(*lives.offsets[unit : unit + 2]), start=1):
            value = lives.clicks[place]
            if rule.measure == "rate":
                if lives.shown[place] == 0:
                    continue
                value /= lives.shown[place]
            peak = max(peak, value)
            row = row + 1 if value < (1 - rule.drop) * peak else 0
            fall = 1 - value / peak if peak > 0 else 0.0
            if row >= rule.periods and not fired:
                fired = age
        found.append((fired, fall))
    return found


@pytest.mark.parametrize(
    "rule",
    [
        FatigueRule(),
        FatigueRule(measure="sales"),
        FatigueRule(drop=0.35, periods=2),
        FatigueRule(periods=1),
    ],
)
def test_a_rule_fires_where_a_loop_says(rule: FatigueRule) -> None:
    lives = series()
    expected = literal(lives, rule)
    found = fires_at(lives, rule)
    assert found.tolist() == [fired for fired, _ in expected]
    assert 0 < (found > 0).mean() < 1
    np.testing.assert_allclose(fall_from_peak(lives, rule), [fall for _, fall in expected])


def test_a_rule_knows_only_its_past() -> None:
    lives, rule = series(), FatigueRule(periods=2)
    whole = fires_at(lives, rule)
    # Each life cut after five periods: what fired by then fires alike, nothing else does.
    lengths = np.diff(lives.offsets)
    kept = np.arange(lives.offsets[-1]) - np.repeat(lives.offsets[:-1], lengths) < 5
    offsets = np.concatenate(([0], np.cumsum(np.minimum(lengths, 5))))
    cut = fires_at(LifeSeries(lives.clicks[kept], lives.shown[kept], offsets), rule)
    assert cut.tolist() == np.where(whole <= 5, whole, 0).tolist()


def test_a_rule_may_fire_again() -> None:
    lives = LifeSeries(np.array([4.0, 1, 1, 4, 1, 9, 9, 1, 1]), np.ones(9), np.array([0, 5, 5, 9]))
    assert low_in_a_row(lives, FatigueRule()).tolist() == [0, 1, 2, 0, 1, 0, 0, 1, 2]
    # A period without anybody to show it to says nothing, and breaks no row.
    shown = np.array([1.0, 1, 0, 1, 1, 1, 1, 1, 1])
    unseen = LifeSeries(np.array([4.0, 1, 1, 1, 1, 9, 9, 1, 1]), shown, np.array([0, 5, 5, 9]))
    assert low_in_a_row(unseen, FatigueRule()).tolist() == [0, 1, 0, 2, 3, 0, 0, 1, 2]


def test_nothing_fires_on_nothing() -> None:
    none = LifeSeries(np.empty(0), np.empty(0), np.zeros(3, np.int64))
    assert fires_at(none, FatigueRule()).tolist() == [0, 0]
    assert fall_from_peak(none, FatigueRule()).tolist() == [0, 0]


def test_wrong_rules_and_series_are_refused() -> None:
    for wrong in ({"drop": 0.0}, {"drop": 1.0}, {"periods": 0}, {"measure": "clicks"}):
        with pytest.raises(ConfigError):
            FatigueRule(**wrong)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="do not fit"):
        LifeSeries(np.ones(2), np.ones(3), np.array([0, 2]))
