"""Tasks and the streams of their rows."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from adwright.core.errors import (
    FileUnreadableError,
    SchemaError,
    ValueInvalidError,
)
from adwright.data.batches.stream import Stream, StreamConfig
from adwright.data.tasks.task import Task
from tests.broken.cases import Call, Case, Make, Shop, at_row, check, named, raw, task_of
from tests.support.data.ranking_task import ITEMS


def task_json(text: str) -> Make:
    return raw("task.json", text, lambda path: Task.open(path.parent))


def task_without_items(here: Path, shop: Shop) -> Call:
    shutil.copy(shop.task.folder / "task.json", here)
    return lambda: Task.open(here).items


def stream(change: Callable[[Path, Path], object]) -> Make:
    """All batches of the training rows, after `change` of the two files."""

    def make(here: Path, shop: Shop) -> Call:
        rows, events = here / "rows.parquet", here / "events.parquet"
        shutil.copy(shop.task.rows_path("train"), rows)
        shutil.copy(shop.task.events_path("train"), events)
        change(rows, events)
        spec, items = shop.task.spec, shop.task.item_table
        return lambda: list(
            Stream(rows, events, spec=spec, items=items, config=StreamConfig()).epoch()
        )

    return make


def rewrite(path: Path, **columns: Any) -> None:
    pl.read_parquet(path).with_columns(**columns).write_parquet(path)


def stream_where_rows_see(count: object) -> Make:
    return stream(lambda rows, _: rewrite(rows, visible=pl.lit(count)))


TASKS = [
    Case(
        "label 2",
        task_of(at_row(7, "label", 2)),
        ValueInvalidError,
        ("row 7, column label, value 2", "0 or 1"),
    ),
    Case(
        "no training rows",
        task_of(lambda rows: rows.with_columns(split=pl.lit("test"))),
        ValueInvalidError,
        ("no training rows", "column split", "move the split's dates"),
    ),
    Case(
        "unknown split",
        task_of(at_row(3, "split", "later")),
        ValueInvalidError,
        ("row 3, column split, value 'later'", "train, valid or test"),
    ),
    Case(
        "rows without a label",
        task_of(lambda rows: rows.drop("label")),
        SchemaError,
        ("rows of a task lack", "column label", "they have user_id"),
    ),
    Case(
        "float ids",
        task_of(lambda rows: rows.with_columns(user_id=pl.lit(1.0))),
        SchemaError,
        ("Float64", "column user_id", "ids and split are text"),
    ),
    Case(
        "null time",
        task_of(at_row(5, "time", None)),
        ValueInvalidError,
        ("row 5, column time", "empty value", "fill it in"),
    ),
    Case(
        "item twice",
        task_of(lambda rows: rows, items=pl.concat([ITEMS, ITEMS[:1]])),
        ValueInvalidError,
        ("row 40, column item_id, value 'i0'", "keep one row"),
    ),
    Case(
        "undeclared feature",
        task_of(lambda rows: rows.drop("price")),
        SchemaError,
        ("feature's column is missing", "column price"),
    ),
    Case(
        "feature of another type",
        task_of(lambda rows: rows.with_columns(price=pl.lit("dear"))),
        SchemaError,
        ("column price", "numbers, not String", "convert"),
    ),
    Case(
        "users of two types",
        lambda here, shop: task_of(
            lambda rows: rows, events=shop.events.with_columns(user_id=pl.lit(7))
        )(here, shop),
        SchemaError,
        ("column user_id", "cannot be compared: String and Int32", "same type"),
    ),
    *(
        Case(
            f"task.json is {text}",
            task_json(text),
            FileUnreadableError,
            ("task.json", said, "build"),
        )
        for text, said in (("[]", "no readable task"), ('{"format": 1}', "lacks id, data_hash"))
    ),
    Case(
        "task without its items",
        task_without_items,
        FileUnreadableError,
        ("items.parquet", "items of the task cannot be read", "build the task again"),
    ),
    Case(
        "task of another format",
        task_json('{"format": 99}'),
        FileUnreadableError,
        ("task.json, value 99", "another format", "build the task again"),
    ),
    Case(
        "task.json cut off",
        task_json('{"format": 1, "na'),
        FileUnreadableError,
        ("task.json", "no readable task", "build one"),
    ),
    Case(
        "different row groups",
        stream(lambda _, events: pl.read_parquet(events).write_parquet(events, row_group_size=20)),
        FileUnreadableError,
        ("rows.parquet", "different numbers of row groups", "write both files"),
    ),
    Case(
        "row sees more than there is",
        stream(lambda rows, _: rewrite(rows, visible=pl.lit(9999))),
        ValueInvalidError,
        ("column visible, value 9999", "more events than its person has", "write both files"),
    ),
    *(
        Case(
            f"row sees {seen}",
            stream_where_rows_see(seen),
            ValueInvalidError,
            ("column visible", "how many events it sees", "write both files"),
        )
        for seen in (None, -3, "all")
    ),
    Case(
        "stream without a feature",
        stream(lambda rows, _: pl.read_parquet(rows).drop("store").write_parquet(rows)),
        SchemaError,
        ("column store", "missing", "the table has"),
    ),
    Case(
        "stream of text",
        stream(lambda rows, _: rows.write_text("not Parquet")),
        FileUnreadableError,
        ("rows.parquet", "not a readable Parquet", "build the task again"),
    ),
]


@pytest.mark.parametrize("case", TASKS, ids=named)
def test_tasks(case: Case, tmp_path: Path, shop: Shop) -> None:
    check(case, tmp_path, shop)
