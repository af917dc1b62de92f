"""How high do the relevant items stand? Measures that depend on ranks alone.

`ranks_of_positives` (or `ranks_from_ragged`) turns scores into ranks, once and with a
declared rule for ties (see `ranks`); every measure at every k is then cheap. Each comes as
`*_per_user`, the values a bootstrap over users needs, and as the plain mean over the users
who have a positive. Letters: U users.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics.arrays import Array, check_positive_integer
from adwright.metrics.ranks import Ranks, Tie, ranks_from_ragged, ranks_of_positives, top_items

__all__ = [
    "Ranks",
    "Tie",
    "average_precision_per_user",
    "coverage",
    "hit_rate",
    "hit_rate_per_user",
    "mean_average_precision",
    "mean_reciprocal_rank",
    "ndcg",
    "ndcg_per_user",
    "ranks_from_ragged",
    "ranks_of_positives",
    "recall",
    "recall_per_user",
    "reciprocal_rank_per_user",
    "top_items",
]


def hit_rate_per_user(ranks: Ranks, k: int) -> npt.NDArray[np.float64]:
    """1 where any positive stands in the first k, else 0: [U]; NaN without positives."""
    return (_per_user(ranks, _within(ranks, k)) > 0).astype(np.float64) + _undefined(ranks)


def recall_per_user(ranks: Ranks, k: int) -> npt.NDArray[np.float64]:
    """Positives in the first k / positives of the user: [U]; NaN without positives."""
    found = _per_user(ranks, _within(ranks, k))
    share: npt.NDArray[np.float64] = found / np.maximum(np.diff(ranks.offsets), 1)
    return share + _undefined(ranks)


def ndcg_per_user(ranks: Ranks, k: int) -> npt.NDArray[np.float64]:
    """Normalised discounted cumulative gain with gains 0 and 1: [U]; NaN without positives.

    sum over positives of rank <= k of 1/log2(rank + 1), divided by the same sum for ranks
    1..min(k, positives) (Järvelin and Kekäläinen 2002).
    """
    gain = _per_user(ranks, _within(ranks, k) / np.log2(ranks.ranks + 1))
    positives = np.diff(ranks.offsets)
    longest = min(k, int(positives.max(initial=1)))
    ideal = np.cumsum(1 / np.log2(np.arange(max(longest, 1)) + 2))
    share: npt.NDArray[np.float64] = gain / ideal[np.clip(positives, 1, len(ideal)) - 1]
    return share + _undefined(ranks)


def average_precision_per_user(ranks: Ranks, k: int | None = None) -> npt.NDArray[np.float64]:
    """Mean of precision at the rank of each positive: [U]; NaN without positives.

    sum over positives of rank r <= k of (positives up to r) / r, divided by
    min(k, positives); k=None looks at the whole list.
    """
    positives = np.diff(ranks.offsets)
    nth = np.arange(len(ranks.ranks)) - np.repeat(ranks.offsets[:-1], positives) + 1
    precision = nth / ranks.ranks
    possible = np.maximum(positives, 1)
    if k is not None:
        precision = precision * _within(ranks, k)
        possible = np.minimum(possible, k)
    return _per_user(ranks, precision) / possible + _undefined(ranks)


def reciprocal_rank_per_user(ranks: Ranks, k: int | None = None) -> npt.NDArray[np.float64]:
    """1 / rank of the best positive, 0 where that is beyond k: [U]; NaN without positives."""
    best = np.ones(ranks.users)
    filled = np.diff(ranks.offsets) > 0
    best[filled] = ranks.ranks[ranks.offsets[:-1][filled]]  # ranks ascend within a user
    reciprocal = 1 / best
    if k is not None:
        check_positive_integer(k, "k")
        reciprocal = reciprocal * (best <= k)
    return reciprocal + _undefined(ranks)


def hit_rate(ranks: Ranks, k: int) -> float:
    """HR@k, mean of `hit_rate_per_user` over users with a positive."""
    return _mean(hit_rate_per_user(ranks, k))


def recall(ranks: Ranks, k: int) -> float:
    """Recall@k, mean of `recall_per_user` over users with a positive."""
    return _mean(recall_per_user(ranks, k))


def ndcg(ranks: Ranks, k: int) -> float:
    """NDCG@k, mean of `ndcg_per_user` over users with a positive."""
    return _mean(ndcg_per_user(ranks, k))


def mean_average_precision(ranks: Ranks, k: int | None = None) -> float:
    """MAP@k, mean of `average_precision_per_user` over users with a positive."""
    return _mean(average_precision_per_user(ranks, k))


def mean_reciprocal_rank(ranks: Ranks, k: int | None = None) -> float:
    """MRR@k, mean of `reciprocal_rank_per_user` over users with a positive."""
    return _mean(reciprocal_rank_per_user(ranks, k))


def coverage(top: npt.ArrayLike, *, items: int) -> float:
    """Share of the catalogue that stands in somebody's list: distinct items / items.

    top: [U, k] columns as `top_items` returns them; -1 is ignored. items: catalogue size.
    """
    check_positive_integer(items, "items")
    columns = np.asarray(top).ravel()
    columns = columns[columns >= 0]
    if len(columns) and columns.max() >= items:
        raise ValueInvalidError(
            "a listed item lies outside the catalogue", column="top", value=int(columns.max())
        )
    return float(np.count_nonzero(np.bincount(columns, minlength=items)) / items)


def _within(ranks: Ranks, k: int) -> npt.NDArray[np.float64]:
    check_positive_integer(k, "k")
    return (ranks.ranks <= k).astype(np.float64)


def _per_user(ranks: Ranks, values: Array) -> npt.NDArray[np.float64]:
    user = np.repeat(np.arange(ranks.users), np.diff(ranks.offsets))
    return np.bincount(user, values, minlength=ranks.users).astype(np.float64)


def _undefined(ranks: Ranks) -> npt.NDArray[np.float64]:
    return np.where(np.diff(ranks.offsets) > 0, 0.0, np.nan)


def _mean(values: npt.NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    if len(defined) == 0:
        raise DataError("no user has a positive", hint="check that targets are candidates")
    return float(defined.mean())
