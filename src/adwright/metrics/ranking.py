"""How high do the relevant items stand? Measures that depend on ranks alone.

`ranks_of_positives` turns scores into ranks, once and with a rule for ties; every measure at every
k is then cheap. Each comes as `*_per_user`, the values a bootstrap over users needs, and as the
plain mean over the users who have a positive. Letters: U users.

Ranking is over all candidates given: nothing is sampled. A model that gives many items the same
score has not ranked them, and an unlucky convention can flatter it badly: tied candidates stand in
a fixed pseudo-random order, which is unbiased and repeatable, and the share of positives that tie
with another candidate is `Ranks.tie_share`: publish it.

Letters: U users, C candidates, P positives in all, N candidates of all users together.

Graded relevance: how good is the head of a list where items are good to different degrees?

    NDCG@k = DCG@k / ideal DCG@k,   DCG@k = sum over ranks r <= k of gain(grade_r) / log2(r + 1)

(Järvelin and Kekäläinen, TOIS 2002). `metrics.ranking` has the measures of items that are relevant
or not, from ranks; here each judged item has a grade from 0 on, and what was not judged has 0.

Letters: Q queries, C items, J judgements of all queries, k the length of the lists.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from adwright.core.config import choices_of, settings
from adwright.core.errors import ConfigError, DataError, SchemaError, ValueInvalidError
from adwright.metrics.arrays import (
    Array,
    as_offsets,
    as_scores,
    check_positive_integer,
    check_same_length,
    hash_order,
    refuse,
)

_CHUNK_CELLS = 4_000_000  # scores compared at once


@settings
class Ranks:
    """Ranks of the positives of each user, ascending within a user.

    ranks: [P] from 1.
    offsets: [U + 1]; the ranks of user u are ranks[offsets[u]:offsets[u + 1]].
    tied: [P] whether a positive shares its score with another candidate of its user.
    """

    ranks: npt.NDArray[np.float64]
    offsets: npt.NDArray[np.int64]
    tied: npt.NDArray[np.bool_]

    @property
    def users(self) -> int:
        """Number of users, those without a positive included."""
        return len(self.offsets) - 1

    @property
    def tie_share(self) -> float:
        """Share of positives that tie with another candidate, 0..1; NaN without positives."""
        return float(self.tied.mean()) if len(self.tied) else float("nan")


def ranks_of_positives(
    scores: npt.ArrayLike,
    positive: npt.ArrayLike,
    *,
    seen: npt.ArrayLike | None = None,
    seed: int = 0,
) -> Ranks:
    """Ranks of each user's one positive among all candidates of a dense score matrix.

    scores: [U, C]. positive: [U], its column. seen: [U, C] bool, candidates to leave out (items the
    user had before), or None. seed: of the order of ties; the hash is over (row, column), so no
    item is favoured for all users.

    Raises ValueInvalidError that names the user for NaN scores, a column out of range, or a
    positive that is also marked as seen.
    """
    matrix = _as_matrix(scores)
    users, items = matrix.shape
    columns, rows = _as_columns(positive, items), np.arange(users)
    check_same_length(users, {"positive": columns})
    mask = _as_mask(seen, matrix.shape)
    if mask is not None:
        hint = "drop such positives, or do not mask items that may be chosen again"
        what = "a positive is marked as seen, so it is no candidate"
        refuse(mask[rows, columns], what, "positive", hint=hint)
    above, equal, earlier = _count(matrix, mask, columns, seed)
    ranks = (above + earlier + 1).astype(np.float64)
    return Ranks(ranks, np.arange(users + 1), equal > 1)


def top_items(
    scores: npt.ArrayLike, k: int, *, seen: npt.ArrayLike | None = None, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Columns of the k best candidates of each user, best first: [U, k].

    scores: [U, C]. seen: [U, C] bool, candidates to leave out. Ties stand in the order of
    `ranks_of_positives`. Where a user has fewer than k candidates the rest of the row is -1.
    """
    matrix = _as_matrix(scores)
    check_positive_integer(k, "k")
    users, items = matrix.shape
    mask = _as_mask(seen, matrix.shape)
    top = np.full((users, k), -1, np.int64)
    chunk = max(1, _CHUNK_CELLS // max(items, 1))
    for start in range(0, users, chunk):
        part = matrix[start : start + chunk]
        open_ = np.ones(part.shape, bool) if mask is None else ~mask[start : start + chunk]
        if k < items:
            # Left-out candidates sink; -inf also sinks, so `open_` decides, not the value.
            sunk = np.where(open_, part, -np.inf)
            least = np.partition(sunk, items - k, axis=1)[:, items - k]
            open_ &= sunk >= least[:, None]
        row, column = np.nonzero(open_)
        hashed = hash_order((row + start) * items + column, seed=seed)
        order = np.lexsort((hashed, -part[row, column], row))
        row, column = row[order], column[order]
        first = np.searchsorted(row, np.arange(len(part)))
        place = np.arange(len(row)) - first[row]
        kept = place < k
        top[start + row[kept], place[kept]] = column[kept]
    return top


def _count(
    matrix: Array, mask: Array | None, columns: Array, seed: int
) -> tuple[Array, Array, Array]:
    """Candidates above, equal to (itself included) and, by hash, before each positive: [U]."""
    users, items = matrix.shape
    above, equal, earlier = np.empty((3, users), np.int64)
    chunk = max(1, _CHUNK_CELLS // max(items, 1))
    for start in range(0, users, chunk):
        part = slice(start, start + chunk)
        row, column = np.arange(users)[part], columns[part]
        own = matrix[row, column][:, None]
        level = matrix[part] == own
        higher = matrix[part] > own
        if mask is not None:
            level &= ~mask[part]
            higher &= ~mask[part]
        above[part], equal[part] = higher.sum(1), level.sum(1)
        level[equal[part] == 1] = False  # alone at its score: nothing to look up
        at, other = np.nonzero(level)
        others = hash_order(row[at] * items + other, seed=seed)
        mine = hash_order(row[at] * items + column[at], seed=seed)
        earlier[part] = np.bincount(at, others < mine, minlength=len(row))
    return above, equal, earlier


def _as_matrix(scores: npt.ArrayLike) -> Array:
    matrix = np.asarray(scores)
    if matrix.ndim != 2:
        raise DataError(f"expected scores [U, C] and found shape {matrix.shape}", column="scores")
    if matrix.dtype.kind not in "biuf":
        raise SchemaError("scores must be numbers", column="scores", value=str(matrix.dtype))
    if matrix.dtype.kind != "f":
        return matrix.astype(np.float64)
    refuse(np.isnan(matrix).any(axis=1), "a score is not a number (NaN)", "scores")
    return matrix


def _as_columns(positive: npt.ArrayLike, items: int) -> npt.NDArray[np.int64]:
    columns = np.asarray(positive)
    if columns.ndim != 1 or columns.dtype.kind not in "iu":
        raise SchemaError(
            "positives must be one dimension of whole numbers",
            column="positive",
            value=f"{columns.dtype} of shape {columns.shape}",
        )
    wrong = (columns < 0) | (columns >= items)
    refuse(wrong, f"a positive is none of the {items} candidates", "positive", columns)
    return columns.astype(np.int64)


def _as_mask(seen: npt.ArrayLike | None, shape: tuple[int, ...]) -> npt.NDArray[np.bool_] | None:
    if seen is None:
        return None
    mask = np.asarray(seen)
    if mask.shape != shape or mask.dtype != np.bool_:
        raise SchemaError(
            f"seen must be booleans of shape {shape}",
            column="seen",
            value=f"{mask.dtype} of shape {mask.shape}",
        )
    return mask


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


def hit_rate(ranks: Ranks, k: int) -> float:
    """HR@k, mean of `hit_rate_per_user` over users with a positive."""
    return _mean(hit_rate_per_user(ranks, k))


def recall(ranks: Ranks, k: int) -> float:
    """Recall@k, mean of `recall_per_user` over users with a positive."""
    return _mean(recall_per_user(ranks, k))


def ndcg(ranks: Ranks, k: int) -> float:
    """NDCG@k, mean of `ndcg_per_user` over users with a positive."""
    return _mean(ndcg_per_user(ranks, k))


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


#: linear: the grade. exponential: 2^grade - 1 (Burges et al., ICML 2005), which weighs the best.
Gain = Literal["linear", "exponential"]

_HIGHEST = 30.0  # 2^30 gains: beyond it a grade is an id by mistake


def graded_ndcg_per_query(
    lists: npt.ArrayLike,
    offsets: npt.ArrayLike,
    items: npt.ArrayLike,
    grades: npt.ArrayLike,
    *,
    k: int = 10,
    gain: Gain = "exponential",
) -> npt.NDArray[np.float64]:
    """NDCG@k of each query, [Q]; NaN for a query that has no item of a grade above 0.

    lists: int [Q, at least k] items from the best on, no item twice; -1 where a list has ended.
    offsets [Q + 1], items [J], grades [J]: the judgements of each query, each item once; grades
    from 0 to 30. The ideal list holds the query's judged items by falling grade.

    Raises ValueInvalidError that names the row; ConfigError for another gain.
    """
    check_positive_integer(k, "k")
    if gain not in choices_of(Gain):
        raise ConfigError(
            f"gain cannot be {gain!r}", where="gain", hint="use 'linear' or 'exponential'"
        )
    judged = _Judged(offsets, items, grades)
    worth = _gains(grades_of_lists(lists, offsets, items, grades)[:, :k], gain)
    discount = 1 / np.log2(np.arange(k) + 2)
    found = (worth * discount[: worth.shape[1]]).sum(1)
    order = np.lexsort((-judged.grades, judged.owner))
    place = np.arange(len(order)) - judged.offsets[judged.owner[order]]
    first = place < k
    best = np.bincount(
        judged.owner[order][first],
        _gains(judged.grades[order][first], gain) * discount[place[first]],
        minlength=len(judged.offsets) - 1,
    )
    share: npt.NDArray[np.float64] = np.full(len(best), np.nan)
    np.divide(found, best, out=share, where=best > 0)
    return share


def grades_of_lists(
    lists: npt.ArrayLike, offsets: npt.ArrayLike, items: npt.ArrayLike, grades: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """The grade of each listed item, [Q, k]; 0 for what was not judged and where a list has ended.

    Arguments, and what is raised, as `graded_ndcg_per_query`.
    """
    judged = _Judged(offsets, items, grades)
    top = np.asarray(lists)
    queries = len(judged.offsets) - 1
    if top.ndim != 2 or top.dtype.kind not in "iu":
        raise ValueInvalidError(
            "lists are whole numbers, a row a query", column="lists", value=str(top.shape)
        )
    check_same_length(queries, {"lists": top})
    ordered = np.sort(top, axis=1)
    twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(1)
    refuse(twice, "a list holds an item twice", "lists", top, "list each item once")
    span = int(max(top.max(initial=0), judged.items.max(initial=0))) + 1
    key = judged.owner * span + judged.items
    order = np.argsort(key)
    asked = np.arange(queries)[:, None] * span + top
    place = np.searchsorted(key[order], asked)
    inside = np.minimum(place, max(len(key) - 1, 0))
    if not len(key):
        return np.zeros(top.shape)
    known = (key[order][inside] == asked) & (place < len(key)) & (top >= 0)
    return np.where(known, judged.grades[order][inside], 0.0)


class _Judged:
    """offsets [Q + 1], items [J], grades [J], and owner [J], whose judgement it is; checked."""

    def __init__(self, offsets: npt.ArrayLike, items: npt.ArrayLike, grades: npt.ArrayLike) -> None:
        self.items = np.asarray(items, np.int64)
        self.grades = np.asarray(grades, np.float64)
        check_same_length(len(self.items), {"grades": self.grades})
        self.offsets = as_offsets(offsets, len(self.items))
        self.owner = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        wrong = ~((self.grades >= 0) & (self.grades <= _HIGHEST))
        what = f"a grade lies outside 0 to {_HIGHEST:g}"
        refuse(wrong, what, "grades", self.grades, "grade from 0, not relevant, on")
        refuse(self.items < 0, "an item is below 0", "items", self.items, "number items from 0")
        order = np.lexsort((self.items, self.owner))
        same = (np.diff(self.items[order]) == 0) & (np.diff(self.owner[order]) == 0)
        twice = np.zeros(len(order), np.bool_)
        twice[order[1:][same]] = True
        what = "a query has two judgements of one item"
        refuse(twice, what, "items", self.items, "keep one of them, or their mean")


def _gains(grades: npt.NDArray[np.float64], gain: Gain) -> npt.NDArray[np.float64]:
    return grades if gain == "linear" else np.exp2(grades) - 1


# --------------------------------------------------------------------------------------------------
# Rank correlation of a predicted number and what was found, over one list of N rows.
#
# Ties take the mean of their ranks.

Floats = npt.NDArray[np.float64]


def average_ranks(values: npt.ArrayLike) -> Floats:
    """Ranks [N] from 1; equal values share the mean of theirs.

    >>> average_ranks([0.3, 0.1, 0.3]).tolist()
    [2.5, 1.0, 2.5]
    """
    array = as_scores(values, name="values").astype(np.float64)
    _, code, number = np.unique(array, return_inverse=True, return_counts=True)
    last = np.cumsum(number)
    ranks: Floats = (last - (number - 1) / 2)[code]
    return ranks


def spearman(predicted: npt.ArrayLike, found: npt.ArrayLike) -> float:
    """Spearman's rho: the correlation of the average ranks of both [N]; NaN where one is constant.

    rho = cov(r_p, r_f) / (sd(r_p) sd(r_f)). Raises ValueInvalidError that names the row of NaN.
    """
    first = as_scores(predicted, name="predicted").astype(np.float64)
    second = as_scores(found, name="found").astype(np.float64)
    check_same_length(len(first), {"found": second})
    if not len(first):
        raise ValueInvalidError("there are no rows to compare", column="predicted")
    a, b = average_ranks(first), average_ranks(second)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else float("nan")
