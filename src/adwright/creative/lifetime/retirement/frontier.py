"""What a stop rule saves and what it costs, at every threshold at once.

A life that is stopped at the close of period p saves its cost after p and loses its value after p.
That loss is an upper bound: what was sold beside a display would in part have been sold without it.

A rule gives a score at each decision, lower is worse. With threshold t, a life is stopped at its
first decision with score < t. That is where its running minimum first falls below t, so only new
minima matter. Let a life have them at decisions d_1, d_2, ... with m_1 > m_2 > ..., and let f be
any quantity of a stop there (cost saved, value lost):

    f(t) = f(d_j)  for m_j < t <= m_{j-1},  0 for t <= the last one
         = sum over all j with m_j < t of  f(d_j) - f(d_{j+1}),  f = 0 after the last

So each new minimum is a step at m_j, and the sums over all lives are one sort and one running sum.

Letters: D decisions, K steps, G thresholds, O owners, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.creative.lifetime.retirement.lives import LifeLog

__all__ = ["Frontier", "StopPoints", "StopSums", "matched", "stopped_where"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_SUMS = 5
SAVED, LOST, STOPPED, WRONG, AGE = range(_SUMS)


class StopSums(NamedTuple):
    """Over all lives. saved, lost: cost and value after the stops. stopped: lives whose stop saved
    something; of them `wrong` went on to bring the break-even at least, and `age` is the sum of
    their ages at the stop, in periods. cost, value: of all that ran in the periods."""

    saved: float
    lost: float
    stopped: float
    wrong: float
    age: float
    cost: float
    value: float

    @property
    def cost_saved(self) -> float:
        """As a share of all cost."""
        return self.saved / self.cost

    @property
    def value_kept(self) -> float:
        """As a share of all value."""
        return 1 - self.lost / self.value

    @property
    def wrongly(self) -> float:
        """The share of the stopped lives that would have paid; NaN where none was stopped."""
        return self.wrong / self.stopped if self.stopped else float("nan")

    @property
    def mean_age(self) -> float:
        """At the stop, in periods; NaN where none was stopped."""
        return self.age / self.stopped if self.stopped else float("nan")


@dataclass(frozen=True, eq=False)
class StopPoints:
    """What a stop at each of D decisions does; by life and then by period.

    life, period, row: int64 [D], and the row of the log. sums: float64 [D, 5], in the order of
    `StopSums`, of a stop there alone. owner: int64 [D], places in `owners` [O]. cost, value:
    float64 [O], of all that ran from the first decision on, by owner.
    """

    life: Ints
    period: Ints
    row: Ints
    sums: Floats
    owner: Ints
    owners: Ints
    cost: Floats
    value: Floats

    @classmethod
    def of(
        cls, log: LifeLog, life: Ints, period: Ints, break_even: npt.ArrayLike, until: int
    ) -> StopPoints:
        """Of lives [D] that ran in periods [D], in any order, each pair once.

        break_even: value per cost, [D] or one, from which on a life pays. until: the last period
        that counts, so that what comes later stays unseen.
        Raises DataError for a life that has no row in its period, or where nothing is to be judged.
        """
        order = np.lexsort((period, life))
        life, period = np.asarray(life, np.int64)[order], np.asarray(period, np.int64)[order]
        if len(life) == 0:
            raise DataError("nothing is up for decision", column="life")
        first = int(period.min())
        row, last = _rows(log, life, period), _rows(log, life, np.full(len(life), until))
        there = (log.period[np.maximum(row - 1, 0)] == period) & (row > log.offsets[life])
        if not there.all():
            at = int(np.argmin(there))
            raise DataError(
                "a life is up for decision in a period in which it did not run",
                column="period",
                value=f"life {life[at]}, period {period[at]}",
            )
        sums = np.zeros((len(life), _SUMS))
        for column, of in ((SAVED, log.cost), (LOST, log.value)):
            running = np.concatenate(([0.0], np.cumsum(of)))
            sums[:, column] = np.maximum(running[np.maximum(last, row)] - running[row], 0.0)
        some = sums[:, SAVED] > 0
        pays = np.broadcast_to(np.asarray(break_even, np.float64), len(life))[order]
        sums[:, STOPPED] = some
        sums[:, WRONG] = some & (sums[:, LOST] >= pays * sums[:, SAVED])
        sums[:, AGE] = np.where(some, period - log.first[life] + 1, 0)
        owners, owner = np.unique(log.owner, return_inverse=True)
        whose = np.repeat(owner, np.diff(log.offsets))
        counted = (log.period >= first) & (log.period <= until)
        cost, value = (
            np.bincount(whose[counted], of[counted], len(owners)).astype(np.float64)
            for of in (log.cost, log.value)
        )
        if not (cost.sum() > 0 and value.sum() > 0):
            raise DataError(
                "the periods have no cost, or brought no value: nothing can be compared",
                value=f"{first} to {until}",
            )
        return cls(life, period, row - 1, sums, owner[life], owners, cost, value)

    def __len__(self) -> int:
        return len(self.life)

    def total(self, sums: Floats) -> StopSums:
        """Of sums [5] over lives."""
        saved, lost, stopped, wrong, age = (float(each) for each in sums)
        cost, value = float(self.cost.sum()), float(self.value.sum())
        return StopSums(saved, lost, stopped, wrong, age, cost, value)


@dataclass(frozen=True, eq=False)
class Frontier:
    """All thresholds of one rule.

    threshold: float64 [K + 1], ascending, from -inf on: the rule with a threshold just above it
    has done `sums` [K + 1, 5].
    """

    points: StopPoints
    threshold: Floats
    sums: Floats
    _key: Floats
    _step: Floats
    _owner: Ints

    @classmethod
    def of(cls, points: StopPoints, score: Floats) -> Frontier:
        """Of a rule's scores [D]. +inf is never below a threshold. Raises ValueInvalidError for a
        score that is not a number."""
        if np.isnan(score).any():
            at = int(np.argmax(np.isnan(score)))
            raise ValueInvalidError("a score is not a number", row=at, column="score", value="NaN")
        row = _new_minima(points.life, score)
        row = row[np.isfinite(score[row]) | (score[row] < 0)]
        life, step = points.life[row], points.sums[row]
        same = np.append(life[1:] == life[:-1], False)[: len(row)]
        step[same] -= points.sums[row[np.flatnonzero(same) + 1]]
        key = score[row]
        order = np.argsort(key, kind="stable")
        sums = np.concatenate((np.zeros((1, _SUMS)), np.cumsum(step[order], 0)))
        last = np.append(key[order][1:] != key[order][:-1], True)[: len(row)]
        kept = np.concatenate(([0], np.flatnonzero(last) + 1))
        threshold = np.concatenate(([-np.inf], key[order]))[kept]
        return cls(points, threshold, sums[kept], key, step, points.owner[row])

    def at(self, threshold: float) -> StopSums:
        """Of lives stopped at their first score < threshold."""
        place = int(np.searchsorted(self.threshold[1:], threshold, "left"))
        return self.points.total(self.sums[place])

    def at_kept(self, share: float) -> StopSums:
        """At the threshold that keeps this share of the value; of decisions with one score a part
        is stopped, drawn at random so to say, so that any share is met.

        Of thresholds that lose nothing more, the one that saves most. Raises ConfigError for a
        share outside of 0 to 1.
        """
        if not 0 <= share <= 1:
            raise ConfigError("the share of value kept lies between 0 and 1", where=f"{share}")
        lost = np.array([(1 - share) * self.points.value.sum()])
        found = [matched(self.sums[None, :, LOST], self.sums[None, :, c], lost) for c in range(5)]
        return self.points.total(np.array(found)[:, 0])

    def grid(self, size: int = 128) -> Floats:
        """At most `size` thresholds [G], by even steps of what is saved and lost, in shares."""
        share = self.sums[:, SAVED] / self.points.cost.sum()
        share = share + self.sums[:, LOST] / self.points.value.sum()
        wanted = np.linspace(0, share[-1], size + 1)[1:]
        places = np.unique(np.searchsorted(share, wanted * (1 - 1e-12), "left"))
        above: Floats = np.append(self.threshold, np.inf)[places + 1]
        return above

    def by_owner(self, grid: Floats) -> tuple[Floats, Floats]:
        """(saved, lost), float64 [O, G + 1], by owner: nothing, then at each threshold of `grid`,
        ascending."""
        owners, size = len(self.points.owners), len(grid)
        place = np.searchsorted(grid, self._key, "right")  # the first threshold above the key
        cell = self._owner * (size + 1) + place
        found = []
        for column in (SAVED, LOST):
            cells = np.bincount(cell, self._step[:, column], owners * (size + 1))
            table = np.zeros((owners, size + 1))
            table[:, 1:] = cells.reshape(owners, size + 1)[:, :size].cumsum(1)
            found.append(table)
        return found[0], found[1]


def matched(lost: Floats, saved: Floats, wanted: Floats) -> Floats:
    """[R]: `saved` [R, G] where `lost` [R, G], not falling from 0, reaches `wanted` [R].

    Between two points by a straight line; of several with one loss, the last. Beyond the last
    point, that one.
    """
    row = np.arange(len(lost))
    place = np.maximum((lost <= wanted[:, None]).sum(1) - 1, 0)
    after = np.minimum(place + 1, lost.shape[1] - 1)
    step = lost[row, after] - lost[row, place]
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.clip(np.where(step > 0, (wanted - lost[row, place]) / step, 0.0), 0.0, 1.0)
    found: Floats = saved[row, place] + part * (saved[row, after] - saved[row, place])
    return found


def stopped_where(points: StopPoints, fires: Bools) -> Ints:
    """The decisions at which lives are stopped, each at its first that `fires` [D]."""
    fired = np.flatnonzero(fires)
    new = np.append(True, points.life[fired][1:] != points.life[fired][:-1])[: len(fired)]
    found: Ints = fired[new]
    return found


def _rows(log: LifeLog, life: Ints, period: Ints) -> Ints:
    """The row after the last one of each life [N] up to its period [N]."""
    low = int(log.period.min()) - 1
    width = int(log.period.max()) - low + 1
    whose = np.repeat(np.arange(len(log)), np.diff(log.offsets))
    keys = whose * width + (log.period - low)
    found: Ints = np.searchsorted(keys, life * width + np.clip(period - low, 0, width - 1), "right")
    return found


def _new_minima(life: Ints, score: Floats) -> Ints:
    """The decisions whose score is below all earlier ones of their life."""
    levels, rank = np.unique(score, return_inverse=True)
    # Lowered life by life, one running minimum of ranks begins anew with each.
    new_life = np.append(True, life[1:] != life[:-1])[: len(life)]
    lifted = rank - np.cumsum(new_life) * max(len(levels), 1)
    lowest = np.minimum.accumulate(lifted)
    found: Ints = np.flatnonzero(np.append(True, lowest[1:] < lowest[:-1])[: len(life)])
    return found
