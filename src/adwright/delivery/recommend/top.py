"""The k best columns of each row of a matrix of scores, in one pass over it.

The columns are dealt into groups; the k best of a row lie in the k groups whose best columns are
best, since each other group is beaten by k groups. So only the best of each group is compared, and
then the columns of k groups: of 12,000 columns and k = 10 some 700, not all of them.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.errors import ConfigError

__all__ = ["top_of_rows"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
#: What a column of a chosen group costs more than a group, as measured.
_DEARER = 8


def top_of_rows(scores: Floats, k: int) -> tuple[Ints, Floats]:
    """(columns int64 [U, k], scores [U, k]), best first, of scores [U, N]; of equal scores the
    lower column stands first.

    Where a row has fewer than k columns above -inf, the rest is column -1 at -inf.

    >>> columns, found = top_of_rows(np.array([[1.0, 3.0, 2.0]], np.float32), 2)
    >>> columns.tolist(), found.tolist()
    ([[1, 2]], [[3.0, 2.0]])
    """
    if k < 1:
        raise ConfigError("k must be at least 1", where=f"k {k}")
    users, number = scores.shape
    kept = min(k, number)
    columns, values, tied = _chosen(scores, kept)
    ids, found = np.full((users, k), -1, np.int64), np.full((users, k), -np.inf, np.float32)
    ids[:, :kept], found[:, :kept] = columns, values
    for row in np.flatnonzero(tied):
        ids[row, :kept] = np.argsort(-scores[row], kind="stable")[:kept]
        found[row, :kept] = scores[row, ids[row, :kept]]
    ids[found == -np.inf] = -1
    return ids, found


def _chosen(scores: Floats, kept: int) -> tuple[Ints, Floats, NDArray[np.bool_]]:
    """The best columns [U, kept] and their scores, best first, and the rows [U] in which equal
    scores may stand in another order, or others equal the last one."""
    users, number = scores.shape
    # As many groups as columns of the groups that are looked at, by what both cost.
    size = int(np.sqrt(number / (_DEARER * kept)))
    if size < 2:
        every, values = _sorted(scores, kept)
        return _checked(every, values, scores)
    groups, few = number // size, size * kept
    dealt = scores[:, : groups * size].reshape(users, size, groups)
    best = dealt.max(axis=1)
    first, _ = _sorted(best, kept)
    looked = np.take_along_axis(dealt, first[:, None, :], axis=2).reshape(users, few)
    looked = np.concatenate([looked, scores[:, groups * size :]], axis=1)
    place, values = _sorted(looked, kept)
    turn, which = np.divmod(np.minimum(place, few - 1), kept)
    columns = np.take_along_axis(first, which, axis=1) + groups * turn
    columns = np.where(place < few, columns, place - few + groups * size)
    columns, values, tied = _checked(columns, values, looked)
    # The best of another group that equals the last one found may be of a lower column.
    return columns, values, tied | ((best >= values[:, -1:]).sum(1) > kept)


def _sorted(values: Floats, kept: int) -> tuple[Ints, Floats]:
    """The best places [U, kept] of values [U, C] and what stands there, best first."""
    found = torch.topk(torch.from_numpy(values), kept, dim=1)
    return found.indices.numpy(), found.values.numpy()


def _checked(
    columns: Ints, values: Floats, among: Floats
) -> tuple[Ints, Floats, NDArray[np.bool_]]:
    """With the rows that hold equal scores, or of which more of `among` equal the last one."""
    equal = (values[:, 1:] == values[:, :-1]) & (values[:, 1:] > -np.inf)
    last = (among >= values[:, -1:]).sum(1) > values.shape[1]
    return columns, values, equal.any(1) | (last & (values[:, -1] > -np.inf))
