"""Parquet to batches, for logs larger than memory.

An epoch is a seeded permutation of the row groups, read a few at a time (a window). Inside a
window each person's rows are cut into groups of at most `rows_per_group`, the groups are
shuffled, and `groups_per_batch` of them make a batch. Memory follows the window, never the
log. Everything random is a function of (seed, epoch, window), so a position is two numbers
and a stream continues exactly where another stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, FileUnreadableError, ValueInvalidError
from adwright.data.batch import Batch
from adwright.data.features import FeatureSpec, ItemTable, MultiCodes, need_columns
from adwright.data.hashing import mix64
from adwright.data.jagged import Jagged

__all__ = ["Position", "Stream", "StreamConfig"]

IDS = ("user_id", "item_id")


@dataclass(frozen=True)
class StreamConfig:
    """How rows become batches.

    groups_per_batch: groups (person and stretch of time) in a batch.
    rows_per_group: most rows of one group; a long group shares more work of its history.
    window: row groups held in memory and shuffled together.
    negative_rate: share of label-0 rows kept, drawn anew each epoch; 1 keeps all.
    max_history: most recent events that a row may see; 0 for all of them.
    shuffle: off for scoring, where rows come in file order.
    """

    groups_per_batch: int = 64
    rows_per_group: int = 64
    window: int = 4
    negative_rate: float = 1.0
    max_history: int = 0
    shuffle: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.groups_per_batch, self.rows_per_group, self.window) < 1:
            raise ConfigError("groups_per_batch, rows_per_group and window must be at least 1")
        if not 0 < self.negative_rate <= 1:
            raise ConfigError("negative_rate is a share in (0, 1]", where=f"{self.negative_rate}")
        if self.max_history < 0:
            raise ConfigError("max_history must be 0 (no cut) or more")


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
        texts = [f.name for f in spec.coded_rows if f.kind in ("categorical", "hashed")]
        self._rows = _open(rows, [*IDS, *texts])
        self._events = _open(events, list(IDS))
        if self._rows.num_row_groups != self._events.num_row_groups:
            raise FileUnreadableError(
                "rows and events have different numbers of row groups",
                file=str(rows),
                hint="write both files with write_task",
            )
        names = self._rows.schema_arrow.names
        row_features = (*spec.coded_rows, *spec.numeric_rows, *spec.multi_rows)
        need_columns(names, [*IDS, "visible", *(f.name for f in row_features)])
        self._columns = sorted({*IDS, "visible", *(f.name for f in row_features)})
        if "label" in names:
            self._columns.append("label")
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
            order[start : start + self.config.window]
            for start in range(0, len(order), self.config.window)
        ]
        for number in range(position.window, len(windows)):
            window = self._read(windows[number], position.epoch)
            batches = self._plan(len(window), position.epoch, number)
            first = position.batch if number == position.window else 0
            for index in range(first, len(batches)):
                after = Position(position.epoch, number, index + 1)
                if index + 1 == len(batches):
                    after = Position(position.epoch, number + 1, 0)
                yield window.batch(batches[index]), after

    def _plan(self, n_groups: int, epoch: int, window: int) -> list[NDArray[np.int64]]:
        """The groups of each batch; batches of nearly equal size."""
        groups = np.arange(n_groups)
        if self.config.shuffle:
            groups = _generator(self.config.seed, epoch, window).permutation(groups)
        parts = max(1, round(n_groups / self.config.groups_per_batch))
        return [part for part in np.array_split(groups, parts) if len(part)]

    def _read(self, row_groups: NDArray[np.int64], epoch: int) -> _Window:
        """The kept rows of these row groups, in codes and cut into groups."""
        return _join([self._read_one(int(group), epoch) for group in row_groups])

    def _read_one(self, row_group: int, epoch: int) -> _Window:
        table = self._rows.read_row_group(row_group, columns=self._columns)
        first = int(self._offsets[row_group])
        number = first + np.arange(table.num_rows)
        if "label" in self._columns:
            label = table["label"].to_numpy().astype(np.float32)
        else:
            label = np.zeros(table.num_rows, np.float32)
        if self.config.negative_rate < 1:
            kept = (label == 1) | self._drawn(number, epoch)
            table, label, number = table.filter(pa.array(kept)), label[kept], number[kept]
        events = self._events.read_row_group(row_group, columns=list(IDS))
        return self._encode(table, events, label, number)

    def _drawn(self, number: NDArray[np.int64], epoch: int) -> NDArray[np.bool_]:
        """Which rows survive negative sampling: a hash of (seed, epoch, row number)."""
        state = mix64(np.uint64(self.config.seed) + mix64(number.astype(np.uint64)))
        share = mix64(state + np.uint64(epoch)).astype(np.float64) / 2.0**64
        return share < self.config.negative_rate

    def _encode(
        self,
        table: pa.Table,
        events: pa.Table,
        label: NDArray[np.float32],
        number: NDArray[np.int64],
    ) -> _Window:
        spec = self._spec
        users, row_starts = _runs(table["user_id"])
        event_users, event_starts = _runs(events["user_id"])
        place = pc.index_in(users, value_set=event_users)
        known = pc.fill_null(place, len(event_users)).to_numpy(zero_copy_only=False)
        # A person without events has an empty history: the run past the last one.
        bounds = np.append(event_starts, event_starts[-1])
        end = table["visible"].to_numpy().astype(np.int64)
        begin = np.maximum(end - self.config.max_history, 0) if self.config.max_history else 0 * end
        group_rows, owner = _cut(row_starts, self.config.rows_per_group)
        history_start = bounds[known[owner]]
        # A group's history runs from what its first row sees to what its last row sees.
        low, high = begin[group_rows[:-1]], end[group_rows[1:] - 1]
        sizes = np.diff(group_rows)
        room = bounds[np.minimum(known[owner] + 1, len(bounds) - 1)] - history_start
        if (high > room).any():
            raise ValueInvalidError(
                "a row sees more events than its person has",
                column="visible",
                value=int(high[high > room][0]),
                hint="write both files with write_task",
            )
        shift = np.repeat(low, sizes)
        return _Window(
            columns={
                "item": self._items.rows(table["item_id"]),
                "begin": begin - shift,
                "end": end - shift,
                "row": number,
                **{f.name: f.codes(table[f.name]) for f in spec.coded_rows},
            },
            numeric=np.stack([f.numbers(table[f.name]) for f in spec.numeric_rows], 1)
            if spec.numeric_rows
            else np.zeros((table.num_rows, 0), np.float32),
            multi={f.name: f.lists(table[f.name]) for f in spec.multi_rows},
            label=label,
            group_rows=group_rows,
            events=self._items.rows(events["item_id"]),
            history_start=history_start + low,
            history_length=high - low,
        )


@dataclass(frozen=True)
class _Window:
    """R rows of some row groups in codes, cut into G groups; batches are picked out of it."""

    columns: dict[str, NDArray[np.int64]]
    numeric: NDArray[np.float32]
    multi: dict[str, MultiCodes]
    label: NDArray[np.float32]
    group_rows: NDArray[np.int64]
    events: NDArray[np.int64]
    history_start: NDArray[np.int64]
    history_length: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.group_rows) - 1

    def batch(self, groups: NDArray[np.int64]) -> Batch:
        """These groups, in this order, as a batch."""
        rows, offsets = _ranges(self.group_rows[groups], np.diff(self.group_rows)[groups])
        events, bounds = _ranges(self.history_start[groups], self.history_length[groups])
        column = {name: torch.from_numpy(codes[rows]) for name, codes in self.columns.items()}
        lists = {}
        for name, (values, starts) in self.multi.items():
            picked, ends = _ranges(starts[rows], np.diff(starts)[rows])
            lists[name] = Jagged(torch.from_numpy(values[picked]), torch.from_numpy(ends))
        return Batch(
            history=Jagged(torch.from_numpy(self.events[events]), torch.from_numpy(bounds)),
            offsets=torch.from_numpy(offsets),
            item=column.pop("item"),
            begin=column.pop("begin"),
            end=column.pop("end"),
            row=column.pop("row"),
            categorical=column,
            multi=lists,
            numeric=torch.from_numpy(self.numeric[rows]),
            label=torch.from_numpy(self.label[rows]),
        )


def _join(parts: list[_Window]) -> _Window:
    """Several row groups as one window."""
    if len(parts) == 1:
        return parts[0]
    rows = np.cumsum([0, *(len(part.label) for part in parts)])
    events = np.cumsum([0, *(len(part.events) for part in parts)])
    multi = {}
    for name in parts[0].multi:
        values = [part.multi[name][0] for part in parts]
        ends = np.cumsum([0, *(len(v) for v in values)])
        starts = [part.multi[name][1][:-1] + end for part, end in zip(parts, ends, strict=False)]
        multi[name] = (np.concatenate(values), np.append(np.concatenate(starts), ends[-1]))
    return _Window(
        columns={
            name: np.concatenate([part.columns[name] for part in parts])
            for name in parts[0].columns
        },
        numeric=np.concatenate([part.numeric for part in parts]),
        multi=multi,
        label=np.concatenate([part.label for part in parts]),
        group_rows=np.append(
            np.concatenate([p.group_rows[:-1] + r for p, r in zip(parts, rows, strict=False)]),
            rows[-1],
        ),
        events=np.concatenate([part.events for part in parts]),
        history_start=np.concatenate(
            [part.history_start + start for part, start in zip(parts, events, strict=False)]
        ),
        history_length=np.concatenate([part.history_length for part in parts]),
    )


def _open(path: Path, dictionaries: list[str]) -> pq.ParquetFile:
    """Text columns as dictionaries: each distinct value of a row group is encoded once."""
    try:
        return pq.ParquetFile(path, read_dictionary=dictionaries)
    except FileNotFoundError as error:
        raise FileUnreadableError(
            "the file does not exist", file=str(path), hint="build the task again"
        ) from error
    except (OSError, pa.ArrowException) as error:
        raise FileUnreadableError(
            f"not a readable Parquet file: {error}", file=str(path), hint="build the task again"
        ) from error


def _runs(column: pa.ChunkedArray) -> tuple[pa.Array, NDArray[np.int64]]:
    """(the value of each run of equal values [R], int64 [R + 1] where runs begin and end)."""
    if len(column) == 0:
        return pa.array([], pa.string()), np.zeros(1, np.int64)
    array = column.combine_chunks()
    codes = array.indices.to_numpy()
    starts = np.flatnonzero(np.diff(codes, prepend=codes[0] - 1))
    heads = array.dictionary.take(pa.array(codes[starts]))
    return heads, np.append(starts, len(codes))


def _cut(starts: NDArray[np.int64], most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut runs of rows into groups of at most `most`: (int64 [G + 1] bounds, int64 [G] run)."""
    lengths = np.diff(starts)
    pieces = -(-lengths // most)
    owner = np.repeat(np.arange(len(lengths)), pieces)
    index = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    return np.append(starts[:-1][owner] + index * most, starts[-1]), owner


def _ranges(
    starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(the integers of the ranges start..start+length, end to end; their offsets)."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths), offsets


def _generator(*key: int) -> np.random.Generator:
    return np.random.default_rng(list(key))
