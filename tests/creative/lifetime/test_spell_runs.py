"""Runs of periods against a loop."""

from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.creative.lifetime.spell_runs import runs_of


@pytest.mark.parametrize("gap", [0, 2])
def test_runs_are_those_of_a_loop(gap: int) -> None:
    rng = np.random.default_rng(0)
    rows = sorted({(int(u), int(p)) for u, p in rng.integers(0, 20, (150, 2))})
    expected: list[list[int]] = []
    for place, (unit, period) in enumerate(rows):
        if expected and expected[-1][2] == unit and period - expected[-1][4] <= gap + 1:
            expected[-1][4] = period
            expected[-1][1] += 1
        else:
            expected.append([place, 1, unit, period, period])
    runs = runs_of(*zip(*rows, strict=True), gap=gap)
    found = np.stack([runs.row, runs.rows, runs.unit, runs.first, runs.last], axis=1)
    assert found.tolist() == expected
    assert runs.length.tolist() == [last - first + 1 for *_, first, last in expected]
    units = [unit for _, _, unit, _, _ in expected]
    assert runs.before().tolist() == [units[:n].count(unit) for n, unit in enumerate(units)]
    assert len(runs) == len(expected)


def test_nothing_has_no_runs_and_a_gap_is_not_negative() -> None:
    assert len(runs_of([], [])) == 0
    assert runs_of([], []).before().tolist() == []
    with pytest.raises(ConfigError, match="negative"):
        runs_of([1], [1], gap=-1)
