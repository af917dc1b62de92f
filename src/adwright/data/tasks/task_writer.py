"""Appends a task's rows and events to their two Parquet files, in row groups of whole users."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from adwright.data.columns import is_category

_IDS = ("user_id", "request_id", "item_id")


class SplitWriter:
    """Row group i of rows.parquet and of events.parquet hold the same users, whole.

    A row group ends with the first user that brings it to `rows_per_group` rows. Rows wait in
    memory until then, so the groups do not depend on the pieces in which rows arrive.
    """

    def __init__(self, folder: Path, rows_per_group: int) -> None:
        self._rows_per_group = rows_per_group
        self._row_file = _Appender(folder / "rows.parquet")
        self._event_file = _Appender(folder / "events.parquet")
        self._rows: pl.DataFrame | None = None
        self._events: pl.DataFrame | None = None
        self.n_rows = self.n_positives = self.n_users = 0

    def __enter__(self) -> SplitWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._row_file.close()
            self._event_file.close()

    def add(self, rows: pl.DataFrame, events: pl.DataFrame) -> None:
        """Append rows and the events of their users, both sorted by user.

        No user of an earlier call may come again.
        """
        self.n_rows += rows.height
        self.n_positives += int(rows["label"].sum())
        self.n_users += rows["user_id"].rle().len()
        waiting = rows if self._rows is None else pl.concat([self._rows, rows])
        waiting_events = events if self._events is None else pl.concat([self._events, events])
        lengths = waiting["user_id"].rle().struct.field("len").to_numpy()
        ends = np.cumsum(lengths, dtype=np.int64)
        begin = 0
        while waiting.height - begin >= self._rows_per_group:
            end = int(ends[np.searchsorted(ends, begin + self._rows_per_group)])
            part = waiting[begin:end]
            mine, waiting_events = _divide(waiting_events, part["user_id"])
            self._row_file.write(part)
            self._event_file.write(mine)
            begin = end
        self._rows, self._events = waiting[begin:], waiting_events

    def _finish(self) -> None:
        # A split without rows still gets its columns: one empty row group.
        if self._rows is None or self._events is None:
            return
        if self._rows.height or self.n_rows == 0:
            self._row_file.write(self._rows)
            self._event_file.write(self._events)


def _divide(events: pl.DataFrame, users: pl.Series) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The events of `users`, and those of the others."""
    mine = pl.col("user_id").is_in(users.unique().implode())
    return events.filter(mine), events.filter(~mine)


class _Appender:
    """One Parquet file that grows by a row group a call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None

    def write(self, frame: pl.DataFrame) -> None:
        table = to_storage(frame)
        if self._writer is None:
            # Without Arrow's own schema a column read back is plain text, however it was
            # encoded here.
            self._writer = pq.ParquetWriter(
                self._path, table.schema, compression="zstd", store_schema=False
            )
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def to_storage(frame: pl.DataFrame) -> pa.Table:
    """The table as it is stored: ids as text, repeating text as dictionaries.

    Integer ids are encoded before they become text, so that each distinct one is spelt once.
    """
    columns = {}
    for name, dtype in frame.schema.items():
        array = frame[name].rechunk().to_arrow()
        if is_category(dtype):
            array = pa.DictionaryArray.from_arrays(
                array.indices.cast(pa.int32()), array.dictionary.cast(pa.string())
            )
        elif name in _IDS or dtype == pl.String:
            array = array.dictionary_encode()
            array = pa.DictionaryArray.from_arrays(
                array.indices, array.dictionary.cast(pa.string())
            )
        elif pa.types.is_large_list(array.type):
            inner = array.type.value_type
            plain = inner if pa.types.is_primitive(inner) else pa.string()
            array = array.cast(pa.list_(plain))
        columns[name] = array
    return pa.table(columns)
