from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from adwright.core.errors import DataError
from adwright.models.retrieval.two_tower import TwoTowerConfig
from adwright.training.retrieval.fit import RetrievalConfig
from adwright.training.retrieval.retrain import RetrainConfig, joined_task, retrain_two_tower
from tests.support.store.small_world import ITEMS, START, before, events

END = START + timedelta(weeks=2)
SMALL = RetrainConfig(
    model=TwoTowerConfig(views="none", width=16, hidden=16),
    fit=RetrievalConfig(epochs=1, visits_per_epoch=600, batch=64, validation_visits=0),
    test_visits=100,
    k=5,
)


def written() -> pl.DataFrame:
    """What a service might have logged in two weeks: the log's own events under other ids."""
    span = pl.col("time").is_between(START, END, closed="left")
    return events().filter(span).with_columns(request_id=pl.lit("w-") + pl.col("request_id"))


def test_the_task_holds_both_and_tests_on_what_neither_has() -> None:
    task = joined_task(events(), written(), ITEMS, start=START, end=END)
    train = task.visits("train")
    times = pl.from_epoch(pl.Series(task.visit_time), "us").dt.replace_time_zone("UTC")
    assert task.count.sum() == before().height + written().height
    later = events().filter(pl.col("time") >= END)
    assert len(task.visits("test")) == later["request_id"].n_unique()
    assert times.gather(train).max() < END
    assert times.gather(task.visits("test")).min() >= END
    assert {f.name for f in task.spec.features} == {
        *("item_id", "department", "type", "weekday", "hour"),
    }
    other = joined_task(events(), written().head(5), ITEMS, start=START, end=END)
    assert other.data_hash != task.data_hash


def test_the_model_learns_from_both(tmp_path: Path) -> None:
    found = retrain_two_tower(
        events(), written(), ITEMS, start=START, end=END, config=SMALL, run=tmp_path / "run"
    )
    assert (found.before, found.written) == (before().height, written().height)
    assert (found.visits, found.k) == (100, 5)
    assert found.recall is not None
    assert found.popular is not None
    assert found.recall > found.popular > 0
    assert (tmp_path / "run" / "metrics.jsonl").is_file()
    again = retrain_two_tower(events(), written(), ITEMS, start=START, end=END, config=SMALL)
    assert again.recall == found.recall
    other = replace(SMALL, fit=replace(SMALL.fit, seed=1))
    assert (
        retrain_two_tower(events(), written(), ITEMS, start=START, end=END, config=other).recall
        != found.recall
    )


def test_a_log_that_ends_before_leaves_nothing_to_measure() -> None:
    found = retrain_two_tower(before(), written(), ITEMS, start=START, end=END, config=SMALL)
    assert (found.visits, found.recall, found.popular) == (0, None, None)


def test_nothing_before_the_start() -> None:
    with pytest.raises(DataError, match="no purchase before"):
        retrain_two_tower(written(), written(), ITEMS, start=START, end=END, config=SMALL)
