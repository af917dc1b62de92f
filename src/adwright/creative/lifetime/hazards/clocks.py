"""Numbers that say when a unit was looked at, and not what it is.

A split by time asks about periods that training has not seen. A number that all units of a period
share (visits of the whole chain, a season's sine in a single year) names the period: a network
learns from it how the lives of each training period went, and answers with that in periods to
which it does not apply. Such numbers are found by two shares of the training units, and left out:

    between = 1 - (W / (N - K)) / (T / (N - 1))

with W the sum of squares within the K landmark periods and T that around the mean, so that chance
alone gives 0; a number is a clock where it is at least 0.9. One that recurs (a weekday, a season
over several years) says more than the date and is kept: it has at most half as many different
values as there are periods.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adwright.creative.lifetime.spell_table import SpellTable

__all__ = ["clocks_of"]

_BETWEEN, _RECURS = 0.9, 0.5


def clocks_of(table: SpellTable) -> tuple[str, ...]:
    """Names of the numbers of the training units that are clocks, in the table's order.

    The period of a unit is that of its landmark, or of its start where all have one landmark.
    """
    periods, place = np.unique(table.start + np.floor(table.entry), return_inverse=True)
    found = []
    for name, column in zip(table.number_names, table.numbers.T, strict=True):
        known = np.isfinite(column)
        where, x = place[known], column[known].astype(np.float64)
        if _is_clock(where, x, len(periods)):
            found.append(name)
    return tuple(found)


def _is_clock(place: NDArray[np.int64], x: NDArray[np.float64], periods: int) -> bool:
    """Of the known values x [N] at places [N] of their periods."""
    count = np.bincount(place, minlength=periods)
    there = np.count_nonzero(count)
    if there < 2 or len(x) <= there or not (total := float(((x - x.mean()) ** 2).sum())):
        return False
    mean = np.bincount(place, x, periods) / np.maximum(count, 1)
    within = float(((x - mean[place]) ** 2).sum())
    between = 1 - (within / (len(x) - there)) / (total / (len(x) - 1))
    return bool(between >= _BETWEEN and len(np.unique(x)) > _RECURS * there)
