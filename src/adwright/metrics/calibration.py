"""Do predicted probabilities mean what they say? Reliability tables and their summaries.

Rows are put into bins by their prediction; in a bin, the mean prediction is compared with
the share of responses. Equal-mass bins (the default) hold the same weight each and suit
click data, where nearly all predictions lie near zero; equal-width bins cut 0..1 evenly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError
from adwright.metrics.arrays import (
    Array,
    as_labels,
    as_probabilities,
    as_weights,
    check_positive_integer,
    check_same_length,
    normal_quantile,
    run_starts,
)

Binning = Literal["mass", "width"]


@dataclass(frozen=True)
class ReliabilityTable:
    """One row per bin that holds any weight, in ascending order of prediction. All [bins].

    lower, upper: smallest and largest prediction in the bin.
    mean_prediction, observed_rate: weighted means of prediction and label.
    count: rows. weight: summed weights, equal to count without weights.
    low, high: Wilson interval of the observed rate.
    """

    lower: npt.NDArray[np.float64]
    upper: npt.NDArray[np.float64]
    mean_prediction: npt.NDArray[np.float64]
    observed_rate: npt.NDArray[np.float64]
    count: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]

    @property
    def gap(self) -> npt.NDArray[np.float64]:
        """Mean prediction less observed rate [bins]: above zero the model promises too much."""
        return self.mean_prediction - self.observed_rate


def reliability_table(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    bins: int = 20,
    binning: Binning = "mass",
    confidence: float = 0.95,
) -> ReliabilityTable:
    """Observed rate against mean prediction, bin by bin.

    labels: [N] 0 or 1. probabilities: [N] in 0..1. weights: [N], rows each row stands for.
    Equal predictions share a bin, so the table does not depend on the order of the rows;
    therefore bins may differ in mass where many predictions are equal, and empty bins are
    left out. With weights, the Wilson interval uses the effective number of rows,
    (sum w)**2 / sum w**2 (Kish 1965).
    """
    y = as_labels(labels)
    p = as_probabilities(probabilities).astype(np.float64, copy=False)
    check_same_length(len(y), {"probabilities": p})
    if len(y) == 0:
        raise DataError("there are no rows to measure", hint="check the filter before it")
    w = as_weights(weights, len(y))
    which = mass_bins(p, w, bins) if binning == "mass" else width_bins(p, bins)

    def total(values: Array | None) -> npt.NDArray[np.float64]:
        return np.bincount(which, values, minlength=bins).astype(np.float64)

    count = np.bincount(which, minlength=bins)
    weight = total(w)
    filled = weight > 0
    weight, count = weight[filled], count[filled]
    prediction = total(p if w is None else w * p)[filled] / weight
    rate = total(y if w is None else w * y)[filled] / weight
    effective = weight if w is None else weight**2 / total(w * w)[filled]
    low, high = wilson_interval(rate, effective, confidence=confidence)
    lower, upper = np.full(bins, np.inf), np.full(bins, -np.inf)
    np.minimum.at(lower, which, p)
    np.maximum.at(upper, which, p)
    return ReliabilityTable(
        lower[filled], upper[filled], prediction, rate, count, weight, low, high
    )


def expected_calibration_error(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    bins: int = 20,
    binning: Binning = "mass",
) -> float:
    """sum_b (W_b / W) |mean prediction_b - observed rate_b| (Naeini et al. 2015).

    In 0..1, in units of probability. It is biased upwards by noise: even true probabilities
    score about sqrt(bins / N) times the spread of a label. Arguments as `reliability_table`.
    """
    table = reliability_table(labels, probabilities, weights, bins=bins, binning=binning)
    return float(np.average(np.abs(table.gap), weights=table.weight))


def mass_bins(
    values: Array, weights: npt.NDArray[np.float64] | None, bins: int
) -> npt.NDArray[np.int64]:
    """Bin 0..bins-1 of each value [N], such that bins hold about equal weight.

    A run of equal values goes as one into the bin where the middle of its mass lies.
    """
    check_positive_integer(bins, "bins")
    order = np.argsort(values)
    starts = run_starts(values[order])
    if weights is None:
        ends = np.append(starts[1:], len(values)).astype(np.float64)
    else:
        ends = np.cumsum(np.add.reduceat(weights[order], starts))
    middle = (ends + np.concatenate((np.zeros(1), ends[:-1]))) / 2
    of_run = np.minimum(middle * (bins / ends[-1]), bins - 1).astype(np.int64)
    which = np.empty(len(values), np.int64)
    which[order] = np.repeat(of_run, np.diff(starts, append=len(values)))
    return which


def width_bins(probabilities: Array, bins: int) -> npt.NDArray[np.int64]:
    """Bin 0..bins-1 of each probability [N]: bin b holds [b/bins, (b+1)/bins), the last 1 too."""
    check_positive_integer(bins, "bins")
    return np.minimum((probabilities * bins).astype(np.int64), bins - 1)


def wilson_interval(
    rate: Array, count: Array, *, confidence: float = 0.95
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Wilson (1927) score interval of a share: (low [bins], high [bins]), within 0..1.

    rate: [bins] observed shares. count: [bins] rows behind each (need not be whole).
    With z the normal quantile and n the count:
    (rate + z**2/2n +- z sqrt(rate (1 - rate)/n + z**2/4n**2)) / (1 + z**2/n).
    """
    z = normal_quantile(confidence)
    share = z * z / count
    centre = (rate + share / 2) / (1 + share)
    half = z * np.sqrt(rate * (1 - rate) / count + share / (4 * count)) / (1 + share)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)
