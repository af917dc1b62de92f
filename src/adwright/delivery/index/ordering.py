"""Pairs of id and score in order: the highest score first, of equal scores the lowest id.

A float32 score and an id below 2^32 fit into one integer of 64 bits whose order is that of the
pairs. Sorting such integers is several times faster than sorting by two keys.

Letters: Q queries, C candidates per query, P pairs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adwright.delivery.index.vectors import Found

__all__ = ["best_distinct", "best_of", "first_by_query", "ordered_bits", "unordered_bits"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

_SIGN = np.uint32(1 << 31)
_HALF = np.uint64(32)


def ordered_bits(values: Floats) -> NDArray[np.uint32]:
    """float32 numbers as integers in the same order; 0 and -0 are the same."""
    bits = (values + np.float32(0)).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | _SIGN)


def unordered_bits(bits: NDArray[np.uint32]) -> Floats:
    """The numbers of which `ordered_bits` made the integers."""
    return np.where(bits >> 31, bits ^ _SIGN, ~bits).view(np.float32)


def best_of(ids: Ints, scores: Floats, k: int) -> Found:
    """The k best of each row of ids int64 [Q, C] and scores float32 [Q, C].

    A pair that is none has id -1 and score -inf. The result is padded to k with such pairs.
    """
    return _found(_joined(~ordered_bits(scores), ids.astype(np.uint32)), k)


def best_distinct(ids: Ints, scores: Floats, k: int) -> Found:
    """As `best_of`, where an id may come several times: its best score counts."""
    keys = np.sort(_joined(ids.astype(np.uint32), ~ordered_bits(scores)), axis=1)
    codes = (keys >> _HALF).astype(np.uint32)
    keys = _joined(keys.astype(np.uint32), codes)
    keys[:, 1:][codes[:, 1:] == codes[:, :-1]] = _none()
    return _found(keys, k)


def first_by_query(query: Ints, score: Floats, ids: Ints, k: int) -> tuple[Ints, Ints]:
    """The k best pairs of each query, of pairs in any order.

    query, score, ids: [P]. Returns (which pairs [R], their places among those of their query,
    from 0 [R]), by query and place.
    """
    order = np.lexsort((ids, -score, query))
    ordered = query[order]
    place = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return order[place < k], place[place < k]


def _joined(high: NDArray[np.uint32], low: NDArray[np.uint32]) -> NDArray[np.uint64]:
    return (high.astype(np.uint64) << _HALF) | low


def _none() -> np.uint64:
    """The key of id -1 and score -inf, the last of all."""
    bits = ~ordered_bits(np.array([-np.inf], np.float32))
    return np.uint64((int(bits[0]) << 32) | 0xFFFFFFFF)


def _found(keys: NDArray[np.uint64], k: int) -> Found:
    rows, width = keys.shape
    if width > k:
        keys = np.partition(keys, k - 1, axis=1)[:, :k]
    best = np.full((rows, k), _none())
    best[:, : keys.shape[1]] = np.sort(keys, axis=1)
    # Through int32, so that 2^32 - 1 is -1 again.
    ids = best.astype(np.uint32).astype(np.int32).astype(np.int64)
    return Found(ids, unordered_bits(~(best >> _HALF).astype(np.uint32)))
