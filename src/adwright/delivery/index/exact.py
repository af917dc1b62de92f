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

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact, load_artifact, save_artifact
from adwright.core.clock import Clock
from adwright.core.errors import (
    AdwrightError,
    ArtifactCorruptError,
    MissingExtraError,
    SchemaError,
    ValueInvalidError,
)

# --------------------------------------------------------------------------------------------------
# What every vector index keeps: vectors by id, in numbered slots.
#
# A slot is taken once. Replacing a vector takes a new slot and leaves the old one dead, removing
# one leaves it dead; so an index structure may use slots as labels and never has to change an
# entry. Ids are codes of a catalogue (rows of an ItemTable), so a flat table leads from id to slot.
#
# Letters: N vectors, D numbers each, Q queries, S slots, the dead included.

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: The table from id to slot takes 4 bytes for each id up to the largest: 1 GB at this one.
LARGEST_ID = 2**28
#: Products of vectors within this bound stay finite in float32.
_LARGEST_NUMBER = 1e15


@dataclass(frozen=True, eq=False)
class Found:
    """ids int64 [Q, k], best first, -1 where there is nothing more; scores float32 [Q, k],
    inner products, -inf there."""

    ids: Ints
    scores: Floats


class VectorRows:
    """Vectors by id. Many threads may read while nobody writes.

    >>> rows = VectorRows(2)
    >>> rows.add(np.array([7, 9]), np.eye(2, dtype=np.float32))
    array([0, 1])
    >>> rows.add(np.array([7]), np.ones((1, 2), np.float32)), len(rows), rows.ids
    (array([2]), 2, array([-1,  9,  7]))
    """

    def __init__(self, dimension: int) -> None:
        self.dimension = checked_count(dimension, "dimension")
        self._ids = np.zeros(0, np.int64)
        self._vectors = np.zeros((0, dimension), np.float32)
        self._norms = np.zeros(0, np.float32)
        self._slot_of = np.zeros(0, np.int32)
        self._size = self._alive = 0

    @classmethod
    def restored(cls, ids: Ints, vectors: Floats) -> VectorRows:
        """Rows with these `ids` and `vectors`, slot for slot; raises as `add`, and for an id that
        has two slots."""
        rows = cls(vectors.shape[1] if vectors.ndim == 2 else 1)
        checked = _checked_vectors(vectors, rows.dimension, "vectors")
        alive = np.flatnonzero(ids >= 0)
        codes = _checked_ids(ids[alive])
        if ids.shape != checked.shape[:1] or len(np.unique(codes)) < len(codes):
            raise ValueInvalidError(
                "each vector needs an id of its own", column="ids", value=list(ids.shape)
            )
        rows._reserve(len(ids), int(codes.max(initial=-1)))
        rows._size, rows._alive = len(ids), len(alive)
        rows._ids[: len(ids)], rows._vectors[: len(ids)] = ids, checked
        rows._norms[: len(ids)] = _lengths(checked)
        rows._slot_of[codes] = alive
        return rows

    def __len__(self) -> int:
        """Vectors that are present."""
        return self._alive

    @property
    def dead(self) -> int:
        """Slots of vectors that were replaced or removed."""
        return self._size - self._alive

    @property
    def ids(self) -> Ints:
        """int64 [S]: id of each slot, -1 for a dead one."""
        return self._ids[: self._size]

    @property
    def vectors(self) -> Floats:
        """float32 [S, D]."""
        return self._vectors[: self._size]

    @property
    def norms(self) -> Floats:
        """float32 [S]: lengths of the vectors."""
        return self._norms[: self._size]

    def add(self, ids: npt.ArrayLike, vectors: npt.ArrayLike) -> Ints:
        """Store vectors [N, D] under ids int64 [N]; returns their slots, ascending, int64 [N'].

        An id that is present is replaced; of an id that comes twice the last one counts.
        Raises SchemaError for arrays of another shape or type, ValueInvalidError for an id
        outside 0 to LARGEST_ID and for a vector that is not finite.
        """
        codes = _checked_ids(ids)
        rows = _checked_vectors(vectors, self.dimension, "vectors")
        if len(codes) != len(rows):
            raise SchemaError(
                "there must be one id per vector",
                column="ids",
                value=f"{len(codes)} ids, {len(rows)} vectors",
                hint="pass arrays of one length",
            )
        last = np.sort(len(codes) - 1 - np.unique(codes[::-1], return_index=True)[1])
        codes, rows = codes[last], rows[last]
        self.remove(codes)
        self._reserve(len(codes), int(codes.max(initial=-1)))
        slots = np.arange(self._size, self._size + len(codes))
        self._ids[slots], self._vectors[slots] = codes, rows
        self._norms[slots] = _lengths(rows)
        self._slot_of[codes] = slots
        self._size += len(codes)
        self._alive += len(codes)
        return slots

    def remove(self, ids: npt.ArrayLike) -> int:
        """Take out the vectors of ids int64 [N]; ids that are absent are passed over.

        Returns how many were present. Raises as `add` for ids that cannot be.
        """
        codes = np.unique(_checked_ids(ids))
        codes = codes[codes < len(self._slot_of)]
        slots = self._slot_of[codes]
        codes, slots = codes[slots >= 0], slots[slots >= 0]
        self._ids[slots], self._slot_of[codes] = -1, -1
        self._alive -= len(slots)
        return len(slots)

    def selected(self, allowed: Mask | None) -> Ints | None:
        """Slots that a search may return, ascending int64; None stands for all slots.

        allowed: bool [M] by id; an id from M on is not allowed. None allows every id.
        Raises SchemaError where it is no vector of booleans.
        """
        if allowed is None:
            return np.flatnonzero(self.ids >= 0) if self.dead else None
        return np.flatnonzero(self.may_return(np.arange(self._size), allowed))

    def may_return(self, slots: Ints, allowed: Mask | None) -> Mask:
        """bool, shaped as `slots`: whether the slot is present and its id allowed; false for
        slot -1. Otherwise as `selected`."""
        ids = np.where(slots >= 0, self.ids[slots], -1)
        if allowed is None:
            return ids >= 0
        if not isinstance(allowed, np.ndarray) or allowed.dtype != np.bool_ or allowed.ndim != 1:
            raise SchemaError(
                "a filter is one boolean an id",
                column="allowed",
                value=getattr(allowed, "dtype", type(allowed).__name__),
                hint="pass a bool array, true at the ids that may be returned",
            )
        # One more entry, false: where absent and too large ids lead.
        table = np.append(allowed, False)
        may: Mask = table[np.where((ids < 0) | (ids >= len(allowed)), len(allowed), ids)]
        return may

    def compacted(self) -> VectorRows:
        """The same vectors, slots in the same order, none dead."""
        rows = VectorRows(self.dimension)
        alive = self.ids >= 0
        rows.add(self.ids[alive], self.vectors[alive])
        return rows

    def _reserve(self, count: int, largest: int) -> None:
        """Room for so many more slots and for ids up to `largest`; doubles, so that adding
        one vector at a time copies each a few times only."""
        if self._size + count > len(self._ids):
            room = max(self._size + count, 2 * len(self._ids)) - self._size
            self._ids = np.concatenate([self.ids, np.full(room, -1)])
            self._norms = np.concatenate([self.norms, np.zeros(room, np.float32)])
            empty = np.zeros((room, self.dimension), np.float32)
            self._vectors = np.concatenate([self.vectors, empty])
        if largest >= len(self._slot_of):
            room = max(largest + 1, 2 * len(self._slot_of)) - len(self._slot_of)
            self._slot_of = np.concatenate([self._slot_of, np.full(room, -1, np.int32)])


def checked_queries(queries: npt.ArrayLike, dimension: int) -> Floats:
    """The queries as float32 [Q, D], contiguous.

    Raises SchemaError for another shape or type, ValueInvalidError for what is not finite.
    """
    return _checked_vectors(queries, dimension, "queries")


def checked_count(value: int, name: str) -> int:
    """A positive integer; ValueInvalidError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueInvalidError(
            f"{name} must be a positive integer", value=value, hint="use 1 or more"
        )
    return int(value)


def _lengths(vectors: Floats) -> Floats:
    lengths: Floats = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    return lengths


def _checked_ids(ids: npt.ArrayLike) -> Ints:
    array = np.asarray(ids)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise SchemaError(
            "ids are one integer per vector",
            column="ids",
            value=f"{array.dtype} {list(array.shape)}",
            hint="pass an int64 array [N]",
        )
    outside = (array < 0) | (array > LARGEST_ID)
    if outside.any():
        raise ValueInvalidError(
            f"an id lies outside 0 to {LARGEST_ID:,}",
            column="ids",
            row=int(np.argmax(outside)),
            value=int(array[np.argmax(outside)]),
            hint="use the item codes of the catalogue",
        )
    return array.astype(np.int64)


def _checked_vectors(vectors: npt.ArrayLike, dimension: int, name: str) -> Floats:
    array = np.asarray(vectors)
    if array.ndim != 2 or array.shape[1] != dimension or array.dtype.kind not in "fiu":
        raise SchemaError(
            f"{name} must be numbers [N, {dimension}]",
            column=name,
            value=f"{array.dtype} {list(array.shape)}",
            hint="pass a float32 array of that width",
        )
    # Written so that NaN counts as too large; before the cast, which could overflow.
    fine = np.abs(array).max(axis=1, initial=0) <= _LARGEST_NUMBER
    if not fine.all():
        row = int(np.argmin(fine))
        raise ValueInvalidError(
            f"a number is not finite, or larger than {_LARGEST_NUMBER:g}",
            column=name,
            row=row,
            value=array[row].tolist(),
            hint="check the model that made it",
        )
    return np.ascontiguousarray(array, np.float32)


# --------------------------------------------------------------------------------------------------
# What every index is: vectors by id, searched by inner product, saved and loaded.
#
# Letters: N vectors, D numbers each, Q queries.


class Index(ABC):
    """Vectors by id. Many threads may search while nobody adds or removes."""

    #: Kind of the artifact.
    kind: ClassVar[str]

    def __init__(self, dimension: int) -> None:
        self._rows = VectorRows(dimension)

    @property
    def dimension(self) -> int:
        """D."""
        return self._rows.dimension

    @property
    def slots(self) -> int:
        """Slots of the vectors, those of replaced and removed ones included."""
        return len(self._rows.ids)

    def __len__(self) -> int:
        """Vectors that are present."""
        return len(self._rows)

    def add(self, ids: npt.ArrayLike, vectors: npt.ArrayLike) -> None:
        """Add vectors [N, D] under ids int64 [N], from 0 on; a present id is replaced.

        Raises SchemaError for arrays of another shape or type, ValueInvalidError for an id or
        a number that cannot be.
        """
        self._changed(self._rows.add(ids, vectors))

    def remove(self, ids: npt.ArrayLike) -> int:
        """Take out the vectors of ids int64 [N], absent ones passed over; how many there were."""
        removed = self._rows.remove(ids)
        self._changed(np.zeros(0, np.int64))
        return removed

    @abstractmethod
    def search(self, queries: npt.ArrayLike, k: int, *, allowed: Mask | None = None) -> Found:
        """The k vectors of the highest inner product with each of queries [Q, D].

        allowed: bool [M] by id, the ids that may be returned; an id from M on is not. A query
        gets min(k, number that is present and allowed) results. Equal scores: lower id first.
        Raises as `add`, and ValueInvalidError for a k below 1.
        """

    def save(
        self, folder: str | Path, *, overwrite: bool = False, clock: Clock | None = None
    ) -> str:
        """Write the index, whole or not at all; returns its id. Raises as `save_artifact`."""
        config, tensors = self._saved()
        return save_artifact(
            folder, kind=self.kind, config=config, tensors=tensors, overwrite=overwrite, clock=clock
        )

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The index of a folder, after every byte was checked.

        Raises as `load_artifact` and `of_artifact`.
        """
        return cls.of_artifact(load_artifact(folder, kind=cls.kind))

    @classmethod
    @abstractmethod
    def of_artifact(cls, artifact: Artifact) -> Self:
        """The index of an artifact of this kind."""

    @abstractmethod
    def _changed(self, added: NDArray[np.int64]) -> None:
        """Take note of new slots int64 [N], and drop dead ones where there are too many."""

    @abstractmethod
    def _saved(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Config and tensors of the artifact."""


@contextmanager
def fitting(artifact: Artifact) -> Iterator[None]:
    """While an index is made of its artifact: what does not fit is an ArtifactCorruptError."""
    try:
        yield
    except MissingExtraError:
        raise
    except (AdwrightError, LookupError, TypeError, RuntimeError, ValueError, MemoryError) as error:
        raise ArtifactCorruptError(
            f"the parts of the index do not fit together: {error}",
            where=str(artifact.folder),
            hint="build the index again, or use the version that wrote it",
        ) from error


# --------------------------------------------------------------------------------------------------
# Pairs of id and score in order: the highest score first, of equal scores the lowest id.
#
# A float32 score and an id below 2^32 fit into one integer of 64 bits whose order is that of the
# pairs. Sorting such integers is several times faster than sorting by two keys.
#
# Letters: Q queries, C candidates per query, P pairs.

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
