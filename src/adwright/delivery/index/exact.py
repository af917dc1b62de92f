"""The exact product: every allowed vector is scored. The oracle of the other indexes.

The score of a vector x for a query q is their inner product, summed in double precision and
rounded to float32; equal scores go to the lower id. That says the result to the last bit, for
any batch of queries, block size and number of threads.

It is found in two steps. Blocks of products in float32 (one matrix product each) are held
against the k-th best so far, and what could still be among the k best is kept; then the few
that remain are scored in double precision. A float32 product errs by at most

    e = D u |q| |x|,  u = 2^-24    (Higham 2002, section 3.1, for any order of summation)

so a vector whose product lies more than e below the k-th best lower bound is out for certain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact
from adwright.delivery.index.base import Index, fitting
from adwright.delivery.index.ordering import first_by_query, ordered_bits, unordered_bits
from adwright.delivery.index.vectors import Found, VectorRows, checked_count, checked_queries

__all__ = ["ExactConfig", "ExactIndex", "best_products"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

# A block of products should stay in the second-level cache: so many queries and products.
_QUERIES = 256
_PRODUCTS = 256 * 2048
_SMALLEST_BLOCK, _LARGEST_BLOCK = 1024, 65_536
_PAIRS = 65_536
_UNIT = 2.0**-24


@dataclass(frozen=True)
class ExactConfig:
    """The exact product has no settings."""


class ExactIndex(Index):
    """Vectors by id, searched by the exact product.

    >>> index = ExactIndex(2)
    >>> index.add(np.array([3, 5, 4]), np.array([[1, 0], [0, 1], [1, 0]], np.float32))
    >>> index.search(np.array([[2, 1]], np.float32), 2).ids
    array([[3, 4]])
    """

    kind = "index-exact"

    def __init__(self, dimension: int, config: ExactConfig | None = None) -> None:
        super().__init__(dimension)
        self.config = ExactConfig() if config is None else config

    def search(self, queries: npt.ArrayLike, k: int, *, allowed: Mask | None = None) -> Found:
        """The k best of the allowed vectors, see `Index`."""
        queries = checked_queries(queries, self.dimension)
        return best_products(self._rows, queries, k, self._rows.selected(allowed))

    @classmethod
    def of_artifact(cls, artifact: Artifact) -> Self:
        """The index of an artifact of this kind.

        Raises ArtifactCorruptError where its parts do not fit together.
        """
        with fitting(artifact):
            index = cls(artifact.config["dimension"])
            index.add(artifact.tensors["ids"], artifact.tensors["vectors"])
            return index

    def _saved(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        rows = self._rows.compacted() if self._rows.dead else self._rows
        return {"dimension": self.dimension}, {"ids": rows.ids, "vectors": rows.vectors}

    def _changed(self, added: Ints) -> None:
        """Dead slots cost memory and a gather: no more of them than vectors."""
        if self._rows.dead > len(self._rows):
            self._rows = self._rows.compacted()


def best_products(rows: VectorRows, queries: Floats, k: int, slots: Ints | None) -> Found:
    """The k best of some slots for each query [Q, D], by the rule above.

    slots: the candidates, ascending; None for all slots, where none is dead.
    Raises ValueInvalidError for a k below 1.
    """
    k = checked_count(k, "k")
    found = Found(
        np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf, np.float32)
    )
    for start in range(0, len(queries), _QUERIES):
        part = queries[start : start + _QUERIES]
        query, slot = _candidates(rows, part, k, slots)
        score = _double_products(rows.vectors, part, query, slot)
        ids = rows.ids[slot]
        order, place = first_by_query(query, score, ids, k)
        at = start + query[order], place
        found.ids[at], found.scores[at] = ids[order], score[order]
    return found


def _candidates(rows: VectorRows, queries: Floats, k: int, slots: Ints | None) -> tuple[Ints, Ints]:
    """Pairs (query, slot) [P] that hold the k best of each query for certain."""
    total = len(rows.ids) if slots is None else len(slots)
    error = rows.dimension * _UNIT * 2 * np.sqrt(np.einsum("qd,qd->q", queries, queries))
    kept = _Kept(len(queries), k)
    for start, end in _blocks(total, len(queries), k):
        if slots is None:
            vectors, norms = rows.vectors[start:end], rows.norms[start:end]
        else:
            vectors, norms = rows.vectors[slots[start:end]], rows.norms[slots[start:end]]
        # Candidates first: with few queries the other way round takes thrice as long.
        kept.offer(vectors @ queries.T, (error * norms.max()).astype(np.float32), start)
    query, place = kept.pairs()
    return query, place if slots is None else slots[place]


def _blocks(total: int, queries: int, k: int) -> Iterator[tuple[int, int]]:
    """Bounds of the blocks; the first holds k candidates if there are as many."""
    size = min(max(_PRODUCTS // max(queries, 1), _SMALLEST_BLOCK), _LARGEST_BLOCK)
    start, end = 0, min(total, max(size, 2 * k))
    while start < end:
        yield start, end
        start, end = end, min(total, end + size)


class _Kept:
    """What could be among the k best so far, of each of Q queries."""

    def __init__(self, queries: int, k: int) -> None:
        self.queries, self.k = queries, k
        self.floor = np.full(queries, -np.inf, np.float32)
        self._pairs: list[tuple[Ints, Ints, Floats, Floats]] = []
        self._waiting = 0

    def offer(self, products: Floats, error: Floats, start: int) -> None:
        """products [B, Q] of the candidates start to start + B, each wrong by at most
        error [Q]."""
        block = len(products)
        if not self._pairs and block > self.k:
            best = np.partition(products.T, block - self.k, axis=1)[:, block - self.k]
            self.floor = best - error
        flat = np.flatnonzero(products >= self.floor - error)
        place, query = np.divmod(flat, self.queries)
        product = products.ravel()[flat]
        self._pairs.append((query, place + start, product, error[query]))
        self._waiting += len(flat)
        # Sorting costs more than carrying along: only when they have doubled.
        if self._waiting > 2 * self.queries * self.k:
            self._prune()

    def pairs(self) -> tuple[Ints, Ints]:
        """(query [P], candidate [P])."""
        if not self._pairs:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._prune()
        return self._pairs[0][:2]

    def _prune(self) -> None:
        query, place, product, error = (
            np.concatenate(parts) for parts in zip(*self._pairs, strict=True)
        )
        # Sorted by query, then by the least that the score can be: one key of 64 bits.
        keys = np.sort((query.astype(np.uint64) << 32) | ordered_bits(product - error))
        end = np.cumsum(np.bincount(query, minlength=self.queries))
        full = np.diff(end, prepend=0) >= self.k
        bound = unordered_bits(keys[end[full] - self.k].astype(np.uint32))
        self.floor[full] = np.maximum(self.floor[full], bound)
        keep = product + error >= self.floor[query]
        self._pairs = [(query[keep], place[keep], product[keep], error[keep])]
        # Ties can leave more than k each; they wait for twice as many again.
        self._waiting = 0


def _double_products(vectors: Floats, queries: Floats, query: Ints, slot: Ints) -> Floats:
    """Inner products [P] of pairs, summed in double precision in an order that depends on D
    alone."""
    score = np.zeros(len(query), np.float32)
    for start in range(0, len(query), _PAIRS):
        part = slice(start, start + _PAIRS)
        # Products of two float32 numbers are exact in float64.
        products = vectors[slot[part]].astype(np.float64) * queries[query[part]]
        score[part] = products.sum(axis=1)
    return score
