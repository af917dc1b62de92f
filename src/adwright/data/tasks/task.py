"""A ranking task on disk: rows to score, the histories behind them, and the catalogue.

    FOLDER/
      task.json             name, protocol text, data hash, features, counts
      items.parquet         the catalogue's items
      train|valid|test/
        rows.parquet        one row per impression, sorted by user and time
        events.parquet      those users' events, sorted by user and time

Row group i of rows.parquet and row group i of events.parquet hold the same users, whole. So a
stream reads both side by side, memory follows the row group and not the log, and a shuffle of
row groups never tears a user from a history.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from adwright.core.atomic import atomic_folder, atomic_write_text
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import FileUnreadableError, ResourceError, SchemaError, ValueInvalidError
from adwright.core.hashing import content_hash
from adwright.data.features import Feature, FeatureSpec, ItemTable, fit_spec
from adwright.data.schema import RESPONSE_KINDS, is_category
from adwright.data.tasks.history import add_history
from adwright.data.tasks.split import SPLITS, Split

# --------------------------------------------------------------------------------------------------
# Appends a task's rows and events to their two Parquet files, in row groups of whole users.

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


FORMAT = 1
META = ("id", "data_hash", "protocol", "splits", "spec")
ROW_COLUMNS = ("user_id", "request_id", "time", "item_id", "label", "split")
EVENT_COLUMNS = ("user_id", "item_id", "time")
T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """A task folder, opened. Nothing is read before it is asked for."""

    folder: Path

    @classmethod
    def open(cls, folder: str | Path) -> Task:
        """Open a task folder. Raises FileUnreadableError where it is none."""
        task = cls(Path(folder))
        if task.meta.get("format") != FORMAT:
            raise FileUnreadableError(
                "this task was written in another format",
                file=str(task.folder / "task.json"),
                value=task.meta.get("format"),
                hint="build the task again",
            )
        lacking = [key for key in META if key not in task.meta]
        if lacking:
            raise FileUnreadableError(
                f"the task lacks {', '.join(lacking)}",
                file=str(task.folder / "task.json"),
                hint="build the task again",
            )
        return task

    @cached_property
    def meta(self) -> dict[str, Any]:
        """The content of task.json."""
        path = self.folder / "task.json"
        try:
            loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(loaded, dict):
                raise TypeError
        except (OSError, ValueError, TypeError) as error:
            raise FileUnreadableError(
                "this folder holds no readable task",
                file=str(path),
                hint="build one with `adwright data import` or `adwright demo ranker`",
            ) from error
        return loaded

    @property
    def data_hash(self) -> str:
        """Hash of the data and of how the task was made from it."""
        return str(self.meta["data_hash"])

    @property
    def protocol(self) -> str:
        """What is ranked, against what, and how it was split."""
        return str(self.meta["protocol"])

    @property
    def history_kinds(self) -> tuple[str, ...]:
        """Kinds of events that the histories are made of; RESPONSE_KINDS where an older version,
        which did not write them, made the task."""
        return tuple(str(kind) for kind in self.meta.get("history", RESPONSE_KINDS))

    @property
    def popularity_kinds(self) -> tuple[str, ...] | None:
        """Kinds of events that the row feature `popularity` counts, of earlier days; None where it
        is another measure, or nobody wrote it down."""
        kinds = self.meta.get("popularity")
        return None if kinds is None else tuple(str(kind) for kind in kinds)

    @cached_property
    def spec(self) -> FeatureSpec:
        """The feature spec fitted on the training rows."""
        return from_jsonable(FeatureSpec, self.meta["spec"])

    @cached_property
    def items(self) -> pl.DataFrame:
        """The catalogue's items."""
        path = self.folder / "items.parquet"
        try:
            return pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise FileUnreadableError(
                "the items of the task cannot be read", file=str(path), hint="build the task again"
            ) from error

    @cached_property
    def item_table(self) -> ItemTable:
        """The items in codes."""
        return self.spec.encode_items(self.items)

    def rows_path(self, split: Split) -> Path:
        """The Parquet file of a split's rows."""
        return self.folder / split / "rows.parquet"

    def events_path(self, split: Split) -> Path:
        """The Parquet file of the events of a split's users."""
        return self.folder / split / "events.parquet"

    def rows(self, split: Split) -> pl.LazyFrame:
        """A split's rows, lazily."""
        return pl.scan_parquet(self.rows_path(split))

    def n_rows(self, split: Split) -> int:
        """Number of rows of a split."""
        return int(self.meta["splits"][split]["rows"])


def write_task(
    folder: str | Path,
    *,
    name: str,
    protocol: str,
    data_hash: str,
    rows: pl.DataFrame,
    events: pl.DataFrame,
    items: pl.DataFrame,
    features: Sequence[Feature],
    history: Sequence[str] = RESPONSE_KINDS,
    rows_per_group: int = 250_000,
) -> Task:
    """Write a task folder, atomically, and fit its feature spec on the training rows.

    rows: user_id, request_id, time, item_id, label (0 or 1), split (train, valid, test) and
      the columns of the row features. events: user_id, item_id, time, in any order except
      that events of one user and time keep the order given. items: item_id and features.
    history: the kinds of events that `events` was made of, by which a ranker tells them in a log.
    Added to each row: `visible`, the number of the user's events before the row's time;
      `frequency`, how many of those are of the row's own item.
    rows_per_group: a row group of the files ends with the user who fills it.
    Raises SchemaError, ValueInvalidError, ResourceError (disk full; nothing is left behind).
    """
    return write_task_parts(
        folder,
        name=name,
        protocol=protocol,
        data_hash=data_hash,
        parts=[TaskPart(rows, events)],
        items=items,
        features=features,
        history=history,
        rows_per_group=rows_per_group,
    )


class TaskPart(NamedTuple):
    """Some users, whole: all of their rows and all of their events."""

    rows: pl.DataFrame
    events: pl.DataFrame


def cached_task(folder: Path, build: Callable[[], Task]) -> Task:
    """The task in `folder`, where there is one, else what `build` writes there.

    Where two processes build the same task at once, the slower one opens what the faster one
    wrote. Raises as `build` does.
    """
    return cached_folder(folder, "task.json", build, Task.open)


def cached_folder(
    folder: Path, marker: str, build: Callable[[], T], reopen: Callable[[Path], T]
) -> T:
    """As `cached_task`, of any folder that holds the file `marker` once it is complete."""
    if (folder / marker).exists():
        return reopen(folder)
    try:
        return build()
    except ResourceError:
        if not (folder / marker).exists():
            raise
        return reopen(folder)


def write_task_parts(
    folder: str | Path,
    *,
    name: str,
    protocol: str,
    data_hash: str,
    parts: Iterable[TaskPart],
    items: pl.DataFrame,
    features: Sequence[Feature],
    history: Sequence[str] = RESPONSE_KINDS,
    popularity: Sequence[str] | None = None,
    rows_per_group: int = 250_000,
) -> Task:
    """As `write_task`, for tasks larger than memory: `parts` come one after another.

    popularity: kinds of events of which the row feature of that name counts those of earlier days,
    as `popularity_by_day`; None where there is no such feature, or it means something else.
    The files do not depend on how the users are cut into parts, as long as users come in the
    same order: sorted inside a part, parts in the order given. Raises ValueInvalidError too
    where a user comes in two parts.
    """
    with atomic_folder(folder) as new:
        _check_items(items)
        pq.write_table(to_storage(items), new / "items.parquet", store_schema=False)
        counts = _write_splits(new, parts, rows_per_group)
        if not counts["train"]["rows"]:
            raise ValueInvalidError(
                "the task has no training rows", column="split", hint="move the split's dates"
            )
        spec = fit_spec(features, pl.scan_parquet(new / "train" / "rows.parquet"), items.lazy())
        meta = {
            "format": FORMAT,
            "name": name,
            "protocol": protocol,
            "data_hash": data_hash,
            "splits": counts,
            "history": list(history),
            "spec": to_jsonable(spec),
        }
        if popularity is not None:
            meta["popularity"] = list(popularity)
        meta["id"] = content_hash(meta)
        atomic_write_text(new / "task.json", json.dumps(meta, indent=1))
    return Task.open(folder)


def _write_splits(
    folder: Path, parts: Iterable[TaskPart], rows_per_group: int
) -> dict[str, dict[str, int]]:
    schemas: tuple[pl.Schema, pl.Schema] | None = None
    seen: set[object] = set()
    with ExitStack() as stack:
        writers = {}
        for split in SPLITS:
            (folder / split).mkdir()
            writers[split] = stack.enter_context(SplitWriter(folder / split, rows_per_group))
        for given in parts:
            _check(given)
            schemas = schemas or (given.rows.schema, given.events.schema)
            _check_like_first(schemas, given)
            # Within a request and within a time, the order given stays.
            rows = given.rows.sort("user_id", "time", "request_id", maintain_order=True)
            events = given.events.sort("user_id", "time", maintain_order=True)
            _check_users_new(rows["user_id"], seen)
            for split, writer in writers.items():
                part = rows.filter(pl.col("split") == split).drop("split")
                mine = events.join(
                    part.select("user_id"), on="user_id", how="semi", maintain_order="left"
                )
                writer.add(add_history(part, mine), mine)
    return {
        split: {"rows": w.n_rows, "positives": w.n_positives, "users": w.n_users}
        for split, w in writers.items()
    }


def _check(part: TaskPart) -> None:
    rows, events = part
    _check_columns("rows", rows, ROW_COLUMNS)
    _check_columns("events", events, EVENT_COLUMNS)
    for column in EVENT_COLUMNS:
        kinds = [table.schema[column].is_integer() for table in (rows, events)]
        if kinds[0] != kinds[1]:
            raise SchemaError(
                f"{column} of the rows and of the events cannot be compared: "
                f"{rows.schema[column]} and {events.schema[column]}",
                column=column,
                hint="give both tables the same type",
            )
    _check_among("label", rows["label"].cast(pl.Int64), "0 or 1", [0, 1])
    _check_among("split", rows["split"].cast(pl.String), "train, valid or test", SPLITS)


def _check_among(column: str, values: pl.Series, allowed: str, choices: Sequence[object]) -> None:
    wrong = ~values.is_in(list(choices))
    hint = "correct the value, or drop the row"
    _refuse(wrong, f"{column} must be {allowed}", column, hint, values)


def _refuse(
    wrong: pl.Series, what: str, column: str, hint: str, values: pl.Series | None = None
) -> None:
    """Raise ValueInvalidError for the first row that is `wrong`, with its value of `values`."""
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        value = None if values is None else values[row]
        raise ValueInvalidError(what, row=row, column=column, value=value, hint=hint)


def _check_items(items: pl.DataFrame) -> None:
    _check_columns("items", items, ("item_id",))
    ids = items["item_id"]
    what = "an item is in the catalogue twice"
    _refuse(~ids.is_first_distinct(), what, "item_id", "keep one row per item", ids)


def _check_columns(what: str, table: pl.DataFrame, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in table.columns:
            raise SchemaError(
                f"the {what} of a task lack a column",
                column=column,
                hint=f"they have {', '.join(table.columns)}",
            )
        dtype = table.schema[column]
        if not _fits(column, dtype):
            raise SchemaError(
                f"a column of the {what} of a task cannot be of type {dtype}",
                column=column,
                hint="ids and split are text, integers or categories, times are timestamps or "
                "integers, labels are integers or booleans",
            )
        empty = f"the {what} of a task hold an empty value"
        _refuse(table[column].is_null(), empty, column, "fill it in, or drop the row")
        if column in _IDS and not dtype.is_integer():
            _check_not_blank(what, column, table[column])


def _check_not_blank(what: str, column: str, ids: pl.Series) -> None:
    """An id of nothing but spaces names nobody. Only the distinct ones are looked at."""
    distinct = ids.unique().cast(pl.String)
    blank = distinct.filter(distinct.str.strip_chars() == "")
    if blank.len():
        wrong = ids.cast(pl.String).is_in(blank.implode())
        hint = "give it a name, or drop the row"
        _refuse(wrong, f"the {what} of a task hold a blank id", column, hint, ids)


def _fits(column: str, dtype: pl.DataType) -> bool:
    if column == "time":
        return dtype.is_temporal() or dtype.is_integer()
    if column == "label":
        return dtype.is_integer() or dtype == pl.Boolean
    return dtype == pl.String or dtype.is_integer() or is_category(dtype)


def _check_like_first(schemas: tuple[pl.Schema, pl.Schema], part: TaskPart) -> None:
    for what, first, table in zip(("rows", "events"), schemas, part, strict=True):
        if table.schema != first:
            differing = {*table.schema.items()} ^ {*first.items()}
            raise SchemaError(
                f"the {what} of two parts differ in columns or types",
                column=min(name for name, _ in differing) if differing else "",
                hint="give all parts the same columns, in one order",
            )


def _check_users_new(users: pl.Series, seen: set[object]) -> None:
    for user in users.rle().struct.field("value").to_list():
        if user in seen:
            raise ValueInvalidError(
                "a user comes in two parts",
                column="user_id",
                value=user,
                hint="a part holds all rows of its users",
            )
        seen.add(user)
