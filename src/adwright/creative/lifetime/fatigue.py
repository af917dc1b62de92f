"""Fatigue rules as ad tools have them: stop what has fallen a share below its peak for k periods.

    low in period t:  x_t < (1 - drop) * max over s <= t of x_s
    fires:            in the first period that ends `periods` low ones in a row

x is the click rate of a period, or the sales themselves. Periods in which nothing was shown say
nothing of a rate: they neither count nor break a row of low ones. A rule knows no more than its
series so far, so it can be replayed period by period.

Letters: N units, M periods of all units together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt

from adwright.core.config import Count, Gt, Lt, settings
from adwright.core.errors import DataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@settings
class FatigueRule:
    """measure: "rate", clicks by shown, or "sales", clicks alone. drop: share below the peak, in
    (0, 1). periods: low ones in a row, from 1. The defaults are those of the tools."""

    measure: Literal["rate", "sales"] = "rate"
    drop: Annotated[float, Gt(0), Lt(1)] = 0.2
    periods: Count = 3


@dataclass(frozen=True, eq=False)
class LifeSeries:
    """By unit and period of its life, the first period first: clicks and shown [M]; those of unit i
    lie from offsets[i] to offsets[i + 1] (int64 [N + 1])."""

    clicks: Floats
    shown: Floats
    offsets: Ints

    def __post_init__(self) -> None:
        ends = self.offsets[[0, -1]].tolist() if len(self.offsets) else []
        if len(self.clicks) != len(self.shown) or ends != [0, len(self.clicks)]:
            raise DataError(
                "clicks, shown and offsets do not fit each other",
                column="offsets",
                value=f"{len(self.clicks)}, {len(self.shown)}, {ends}",
            )


def fires_at(series: LifeSeries, rule: FatigueRule) -> Ints:
    """By unit, the period of its life, from 1, in which the rule first fires; 0 for never. [N]"""
    fired = np.flatnonzero(low_in_a_row(series, rule) >= rule.periods)
    unit = np.searchsorted(series.offsets, fired, "right") - 1
    first = np.zeros(len(series.offsets) - 1, np.int64)
    first[unit[::-1]] = (fired - series.offsets[unit] + 1)[::-1]  # the earliest is written last
    return first


def low_in_a_row(series: LifeSeries, rule: FatigueRule) -> Ints:
    """By period, how many low ones in a row end with it: the rule fires, be it again, where they
    are `rule.periods` or more. 0 in a period that says nothing. [M]"""
    unit, age, value, peak = _so_far(series, rule)
    low = value < (1 - rule.drop) * peak
    # The first period of a unit is its own peak, so no row of low ones reaches into another unit.
    place = np.arange(len(low))
    found = np.zeros(len(series.clicks), np.int64)
    found[series.offsets[unit] + age - 1] = place - np.maximum.accumulate(np.where(low, 0, place))
    return found


def fall_from_peak(series: LifeSeries, rule: FatigueRule) -> Floats:
    """By unit, 1 - x / peak in its last period: the risk by which a rule orders units. [N]

    0 where nothing is known yet.
    """
    unit, _, value, peak = _so_far(series, rule)
    fall = np.zeros(len(series.offsets) - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        fall[unit] = np.where(peak > 0, 1 - value / peak, 0.0)  # the last one stays
    return fall


def _so_far(series: LifeSeries, rule: FatigueRule) -> tuple[Ints, Ints, Floats, Floats]:
    """(unit, period from 1, value, peak so far) of the periods that say something."""
    lengths = np.diff(series.offsets)
    unit = np.repeat(np.arange(len(lengths)), lengths)
    age = np.arange(len(unit)) - np.repeat(series.offsets[:-1], lengths) + 1
    value = np.asarray(series.clicks, np.float64)
    if rule.measure == "rate":
        there = series.shown > 0
        unit, age = unit[there], age[there]
        value = value[there] / series.shown[there]
    levels, rank = np.unique(value, return_inverse=True)
    # Lifted unit by unit, one running maximum of ranks begins anew with each.
    lift = unit * max(len(levels), 1)
    peak = levels[np.maximum.accumulate(rank + lift) - lift] if len(levels) else value
    return unit, age, value, peak
