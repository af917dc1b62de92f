from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from adwright.data.sources.movielens import MovieLens
from adwright.data.tasks.response import MOVIELENS_FEATURES, build_movielens_task
from adwright.data.tasks.split import SPLITS
from adwright.data.tasks.task import Task


@pytest.fixture(scope="module")
def films() -> MovieLens:
    return MovieLens.open()


@pytest.fixture(scope="module")
def task(films: MovieLens, tmp_path_factory: pytest.TempPathFactory) -> Task:
    return build_movielens_task(films, tmp_path_factory.mktemp("movielens"))


def test_every_rating_is_a_row(task: Task, films: MovieLens) -> None:
    ratings = films.events().collect()
    expected = {
        row["event_id"]: (row["user_id"], row["item_id"], int(row["value"] >= 4))
        for row in ratings.to_dicts()
    }
    found = {
        row["request_id"]: (row["user_id"], row["item_id"], row["label"])
        for split in SPLITS
        for row in task.rows(split).collect().to_dicts()
    }
    assert found == expected
    assert [task.n_rows(split) for split in SPLITS] == [80_000, 10_000, 10_000]


def test_the_split_follows_time(task: Task) -> None:
    times = [task.rows(split).select("time").collect()["time"] for split in SPLITS]
    for before, after in pairwise(times):
        # Ratings of the very second of the cut may fall on both sides.
        assert before.max() <= after.min()  # type: ignore[operator]


@pytest.mark.parametrize("split", SPLITS)
def test_history_is_what_the_person_rated_at_an_earlier_second(task: Task, split: str) -> None:
    rows = task.rows(split).collect()  # type: ignore[arg-type]
    events = pl.read_parquet(task.folder / split / "events.parquet")
    for row in rows.sample(40, seed=1).to_dicts():
        before = events.filter(
            (pl.col("user_id") == row["user_id"]) & (pl.col("time") < row["time"])
        )
        assert row["visible"] == before.height
        assert row["frequency"] == before["item_id"].to_list().count(row["item_id"]) == 0


def test_films_have_genres_and_a_decade(task: Task) -> None:
    assert [f.name for f in MOVIELENS_FEATURES] == [f.name for f in task.spec.features]
    spec = {f.name: f for f in task.spec.features}
    assert len(spec["year"].edges) > 5
    assert "Drama" in spec["genres"].vocabulary
    film = task.items.filter(pl.col("item_id") == "1").to_dicts()[0]
    assert film["genre"] == film["genres"][0]
    assert task.items.height == 1_682


def test_the_seed_orders_what_shares_a_second(task: Task, films: MovieLens, tmp_path: Path) -> None:
    assert build_movielens_task(films, task.folder.parent) == task
    other = build_movielens_task(films, tmp_path, seed=1)
    assert other.folder.name != task.folder.name
    orders = [pl.read_parquet(t.events_path("train")).rows() for t in (task, other)]
    assert orders[0] != orders[1]
