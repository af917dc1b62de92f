"""Kaplan and Meier's curve, of lives and of censoring, with delayed entry; and what it weights.

A life is an age at its end or at its censoring. Ages are often whole weeks or days, so many are
equal, and one convention settles them all here: **an end at age t comes before a censoring at t**.
Who is censored at t was there at t and went on; who ends at t was at risk of being censored only
before t. In continuous time the two never meet.

Letters: N units, K distinct ages, H horizons.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError
from adwright.metrics.arrays import as_labels, as_scores, as_weights, check_same_length, refuse

__all__ = [
    "CheckedLives",
    "SurvivalCurve",
    "as_lives",
    "censoring_curve",
    "kaplan_meier",
    "known_weights",
    "refuse_truncated",
]

Floats = npt.NDArray[np.float64]

_log = logging.getLogger("adwright")


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


@dataclass(frozen=True, eq=False)
class SurvivalCurve:
    """A step function that falls at ages and is 1 before the first. All [K], ages ascending.

    times: the ages at which something happened. at_risk: units there just before, weighted.
    ended: those that ended there. survival: the share that outlives each age.
    """

    times: Floats
    at_risk: Floats
    ended: Floats
    survival: Floats

    def at(self, ages: npt.ArrayLike, *, before: bool = False) -> Floats:
        """The share that outlives `ages` (any shape); with `before`, that reaches them."""
        side: Literal["left", "right"] = "left" if before else "right"
        place = np.searchsorted(self.times, np.asarray(ages, np.float64), side)
        steps = np.concatenate(([1.0], self.survival))
        shares: Floats = steps[place]
        return shares


def kaplan_meier(
    time: npt.ArrayLike,
    ended: npt.ArrayLike,
    *,
    entry: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
) -> SurvivalCurve:
    """S(t) = product over ages s <= t of 1 - d_s / n_s (Kaplan and Meier, JASA 1958).

    time, ended: [N] age at the end (ended 1) or at censoring (0). d_s: ends at age s. n_s: units
    with entry < s <= time, so those that entered late count from then on (Tsai, Jewell and Wang,
    Biometrika 1987). weights: [N], units that each stands for.
    Of several causes, pass the ends of all: 1 minus the curve of one cause is no incidence.
    """
    lives = as_lives(time, ended, entry=entry, weights=weights)
    curve = _product(lives, lives.ended, before=False)
    if lives.truncated and curve.survival[:-1].min(initial=1.0) == 0:
        _log.warning(
            "the curve falls to 0 at age %g, where all the few that were watched by then ended; "
            "ages before more units have entered say nothing",
            curve.times[np.argmin(curve.survival)],
        )
    return curve


def censoring_curve(
    time: npt.ArrayLike,
    ended: npt.ArrayLike,
    *,
    entry: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
) -> SurvivalCurve:
    """G(t), the share that is not censored by age t, as if nothing ended: censorings are the
    events, and who ends at t is no longer at risk there. Arguments as `kaplan_meier`.

    G before t, `at(t, before=True)`, is the chance that an end at t is seen.
    """
    lives = as_lives(time, ended, entry=entry, weights=weights)
    return _product(lives, ~lives.ended, before=True)


def known_weights(lives: CheckedLives, horizon: float, curve: SurvivalCurve) -> Floats:
    """Weights [N] of those whose state at `horizon` is known, 0 of the others (Robins 1993).

    Who ended at t <= horizon counts weight / G(t-), who is there at the horizon weight /
    G(horizon-): in expectation they stand for all. curve: G, of `censoring_curve`.
    Raises DataError where lives are truncated (then ends before an entry were never seen, which
    these weights do not undo), or where G is 0.
    """
    refuse_truncated(lives)
    seen = curve.at(np.minimum(lives.time, horizon), before=True)
    known = (lives.ended & (lives.time <= horizon)) | (lives.time >= horizon)
    if (seen[known] == 0).any():
        raise DataError(
            "nobody is left uncensored there, so nothing is known of it",
            column="time",
            value=horizon,
            hint="choose an earlier horizon",
        )
    weights = np.zeros(len(seen))
    weights[known] = lives.weights[known] / seen[known]
    return weights


def refuse_truncated(lives: CheckedLives) -> None:
    """Raise DataError where lives are truncated, for what is not defined of such."""
    if lives.truncated:
        raise DataError(
            "some units entered only after others had ended, for which the weights of censoring "
            "are not defined",
            column="entry",
            hint="measure units from one landmark on, or take Harrell's C and Kaplan-Meier, "
            "which count pairs and units at common risk",
        )


def _product(lives: CheckedLives, event: npt.NDArray[np.bool_], *, before: bool) -> SurvivalCurve:
    """The product over ages; with `before`, others that leave at an age leave before its events."""
    times, place = np.unique(lives.time, return_inverse=True)
    ages = len(times)
    leaving = np.bincount(place, lives.weights, ages).astype(np.float64)
    events = np.bincount(place, lives.weights * event, ages).astype(np.float64)
    there = np.cumsum(leaving[::-1])[::-1]
    late = lives.entry > 0
    if late.any():
        # At risk from the first age above the entry on.
        since = np.searchsorted(times, lives.entry[late], "right")
        absent = np.bincount(since, lives.weights[late], ages + 1)
        there = there - np.cumsum(absent[::-1])[::-1][1:]
    if before:
        there = there - (leaving - events)
    with np.errstate(invalid="ignore", divide="ignore"):
        kept = np.where(there > 0, 1 - events / there, 1.0)
    return SurvivalCurve(times, there, events, np.cumprod(np.clip(kept, 0.0, 1.0)))
