"""Row groups of a task in codes, cut into groups that batches are made of.

Everything stays in as few arrays as possible, because a batch copies a stretch of each for
each of its groups: the copies are long and there is no gather by single rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from adwright.core.errors import ValueInvalidError
from adwright.data.batches.batch import DRAW_OFFSET
from adwright.data.features import FeatureSpec, ItemTable, MultiCodes
from adwright.data.ranges import run_starts

#: What the first rows of `Piece.codes` hold; the coded row features follow.
LEADING = ("item", "begin", "end", "label")


class Group(NamedTuple):
    """One user's stretch: rows `rows` and events `events` of `piece`."""

    piece: Piece
    rows: slice
    events: slice


@dataclass(frozen=True)
class Piece:
    """R rows of whole users in codes, and the E events behind them.

    codes: int32 [C, R]: item, begin, end, label, then the coded row features of the spec.
        begin and end count inside the history of the row's group.
    row: int64 [R], position in the file. numeric: float32 [R, F].
    multi: name to (codes, offsets [R + 1]). events: int32 [E] item codes.
    row_bounds: list of G + 1 numbers, group g has the rows from g to g + 1. event_bounds: list
        of 2 G numbers, where the events of a group begin and end. (Lists of numbers: reading
        single elements of arrays is slow.)
    offset: float32 [R], see `Batch.offset`, or None.
    """

    codes: NDArray[np.int32]
    row: NDArray[np.int64]
    numeric: NDArray[np.float32]
    multi: dict[str, MultiCodes]
    events: NDArray[np.int32]
    row_bounds: list[int]
    event_bounds: list[int]
    offset: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.row_bounds) - 1

    def group(self, number: int) -> Group:
        """The group of this number, counted in the order of the rows."""
        rows, events = self.row_bounds, self.event_bounds
        return Group(
            self,
            slice(rows[number], rows[number + 1]),
            slice(events[2 * number], events[2 * number + 1]),
        )


def encode_rows(
    table: pa.Table,
    events: pa.Table,
    row: NDArray[np.int64],
    *,
    spec: FeatureSpec,
    items: ItemTable,
    rows_per_group: int,
    max_history: int = 0,
) -> Piece:
    """Encode rows and the events behind them.

    table: R rows sorted by user: user_id, item_id, visible, the row features, label or none
        (0 then), and draw_offset where the rows were drawn. events: user_id and item_id of these
        users, sorted by user and time.
    row: int64 [R], their positions in the file. max_history: 0, or the most recent events seen.
    Raises ValueInvalidError where a row sees more events than its user has.
    """
    starts, place, bounds = _users(table["user_id"], events["user_id"])
    group_starts, owner = _cut(starts, rows_per_group)
    end = _counted(table["visible"])
    begin = np.maximum(end - max_history, 0) if max_history else np.zeros_like(end)
    # A group's history runs from what its first row sees to what its last row sees.
    low, high = begin[group_starts[:-1]], end[group_starts[1:] - 1]
    first, most = bounds[place[owner]], np.diff(bounds, append=bounds[-1])[place[owner]]
    if (high > most).any():
        raise ValueInvalidError(
            "a row sees more events than its person has",
            column="visible",
            value=int(high[high > most][0]),
            hint="write both files with write_task",
        )
    codes = np.empty((len(LEADING) + len(spec.coded_rows), len(end)), np.int32)
    shift = np.repeat(low, np.diff(group_starts))
    codes[0] = items.rows(table["item_id"])
    np.subtract(begin, shift, out=codes[1])
    np.subtract(end, shift, out=codes[2])
    codes[3] = plain(table["label"]) if "label" in table.column_names else 0
    for i, feature in enumerate(spec.coded_rows, start=len(LEADING)):
        codes[i] = feature.codes(table[feature.name])
    numeric = np.empty((len(end), len(spec.numeric_rows)), np.float32)
    for i, feature in enumerate(spec.numeric_rows):
        numeric[:, i] = feature.numbers(table[feature.name])
    offset = None
    if DRAW_OFFSET in table.column_names:
        offset = plain(table[DRAW_OFFSET]).astype(np.float32)
    return Piece(
        codes=codes,
        row=row,
        numeric=numeric,
        multi={f.name: f.lists(table[f.name]) for f in spec.multi_rows},
        events=items.rows(events["item_id"]).astype(np.int32),
        row_bounds=group_starts.tolist(),
        event_bounds=np.stack((first + low, first + high), 1).ravel().tolist(),
        offset=offset,
    )


def plain(column: pa.ChunkedArray | pa.Array) -> NDArray[np.generic]:
    """A column of integers or booleans, without nulls, as an array."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    # Of a chunked array pyarrow would import pandas to do this.
    values: NDArray[np.generic] = array.to_numpy()
    return values


def _counted(column: pa.ChunkedArray) -> NDArray[np.int32]:
    """How many events each row sees, after checking that these are counts."""
    if (
        column.null_count
        or not pa.types.is_integer(column.type)
        or (pc.min(column).as_py() or 0) < 0
    ):
        raise ValueInvalidError(
            "a row does not say how many events it sees",
            column="visible",
            hint="write both files with write_task",
        )
    return plain(column).astype(np.int32)


def _users(
    rows: pa.ChunkedArray, events: pa.ChunkedArray
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Where the users of the rows begin (int64 [N + 1]), the place of each among the users of
    the events (int64 [N]), and where those begin (int64 [M + 2]): a user without events has
    place M, an empty history."""
    users, starts = _runs(rows)
    event_users, event_starts = _runs(events)
    place = pc.fill_null(pc.index_in(users, value_set=event_users), len(event_users))
    return starts, plain(place).astype(np.int64), np.append(event_starts, event_starts[-1])


def _runs(column: pa.ChunkedArray) -> tuple[pa.Array, NDArray[np.int64]]:
    """(the value of each run of equal values [N], int64 [N + 1] where runs begin and end)."""
    array = column.combine_chunks()
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    codes = array.indices.to_numpy()
    starts = run_starts(codes)
    return array.dictionary.take(pa.array(codes[starts[:-1]])), starts


def _cut(starts: NDArray[np.int64], most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut runs of rows into groups of at most `most`: (int64 [G + 1] bounds, int64 [G] run)."""
    pieces = -(-np.diff(starts) // most)
    owner = np.repeat(np.arange(len(pieces)), pieces)
    index = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    return np.append(starts[:-1][owner] + index * most, starts[-1]), owner
