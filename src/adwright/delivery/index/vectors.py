"""What every vector index keeps: vectors by id, in numbered slots.

A slot is taken once. Replacing a vector takes a new slot and leaves the old one dead, removing
one leaves it dead; so an index structure may use slots as labels and never has to change an
entry. Ids are codes of a catalogue (rows of an ItemTable), so a flat table leads from id to slot.

Letters: N vectors, D numbers each, Q queries, S slots, the dead included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from adwright.core.errors import SchemaError, ValueInvalidError

__all__ = ["LARGEST_ID", "Found", "VectorRows", "checked_count", "checked_queries"]

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
