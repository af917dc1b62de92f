"""Turn tables in memory into batches, for rows that no task has prepared.

A task file is sorted and counted once, on disk. Here rows come in any order, for any users, and
become the same batches; `Batch.row` is the position of each row. Codes come from the FeatureSpec of
the training; `visible` and `frequency` are counted from the events given, never read from the rows,
since what a row may know depends on its time alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.data.batches.batch import DRAW_OFFSET, Batch
from adwright.data.batches.jagged import Jagged
from adwright.data.columns import TableInMemory, as_polars, is_category
from adwright.data.features import FeatureSpec, ItemTable, check_feature_types
from adwright.data.tasks.history import add_history

__all__ = [
    "COUNTED",
    "AnyTable",
    "batches_of",
    "check_ids",
    "check_rows",
    "check_types",
    "needed_columns",
    "table_of",
]

#: Row features that are counted from the events.
COUNTED = ("visible", "frequency")

_TIME = pl.Datetime("us", "UTC")
_ROWS_PER_GROUP = 512
_ROWS_PER_BATCH = 8192


#: Tables that are taken for one of polars.
AnyTable: TypeAlias = pl.LazyFrame | TableInMemory


def table_of(table: AnyTable, what: str) -> pl.DataFrame:
    """The table as one of polars, in memory. Raises SchemaError, which says `what`, where it is
    none."""
    if isinstance(table, str | Path):
        raise SchemaError(
            f"the {what} are a table, not a file",
            file=str(table),
            hint="pass a table of polars, pandas or Arrow; score_file reads files",
        )
    try:
        return as_polars(table).lazy().collect()
    except SchemaError as error:
        raise SchemaError(f"the {what}: {error.what}", hint=error.hint) from error


def needed_columns(spec: FeatureSpec) -> tuple[str, ...]:
    """Columns that rows must have: the ids and the row features, those counted left out."""
    features = (*spec.coded_rows, *spec.numeric_rows, *spec.multi_rows)
    names = ["user_id", "item_id", *(f.name for f in features if f.name not in COUNTED)]
    return tuple(dict.fromkeys(names))


def check_rows(columns: Sequence[str], spec: FeatureSpec, *, file: str = "") -> None:
    """Raise SchemaError, naming every column of `needed_columns` that is not in `columns`."""
    missing = [name for name in needed_columns(spec) if name not in columns]
    if missing:
        raise SchemaError(
            f"the rows lack columns that the ranker was trained on: {', '.join(missing)}",
            file=file,
            column=missing[0],
            hint=f"add them, empty where unknown; the rows have {', '.join(columns)}",
        )


def batches_of(
    rows: pl.DataFrame,
    events: pl.DataFrame,
    *,
    spec: FeatureSpec,
    items: ItemTable,
    max_history: int = 0,
) -> Iterator[Batch]:
    """Turn rows into batches of users with all of their targets; order by `Batch.row`.

    rows: `needed_columns` and `time`; without a time every event of the user is history.
    Where rows were drawn, `draw_offset` is read too (`Batch.offset`).
    events: user_id, item_id, time; those of other users are ignored. Times are timestamps
    (without a zone: UTC), or in both tables whole numbers. max_history: most recent events that
    a row may see; 0 for all.
    An unknown item has code 0, as has a user or a value that training never saw; a user without
    events has an empty history.
    Raises SchemaError for a missing column, a type that does not fit or a time that is no
    timestamp, ValueInvalidError for an empty id or time.
    """
    check_rows(rows.columns, spec)
    check_types(rows.schema, spec)
    _check_events(events.columns)
    check_ids(events.schema, "events")
    if rows.height == 0:
        return
    table, codes, starts = _prepared(rows, events, items)
    end = table["visible"].to_numpy().astype(np.int64)
    begin = np.maximum(end - max_history, 0) if max_history else np.zeros_like(end)
    bounds = _groups(table["user_id"].rle_id().to_numpy())
    low, high = begin[bounds[:-1]], end[bounds[1:] - 1]
    shift = np.repeat(low, np.diff(bounds))
    first = starts[bounds[:-1]] + low
    arrow = table.to_arrow()
    whole = Batch(
        history=_slices(codes, first, high - low),
        offsets=torch.from_numpy(bounds),
        item=torch.from_numpy(items.rows(arrow["item_id"])),
        begin=torch.from_numpy(begin - shift),
        end=torch.from_numpy(end - shift),
        categorical={f.name: torch.from_numpy(f.codes(arrow[f.name])) for f in spec.coded_rows},
        multi={
            f.name: Jagged(*(torch.from_numpy(part) for part in f.lists(arrow[f.name])))
            for f in spec.multi_rows
        },
        numeric=torch.from_numpy(
            np.stack([f.numbers(arrow[f.name]) for f in spec.numeric_rows], 1)
            if spec.numeric_rows
            else np.zeros((table.height, 0), np.float32)
        ),
        label=torch.zeros(table.height),
        row=torch.from_numpy(table["__row"].to_numpy().astype(np.int64)),
        offset=torch.from_numpy(table[DRAW_OFFSET].cast(pl.Float32).fill_null(0).to_numpy().copy())
        if DRAW_OFFSET in table.columns
        else None,
    )
    n_groups = len(bounds) - 1
    parts = np.array_split(np.arange(n_groups), max(1, table.height // _ROWS_PER_BATCH))
    for part in parts:
        if len(part):
            yield whole.groups(torch.from_numpy(part))


def check_types(schema: Mapping[str, pl.DataType], spec: FeatureSpec, *, file: str = "") -> None:
    """Raise SchemaError for an id or a feature of rows that is of a type which does not fit."""
    check_ids(schema, "rows", file=file)
    features = (*spec.coded_rows, *spec.numeric_rows, *spec.multi_rows)
    features = tuple(f for f in features if f.name not in (*COUNTED, "user_id"))
    check_feature_types(schema, features, file=file)


def check_ids(schema: Mapping[str, pl.DataType], what: str, *, file: str = "") -> None:
    """Raise SchemaError where user_id or item_id is neither text nor integers nor categories.

    what: "rows" or "events", for the message.
    """
    for name in ("user_id", "item_id"):
        dtype = schema.get(name, pl.Null())
        if not (dtype in (pl.String, pl.Null) or dtype.is_integer() or is_category(dtype)):
            raise SchemaError(
                f"{name} of the {what} must hold text or integers, not {dtype}",
                file=file,
                column=name,
                hint="convert the column",
            )


def _check_events(columns: Sequence[str]) -> None:
    missing = [name for name in ("user_id", "item_id", "time") if name not in columns]
    if missing:
        raise SchemaError(
            f"the events lack columns: {', '.join(missing)}",
            column=missing[0],
            hint="events need user_id, item_id and time",
        )


def _prepared(
    rows: pl.DataFrame, events: pl.DataFrame, items: ItemTable
) -> tuple[pl.DataFrame, NDArray[np.int64], NDArray[np.int64]]:
    """(rows sorted by user and time with their counts, the events' item codes, for each row
    the place of its user's first event)."""
    ids = pl.col("user_id", "item_id").cast(pl.String)
    rows = rows.drop([name for name in (*COUNTED, "__row") if name in rows.columns])
    dtype = events.schema["time"]
    rows = _timed(rows.with_columns(ids).with_row_index("__row"), "rows", dtype)
    events = _timed(events.select("user_id", "item_id", "time").with_columns(ids), "events", dtype)
    events = events.join(rows.select("user_id").unique(), on="user_id", how="semi")
    events = events.sort("user_id", "time", maintain_order=True)
    rows = add_history(rows.sort("user_id", "time", maintain_order=True), events)
    first = events.with_row_index("__start").unique("user_id", keep="first", maintain_order=True)
    starts = rows.join(
        first.select("user_id", "__start"), on="user_id", how="left", maintain_order="left"
    )["__start"].fill_null(0)
    return rows, items.rows(events.to_arrow()["item_id"]), starts.to_numpy().astype(np.int64)


def _timed(table: pl.DataFrame, what: str, dtype: pl.DataType) -> pl.DataFrame:
    """The table with `time` as `dtype`, after checking that neither an id nor a time is empty.

    dtype: of the events' time; rows without a time get the latest there is.
    """
    whole = dtype.is_integer()
    if what == "rows" and "time" not in table.columns:
        latest = pl.lit(2**62, pl.Int64)
        table = table.with_columns(time=latest if whole else latest.cast(pl.Datetime("us")))
    found = table.schema["time"]
    if not (found.is_integer() if whole else isinstance(found, pl.Datetime)):
        raise SchemaError(
            f"the time of the {what} must be {'a whole number' if whole else 'a timestamp'} "
            f"like that of the events, not {found}",
            column="time",
            hint="convert the column to timestamp[us, UTC]",
        )
    for name in ("user_id", "item_id", "time"):
        empty = table[name].is_null()
        if name != "time":
            empty |= (table[name].str.strip_chars() == "").fill_null(value=False)
        if empty.any():
            raise ValueInvalidError(
                f"the {what} hold an empty value",
                row=int(empty.arg_max() or 0),
                column=name,
                hint="fill it in, or drop the row",
            )
    if whole:
        return table.with_columns(pl.col("time").cast(pl.Int64))
    column = pl.col("time")
    naive = isinstance(found, pl.Datetime) and found.time_zone is None
    return table.with_columns((column.dt.replace_time_zone("UTC") if naive else column).cast(_TIME))


def _groups(people: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Bounds [G + 1] of groups: runs of one user, cut after _ROWS_PER_GROUP rows."""
    starts = np.flatnonzero(np.diff(people.astype(np.int64), prepend=-1))
    ends = np.append(starts[1:], len(people))
    cuts = [np.arange(a, b, _ROWS_PER_GROUP) for a, b in zip(starts, ends, strict=True)]
    return np.append(np.concatenate(cuts), len(people)).astype(np.int64)


def _slices(
    values: NDArray[np.int64], first: NDArray[np.int64], lengths: NDArray[np.int64]
) -> Jagged:
    """The lists values[first : first + length], end to end."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    index = np.arange(offsets[-1]) + np.repeat(first - offsets[:-1], lengths)
    return Jagged(torch.from_numpy(values[index]), torch.from_numpy(offsets))
