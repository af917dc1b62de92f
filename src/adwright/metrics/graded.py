"""Graded relevance: how good is the head of a list where items are good to different degrees?

    NDCG@k = DCG@k / ideal DCG@k,   DCG@k = sum over ranks r <= k of gain(grade_r) / log2(r + 1)

(Järvelin and Kekäläinen, TOIS 2002). `metrics.ranking` has the measures of items that are relevant
or not, from ranks; here each judged item has a grade from 0 on, and what was not judged has 0.

Letters: Q queries, C items, J judgements of all queries, k the length of the lists.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from adwright.core.config import choices_of
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.metrics.arrays import as_offsets, check_positive_integer, check_same_length, refuse

__all__ = ["Gain", "graded_ndcg_per_query", "grades_of_lists"]

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
