"""Do risks order lives as they ended? Harrell's C, with the pairs that they are about.

A pair is two units of which the one that ended first is known: unit i ended at age t_i, and unit j
lived longer, or was censored at t_i or later (an end at an age comes before a censoring there).
Two that ended at one age are no pair: neither outlived the other. Of weekly lives that leaves many
out, so `Concordance` says how many pairs there were, and of which units. The pair is concordant
where i had the higher risk; equal risks count one half.

Delayed entry: j must have been watched when i ended, entry_j < t_i (pairs at common risk). Else i
would be compared with units that are there only because they outlived it.

Counting takes N log N by halving: units sorted by risk are split by the highest bit of the place of
their age, each earlier one counts the later ones before it in a cumulative sum, and both halves are
split by the next bit. So the number of passes is the logarithm of the number of distinct ages at
which something ended: few for weeks.

Letters: N units, O owners, M rows counted (a unit, and where it matters its entry).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics.arrays import (
    as_labels,
    as_scores,
    as_weights,
    check_same_length,
    dense_order,
    float_order,
    is_lossless,
    refuse,
    run_starts,
)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CheckedLives:
    """Lives that were checked: all [N]. time: float64 ages. ended: bool, False where censored.
    entry: float64 ages from which on each was watched, 0 without delayed entry. weights: float64,
    how many units each stands for."""

    time: Floats
    ended: npt.NDArray[np.bool_]
    entry: Floats
    weights: Floats

    @property
    def truncated(self) -> bool:
        """Whether somebody was not watched yet when another one ended: only then does delayed
        entry change what is measured."""
        return bool(self.ended.any() and self.entry.max() >= self.time[self.ended].min())


def as_lives(
    time: npt.ArrayLike,
    ended: npt.ArrayLike,
    *,
    entry: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
) -> CheckedLives:
    """Check ages and ends [N]; entry and weights [N] may be left out (0, and 1).

    Raises DataError where there is nobody, and ValueInvalidError that names the row for an age
    that is negative, infinite or not above its entry, and for an end that is neither 0 nor 1.
    """
    age = as_scores(time, name="time").astype(np.float64, copy=False)
    over = as_labels(ended).view(np.bool_)
    check_same_length(len(age), {"ended": over})
    if len(age) == 0:
        raise DataError("there are no lives to measure", hint="check the filter before it")
    since = np.zeros(len(age)) if entry is None else as_scores(entry, name="entry")
    since = since.astype(np.float64, copy=False)
    check_same_length(len(age), {"entry": since})
    refuse(~(np.isfinite(age) & (age >= 0)), "an age is negative or infinite", "time", age)
    refuse(~(since >= 0), "an entry is negative", "entry", since)
    hint = "who ended before being watched is not known of"
    if entry is not None:
        refuse(age <= since, "an age is not above its entry", "time", age, hint)
    mass = as_weights(weights, len(age))
    return CheckedLives(age, over, since, np.ones(len(age)) if mass is None else mass)


Keys = npt.NDArray[np.signedinteger]


@dataclass(frozen=True, eq=False)
class Concordance:
    """A C-index, 0.5 for chance and 1 for a perfect order, and of which pairs it is.

    pairs, concordant, tied: numbers of pairs, weighted; value = (concordant + tied / 2) / pairs.
    population: of whom and of which pairs, in words.
    won, compared: float64 [N], each unit's pairs, in either role, and those that are concordant
    (tied ones half): their sums are twice those of the pairs.
    """

    value: float
    pairs: float
    concordant: float
    tied: float
    population: str
    won: Floats
    compared: Floats


def harrell_c(
    time: npt.ArrayLike,
    ended: npt.ArrayLike,
    risk: npt.ArrayLike,
    *,
    entry: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    until: float | None = None,
    first: npt.ArrayLike = 1.0,
    of: str = "units",
) -> Concordance:
    """Share of pairs that the risk orders as they ended (Harrell et al., JAMA 1982).

    time, ended: [N] age at the end (ended 1) or at censoring (0); of one cause among several,
    ended 1 for that cause. risk: [N], higher for those expected to end sooner; of predicted
    lifetimes pass the negative. entry: [N] ages from which on units were watched.
    weights: [N] multiplicities; a pair counts the product. until: only pairs whose first end came
    at this age or earlier. first: [N] what a pair counts by the unit that ended
    first. of: what the units are, for the words of the population.
    Raises DataError where there is no pair. It depends on the pattern of censoring.
    """
    lives = as_lives(time, ended, entry=entry, weights=weights)
    score = as_scores(risk, name="risk")
    check_same_length(len(lives.time), {"risk": score})
    order = float_order(score) if is_lossless(score) else dense_order(score)
    last = np.inf if until is None else until
    if np.isnan(last):
        raise ValueInvalidError("until is not a number", column="until", value=until)
    # By unit, its weight as the one that ended first; 0 where it did not.
    asked = np.where(lives.ended & (lives.time <= last), lives.weights, 0.0)
    return _concordance(lives, order, asked * np.asarray(first, np.float64), until, of)


def _concordance(
    lives: CheckedLives, risk: npt.NDArray[np.uint32], asked: Floats, until: float | None, of: str
) -> Concordance:
    units = len(risk)
    ages = np.unique(lives.time[asked > 0])
    if len(ages) == 0:
        raise _no_pair(asked)
    # Who outlived the k-th of the ages has a key above k; who ended there has the key k.
    key = np.searchsorted(ages, lives.time, "right") - (asked > 0)
    mass, rows = lives.weights, np.arange(units)
    gone = np.flatnonzero(lives.entry >= ages[0])
    if len(gone):
        # What ended before a unit entered takes it back: a row of negative weight.
        key = np.concatenate((key, np.searchsorted(ages, lives.entry[gone], "right")))
        mass, rows = np.concatenate((mass, -mass[gone])), np.concatenate((rows, gone))
        asked, risk = np.concatenate((asked, np.zeros(len(gone)))), risk[rows]
    counts = _count(key, risk, mass, asked)
    pairs, concordant, tied = (
        float(each.sum()) / 2 for each in (counts.pairs, counts.concordant, counts.tied)
    )
    if pairs == 0:
        raise _no_pair(asked)
    won = counts.concordant + counts.tied / 2
    all_units, ends = int(lives.weights.sum()), int(lives.weights @ lives.ended)
    population = (
        f"{all_units:,} {of}, of which {ends:,} ended; {pairs:,.0f} pairs of which one ended first"
    )
    population += "" if until is None else f", by age {until:g}"
    population += ", both watched by then" if lives.truncated else ""
    return Concordance(
        (concordant + tied / 2) / pairs,
        pairs,
        concordant,
        tied,
        population,
        np.bincount(rows, won, units).astype(np.float64),
        np.bincount(rows, counts.pairs, units).astype(np.float64),
    )


def _no_pair(asked: Floats) -> DataError:
    return DataError(
        "there is no pair of units of which one is known to have ended first",
        column="time",
        value=f"{np.count_nonzero(asked)} ends among {len(asked)} units",
        hint="widen the test period; two that ended at one age are no pair",
    )


@dataclass(frozen=True, eq=False)
class _PairCounts:
    """Weighted pairs of each row, in either role, all [M]: those that are concordant or of equal
    risk, and all."""

    concordant: Floats
    tied: Floats
    pairs: Floats


def _count(key: Keys, risk: npt.NDArray[np.uint32], mass: Floats, asked: Floats) -> _PairCounts:
    """Of rows of which one is asked and the other has a larger key; a pair weighs asked * mass."""
    ends = np.cumsum(np.bincount(key, mass))
    starts = np.concatenate(([0.0], np.cumsum(np.bincount(key, asked))))
    pairs = asked * (ends[-1] - ends[key]) + mass * starts[key]
    # By risk, and of equal risks by key: no row has an equal of larger key before it.
    order = np.argsort((risk.astype(np.uint64) << np.uint64(32)) | key.astype(np.uint64))
    key, mass, asked = key[order].astype(np.int32), mass[order], asked[order]
    concordant, tied = np.empty(len(key)), np.empty(len(key))
    tied[order] = _equals(key, risk[order], mass, asked)
    concordant[order] = _halved(key, mass, asked)
    return _PairCounts(concordant, tied, pairs)


def _equals(key: Keys, risk: npt.NDArray[np.uint32], mass: Floats, asked: Floats) -> Floats:
    """Pairs of equal risk, of rows in order of risk and key."""
    runs = np.append(run_starts(risk), len(risk))
    same = np.append(
        run_starts((risk.astype(np.uint64) << np.uint64(32)) | key.astype(np.uint64)), len(risk)
    )
    sizes, small = np.diff(runs), np.diff(same)
    upto = _sums(mass)
    pairs = asked * (np.repeat(upto[runs[1:]], sizes) - np.repeat(upto[same[1:]], small))
    upto = _sums(asked)
    found: Floats = pairs + mass * (
        np.repeat(upto[same[:-1]], small) - np.repeat(upto[runs[:-1]], sizes)
    )
    return found


def _halved(key: Keys, mass: Floats, asked: Floats) -> Floats:
    """Concordant pairs, of rows in order of risk and key.

    In each pass rows whose keys agree in the higher bits stand together, from one of `bounds` to
    the next, in order of risk. Of these, those without the bit (early) count those with it (late)
    before them, whose risk is lower; and are counted by them.
    """
    found, rows = np.zeros(len(key)), np.arange(len(key), dtype=np.int32)
    bounds = np.array([0, len(key)])
    for bit in range(int(key.max()).bit_length() - 1, -1, -1):
        is_late = (key >> bit & 1).astype(np.bool_)
        late, early = np.flatnonzero(is_late), np.flatnonzero(~is_late)
        late_before = np.concatenate(([0], np.cumsum(is_late)))[bounds]
        early_before = bounds - late_before
        upto, ask, weigh = _sums(mass[late]), asked[early], mass[late]
        below = upto[early - np.arange(len(early))]  # the n-th early row at place p has p - n late
        below -= np.repeat(upto[late_before[:-1]], np.diff(early_before))
        upto = _sums(ask)
        above = np.repeat(upto[early_before[1:]], np.diff(late_before))
        above -= upto[late - np.arange(len(late))]
        found = np.concatenate((found[early] + ask * below, found[late] + weigh * above))
        key, rows = (np.concatenate((each[early], each[late])) for each in (key, rows))
        mass, asked = np.concatenate((mass[early], weigh)), np.concatenate((ask, asked[late]))
        bounds = np.concatenate((early_before, len(early) + late_before))
        bounds = bounds[np.append(True, np.diff(bounds) > 0)]
    pairs = np.empty(len(rows))
    pairs[rows] = found
    return pairs


def _sums(values: Floats) -> Floats:
    """Of the first 0, 1, 2 ... of values [M]: [M + 1]."""
    return np.concatenate(([0.0], np.cumsum(values)))
