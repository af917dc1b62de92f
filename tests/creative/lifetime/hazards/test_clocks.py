"""Numbers that tell the period are found, whatever else varies; those that recur are kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adwright.creative.lifetime.hazards.clocks import clocks_of
from adwright.creative.lifetime.spell_table import SpellTable
from tests.support.data.small_spells import small_spells

PERIODS = 20


def _table(column: np.ndarray, *, units: int = 600, entry: float = 0.0) -> SpellTable:
    """Spells in twenty weeks, of which one number is `column`, by week [PERIODS]."""
    table = small_spells(units, entry=entry)
    start = np.arange(units, dtype=np.int32) % PERIODS
    numbers = table.numbers.copy()
    numbers[:, 1] = column[start]
    return replace(table, start=start, numbers=numbers)


def _literal_share(table: SpellTable) -> float:
    """Of the variance of the second number that lies between weeks, without chance."""
    x = table.numbers[:, 1].astype(np.float64)
    groups = [x[table.start == week] for week in np.unique(table.start)]
    within = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    total = float(((x - x.mean()) ** 2).sum())
    return 1 - (within / (len(x) - len(groups))) / (total / (len(x) - 1))


def test_a_number_that_all_of_a_week_share_is_a_clock() -> None:
    rng = np.random.default_rng(0)
    assert clocks_of(_table(rng.normal(size=PERIODS))) == ("sales_before",)
    season = np.sin(2 * np.pi * np.arange(PERIODS) / 52)
    assert clocks_of(_table(season)) == ("sales_before",)


def test_what_recurs_is_kept() -> None:
    weekday = np.arange(PERIODS) % 7
    assert clocks_of(_table(weekday)) == ()
    twice = np.sin(2 * np.pi * (np.arange(PERIODS) % 10) / 10.5)
    assert clocks_of(_table(twice)) == ()


@pytest.mark.parametrize("noise", [0.05, 0.2, 0.3, 0.4, 1.0])
def test_the_share_of_the_variance_between_weeks_decides(noise: float) -> None:
    table = _table(np.arange(PERIODS) / np.std(np.arange(PERIODS)))
    numbers = table.numbers.copy()
    numbers[:, 1] += noise * np.random.default_rng(1).normal(size=len(numbers))
    table = replace(table, numbers=numbers.astype(np.float32))
    assert bool(clocks_of(table)) == (_literal_share(table) >= 0.9)


def test_what_differs_by_chance_alone_is_no_clock() -> None:
    """Two units a week: their means differ, as those of any pairs do."""
    table = small_spells(40)
    assert clocks_of(replace(table, start=np.arange(40, dtype=np.int32) % PERIODS)) == ()


def test_one_week_and_a_constant_have_no_clock() -> None:
    table = _table(np.arange(PERIODS))
    assert clocks_of(replace(table, start=np.zeros_like(table.start))) == ()
    assert clocks_of(_table(np.full(PERIODS, 3.0))) == ()
    missing = table.numbers.copy()
    missing[:, 1] = np.nan
    assert clocks_of(replace(table, numbers=missing)) == ()


def test_the_week_is_that_of_the_landmark() -> None:
    """Units of one week, that entered at many ages: their start tells nothing of the week."""
    table = _table(np.arange(PERIODS) ** 2.0)
    age = (PERIODS - 1 - table.start).astype(np.float32)
    late = replace(table, entry=age, time=table.time + age)
    assert clocks_of(table) == ("sales_before",)
    assert clocks_of(late) == ()
