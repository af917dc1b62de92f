"""Do predicted curves mean what they say? AUC, Brier score and reliability at horizons, of lives of
which some are censored.

At a horizon t it is known of a unit whether it ended by then, unless it was censored before. The
known ones stand for all by `known_weights`: who ended at t_i counts 1 / G(t_i-), who outlived t
counts 1 / G(t-), with G the curve of censoring. All of it is for units of one landmark; where
delayed entry left somebody unwatched when another ended, it is refused.

Letters: N units, H horizons, B bins.

Is the predicted survival at the end uniform, as it is of true curves? D-calibration (Haider et
al., JMLR 2020), of lives of which some are censored.

Letters: N units, B bins.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics.arrays import (
    as_probabilities,
    as_scores,
    check_positive_integer,
    check_same_length,
    refuse,
)
from adwright.metrics.classification import Binning, ReliabilityTable, reliability_table
from adwright.metrics.survival import CheckedLives, Concordance, as_lives, harrell_c

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HorizonAuc:
    """horizons, auc: [H]. mean: over horizons, each weighted by the share that ended since the one
    before."""

    horizons: Floats
    auc: Floats
    mean: float


@dataclass(frozen=True, eq=False)
class BrierScores:
    """horizons, scores: [H], 0 for certainty that is right, 0.25 for even odds. integrated: their
    mean over time, between the first horizon and the last; the score itself of a single one."""

    horizons: Floats
    scores: Floats
    integrated: float


def cumulative_auc(
    time: npt.ArrayLike,
    ended: npt.ArrayLike,
    risk: npt.ArrayLike,
    horizons: npt.ArrayLike,
    *,
    entry: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    censoring: SurvivalCurve | None = None,
) -> HorizonAuc:
    """AUC(t): the chance that who ended by t has a higher risk than who outlived t (cumulative
    cases, dynamic controls; Uno et al., JASA 2007; Hung and Chiang, 2010).

    time, ended: [N]. risk: [N], or [N, H] where it differs by horizon, higher for those that end
    sooner. horizons: [H], rising. The mean is that of Lambert and Chevret (2014): sum over k of
    AUC(t_k) (S(t_k-1) - S(t_k)) / (1 - S(t_H)), S of Kaplan and Meier, S(t_0) = 1.
    Raises DataError where nobody has ended, or nobody is left, at a horizon.
    """
    lives, at, curve = _prepared(time, ended, horizons, entry, weights, censoring)
    score = np.asarray(risk)
    check_same_length(len(lives.time), {"risk": score})
    if score.ndim == 2 and score.shape[1] != len(at):
        raise DataError(f"risks of {score.shape[1]} horizons for {len(at)}", column="risk")
    areas = np.empty(len(at))
    for place, horizon in enumerate(at):
        known = known_weights(lives, horizon, curve)
        there = known > 0
        over = lives.ended & (lives.time <= horizon)
        own = score if score.ndim == 1 else score[:, place]
        areas[place] = roc_auc_score(over[there], own[there], sample_weight=known[there])
    left = kaplan_meier(lives.time, lives.ended, weights=lives.weights).at(at)
    falls = np.concatenate(([1.0], left[:-1])) - left
    mean = float(areas @ falls / falls.sum()) if falls.sum() > 0 else float(areas.mean())
    return HorizonAuc(at, areas, mean)


def brier_per_unit(
    time: npt.ArrayLike,
    ended: npt.ArrayLike,
    survival: npt.ArrayLike,
    horizons: npt.ArrayLike,
    *,
    entry: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    censoring: SurvivalCurve | None = None,
) -> Floats:
    """Weighted squared errors [N, H], whose mean over units is the Brier score: what an interval
    over owners adds up. Arguments as `brier_scores`."""
    lives, at, curve = _prepared(time, ended, horizons, entry, weights, censoring)
    predicted = np.asarray(survival, np.float64)
    if predicted.shape != (len(lives.time), len(at)):
        raise DataError(
            f"expected survival [{len(lives.time)}, {len(at)}], found {list(predicted.shape)}",
            column="survival",
        )
    wrong = ~((predicted >= 0) & (predicted <= 1)).all(axis=1)
    refuse(np.asarray(wrong, np.bool_), "a share lies outside 0..1", "survival", predicted)
    errors = np.empty(predicted.shape)
    for place, horizon in enumerate(at):
        there = ~(lives.ended & (lives.time <= horizon))
        known = known_weights(lives, horizon, curve)
        errors[:, place] = known * (there - predicted[:, place]) ** 2
    return errors


def brier_scores(
    time: npt.ArrayLike,
    ended: npt.ArrayLike,
    survival: npt.ArrayLike,
    horizons: npt.ArrayLike,
    *,
    entry: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    censoring: SurvivalCurve | None = None,
) -> BrierScores:
    """BS(t) = mean over units of w_i(t) (1[T_i > t] - S_i(t))^2 (Graf et al. 1999), w_i(t) of
    `known_weights`; the integral is that of its polygon, divided by the span of horizons.

    survival: [N, H] predicted shares that outlive each horizon. horizons: [H], rising.
    weights: [N], units that each stands for. censoring: G, by default of these units.
    """
    errors = brier_per_unit(
        time, ended, survival, horizons, entry=entry, weights=weights, censoring=censoring
    )
    at = np.asarray(horizons, np.float64)
    units = len(errors) if weights is None else float(np.asarray(weights, np.float64).sum())
    scores = errors.sum(axis=0) / units
    steps = np.diff(at)
    area = float(((scores[1:] + scores[:-1]) / 2) @ steps)
    whole = area / float(steps.sum()) if len(at) > 1 else float(scores[0])
    return BrierScores(at, scores, whole)


def reliability_at(
    time: npt.ArrayLike,
    ended: npt.ArrayLike,
    survival: npt.ArrayLike,
    horizon: float,
    *,
    entry: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    censoring: SurvivalCurve | None = None,
    bins: int = 20,
    binning: Binning = "mass",
) -> ReliabilityTable:
    """Predicted and observed shares that ended by `horizon`, bin by bin, as `reliability_table`.

    survival: [N] predicted shares that outlive the horizon. Units of unknown state are left out,
    and the others weighted for them.
    """
    lives, at, curve = _prepared(time, ended, [horizon], entry, weights, censoring)
    predicted = as_probabilities(survival, name="survival")
    check_same_length(len(lives.time), {"survival": predicted})
    known = known_weights(lives, float(at[0]), curve)
    there, over = known > 0, lives.ended & (lives.time <= horizon)
    return reliability_table(
        over[there], 1 - predicted[there], known[there], bins=bins, binning=binning
    )


def _prepared(
    time: npt.ArrayLike,
    ended: npt.ArrayLike,
    horizons: npt.ArrayLike,
    entry: npt.ArrayLike | None,
    weights: npt.ArrayLike | None,
    censoring: SurvivalCurve | None,
) -> tuple[CheckedLives, Floats, SurvivalCurve]:
    lives = as_lives(time, ended, entry=entry, weights=weights)
    refuse_truncated(lives)
    at = as_scores(horizons, name="horizons").astype(np.float64)
    if len(at) == 0 or not np.isfinite(at).all() or (np.diff(at) <= 0).any():
        raise ValueInvalidError(
            "horizons must be finite and rise", column="horizons", value=at.tolist()
        )
    curve = censoring
    if curve is None:
        curve = censoring_curve(lives.time, lives.ended, weights=lives.weights)
    return lives, at, curve


@dataclass(frozen=True, eq=False)
class DCalibration:
    """mass: [B], units of each bin of predicted survival at the end, 0 to 1 in equal steps; all
    alike where the curves are calibrated. statistic: chi square with B - 1 degrees of freedom.
    p_value: its tail. worst: the largest distance of a bin's share from 1 / B."""

    mass: Floats
    statistic: float
    p_value: float
    worst: float


def d_calibration(
    ended: npt.ArrayLike,
    survival: npt.ArrayLike,
    *,
    before: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    bins: int = 10,
) -> DCalibration:
    """Is the predicted survival at the end uniform, as it is of true curves? (Haider et al., JMLR
    2020.) A small p-value says no; of millions of units it always is, so look at `worst`.

    ended: [N]. survival: [N], each unit's own predicted S at its age at the end or censoring.
    before: [N], S at the start of the period in which it ended. Of lives in whole periods pass it:
    an end is then spread over the fall of its curve in that period, else its bin would follow from
    the length of the periods. A censored unit is spread over 0 to S, as its end is yet to come.
    """
    low = as_probabilities(survival, name="survival").astype(np.float64)
    lives = as_lives(np.ones(len(low)), ended, weights=weights)
    check_positive_integer(bins, "bins")
    high = low if before is None else as_probabilities(before, name="before").astype(np.float64)
    check_same_length(len(low), {"before": high})
    refuse(high < low, "survival rises during the period of the end", "before", high)
    high, low = np.where(lives.ended, high, low), np.where(lives.ended, low, 0.0)
    width = high - low
    below = [0.0]
    for edge in np.arange(1, bins) / bins:
        share = np.where(width > 0, (edge - low) / np.where(width > 0, width, 1), edge > low)
        below.append(float(lives.weights @ np.clip(share, 0.0, 1.0)))
    total = float(lives.weights.sum())
    mass = np.diff([*below, total])
    statistic = float(((mass - total / bins) ** 2).sum() / (total / bins))
    worst = float(np.abs(mass / total - 1 / bins).max())
    return DCalibration(mass, statistic, chi_square_tail(statistic, max(bins - 1, 1)), worst)


def chi_square_tail(value: float, freedom: int) -> float:
    """The chance that chi square with `freedom` degrees exceeds `value`.

    Q(1/2, x) = erfc(sqrt x), Q(1, x) = e^-x, Q(a + 1, x) = Q(a, x) + x^a e^-x / gamma(a + 1), at
    x = value / 2 and a = freedom / 2 (Abramowitz and Stegun 6.5.22).
    """
    check_positive_integer(freedom, "freedom")
    if not value >= 0:
        raise ValueInvalidError("chi square is not negative", value=value)
    x = value / 2
    if x == 0:
        return 1.0
    tail, a = (math.erfc(math.sqrt(x)), 0.5) if freedom % 2 else (math.exp(-x), 1.0)
    while a < freedom / 2:
        tail += math.exp(a * math.log(x) - x - math.lgamma(a + 1))
        a += 1
    return min(tail, 1.0)


_log = logging.getLogger("adwright")


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


def uno_c(
    time: npt.ArrayLike,
    ended: npt.ArrayLike,
    risk: npt.ArrayLike,
    *,
    entry: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    until: float | None = None,
    of: str = "units",
    censoring: SurvivalCurve | None = None,
) -> Concordance:
    """Harrell's C with each pair weighted by G(t_i-)^-2 (Uno et al., Statistics in Medicine 2011,
    equation 6), so that censoring does not decide which pairs count.

    censoring: G, by default `censoring_curve` of these units; pass that of training to follow
    scikit-survival, which takes G(t_i): the same unless an end and a censoring share an age.
    until: as Uno's tau; choose it where some units are still uncensored. Other arguments as
    `harrell_c`. Raises DataError where delayed entry left somebody unwatched when another ended:
    that is not defined.
    """
    lives = as_lives(time, ended, entry=entry, weights=weights)
    refuse_truncated(lives)
    curve = censoring
    if curve is None:
        curve = censoring_curve(lives.time, lives.ended, weights=lives.weights)
    seen = curve.at(lives.time, before=True)
    asked = lives.ended & (lives.time <= (np.inf if until is None else until))
    if (seen[asked] == 0).any():
        raise DataError(
            "by the curve of censoring nobody is left when some end",
            column="time",
            value=float(lives.time[asked & (seen == 0)].min()),
            hint="lower until, or estimate the curve on longer lives",
        )
    counted = np.zeros(len(seen))
    counted[asked] = 1 / seen[asked] ** 2
    return harrell_c(
        lives.time,
        lives.ended,
        risk,
        weights=lives.weights,
        until=until,
        first=counted,
        of=f"{of}, weighted for censoring",
    )
