"""Item sequences out of a file of events of one's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.core.hashing import content_hash, sha256_file
from adwright.data.columns import need_columns
from adwright.data.hashing import hash_order
from adwright.data.history_kinds import check_history, events_file, kinds_of, only_history
from adwright.data.ranges import run_starts
from adwright.data.schema import ACTION_KINDS
from adwright.data.sequences.datasets import read_table, sequences_of_table
from adwright.data.sequences.item_sequences import ItemSequences

__all__ = ["read_event_file"]

#: Of what is read; files with a column `kind` were read otherwise at first.
VERSION, VERSION_WITH_KINDS = 1, 2
_COLUMNS = ("user_id", "item_id", "time")


def read_event_file(path: str | Path) -> ItemSequences:
    """The sequences of a Parquet or CSV file with the columns user_id, item_id and time, or of
    the folder of an imported log. With a column `kind` only events of ACTION_KINDS count: what
    was shown is no history. Other columns are passed over.

    time: a timestamp, a date, or a whole number of seconds; in CSV also as ISO text. Events of
    one user and one second have no order, and none of them is in another's history.
    Raises FileUnreadableError, SchemaError and ValueInvalidError for the file.
    """
    path = events_file(path)
    table = read_table(path)
    need_columns(table.columns, _COLUMNS, "the events lack a column", file=str(path))
    ids = pl.col("user_id", "item_id").cast(pl.String)
    kind = [name for name in table.columns if name == "kind"]
    table = table.select(ids, *kind, time=_seconds(table["time"], path))
    for column in _COLUMNS:
        if table[column].null_count():
            row = table[column].is_null().arg_max()
            raise ValueInvalidError(
                "a value is missing",
                file=str(path),
                row=row,
                column=column,
                hint="drop such events",
            )
    if not table.height:
        raise ValueInvalidError("the file holds no event", file=str(path))
    if kind:
        check_history(kinds_of(table), ACTION_KINDS, file=str(path))
        table = only_history(table, ACTION_KINDS).drop("kind")
    order = hash_order(table, ["user_id", "item_id"], 0)
    table = table.with_columns(order=order).sort("user_id", "time", "order").drop("order")
    version = VERSION_WITH_KINDS if kind else VERSION
    sequences = sequences_of_table(
        table,
        name=path.stem,
        data_hash=content_hash({"data": sha256_file(path), "code": version}),
    )
    starts = run_starts(table["user_id"].rle_id().to_numpy(), table["time"].to_numpy())
    return replace(sequences, moment=np.repeat(starts[:-1], np.diff(starts)))


def _seconds(time: pl.Series, path: Path) -> pl.Series:
    """Whole seconds since 1970, or whatever whole numbers are there."""
    if time.dtype.is_integer():
        return time.cast(pl.Int64)
    if time.dtype in (pl.Datetime, pl.Date):
        return time.cast(pl.Datetime("us")).dt.epoch("s")
    raise SchemaError(
        "the times are neither timestamps nor whole numbers of seconds",
        file=str(path),
        column="time",
        value=str(time.dtype),
        hint="write them as 2024-05-01T12:30:00 or as seconds since 1970",
    )
