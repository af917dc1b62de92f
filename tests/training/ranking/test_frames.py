from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
import torch

from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.data.batches.batch import Batch
from adwright.data.tasks.task import Task
from adwright.training.ranking.fit import open_stream
from adwright.training.ranking.frames import batches_of, check_rows, needed_columns
from tests.support.data.ranking_task import FIT, START, shop_task


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return shop_task(tmp_path_factory.mktemp("shop") / "task", users=12)


@pytest.fixture(scope="module")
def rows(task: Task) -> pl.DataFrame:
    return task.rows("test").collect()


@pytest.fixture(scope="module")
def events(task: Task) -> pl.DataFrame:
    return pl.read_parquet(task.events_path("test"))


def seen_by_row(batch: Batch) -> dict[int, tuple[object, ...]]:
    """Everything that a row of a batch tells a model, by the row's number."""
    found: dict[int, tuple[object, ...]] = {}
    histories = batch.history.to_lists()
    owner = torch.repeat_interleave(torch.arange(len(batch.history)), batch.group_sizes)
    for at in range(len(batch)):
        history = histories[int(owner[at])][int(batch.begin[at]) : int(batch.end[at])]
        codes = tuple(int(codes[at]) for _, codes in sorted(batch.categorical.items()))
        numbers = tuple(batch.numeric[at].tolist())
        found[int(batch.row[at])] = (int(batch.item[at]), tuple(history), codes, numbers)
    return found


def all_seen(batches: list[Batch]) -> dict[int, tuple[object, ...]]:
    return {row: seen for batch in batches for row, seen in seen_by_row(batch).items()}


def frames(task: Task, rows: pl.DataFrame, events: pl.DataFrame, **more: int) -> list[Batch]:
    found = batches_of(rows, events, spec=task.spec, items=task.item_table, **more)
    return list(found)


@pytest.mark.parametrize("max_history", [0, 3])
def test_tables_give_the_same_as_the_files_of_a_task(
    task: Task, rows: pl.DataFrame, events: pl.DataFrame, max_history: int
) -> None:
    from dataclasses import replace

    config = replace(FIT.stream, negative_rate=1.0, shuffle=False, max_history=max_history)
    stream = open_stream(task, "test", config)
    expected = all_seen([batch for batch, _ in stream.epoch()])
    assert all_seen(frames(task, rows, events, max_history=max_history)) == expected


def test_counts_in_the_rows_are_not_believed(
    task: Task, rows: pl.DataFrame, events: pl.DataFrame
) -> None:
    lying = rows.with_columns(visible=pl.lit(10_000, pl.Int32), frequency=pl.lit(7, pl.Int32))
    without = rows.drop("visible", "frequency")
    plain = all_seen(frames(task, rows, events))
    assert all_seen(frames(task, lying, events)) == plain
    assert all_seen(frames(task, without, events)) == plain


def test_an_event_at_the_time_of_a_row_is_not_its_history(task: Task, rows: pl.DataFrame) -> None:
    row = rows[:1].with_columns(time=pl.lit(START))
    events = pl.DataFrame(
        {
            "user_id": [row["user_id"][0]] * 3,
            "item_id": ["i1", "i2", "i3"],
            "time": [START - timedelta(seconds=1), START, START + timedelta(seconds=1)],
        }
    )
    (batch,) = frames(task, row, events)
    assert batch.history.to_lists() == [task.item_table.rows(pl.Series(["i1"]).to_arrow()).tolist()]


def test_without_a_time_all_events_are_history(task: Task, rows: pl.DataFrame) -> None:
    row = rows[:1].drop("time")
    events = pl.DataFrame(
        {"user_id": row["user_id"].to_list() * 2, "item_id": ["i1", "i2"], "time": [START] * 2}
    )
    (batch,) = frames(task, row, events)
    assert batch.history.lengths.tolist() == [2]


def test_the_unknown_is_code_zero(task: Task, rows: pl.DataFrame, events: pl.DataFrame) -> None:
    odd = rows[:1].with_columns(
        user_id=pl.lit("nobody"), item_id=pl.lit("nothing"), store=pl.lit("nowhere")
    )
    (batch,) = frames(task, odd, events)
    assert batch.item.tolist() == [0]
    assert batch.categorical["store"].tolist() == [0]
    assert batch.categorical["user_id"].tolist() == [0]
    assert batch.history.lengths.tolist() == [0]


def test_many_rows_of_one_person_are_cut_into_groups(
    task: Task, rows: pl.DataFrame, events: pl.DataFrame
) -> None:
    user = rows["user_id"][0]
    many = pl.concat([rows.filter(user_id=user)] * 40)
    batches = frames(task, many, events)
    assert max(int(batch.group_sizes.max()) for batch in batches) <= 512
    assert sum(len(batch) for batch in batches) == many.height


def test_missing_columns_are_all_named(task: Task, rows: pl.DataFrame) -> None:
    assert needed_columns(task.spec) == ("user_id", "item_id", "store", "popularity", "price")
    with pytest.raises(SchemaError, match=r"store, price.*my\.csv"):
        check_rows(rows.drop("store", "price").columns, task.spec, file="my.csv")


@pytest.mark.parametrize("column", ["user_id", "item_id", "time"])
def test_bad_cells_and_columns_are_refused(
    task: Task, rows: pl.DataFrame, events: pl.DataFrame, column: str
) -> None:
    empty = pl.when(pl.int_range(pl.len()) != 3).then(pl.col(column)).alias(column)
    with pytest.raises(ValueInvalidError, match=f"rows hold.*row 3, column {column}"):
        frames(task, rows.with_columns(empty), events)
    with pytest.raises(ValueInvalidError, match=f"events hold.*row 3, column {column}"):
        frames(task, rows, events.with_columns(empty))
    with pytest.raises(SchemaError, match=column):
        frames(task, rows, events.drop(column))


def test_whole_numbers_may_stand_for_times(
    task: Task, rows: pl.DataFrame, events: pl.DataFrame
) -> None:
    count = pl.col("time").dt.epoch("s")
    numbered = frames(task, rows.with_columns(count), events.with_columns(count))
    assert all_seen(numbered) == all_seen(frames(task, rows, events))
    timeless = frames(task, rows[:1].drop("time"), events.with_columns(count))
    assert timeless[0].history.lengths.tolist() == [
        events.filter(user_id=rows["user_id"][0]).height
    ]
    with pytest.raises(SchemaError, match="like that of the events"):
        frames(task, rows, events.with_columns(count))


def test_rows_that_were_drawn_say_so(task: Task, rows: pl.DataFrame, events: pl.DataFrame) -> None:
    drawn = rows.with_columns(draw_offset=pl.int_range(pl.len()) / 10)
    for batch in frames(task, drawn, events):
        assert batch.offset is not None
        np.testing.assert_allclose(batch.offset.numpy(), batch.row.numpy() / 10, rtol=1e-6)
    assert all(batch.offset is None for batch in frames(task, rows, events))
