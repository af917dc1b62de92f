"""Many ranges of positions at once, for gathers out of tables that lie end to end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ranges(
    starts: NDArray[np.integer], lengths: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The integers of the R ranges start to start + length - 1, end to end, and their offsets.

    starts, lengths: [R]. Returns (positions int64 [sum of lengths], offsets int64 [R + 1]).

    >>> ranges(np.array([5, 0]), np.array([2, 3]))[0].tolist()
    [5, 6, 0, 1, 2]
    """
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths), offsets


def run_starts(*columns: NDArray[np.generic]) -> NDArray[np.int64]:
    """Where runs of rows begin that are equal in all `columns` [N]; the end N comes last.

    >>> run_starts(np.array([7, 7, 4, 7])).tolist()
    [0, 2, 3, 4]
    """
    length = len(columns[0])
    changes = np.zeros(max(length - 1, 0), dtype=bool)
    for column in columns:
        changes |= column[1:] != column[:-1]
    first = [0] if length else []
    return np.concatenate((first, np.flatnonzero(changes) + 1, [length])).astype(np.int64)


def distinct(
    values: NDArray[np.integer], offsets: NDArray[np.integer], width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct values of each of U lists, ascending: (values [S], offsets [U + 1]).

    values: [E], from 0 to width - 1; list u lies from offsets[u] to offsets[u + 1].

    >>> [part.tolist() for part in distinct(np.array([3, 1, 3, 2]), np.array([0, 3, 4]), 9)]
    [[1, 3, 2], [0, 2, 3]]
    """
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    keys = np.unique(owner * width + values)
    return keys % width, np.searchsorted(keys, np.arange(len(offsets)) * width)
