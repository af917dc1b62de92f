"""How well a number is predicted, over one list: rank correlation, absolute and relative error.

    spearman(predicted, found), kendall(predicted, found), ndcg_of_list(predicted, found, k=10)

Ties take the mean of their ranks (Spearman) and are taken off on both sides (Kendall's tau-b).
Letters: N rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics.arrays import as_scores, check_positive_integer, check_same_length, refuse

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
    first, second = _pair(predicted, found)
    a, b = average_ranks(first), average_ranks(second)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else float("nan")


def kendall(predicted: npt.ArrayLike, found: npt.ArrayLike) -> float:
    """Kendall's tau-b of both [N]; NaN where one is constant.

    tau_b = (C - D) / sqrt((P - T_p) (P - T_f)), of P = N (N - 1) / 2 pairs C in the same order, D
    in the other, T tied (Kendall, Biometrika 1945). Counted in N log N steps.
    """
    a, b = (_dense(one) for one in _pair(predicted, found))
    rows = len(a)
    pairs = rows * (rows - 1) // 2
    tied_a, tied_b = _tied(a), _tied(b)
    tied_both = _tied(a * (int(b.max(initial=0)) + 1) + b)
    against = _inversions(b[np.lexsort((b, a))])
    agree = pairs - tied_a - tied_b + tied_both - against
    size = float(np.sqrt(float(pairs - tied_a) * float(pairs - tied_b)))
    return (agree - against) / size if size > 0 else float("nan")


def ndcg_of_list(predicted: npt.ArrayLike, found: npt.ArrayLike, *, k: int) -> float:
    """NDCG@k of all rows [N] as one list; the gain of a row is `found` itself, of 0 or more.

    DCG@k = sum over the first k of found / log2(rank + 1), over that of the best order. Ties of
    `predicted` share the mean gain of the tie, which is what any order of them has on average.
    `metrics.graded` has lists of many queries. NaN where all gains are 0.
    """
    check_positive_integer(k, "k")
    score, gain = _pair(predicted, found)
    hint = "pass rates or grades of 0 or more"
    refuse(~((gain >= 0) & np.isfinite(gain)), "a gain is below 0", "found", gain, hint)
    _, code = np.unique(-score, return_inverse=True)
    expected = (np.bincount(code, gain) / np.bincount(code))[np.sort(code)][:k]
    discount = 1 / np.log2(np.arange(len(expected)) + 2)
    best = float(np.sort(gain)[::-1][:k] @ discount)
    return float(expected @ discount) / best if best > 0 else float("nan")


def mean_absolute_error(predicted: npt.ArrayLike, found: npt.ArrayLike) -> float:
    """Mean of |predicted - found| over the rows [N]."""
    a, b = _pair(predicted, found)
    return float(np.abs(a - b).mean())


def mean_relative_error(predicted: npt.ArrayLike, found: npt.ArrayLike) -> float:
    """Mean of |predicted - found| / |found| over the rows [N] in which `found` is not 0 (MAPE).

    Raises DataError where there is no such row.
    """
    a, b = _pair(predicted, found)
    there = b != 0
    if not there.any():
        raise DataError("all of what was found is 0, of which no error is a share", column="found")
    return float((np.abs(a - b)[there] / np.abs(b[there])).mean())


def _pair(predicted: npt.ArrayLike, found: npt.ArrayLike) -> tuple[Floats, Floats]:
    first = as_scores(predicted, name="predicted").astype(np.float64)
    second = as_scores(found, name="found").astype(np.float64)
    check_same_length(len(first), {"found": second})
    if not len(first):
        raise ValueInvalidError("there are no rows to compare", column="predicted")
    return first, second


def _dense(values: Floats) -> npt.NDArray[np.int64]:
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _tied(codes: npt.NDArray[np.int64]) -> int:
    """Pairs of equal codes."""
    number = np.unique(codes, return_counts=True)[1].astype(np.int64)
    return int((number * (number - 1) // 2).sum())


def _inversions(values: npt.NDArray[np.int64]) -> int:
    """Pairs i < j with values[i] > values[j], values from 0.

    By bits, the highest first: two values differ first in one bit, and are inverted where the
    earlier one has it. Rows stay grouped by the higher bits, in their order within a group.
    """
    found, order = 0, values
    for bit in range(int(values.max(initial=0)).bit_length() - 1, -1, -1):
        group, one = order >> (bit + 1), (order >> bit) & 1
        before = np.cumsum(one) - one
        first = np.searchsorted(group, group)  # where the row's group begins
        found += int((before - before[first])[one == 0].sum())
        order = order[np.argsort(group * 2 + one, kind="stable")]
    return found
