"""Is the predicted survival at the end uniform, as it is of true curves? D-calibration (Haider et
al., JMLR 2020), of lives of which some are censored.

Letters: N units, B bins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.core.errors import ValueInvalidError
from adwright.metrics.arrays import (
    as_probabilities,
    check_positive_integer,
    check_same_length,
    refuse,
)
from adwright.metrics.survival.curve import as_lives

__all__ = ["DCalibration", "chi_square_tail", "d_calibration"]

Floats = npt.NDArray[np.float64]


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
