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

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics.arrays import (
    as_probabilities,
    as_scores,
    check_positive_integer,
    check_same_length,
    refuse,
)
from adwright.metrics.calibration import Binning, ReliabilityTable, reliability_table
from adwright.metrics.classification import auc
from adwright.metrics.survival import (
    CheckedLives,
    SurvivalCurve,
    as_lives,
    censoring_curve,
    kaplan_meier,
    known_weights,
    refuse_truncated,
)

__all__ = [
    "BrierScores",
    "DCalibration",
    "HorizonAuc",
    "brier_per_unit",
    "brier_scores",
    "chi_square_tail",
    "cumulative_auc",
    "d_calibration",
    "reliability_at",
]

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
        areas[place] = auc(over[there], as_scores(own, name="risk")[there], known[there])
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
