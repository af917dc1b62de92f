from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ConfigError
from adwright.data.tasks.choice import (
    ChoiceConfig,
    build_choice_task,
    choice_catalogue,
    choice_features,
)
from adwright.data.tasks.negatives import Draws
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.tasks.split import SPLITS, Split
from adwright.data.tasks.task import Task
from tests.support.data.small_next_basket import small_task

CONFIG = ChoiceConfig(train=0, valid=0, test=0, draws=Draws(number=10), min_count=2)


@pytest.fixture(scope="module")
def source() -> NextBasket:
    return small_task()


@pytest.fixture(scope="module")
def task(source: NextBasket, tmp_path_factory: pytest.TempPathFactory) -> Task:
    return build_choice_task(source, tmp_path_factory.mktemp("choice"), CONFIG)


def rows_of(task: Task) -> pl.DataFrame:
    return pl.concat(
        [task.rows(split).with_columns(split=pl.lit(split)) for split in SPLITS]
    ).collect()


def test_items_taken_are_the_positives_and_never_negatives(task: Task, source: NextBasket) -> None:
    rows = rows_of(task)
    for visit in range(len(source)):
        mine = rows.filter(pl.col("request_id") == str(visit))
        codes = source.items.rows(mine.to_arrow()["item_id"])
        taken = source.targets[source.target_offsets[visit] : source.target_offsets[visit + 1]]
        label = mine["label"].to_numpy()
        assert sorted(codes[label == 1]) == sorted(taken)
        assert not set(codes[label == 0]) & set(taken)
        assert mine["split"].unique().to_list() == [SPLITS[source.split[visit]]]
        assert mine["user_id"].unique().to_list() == [source.users[source.visit_user[visit]]]


def test_rows_know_only_what_came_before(task: Task, source: NextBasket) -> None:
    for row in rows_of(task).sample(60, seed=1).to_dicts():
        visit = int(row["request_id"])
        first = source.user_offsets[source.visit_user[visit]]
        seen = slice(first, source.visit_end[visit])
        code = source.items.rows(pl.Series([row["item_id"]]).to_arrow())[0]
        times = source.time[seen][source.item[seen] == code]
        assert row["visible"] == seen.stop - seen.start
        # The counts of the task writer and of `personal` agree.
        assert row["frequency"] == len(times) == row["recent"]
        if len(times):
            age = (source.visit_time[visit] - times[-1]) / 86_400_000_000
            assert row["recency"] == pytest.approx(age)
        else:
            assert row["recency"] is None


def test_popularity_leaves_out_the_rows_own_basket(task: Task, source: NextBasket) -> None:
    """Against a loop over the events."""
    user = np.repeat(np.arange(len(source.users)), np.diff(source.user_offsets))
    for row in rows_of(task).to_dicts():
        visit = int(row["request_id"])
        code = source.items.rows(pl.Series([row["item_id"]]).to_arrow())[0]
        own = (user == source.visit_user[visit]) & (source.time == source.visit_time[visit])
        less = int((source.item[own] == code).sum()) if row["split"] == "train" else 0
        assert row["popularity"] == source.count[code] - less
        assert (less > 0) == (row["label"] == 1 and row["split"] == "train")
    assert "have no training event" in task.protocol
    cold = [row for row in rows_of(task).to_dicts() if row["split"] == "test" and row["label"]]
    number = sum(row["popularity"] == 0 for row in cold)
    assert f"{number} of the {len(cold)} items taken" in task.protocol


def test_profile_and_moment_are_the_text_of_the_source(task: Task, source: NextBasket) -> None:
    row = rows_of(task).filter(pl.col("user_id") == "u7").row(0, named=True)
    visit = int(row["request_id"])
    for number, feature in enumerate(source.profile_features):
        code = source.profile[visit, number]
        assert row[feature.name] == (feature.vocabulary[code - 1] if code else None)
    assert row["town"] == "south"


def test_the_catalogue_gains_popularity(task: Task, source: NextBasket) -> None:
    assert task.items["popularity"].to_list() == source.count[1:].tolist()
    assert choice_catalogue(source)["item_id"].to_list() == list(source.items.ids)


def test_features_are_those_of_the_source_without_lists(source: NextBasket) -> None:
    features = {f.name: f for f in choice_features(source.spec, 3)}
    assert "words" not in features
    assert features["item_id"].min_count == 3
    assert features["item_id"].vocabulary == ()
    assert {"popularity", "visible", "frequency", "recent", "recency", "town"} <= set(features)


@pytest.mark.parametrize("split", SPLITS)
def test_baskets_are_drawn_by_the_seed(split: Split, source: NextBasket, tmp_path: Path) -> None:
    config = replace(CONFIG, train=7, valid=5, test=3)
    found = {
        seed: build_choice_task(source, tmp_path, replace(config, seed=seed))
        .rows(split)
        .select("request_id")
        .unique()
        .collect()["request_id"]
        .to_list()
        for seed in (0, 1)
    }
    assert len(found[0]) == len(found[1]) == config.baskets(split)
    assert set(found[0]) != set(found[1])
    assert build_choice_task(source, tmp_path, config).rows(split).collect().height > 0


def test_draws_change_the_rows_and_the_folder(task: Task, source: NextBasket) -> None:
    more = replace(CONFIG, draws=Draws(number=30, own=0.8, popular=0.1))
    other = build_choice_task(source, task.folder.parent, more)
    assert other.folder != task.folder
    past = [
        float(np.mean(rows_of(t).filter(label=0)["frequency"].to_numpy() > 0))
        for t in (task, other)
    ]
    assert past[1] > past[0]
    assert "30 negatives" in other.protocol


@pytest.mark.parametrize("wrong", [{"train": -1}, {"valid": -1}, {"test": -2}, {"min_count": 0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"must (not be negative|be at least 1)"):
        ChoiceConfig(**wrong)  # type: ignore[arg-type]


def test_fewer_baskets_are_some_of_them(task: Task, source: NextBasket, tmp_path: Path) -> None:
    config = replace(CONFIG, train=7, valid=2, test=2)
    few = build_choice_task(source, tmp_path, config)
    assert few.data_hash != task.data_hash
    for split, wanted in (("train", 7), ("valid", 2), ("test", 2)):
        baskets = few.rows(split).collect()["request_id"].unique().to_list()  # type: ignore[arg-type]
        assert len(baskets) == wanted
        assert {source.split[int(one)] for one in baskets} == {SPLITS.index(split)}  # type: ignore[arg-type]


def test_the_same_settings_find_the_same_folder(source: NextBasket, tmp_path: Path) -> None:
    first = build_choice_task(source, tmp_path, CONFIG)
    stamp = (first.folder / "task.json").stat().st_mtime_ns
    again = build_choice_task(source, tmp_path, CONFIG)
    assert again.folder == first.folder
    assert (again.folder / "task.json").stat().st_mtime_ns == stamp


def test_the_catalogue_says_how_popular_each_item_is(source: NextBasket) -> None:
    table = choice_catalogue(source)
    assert table.columns == [*source.catalogue.columns, "popularity"]
    assert table["popularity"].to_list() == source.count[1:].tolist()
    names = [feature.name for feature in choice_features(source.spec, 3)]
    assert names[0] == "history"
    assert {"popularity", "visible", "frequency", "recent", "recency"} <= set(names)
    assert "words" not in names
