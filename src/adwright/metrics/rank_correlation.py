"""Rank correlation of a predicted number and what was found, over one list of N rows.

Ties take the mean of their ranks.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from adwright.core.errors import ValueInvalidError
from adwright.metrics.arrays import as_scores, check_same_length

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
