"""How well scores separate responses from the rest: AUC, group AUC, log loss, entropy.

Letters: N rows, G groups. Every function is pure and takes arrays of one dimension.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError
from adwright.metrics.arrays import (
    Array,
    as_codes,
    as_labels,
    as_probabilities,
    as_scores,
    as_weights,
    check_positive_integer,
    check_same_length,
    dense_order,
    float_order,
    is_lossless,
    normal_quantile,
    pack,
    run_starts,
)


@dataclass(frozen=True)
class GroupAuc:
    """AUC of each group that has both classes, in ascending order of group id.

    groups: [G] ids. impressions: [G] rows of the group. auc: [G].
    skipped_groups, skipped_impressions: what was left out because it has one class only.
    """

    groups: Array
    impressions: npt.NDArray[np.float64]
    auc: npt.NDArray[np.float64]
    skipped_groups: int
    skipped_impressions: float

    @property
    def mean(self) -> float:
        """Impression-weighted mean, sum_i n_i AUC_i / sum_i n_i; NaN without any group."""
        total = self.impressions.sum()
        return float((self.impressions * self.auc).sum() / total) if total > 0 else float("nan")


def auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Area under the ROC curve: P(score of a response > score of another row).

    labels: [N] 0 or 1. scores: [N], any real numbers, larger meaning likelier. Ties count one half.

    Exact for float64 scores. Raises DataError when only one class is present, and
    ValueInvalidError that names the row for NaN scores or other labels.
    """
    y, s = _checked(labels, scores)
    area = _pooled_auc(y, s)
    if np.isnan(area):
        raise DataError(
            "AUC needs rows of both classes",
            column="labels",
            value=f"{int(y.sum())} ones in {len(y)} rows",
            hint="widen the test period or the sample",
        )
    return area


def group_auc(labels: npt.ArrayLike, scores: npt.ArrayLike, groups: npt.ArrayLike) -> float:
    """Group AUC of DIN (Zhou et al. 2018, section 5.2): sum_i n_i AUC_i / sum_i n_i.

    groups: [N], usually the user's id; n_i is the number of rows of group i.
    Groups with one class have no AUC and are skipped. Ties count one half.
    Integer groups are fastest: code texts once, outside. Cost: one sort of N 64-bit keys;
    float64 scores cost a second sort where rounding to float32 would create ties.

    Raises DataError when no group has both classes; otherwise as `auc`.
    """
    mean = group_auc_parts(labels, scores, groups).mean
    if np.isnan(mean):
        raise DataError(
            "group AUC needs at least one group with rows of both classes",
            column="groups",
            hint="check that groups are people, not rows",
        )
    return mean


def group_auc_parts(
    labels: npt.ArrayLike, scores: npt.ArrayLike, groups: npt.ArrayLike
) -> GroupAuc:
    """The parts of `group_auc`, group by group: what a bootstrap over users needs.

    Which groups are skipped depends on labels alone, so two models scored on
    the same rows return the same groups in the same order.
    """
    y, s = _checked(labels, scores)
    codes = as_codes(groups, len(y))
    parts = _parts(y, s, codes.codes)
    return replace(parts, groups=codes.ids_of(parts.groups))


def log_loss_per_row(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> Array:
    """-[y ln p + (1 - y) ln(1 - p)] of each row [N], in nats.

    p is kept away from 0 and 1 by the spacing of its own type (2.2e-16 for float64, 1.2e-7
    for float32), as scikit-learn does, so that one confident mistake costs much, not all.
    """
    y = as_labels(labels)
    p = as_probabilities(probabilities)
    check_same_length(len(y), {"probabilities": p})
    step = float(np.finfo(p.dtype).eps)
    p = np.clip(p.astype(np.float64, copy=False), step, 1 - step)
    # ln(1 - p) loses nothing here: 1 - p is exact for p >= 1/2 and harmless below.
    return -np.log(np.where(y == 1, p, 1 - p))


def log_loss(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Mean negative log likelihood in nats, -mean [y ln p + (1 - y) ln(1 - p)].

    Raises ValueInvalidError that names the row for probabilities outside 0..1.
    """
    losses = log_loss_per_row(labels, probabilities)
    _check_not_empty(len(losses))
    return float(losses.mean())


def _checked(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[npt.NDArray[np.uint8], Array]:
    y, s = as_labels(labels), as_scores(scores)
    check_same_length(len(y), {"scores": s})
    _check_not_empty(len(y))
    return y, s


def _check_not_empty(rows: int) -> None:
    if rows == 0:
        raise DataError("there are no rows to measure", hint="check the filter before it")


def _pooled_auc(y: npt.NDArray[np.uint8], s: Array) -> float:
    """Mann-Whitney: look each value of the smaller class up among the sorted larger one."""
    response = y.view(np.bool_)
    positives, negatives = np.sort(s[response]), np.sort(s[~response])
    pairs = len(positives) * len(negatives)
    if pairs == 0:
        return float("nan")
    swap = len(positives) > len(negatives)
    few, many = (negatives, positives) if swap else (positives, negatives)
    below = int(np.searchsorted(many, few, "left").sum())
    not_above = int(np.searchsorted(many, few, "right").sum())
    area = (below + not_above) / 2 / pairs
    return 1 - area if swap else area


def _parts(y: npt.NDArray[np.uint8], s: Array, codes: Array) -> GroupAuc:
    keys = np.sort(pack(codes, float_order(s), y))
    ties = _mixed_ties(keys)
    if len(ties) and not is_lossless(s):
        # Some ties between the classes may be the work of rounding. Without any such tie
        # rounding cannot matter, since it never reverses an order.
        keys = np.sort(pack(codes, dense_order(s), y))
        ties = _mixed_ties(keys)

    owner = keys >> np.uint64(33)
    starts = run_starts(owner)
    sizes = np.diff(starts, append=len(keys))
    at = np.flatnonzero(keys & np.uint64(1))  # where the positives ended up
    first = np.searchsorted(at, starts)  # positives before each group
    positives = np.diff(first, append=len(at))
    negatives = sizes - positives

    # Negatives that stand before a positive: within a tie negatives come first (label bit),
    # so this counts tied ones fully, and half of them is taken back below.
    before = np.concatenate((np.zeros(1, np.int64), np.cumsum(at - np.arange(len(at)))))
    wins = (before[first + positives] - before[first]).astype(np.float64)
    wins -= positives * (starts - first)
    if len(ties):
        tied_negatives = ties + 1 - np.searchsorted(keys, keys[ties], "left")
        tied_positives = np.searchsorted(keys, keys[ties + 1], "right") - (ties + 1)
        group = np.searchsorted(starts, ties, "right") - 1
        excess = np.bincount(group, tied_negatives * tied_positives, minlength=len(starts))
        wins -= excess / 2
    kept = (positives > 0) & (negatives > 0)
    # Products of counts are below 2**62 for any log.
    pairs = (positives[kept] * negatives[kept]).astype(np.float64)
    return GroupAuc(
        owner[starts][kept],
        sizes[kept].astype(np.float64),
        wins[kept] / pairs,
        int(len(kept) - kept.sum()),
        float(sizes[~kept].sum()),
    )


def _mixed_ties(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Last negative of each tie that holds both classes: its neighbour differs in bit 0."""
    return np.flatnonzero((keys[1:] ^ keys[:-1]) == 1)


# --------------------------------------------------------------------------------------------------
# Do predicted probabilities mean what they say? Reliability tables and their summaries.
#
# Rows are put into bins by their prediction; in a bin, the mean prediction is compared with
# the share of responses. Equal-mass bins (the default) hold the same weight each and suit
# click data, where nearly all predictions lie near zero; equal-width bins cut 0..1 evenly.

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
