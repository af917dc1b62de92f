from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.data.sequences.pasts import Pasts, moment_numbers
from adwright.data.tasks.split import Split
from adwright.data.tasks.task import Task
from adwright.metrics.classification import auc, log_loss
from adwright.models.retrieval.item_item import ItemItemConfig, NeighbourConfig, count_neighbours
from adwright.training.ranking.fit import (
    fit_rows_item_item,
    has_rules,
    rows_item_item,
    rule_probabilities,
)
from tests.support.data.ranking_task import shop_task


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return shop_task(tmp_path_factory.mktemp("shop") / "task")


def test_counts_keep_their_ranking(task: Task) -> None:
    test = task.rows("test").collect()
    found = rule_probabilities(task, seed=0)
    assert list(found) == ["popularity", "frequency", "item-item", "logistic"]
    scores = {name: test[name].to_numpy() for name in ("popularity", "frequency")}
    scores["item-item"] = rows_item_item(fit_rows_item_item(task), task, "test")
    for name, score in scores.items():
        plain = auc(test["label"].to_numpy(), score)
        measured = auc(test["label"].to_numpy(), found[name])
        # A rule that is worse than chance on validation rows is turned round.
        assert measured == pytest.approx(plain) or measured == pytest.approx(1 - plain)


def test_the_logistic_takes_all_three(task: Task) -> None:
    label = task.rows("test").collect()["label"].to_numpy()
    found = rule_probabilities(task, seed=0)
    # Shoppers take what is of the type that they took before, which the table shows.
    assert auc(label, found["item-item"]) > 0.6
    assert auc(label, found["logistic"]) > auc(label, found["frequency"])
    assert log_loss(label, found["logistic"]) < log_loss(label, found["popularity"])


def test_a_task_without_counts_has_no_rules(task: Task, tmp_path: Path) -> None:
    assert has_rules(task)
    (tmp_path / "test").mkdir()
    rows = task.rows("test").drop("popularity").collect()
    rows.write_parquet(tmp_path / "test" / "rows.parquet")
    assert not has_rules(Task(tmp_path))
    assert isinstance(rows, pl.DataFrame)


CONFIG = ItemItemConfig(neighbours=NeighbourConfig(window=2), recency=0.6)


@pytest.fixture(scope="module")
def task_item_item_rows(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return shop_task(tmp_path_factory.mktemp("shop") / "task_item_item_rows", users=12)


def codes_of(task: Task, ids: pl.Series) -> np.ndarray:
    return task.item_table.rows(ids.to_arrow())


def test_the_table_knows_no_validation_and_no_test(task_item_item_rows: Task) -> None:
    rows = task_item_item_rows.rows("train").collect()
    last = rows.group_by("user_id").agg(pl.col("time").max())
    events = pl.read_parquet(task_item_item_rows.events_path("train")).join(
        last, on="user_id", suffix="_last"
    )
    seen = events.filter(pl.col("time") < pl.col("time_last")).sort("user_id", "time")
    number = seen.group_by("user_id").len().sort("user_id")["len"].to_numpy()
    offsets = np.concatenate(([0], np.cumsum(number))).astype(np.int64)
    moment = moment_numbers(offsets, seen["time"].to_physical().to_numpy())
    item = codes_of(task_item_item_rows, seen["item_id"])
    table = count_neighbours(
        item, moment, offsets, len(task_item_item_rows.item_table) - 1, CONFIG.neighbours
    )
    found = fit_rows_item_item(task_item_item_rows, CONFIG)
    np.testing.assert_allclose(np.sort(found.neighbours.score), np.sort(table.score))
    assert np.array_equal(
        found.count, np.bincount(item, minlength=len(task_item_item_rows.item_table))
    )


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_row_is_scored_by_what_its_user_took_before(
    task_item_item_rows: Task, split: Split
) -> None:
    model = fit_rows_item_item(task_item_item_rows, CONFIG)
    found = rows_item_item(model, task_item_item_rows, split)
    rows = task_item_item_rows.rows(split).collect()
    events = pl.read_parquet(task_item_item_rows.events_path(split))
    assert found.shape == (len(rows),)
    for n in range(0, len(rows), 37):
        row = rows.row(n, named=True)
        past = events.filter((pl.col("user_id") == row["user_id"]) & (pl.col("time") < row["time"]))
        item = codes_of(task_item_item_rows, past["item_id"])
        whole = np.array([0, len(item)])
        moment = moment_numbers(whole, past["time"].to_physical().to_numpy())
        one = Pasts.between(item, moment, whole[:1], whole[1:])
        (asked,) = codes_of(task_item_item_rows, pl.Series([row["item_id"]]))
        assert found[n] == pytest.approx(model.scores(one)[0, asked], rel=1e-5)
    assert found.any()
