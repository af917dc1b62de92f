"""A ranking task on disk: rows to score, the histories behind them, and the catalogue.

    FOLDER/
      task.json             name, protocol text, data hash, features, counts
      items.parquet         the catalogue's items
      train|valid|test/
        rows.parquet        one row an impression, sorted by user and time
        events.parquet      those users' events, sorted by user and time

Row group i of rows.parquet and row group i of events.parquet hold the same users, whole. So a
stream reads both side by side, memory follows the row group and not the log, and a shuffle of
row groups never tears a person from a history.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from adwright.core.atomic import atomic_folder, atomic_write_text
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import FileUnreadableError, SchemaError, ValueInvalidError
from adwright.core.hashing import content_hash
from adwright.data.features import Feature, FeatureSpec, ItemTable, fit_spec

__all__ = ["SPLITS", "Split", "Task", "write_task"]

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
FORMAT = 1
ROW_COLUMNS = ("user_id", "request_id", "time", "item_id", "label")
EVENT_COLUMNS = ("user_id", "item_id", "time")
IDS = ("user_id", "request_id", "item_id")


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
        return task

    @cached_property
    def meta(self) -> dict[str, Any]:
        """The content of task.json."""
        path = self.folder / "task.json"
        try:
            loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise FileUnreadableError(
                "this folder holds no readable task",
                file=str(path),
                hint="build one with `adwright data import` or `adwright demo`",
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

    @cached_property
    def spec(self) -> FeatureSpec:
        """The feature spec fitted on the training rows."""
        return from_jsonable(FeatureSpec, self.meta["spec"])

    @cached_property
    def items(self) -> pl.DataFrame:
        """The catalogue's items."""
        return pl.read_parquet(self.folder / "items.parquet")

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
    rows_per_group: int = 250_000,
) -> Task:
    """Write a task folder, atomically, and fit its feature spec on the training rows.

    rows: user_id, request_id, time, item_id, label (0 or 1), split (train, valid, test) and
      the columns of the row features. events: user_id, item_id, time, in any order except
      that events of one user and time keep the order given. items: item_id and features.
    Added to each row: `visible`, the number of the user's events before the row's time;
      `frequency`, how many of those are of the row's own item.
    Raises SchemaError, ValueInvalidError, ResourceError (disk full; nothing is left behind).
    """
    _check(rows, events, items)
    folder = Path(folder)
    with atomic_folder(folder) as new:
        items.with_columns(pl.col("item_id").cast(pl.String)).write_parquet(new / "items.parquet")
        counts = {}
        for split in SPLITS:
            part = rows.filter(pl.col("split") == split).drop("split")
            (new / split).mkdir()
            users = part.select(pl.col("user_id").unique())
            mine = events.join(users, on="user_id", how="semi")
            _write_split(new / split, part, mine, rows_per_group)
            counts[split] = {
                "rows": part.height,
                "positives": int(part["label"].sum()),
                "users": users.height,
            }
        spec = fit_spec(features, pl.scan_parquet(new / "train" / "rows.parquet"), items.lazy())
        meta = {
            "format": FORMAT,
            "name": name,
            "protocol": protocol,
            "data_hash": data_hash,
            "splits": counts,
            "spec": to_jsonable(spec),
        }
        meta["id"] = content_hash(meta)
        atomic_write_text(new / "task.json", json.dumps(meta, indent=1))
    return Task.open(folder)


def _check(rows: pl.DataFrame, events: pl.DataFrame, items: pl.DataFrame) -> None:
    tables = (("rows", rows, (*ROW_COLUMNS, "split")), ("events", events, EVENT_COLUMNS))
    for what, table, columns in (*tables, ("items", items, ("item_id",))):
        for column in columns:
            if column not in table.columns:
                raise SchemaError(
                    f"the {what} of a task lack a column",
                    column=column,
                    hint=f"they have {', '.join(table.columns)}",
                )
            if column != "split" and table[column].null_count():
                row = int(table[column].is_null().arg_max() or 0)
                raise ValueInvalidError(
                    f"the {what} of a task hold an empty value", row=row, column=column
                )
    odd = rows.filter(~pl.col("label").is_in([0, 1]))
    if odd.height:
        raise ValueInvalidError("labels must be 0 or 1", column="label", value=odd["label"][0])
    if not (rows["split"] == "train").any():
        raise ValueInvalidError(
            "the task has no training rows", column="split", hint="move the split's dates"
        )


def _write_split(
    folder: Path, rows: pl.DataFrame, events: pl.DataFrame, rows_per_group: int
) -> None:
    events = events.sort(["user_id", "time"], maintain_order=True)
    rows = _add_history(rows.sort(["user_id", "time", "request_id"], maintain_order=True), events)
    with (
        _Writer(folder / "rows.parquet") as row_file,
        _Writer(folder / "events.parquet") as event_file,
    ):
        for users, part in _whole_users(rows, rows_per_group):
            row_file.write(part)
            event_file.write(events.filter(pl.col("user_id").is_between(*users)))
        if not rows.height:
            row_file.write(rows)
            event_file.write(events)


def _whole_users(
    rows: pl.DataFrame, rows_per_group: int
) -> Iterator[tuple[tuple[Any, Any], pl.DataFrame]]:
    """Slices of about `rows_per_group` rows that end where a user ends."""
    starts = np.append(np.flatnonzero(rows["user_id"].rle_id().diff().fill_null(1)), rows.height)
    begin = 0
    while begin < rows.height:
        end = int(starts[np.searchsorted(starts, begin + rows_per_group).clip(max=len(starts) - 1)])
        part = rows[begin:end]
        yield (part["user_id"][0], part["user_id"][-1]), part
        begin = end


def _add_history(rows: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """Columns `visible` and `frequency`; both tables are sorted by user and time."""
    event_user, row_user, n_users = _joint_codes(events["user_id"], rows["user_id"])
    event_item, row_item, n_items = _joint_codes(events["item_id"], rows["item_id"])
    event_time = events["time"].to_physical().to_numpy()
    # Position of each event inside its user's history.
    first = np.searchsorted(event_user, np.arange(n_users))
    place = np.arange(len(event_user)) - first[event_user]
    row_time = rows["time"].cast(events["time"].dtype).to_physical().to_numpy()
    visible = _count_before(event_user, event_time, row_user, row_time)
    frequency = _count_before(
        event_user * n_items + event_item, place, row_user * n_items + row_item, visible
    )
    return rows.with_columns(
        pl.Series("visible", visible, pl.Int32), pl.Series("frequency", frequency, pl.Int32)
    )


def _count_before(
    key: NDArray[np.int64],
    value: NDArray[np.int64],
    query_key: NDArray[np.int64],
    query_value: NDArray[np.int64],
) -> NDArray[np.int64]:
    """For each query, how many (key, value) have its key and a smaller value."""
    order = np.lexsort((value, key))
    key, value = key[order], value[order]
    # One number that sorts like the pair: the key and the rank of the value among all values.
    ranks = np.unique(value)
    packed = key * (len(ranks) + 1) + np.searchsorted(ranks, value)
    query = query_key * (len(ranks) + 1) + np.searchsorted(ranks, query_value)
    low = np.searchsorted(packed, query_key * (len(ranks) + 1))
    return np.searchsorted(packed, query) - low


def _joint_codes(
    left: pl.Series, right: pl.Series
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Codes that keep the order of the values, over both columns together."""
    name = left.name
    values = pl.concat([left.unique(), right.unique()]).unique().sort().to_frame()
    index = values.with_row_index("code").with_columns(pl.col("code").cast(pl.Int64))

    def codes(column: pl.Series) -> NDArray[np.int64]:
        return (
            column.to_frame()
            .join(index, on=name, how="left", maintain_order="left")["code"]
            .to_numpy()
        )

    return codes(left), codes(right), values.height


class _Writer:
    """Appends tables to one Parquet file, one row group each; ids become text."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, frame: pl.DataFrame) -> None:
        ids = [name for name in IDS if name in frame.columns]
        table = frame.with_columns(pl.col(ids).cast(pl.String)).to_arrow()
        table = table.cast(pa.schema([_narrow(field) for field in table.schema]))
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))


def _narrow(field: pa.Field) -> pa.Field:
    """Plain string types instead of large or view ones: those can be read as dictionaries."""
    kind = field.type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        kind = pa.string()
    elif pa.types.is_large_list(kind):
        plain = pa.types.is_primitive(kind.value_type)
        kind = pa.list_(kind.value_type if plain else pa.string())
    return pa.field(field.name, kind)
