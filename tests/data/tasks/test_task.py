"""What is promised of these, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import FileUnreadableError, ResourceError, SchemaError, ValueInvalidError
from adwright.data.features import Feature, fit_spec
from adwright.data.tasks.history import add_history
from adwright.data.tasks.split import SPLITS, Split, split_by_time, split_last
from adwright.data.tasks.task import (
    SplitWriter,
    Task,
    TaskPart,
    cached_task,
    to_storage,
    write_task_parts,
)
from tests.support.data.small_log import FEATURES, Tables, make_tables, write


def hashes(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("split", SPLITS)
def test_each_row_is_there_once_with_its_columns(
    small_task: Task, tables: Tables, split: Split
) -> None:
    added = ["visible", "frequency"]
    expected = tables.rows.filter(pl.col("split") == split).drop("split")
    found = small_task.rows(split).collect()
    order = found.columns[:-2]
    assert found.columns == [*expected.columns, *added]
    assert sorted(map(repr, found.select(order).rows())) == sorted(map(repr, expected.rows()))
    keys = found.select("user_id", "time", "request_id").rows()
    assert keys == sorted(keys)
    assert small_task.n_rows(split) == expected.height
    counts = small_task.meta["splits"][split]
    assert counts["positives"] == expected["label"].sum()
    assert counts["users"] == expected["user_id"].n_unique()


@pytest.mark.parametrize("split", SPLITS)
def test_what_a_row_knows_of_its_history_equals_a_brute_force_filter(
    small_task: Task, tables: Tables, split: Split
) -> None:
    log = tables.events.rows()
    for row in small_task.rows(split).collect().iter_rows(named=True):
        before = [item for user, item, time in log if user == row["user_id"] and time < row["time"]]
        assert row["visible"] == len(before)
        assert row["frequency"] == before.count(row["item_id"])


@pytest.mark.parametrize("split", SPLITS)
def test_row_groups_hold_the_same_users_whole(
    small_task: Task, tables: Tables, split: Split
) -> None:
    rows = pq.ParquetFile(small_task.rows_path(split))
    events = pq.ParquetFile(small_task.events_path(split))
    assert rows.num_row_groups == events.num_row_groups
    seen: set[str] = set()
    log = tables.events
    for group in range(rows.num_row_groups):
        users = set(rows.read_row_group(group)["user_id"].to_pylist())
        assert not users & seen
        seen |= users
        expected = log.filter(pl.col("user_id").is_in(users)).sort(
            "user_id", "time", maintain_order=True
        )
        found = pl.DataFrame(pl.from_arrow(events.read_row_group(group)))
        assert found.rows() == expected.select(found.columns).rows()
        if group + 1 < rows.num_row_groups:
            assert rows.metadata.row_group(group).num_rows >= 150
    rows.close()
    events.close()
    assert seen == set(tables.rows.filter(pl.col("split") == split)["user_id"])


def test_rows_per_group_cuts_the_files_and_nothing_else(tmp_path: Path, tables: Tables) -> None:
    many = write(tmp_path / "many", tables, rows_per_group=1)
    few = write(tmp_path / "few", tables, rows_per_group=10**6)
    assert pq.read_metadata(few.rows_path("train")).num_row_groups == 1
    assert (
        pq.read_metadata(many.rows_path("train")).num_row_groups
        == few.meta["splits"]["train"]["users"]
    )
    for split in SPLITS:
        assert many.rows(split).collect().equals(few.rows(split).collect())
    assert many.meta == few.meta


def test_the_spec_is_fitted_on_training_rows_alone(small_task: Task, tables: Tables) -> None:
    train = tables.rows.filter(pl.col("split") == "train")
    spec = {f.name: f for f in small_task.spec.features}
    assert set(spec["store"].vocabulary) == set(train["store"].drop_nulls())
    assert set(spec["item_id"].vocabulary) == set(train["item_id"])
    rows, items = small_task.rows("train"), tables.items.lazy()
    assert small_task.spec == fit_spec(FEATURES, rows, items)
    assert Task.open(small_task.folder).spec == small_task.spec
    assert len(small_task.item_table) == tables.items.height + 1
    assert small_task.items.rows() == tables.items.rows()


def test_the_kinds_of_its_history_are_told(tmp_path: Path, tables: Tables) -> None:
    assert write(tmp_path / "task", tables, history=("view",)).history_kinds == ("view",)
    older = write(tmp_path / "older", tables)
    meta = {name: value for name, value in older.meta.items() if name != "history"}
    (older.folder / "task.json").write_text(json.dumps(meta), encoding="utf-8")
    assert Task.open(older.folder).history_kinds == ("click", "purchase")
    assert older.popularity_kinds is None


def test_parts_give_the_same_files_as_the_whole(tmp_path: Path, tables: Tables) -> None:
    whole = write(tmp_path / "whole", tables)
    users = tables.rows["user_id"].unique().sort().to_list()

    def parts() -> Any:
        for start in range(0, len(users), 4):
            mine = pl.col("user_id").is_in(users[start : start + 4])
            yield TaskPart(tables.rows.filter(mine), tables.events)

    made = write_task_parts(
        tmp_path / "parts",
        name="small",
        protocol="made up",
        data_hash="0" * 64,
        parts=parts(),
        items=tables.items,
        features=FEATURES,
        rows_per_group=150,
    )
    assert hashes(made.folder) == hashes(whole.folder)


def test_ids_may_be_integers_and_labels_booleans(tmp_path: Path, tables: Tables) -> None:
    number = pl.col("user_id").str.slice(1).cast(pl.Int32)
    numbers = tables._replace(
        rows=tables.rows.with_columns(number, pl.col("label").cast(pl.Boolean)),
        events=tables.events.with_columns(number),
    )
    task = write(tmp_path / "numbers", numbers)
    rows = task.rows("train").collect()
    text = write(tmp_path / "text", tables).rows("train").collect()
    assert rows.schema["user_id"] == pl.String
    # Integers sort as numbers: the same order here, since the texts have leading zeros.
    assert rows["visible"].to_list() == text["visible"].to_list()
    assert rows["label"].cast(pl.Int8).to_list() == text["label"].to_list()


def test_another_process_may_have_been_faster(tmp_path: Path, tables: Tables) -> None:
    folder = tmp_path / "task"
    built: list[int] = []

    def build() -> Task:
        built.append(1)
        if len(built) == 1:
            # Meanwhile another process finishes the same task.
            write(folder, tables)
        return write(folder, tables)

    task = cached_task(folder, build)
    assert task.folder == folder
    assert cached_task(folder, build) == task
    assert built == [1]
    (folder / "task.json").unlink()
    with pytest.raises(ResourceError, match="exists already"):
        cached_task(folder, build)


def test_no_task_and_another_format_are_refused(tmp_path: Path, tables: Tables) -> None:
    with pytest.raises(FileUnreadableError, match="no readable task"):
        Task.open(tmp_path)
    (tmp_path / "task.json").write_text("{", encoding="utf-8")
    with pytest.raises(FileUnreadableError, match="no readable task"):
        Task.open(tmp_path)
    task = write(tmp_path / "old", tables)
    changed = {**task.meta, "format": 99}
    (task.folder / "task.json").write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(FileUnreadableError, match="another format") as caught:
        Task.open(task.folder)
    assert caught.value.value == 99


ROWS, EVENTS, ITEMS = make_tables(3)
BROKEN: dict[str, tuple[dict[str, pl.DataFrame], type[Exception], str]] = {
    "rows without labels": ({"rows": ROWS.drop("label")}, SchemaError, "column label"),
    "events without a time": ({"events": EVENTS.drop("time")}, SchemaError, "column time"),
    "items without ids": ({"items": ITEMS.drop("item_id")}, SchemaError, "column item_id"),
    "a float id": (
        {"rows": ROWS.with_columns(user_id=pl.lit(1.5))},
        SchemaError,
        "cannot be of type Float64",
    ),
    "a time in words": (
        {"rows": ROWS.with_columns(time=pl.lit("monday"))},
        SchemaError,
        "cannot be of type String",
    ),
    "a label in words": (
        {"rows": ROWS.with_columns(label=pl.lit("yes"))},
        SchemaError,
        "cannot be of type String",
    ),
    "an empty item": (
        {"rows": ROWS.with_columns(item_id=pl.when(pl.arange(0, pl.len()) != 2).then("item_id"))},
        ValueInvalidError,
        "row 2, column item_id",
    ),
    "a label of 2": (
        {"rows": ROWS.with_columns(label=pl.lit(2, pl.Int8))},
        ValueInvalidError,
        "label must be 0 or 1 [row 0, column label, value 2]",
    ),
    "an unknown split": (
        {"rows": ROWS.with_columns(split=pl.lit("later"))},
        ValueInvalidError,
        "split must be train, valid or test",
    ),
    "nothing to train on": (
        {"rows": ROWS.with_columns(split=pl.lit("test"))},
        ValueInvalidError,
        "no training rows",
    ),
    "an item twice": (
        {"items": pl.concat([ITEMS, ITEMS[3:4]])},
        ValueInvalidError,
        "row 25, column item_id, value 'i3'",
    ),
    "a feature without its column": ({"rows": ROWS.drop("store")}, SchemaError, "column store"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_tables_are_refused_and_leave_nothing(tmp_path: Path, name: str) -> None:
    changes, kind, words = BROKEN[name]
    with pytest.raises(kind) as caught:
        write(tmp_path / "task", Tables(ROWS, EVENTS, ITEMS)._replace(**changes))
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def part_error(folder: Path, parts: list[TaskPart]) -> None:
    write_task_parts(
        folder,
        name="n",
        protocol="p",
        data_hash="h",
        parts=parts,
        items=ITEMS,
        features=[Feature("item_id", "categorical", "item")],
    )


def test_parts_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueInvalidError, match="a user comes in two parts"):
        part_error(tmp_path / "task", [TaskPart(ROWS, EVENTS), TaskPart(ROWS[:1], EVENTS)])
    other = TaskPart(ROWS[:1].with_columns(user_id=pl.lit("new")).drop("price"), EVENTS)
    with pytest.raises(SchemaError, match="two parts differ"):
        part_error(tmp_path / "task", [TaskPart(ROWS, EVENTS), other])
    with pytest.raises(ValueInvalidError, match="no training rows"):
        part_error(tmp_path / "task", [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("table", "column"),
    [("rows", "user_id"), ("rows", "request_id"), ("events", "item_id"), ("items", "item_id")],
)
def test_an_id_of_spaces_is_refused(
    tmp_path: Path, tables: Tables, table: str, column: str
) -> None:
    whole = getattr(tables, table)
    row = pl.int_range(whole.height) == 1
    broken = whole.with_columns(
        pl.when(row).then(pl.lit("  ")).otherwise(pl.col(column).cast(pl.String)).alias(column)
    )
    with pytest.raises(ValueInvalidError, match=f"{table} of a task hold a blank id") as found:
        write(tmp_path / "task", tables._replace(**{table: broken}))
    assert f"row 1, column {column}" in str(found.value)
    assert not (tmp_path / "task").exists()


def frames(lengths: list[tuple[int, int]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows and events of users 0, 1, ...: (rows, events) of each."""
    rows = [user for user, (n, _) in enumerate(lengths) for _ in range(n)]
    events = [user for user, (_, n) in enumerate(lengths) for _ in range(n)]
    return (
        pl.DataFrame(
            {"user_id": rows, "label": [r % 2 for r in rows]},
            schema={"user_id": pl.Int64, "label": pl.Int8},
        ),
        pl.DataFrame({"user_id": events}, schema={"user_id": pl.Int64}),
    )


def written(folder: Path, name: str) -> list[list[str]]:
    """The user_id column of each row group."""
    with pq.ParquetFile(folder / f"{name}.parquet") as file:
        groups = [file.read_row_group(g) for g in range(file.num_row_groups)]
    return [group["user_id"].to_pylist() for group in groups]


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), min_size=1, max_size=12),
    st.integers(1, 12),
    st.integers(1, 12),
)
def test_groups_end_with_the_user_that_fills_them(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[tuple[int, int]],
    rows_per_group: int,
    step: int,
) -> None:
    expected: list[list[int]] = [[]]
    for user, (n, _) in enumerate(lengths):
        if sum(lengths[u][0] for u in expected[-1]) >= rows_per_group:
            expected.append([])
        expected[-1].append(user)
        assert n > 0
    folder = tmp_path_factory.mktemp("split")
    rows, events = frames(lengths)
    with SplitWriter(folder, rows_per_group) as writer:
        for start in range(0, len(lengths), step):
            mine = pl.col("user_id").is_between(start, start + step - 1)
            writer.add(rows.filter(mine), events.filter(mine))
    assert written(folder, "rows") == [
        [str(u) for u in users for _ in range(lengths[u][0])] for users in expected
    ]
    assert written(folder, "events") == [
        [str(u) for u in users for _ in range(lengths[u][1])] for users in expected
    ]
    assert (writer.n_rows, writer.n_users) == (rows.height, len(lengths))
    assert writer.n_positives == rows["label"].sum()


def test_a_split_without_rows_keeps_its_columns(tmp_path: Path) -> None:
    rows, events = frames([])
    with SplitWriter(tmp_path, 10) as writer:
        writer.add(rows, events)
        writer.add(rows, events)
    assert written(tmp_path, "rows") == written(tmp_path, "events") == [[]]
    assert pq.read_schema(tmp_path / "rows.parquet").names == ["user_id", "label"]


def test_an_error_closes_the_files_and_writes_no_rest(tmp_path: Path) -> None:
    rows, events = frames([(2, 1), (2, 1)])

    def fail() -> None:
        with SplitWriter(tmp_path, 3) as writer:
            writer.add(rows[:2], events[:1])
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert not (tmp_path / "rows.parquet").exists()


def test_ids_become_text_and_other_columns_stay_what_they_are() -> None:
    frame = pl.DataFrame(
        {
            "user_id": [20, 3],
            "item_id": ["b", "a"],
            "store": pl.Series(["x", None], dtype=pl.Categorical),
            "kind": pl.Series(["p", "q"], dtype=pl.Enum(["q", "p"])),
            "note": ["n", None],
            "tags": [["x"], []],
            "sizes": [[1], [2, 3]],
            "price": [1.5, None],
        }
    )
    table = to_storage(frame)
    for name in ("user_id", "item_id", "store", "kind", "note"):
        assert table.schema.field(name).type == pa.dictionary(pa.int32(), pa.string())
    assert table.schema.field("tags").type == pa.list_(pa.string())
    assert table.schema.field("sizes").type == pa.list_(pa.int64())
    expected = frame.with_columns(pl.col("user_id").cast(pl.String))
    assert table.to_pylist() == expected.to_dicts()


START = datetime(2024, 1, 1)
HISTORY_ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 5)), max_size=15
)


def frame(rows: list[tuple[int, int, int]], *, text: bool = False) -> pl.DataFrame:
    table = pl.DataFrame(
        [(user, item, START + timedelta(hours=hour)) for user, item, hour in rows],
        schema={"user_id": pl.Int64, "item_id": pl.Int64, "time": pl.Datetime("us")},
        orient="row",
    ).sort("user_id", "time", maintain_order=True)
    return table.with_columns(pl.col("user_id", "item_id").cast(pl.String)) if text else table


@given(HISTORY_ROWS, HISTORY_ROWS, st.booleans())
def test_counts_equal_a_brute_force_filter(
    rows: list[tuple[int, int, int]], events: list[tuple[int, int, int]], text: bool
) -> None:
    users = {user for user, _, _ in rows}
    asked = frame(rows, text=text)
    log = frame([event for event in events if event[0] in users], text=text)
    found = add_history(asked, log)
    assert found.drop("visible", "frequency").equals(asked)
    assert found.schema["visible"] == found.schema["frequency"] == pl.Int32
    for row in found.iter_rows(named=True):
        before = [
            event
            for event in log.iter_rows(named=True)
            if event["user_id"] == row["user_id"] and event["time"] < row["time"]
        ]
        assert row["visible"] == len(before)
        assert row["frequency"] == sum(event["item_id"] == row["item_id"] for event in before)


#: Items 0 to 4: no value, one, several, all.


SPLIT_START = datetime(2024, 1, 1, tzinfo=UTC)


@given(st.lists(st.integers(0, 20), max_size=30), st.integers(0, 20), st.integers(0, 20))
def test_time_equals_a_slow_reference(days: list[int], one: int, other: int) -> None:
    first, second = sorted((one, other))
    frame = pl.DataFrame({"day": days}, schema={"day": pl.Int64})
    found = frame.select(split_by_time(pl.col("day"), first, second))["split"]
    assert found.to_list() == [
        "train" if day < first else "valid" if day < second else "test" for day in days
    ]
    # The same days as instants are split alike, lazily too.
    instants = frame.lazy().select(time=pl.lit(SPLIT_START) + pl.duration(days=pl.col("day")))
    bounds = SPLIT_START + timedelta(first), SPLIT_START + timedelta(second)
    assert instants.select(split_by_time(pl.col("time"), *bounds)).collect()["split"].equals(found)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8))
def test_the_last_events_are_held_out(lengths: list[int]) -> None:
    left = [place for length in lengths for place in range(length - 1, -1, -1)]
    frame = pl.DataFrame({"left": left}, schema={"left": pl.UInt32})
    found = frame.select(split_last(pl.col("left")))["split"]
    assert found.to_list() == [("test", "valid", "train")[min(place, 2)] for place in left]
    assert found.to_list().count("test") == len(lengths)
