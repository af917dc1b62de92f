"""A ranking task with drawn negatives, against the log it was made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ConfigError
from adwright.data.batches.batch import DRAW_OFFSET
from adwright.data.sources.log import Log
from adwright.data.tasks.own.drawn import DrawnConfig, build_drawn_task, drawn_task
from adwright.data.tasks.own.next_item import NextItemConfig, build_next_item
from adwright.data.tasks.split import SPLITS
from adwright.data.tasks.task import Task
from tests.data.tasks.own.test_next_item import shop


def all_rows(task: Task) -> pl.DataFrame:
    return pl.concat(
        [task.rows(split).collect().with_columns(split=pl.lit(split)) for split in SPLITS]
    )


@pytest.fixture(scope="module")
def log() -> Log:
    return shop(again=True)


@pytest.fixture(scope="module")
def task(log: Log, tmp_path_factory: pytest.TempPathFactory) -> Task:
    return build_drawn_task(log, tmp_path_factory.mktemp("drawn"), name="shop")


def test_what_was_taken_is_positive_and_the_rest_is_drawn(log: Log, task: Task) -> None:
    rows, events = all_rows(task), log.events.collect()
    taken = rows.filter(pl.col("label") == 1)
    assert taken.height == events.height
    pairs = taken.select("user_id", "item_id", "time").sort(pl.all())
    assert pairs.equals(
        events.select("user_id", "item_id", pl.col("time")).sort(pl.all()), null_equal=True
    )
    # Two items a visit, nine drawn for each, less those that are struck out.
    negatives = rows.height - taken.height
    assert 0.8 * 9 * taken.height < negatives < 9 * taken.height
    both = rows.group_by("request_id", "item_id").agg(pl.col("label").n_unique())
    assert both["label"].max() == 1
    assert task.history_kinds == task.popularity_kinds == ("purchase",)
    assert "Drawn negatives" in task.protocol


def test_the_place_of_a_row_does_not_tell_its_label(task: Task) -> None:
    rows = task.rows("train").collect()
    place = pl.int_range(pl.len()).over("request_id") / pl.len().over("request_id")
    means = rows.with_columns(place=place).group_by("label").agg(pl.col("place").mean())
    values = means["place"].to_list()
    assert abs(values[0] - values[1]) < 0.02


def test_popularity_is_of_earlier_days(log: Log, task: Task) -> None:
    events = log.events.collect()
    for row in all_rows(task).sample(50, seed=1).iter_rows(named=True):
        earlier = events.filter(
            pl.col("item_id") == row["item_id"], pl.col("time").dt.date() < row["time"].date()
        )
        assert row["popularity"] == earlier.height
        before = events.filter(pl.col("user_id") == row["user_id"], pl.col("time") < row["time"])
        assert row["visible"] == before.height
        assert row["frequency"] == before.filter(pl.col("item_id") == row["item_id"]).height


def test_the_offset_undoes_the_drawing(log: Log, task: Task, tmp_path: Path) -> None:
    """By the formula of the module, item by item, and by what is drawn on average."""
    rows = all_rows(task)
    source = build_next_item(log, name="shop").task
    count = dict(zip(source.items.ids, source.count[1:].tolist(), strict=True))
    weight = {item: number**0.75 for item, number in count.items()}
    total, items = sum(weight.values()), len(count)
    events = log.events.collect()
    for row in rows.sample(50, seed=2).iter_rows(named=True):
        mine = events.filter(pl.col("user_id") == row["user_id"], pl.col("time") < row["time"])
        had = mine["item_id"].unique().to_list()
        q = 0.4 * weight[row["item_id"]] / total + 0.2 / items
        q += 0.4 / len(had) if row["item_id"] in had else 0
        assert row[DRAW_OFFSET] == pytest.approx(-np.log(items * q), abs=1e-5)
    # Uniform draws need no correction.
    uniform = build_drawn_task(log, tmp_path, DrawnConfig(popular=0.0, own=0.0))
    assert all_rows(uniform)[DRAW_OFFSET].abs().max() < 1e-6  # type: ignore[operator]


def test_own_items_are_drawn_only_where_users_take_them_again(task: Task, tmp_path: Path) -> None:
    alone = build_drawn_task(shop(), tmp_path)
    rows = all_rows(alone)
    assert "of the person's past (0%)" in Task.open(next(tmp_path.iterdir())).protocol
    assert (rows.filter(pl.col("label") == 1)["frequency"] == 0).all()
    # What is 0 of all that may be shown is nothing to learn from.
    learned = [{one.name for one in of.spec.features} for of in (alone, task)]
    assert ["frequency" in names for names in learned] == [False, True]


@pytest.mark.parametrize(
    "config",
    [
        DrawnConfig(negatives=4),
        DrawnConfig(popular=0.1),
        DrawnConfig(own=0.1),
        DrawnConfig(most_rows=5_000),
        DrawnConfig(min_count=10_000),
        DrawnConfig(seed=3),
        DrawnConfig(next_item=NextItemConfig(split="last")),
    ],
)
def test_every_setting_changes_the_task(
    config: DrawnConfig, log: Log, task: Task, tmp_path: Path
) -> None:
    other = build_drawn_task(log, tmp_path, config, name="shop")
    assert other.data_hash != task.data_hash
    assert other.meta["splits"] != task.meta["splits"] or other.meta["spec"] != task.meta["spec"]
    if config.most_rows == 5_000:
        assert all_rows(other).height <= 5_000


def test_a_task_is_built_once_and_in_parts(log: Log, task: Task, tmp_path: Path) -> None:
    source = build_next_item(log, name="shop")
    parts = drawn_task(source, tmp_path, visits_per_part=100)
    assert parts.data_hash == task.data_hash
    assert parts.meta["splits"]["train"]["users"] == task.meta["splits"]["train"]["users"]
    assert drawn_task(source, tmp_path).folder == parts.folder


@pytest.mark.parametrize(
    "wrong", [{"negatives": 0}, {"popular": 1.2, "own": 0.0}, {"min_count": 0}, {"most_rows": -1}]
)
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        DrawnConfig(**wrong)  # type: ignore[arg-type]
