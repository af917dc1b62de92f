"""Parquet to batches, for logs larger than memory.

An epoch is a seeded permutation of the row groups, read a few at a time (a window). Inside a
window each user's rows are cut into groups of at most `rows_per_group`, the groups are
shuffled, and `groups_per_batch` of them make a batch. Memory follows the window, never the
log. Everything random is a function of (seed, epoch, window), so a position is two numbers
and a stream continues exactly where another stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from adwright.core.config import Count, Gt, Le, Natural, settings
from adwright.core.errors import FileUnreadableError, ValueInvalidError
from adwright.data.batches.batch import DRAW_OFFSET, Batch
from adwright.data.batches.jagged import Jagged
from adwright.data.features import ABSENT, FeatureSpec, ItemTable, MultiCodes
from adwright.data.hashing import mix64
from adwright.data.ranges import run_starts
from adwright.data.schema import need_columns

# --------------------------------------------------------------------------------------------------
# Row groups of a task in codes, cut into groups that batches are made of.
#
# Everything stays in as few arrays as possible, because a batch copies a stretch of each for
# each of its groups: the copies are long and there is no gather by single rows.

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


IDS = ("user_id", "item_id")
Share = Annotated[float, Gt(0), Le(1)]


@settings
class PartialStream:
    """How rows become batches, where None leaves a setting to the data (`ranker_defaults`).

    groups_per_batch: groups (user and stretch of time) in a batch.
    rows_per_group: most rows of one group; a long group shares more work of its history.
    window: row groups held in memory and shuffled together.
    negative_rate: share of label-0 rows kept, drawn anew each epoch; 1 keeps all.
    max_history: most recent events that a row may see; 0 for all of them.
    shuffle: off for scoring, where rows come in file order.
    """

    groups_per_batch: Count | None = None
    rows_per_group: Count = 64
    window: Count = 8
    negative_rate: Share | None = None
    max_history: Natural | None = None
    shuffle: bool = True
    seed: int = 0

    def over(self, default: StreamConfig) -> StreamConfig:
        """`default` with what is given here."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(default, **{k: v for k, v in given.items() if v is not None})


@settings
class StreamConfig(PartialStream):
    """`PartialStream` with nothing left open."""

    groups_per_batch: Count = 16
    negative_rate: Share = 1.0
    max_history: Natural = 0


@dataclass(frozen=True)
class Position:
    """Where a stream stands: the next batch is number `batch` of window `window`."""

    epoch: int = 0
    window: int = 0
    batch: int = 0


class Stream:
    """The batches of one split of a task.

    rows, events: the split's two Parquet files, whose row groups hold the same users.
    """

    def __init__(
        self,
        rows: Path,
        events: Path,
        *,
        spec: FeatureSpec,
        items: ItemTable,
        config: StreamConfig,
    ) -> None:
        self._spec, self._items, self.config = spec, items, config
        features = (*spec.coded_rows, *spec.numeric_rows, *spec.multi_rows)
        self._columns = sorted({*IDS, "visible", *(f.name for f in features)})
        texts = [f.name for f in spec.coded_rows if f.kind in ("categorical", "hashed")]
        self._rows_path, self._events_path = rows, events
        self._rows = _open(rows, self._columns, [*IDS, *texts])
        self._events = _open(events, IDS, IDS)
        if self._rows.num_row_groups != self._events.num_row_groups:
            raise FileUnreadableError(
                "rows and events have different numbers of row groups",
                file=str(rows),
                hint="write both files with write_task",
            )
        there = self._rows.schema_arrow.names
        self._columns += [name for name in ("label", DRAW_OFFSET) if name in there]
        self._offsets = np.cumsum(
            [0, *(self._rows.metadata.row_group(g).num_rows for g in range(self.n_row_groups))]
        )

    @property
    def n_row_groups(self) -> int:
        """Row groups of the file."""
        return int(self._rows.num_row_groups)

    @property
    def n_rows(self) -> int:
        """Rows of the file, before negatives are sampled."""
        return int(self._offsets[-1])

    def epoch(self, position: Position | None = None) -> Iterator[tuple[Batch, Position]]:
        """Batches from `position` to the end of its epoch, each with the position after it."""
        position = position or Position()
        order = np.arange(self.n_row_groups)
        if self.config.shuffle:
            order = _generator(self.config.seed, position.epoch).permutation(order)
        windows = [
            order[start : start + self.config.window].tolist()
            for start in range(0, len(order), self.config.window)
        ]
        for number in range(position.window, len(windows)):
            first = position.batch if number == position.window else 0
            yield from self._window(windows[number], Position(position.epoch, number, first))

    def _window(
        self, row_groups: list[int], position: Position
    ) -> Iterator[tuple[Batch, Position]]:
        """The batches of one window; it is let go before the next one is read."""
        epoch, number = position.epoch, position.window
        pieces = [self._read(row_group, epoch) for row_group in row_groups]
        sizes = [len(piece) for piece in pieces]
        owner = np.repeat(np.arange(len(pieces)), sizes)
        place = np.concatenate([np.arange(size) for size in sizes])
        batches = self._plan(len(owner), epoch, number)
        for index in range(position.batch, len(batches)):
            last = index + 1 == len(batches)
            after = Position(epoch, number + 1) if last else Position(epoch, number, index + 1)
            groups = batches[index]
            pairs = zip(owner[groups].tolist(), place[groups].tolist(), strict=True)
            yield to_batch([pieces[p].group(g) for p, g in pairs], self._spec), after

    def _plan(self, n_groups: int, epoch: int, window: int) -> list[NDArray[np.int64]]:
        """The groups of each batch; batches of nearly equal size."""
        groups = np.arange(n_groups)
        if self.config.shuffle:
            groups = _generator(self.config.seed, epoch, window).permutation(groups)
        parts = max(1, round(n_groups / self.config.groups_per_batch))
        return [part for part in np.array_split(groups, parts) if len(part)]

    def _read(self, row_group: int, epoch: int) -> Piece:
        """The kept rows of a row group, in codes."""
        # One thread: decoding in several costs more processor time than it saves.
        table = _read_group(self._rows, self._rows_path, row_group, self._columns)
        events = _read_group(self._events, self._events_path, row_group, list(IDS))
        row = self._offsets[row_group] + np.arange(table.num_rows)
        if self.config.negative_rate < 1:
            kept = self._drawn(row, epoch)
            if "label" in self._columns:
                kept |= plain(table["label"]) == 1
            table, row = table.filter(pa.array(kept)), row[kept]
        return encode_rows(
            table,
            events,
            row,
            spec=self._spec,
            items=self._items,
            rows_per_group=self.config.rows_per_group,
            max_history=self.config.max_history,
        )

    def _drawn(self, row: NDArray[np.int64], epoch: int) -> NDArray[np.bool_]:
        """Which rows survive negative sampling: a hash of (seed, epoch, row number)."""
        state = mix64(np.uint64(self.config.seed) + mix64(row.astype(np.uint64)))
        share = mix64(state + np.uint64(epoch)).astype(np.float64) / 2.0**64
        return share < self.config.negative_rate


def _read_group(file: pq.ParquetFile, path: Path, row_group: int, columns: list[str]) -> pa.Table:
    try:
        return file.read_row_group(row_group, columns=columns, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise FileUnreadableError(
            f"row group {row_group} is damaged: {error}",
            file=str(path),
            hint="build the task again",
        ) from error


def to_batch(groups: Sequence[Group], spec: FeatureSpec) -> Batch:
    """At least one group, in this order, as a batch. spec: the one they were encoded with."""
    codes = np.concatenate([piece.codes[:, rows] for piece, rows, _ in groups], axis=1)
    events = np.concatenate([piece.events[events] for piece, _, events in groups])
    item, begin, end, label, *features = torch.from_numpy(codes.astype(np.int64))
    return Batch(
        history=Jagged(
            torch.from_numpy(events.astype(np.int64)),
            _offsets([events.stop - events.start for _, _, events in groups]),
        ),
        offsets=_offsets([rows.stop - rows.start for _, rows, _ in groups]),
        item=item,
        begin=begin,
        end=end,
        row=torch.from_numpy(np.concatenate([piece.row[rows] for piece, rows, _ in groups])),
        categorical={f.name: code for f, code in zip(spec.coded_rows, features, strict=True)},
        multi={f.name: _lists(groups, f.name) for f in spec.multi_rows},
        numeric=torch.from_numpy(
            np.concatenate([piece.numeric[rows] for piece, rows, _ in groups])
        ),
        label=label.float(),
        offset=_draw_offsets(groups),
    )


def _draw_offsets(groups: Sequence[Group]) -> Tensor | None:
    parts = [piece.offset[rows] for piece, rows, _ in groups if piece.offset is not None]
    return torch.from_numpy(np.concatenate(parts)) if parts else None


def _offsets(lengths: Sequence[int]) -> Tensor:
    return torch.from_numpy(np.cumsum([0, *lengths]))


def _lists(groups: Sequence[Group], name: str) -> Jagged:
    """The groups' rows of a multi-valued feature."""
    values, lengths = [], []
    for piece, rows, _ in groups:
        codes, offsets = piece.multi[name]
        values.append(codes[offsets[rows.start] : offsets[rows.stop]])
        lengths.append(np.diff(offsets[rows.start : rows.stop + 1]))
    ends = torch.from_numpy(np.cumsum(np.concatenate(([0], *lengths))))
    return Jagged(torch.from_numpy(np.concatenate(values)), ends)


def _open(path: Path, columns: Sequence[str], texts: Sequence[str]) -> pq.ParquetFile:
    """The file, once it has `columns`; of them `texts` are read as dictionaries, so that each
    distinct value of a row group is encoded once."""
    try:
        metadata = pq.read_metadata(path)
        need_columns(metadata.schema.to_arrow_schema().names, columns, ABSENT, file=str(path))
        return pq.ParquetFile(path, metadata=metadata, read_dictionary=list(texts))
    except FileNotFoundError as error:
        raise FileUnreadableError(
            "the file does not exist", file=str(path), hint="build the task again"
        ) from error
    except (OSError, pa.ArrowException) as error:
        raise FileUnreadableError(
            f"not a readable Parquet file: {error}", file=str(path), hint="build the task again"
        ) from error


def _generator(*key: int) -> np.random.Generator:
    return np.random.default_rng(list(key))
