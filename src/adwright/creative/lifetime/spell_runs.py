"""Runs of periods: where a unit was there without a pause, from its first to its last period."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.core.errors import ConfigError

__all__ = ["Runs", "runs_of"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Runs:
    """R runs of rows that are sorted by unit and period. All int64 [R].

    row: where the run begins in the rows. rows: how many of them it has. unit, first, last: whose
    it is, and its first and last period.
    """

    row: Ints
    rows: Ints
    unit: Ints
    first: Ints
    last: Ints

    def __len__(self) -> int:
        return len(self.row)

    @property
    def length(self) -> Ints:
        """Periods from the first to the last, bridged ones included."""
        return self.last - self.first + 1

    def before(self) -> Ints:
        """By run, the number of earlier runs of its unit."""
        place = np.arange(len(self))
        new = np.append(True, self.unit[1:] != self.unit[:-1])[: len(self)]
        return place - np.maximum.accumulate(np.where(new, place, 0))


def runs_of(unit: npt.ArrayLike, period: npt.ArrayLike, *, gap: int = 0) -> Runs:
    """The runs of rows [M], sorted by unit and then by period, in which no row repeats.

    gap: up to so many periods without the unit belong to its run.

    >>> runs = runs_of([7, 7, 7, 9], [1, 2, 4, 5])
    >>> runs.unit.tolist(), runs.first.tolist(), runs.length.tolist()
    ([7, 7, 9], [1, 4, 5], [2, 1, 1])
    """
    if gap < 0:
        raise ConfigError("a gap cannot be negative", where=f"gap {gap}")
    who, when = np.asarray(unit, np.int64), np.asarray(period, np.int64)
    new = (who[1:] != who[:-1]) | (when[1:] - when[:-1] > gap + 1)
    row = np.flatnonzero(np.append(True, new)[: len(who)])
    end = np.append(row[1:], len(who))[: len(row)]
    return Runs(row, end - row, who[row], when[row], when[end - 1])
