"""The item-item score of a task's rows against scoring each row by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.data.sequences.pasts import Pasts, moment_numbers
from adwright.data.tasks.task import Split, Task
from adwright.models.retrieval.item_item import ItemItemConfig
from adwright.models.retrieval.neighbours import NeighbourConfig, count_neighbours
from adwright.training.ranking.baselines import fit_rows_item_item, rows_item_item
from tests.support.data.ranking_task import shop_task

CONFIG = ItemItemConfig(neighbours=NeighbourConfig(window=2), recency=0.6)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return shop_task(tmp_path_factory.mktemp("shop") / "task", users=12)


def codes_of(task: Task, ids: pl.Series) -> np.ndarray:
    return task.item_table.rows(ids.to_arrow())


def test_the_table_knows_no_validation_and_no_test(task: Task) -> None:
    rows = task.rows("train").collect()
    last = rows.group_by("user_id").agg(pl.col("time").max())
    events = pl.read_parquet(task.events_path("train")).join(last, on="user_id", suffix="_last")
    seen = events.filter(pl.col("time") < pl.col("time_last")).sort("user_id", "time")
    number = seen.group_by("user_id").len().sort("user_id")["len"].to_numpy()
    offsets = np.concatenate(([0], np.cumsum(number))).astype(np.int64)
    moment = moment_numbers(offsets, seen["time"].to_physical().to_numpy())
    item = codes_of(task, seen["item_id"])
    table = count_neighbours(item, moment, offsets, len(task.item_table) - 1, CONFIG.neighbours)
    found = fit_rows_item_item(task, CONFIG)
    np.testing.assert_allclose(np.sort(found.neighbours.score), np.sort(table.score))
    assert np.array_equal(found.count, np.bincount(item, minlength=len(task.item_table)))


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_row_is_scored_by_what_its_user_took_before(task: Task, split: Split) -> None:
    model = fit_rows_item_item(task, CONFIG)
    found = rows_item_item(model, task, split)
    rows = task.rows(split).collect()
    events = pl.read_parquet(task.events_path(split))
    assert found.shape == (len(rows),)
    for n in range(0, len(rows), 37):
        row = rows.row(n, named=True)
        past = events.filter((pl.col("user_id") == row["user_id"]) & (pl.col("time") < row["time"]))
        item = codes_of(task, past["item_id"])
        whole = np.array([0, len(item)])
        moment = moment_numbers(whole, past["time"].to_physical().to_numpy())
        one = Pasts.between(item, moment, whole[:1], whole[1:])
        (asked,) = codes_of(task, pl.Series([row["item_id"]]))
        assert found[n] == pytest.approx(model.scores(one)[0, asked], rel=1e-5)
    assert found.any()


def test_the_settings_count(task: Task, tmp_path: Path) -> None:
    plain = fit_rows_item_item(task)
    assert plain.config == ItemItemConfig()
    one, other = (
        rows_item_item(m, task, "test") for m in (plain, fit_rows_item_item(task, CONFIG))
    )
    assert not np.array_equal(one, other)
