"""The next-basket task of the real data sets."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ConfigError, FileUnreadableError
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.tasks.next_basket_sources import (
    attribute_features,
    build_next_basket,
    build_next_item,
    words,
)


@pytest.fixture(scope="module")
def task() -> NextBasket:
    return build_next_basket(CompleteJourney.open(), households=0.02)


def test_every_sold_item_is_a_candidate(task: NextBasket) -> None:
    assert task.catalogue.height == 68_509
    assert len(task.items) == 68_510


def test_splits_follow_each_other_in_time(task: NextBasket) -> None:
    train, valid, test = (task.visit_time[task.visits(s)] for s in ("train", "valid", "test"))
    # Weeks break at midnight of the stores, which no basket of the sample straddles.
    assert train.max() < valid.min() <= valid.max() < test.min()


def test_no_visit_sees_its_own_instant(task: NextBasket) -> None:
    batch = task.batch(np.arange(len(task)))
    assert bool((batch.age > 0).all())


def test_settings_are_checked() -> None:
    source = CompleteJourney.open()
    with pytest.raises(ConfigError, match="train_until"):
        build_next_basket(source, train_until=50, valid_until=48)
    with pytest.raises(ConfigError, match="households"):
        build_next_basket(source, households=0)


def test_words_of_a_type() -> None:
    frame = pl.DataFrame({"type": ["BREAD:ITALIAN/FRENCH", "ICE - 2 LB", None]})
    assert frame.select(words())["words"].to_list() == [
        ["bread", "italian", "french"],
        ["ice", "lb"],
        None,
    ]


def test_sequences(tmp_path: Path) -> None:
    (tmp_path / "sequences.txt").write_text("7 1 2 3\n8 2 1\n")
    (tmp_path / "item_attributes.json").write_text('{"1": [5], "2": [5, 6]}')
    task = build_next_item(tmp_path)
    assert [len(task.visits(s)) for s in ("train", "valid", "test")] == [1, 2, 2]
    assert task.batch(task.visits("test")).age.tolist()[-1] == 1
    assert task.catalogue["broad"].to_list() == ["5", "5", None]
    assert task.catalogue["narrow"].to_list() == ["5", "6", None]
    assert task.data_hash != build_next_item(_bag(tmp_path / "other")).data_hash
    with pytest.raises(FileUnreadableError):
        build_next_item(tmp_path / "nothing")


def _bag(folder: Path) -> Path:
    folder.mkdir()
    (folder / "sequences.txt").write_text("7 1 2 3\n8 2 1\n")
    (folder / "item_attributes.json").write_text('{"1": [5, 6], "2": [6, 5, 7], "3": [7, 6, 8]}')
    return folder


def test_lists_that_are_paths_become_levels() -> None:
    lists = [["ann", "hair", "care"], ["bob", "hair", "dye", "red", "dark"], ["hair", "dye"], []]
    lists += [["ann", "skin", "face"], ["skin", "face", "cream"], ["skin"]] * 8
    items = pl.DataFrame({"item_id": [str(n) for n in range(len(lists))], "attributes": lists})
    found, features = attribute_features(items)
    assert [f.name for f in features] == ["lead", "level_1", "level_2", "level_3"]
    # What is deeper than nineteen of twenty items go stands in the place of the last level.
    assert found.select("lead", "level_1", "level_2", "level_3").rows()[:6] == [
        ("ann", "hair", "care", None),
        ("bob", "hair", "dye", "dark"),
        (None, "hair", "dye", None),
        (None, None, None, None),
        ("ann", "skin", "face", None),
        (None, "skin", "face", "cream"),
    ]
    assert found["attributes"].to_list() == lists
    assert found["item_id"].to_list() == items["item_id"].to_list()


def test_lists_in_any_order_are_split_without_a_copy(tmp_path: Path) -> None:
    task = build_next_item(_bag(tmp_path / "bag"))
    assert [f.name for f in task.spec.features] == ["item_id", "broad", "narrow", "others"]
    assert task.catalogue["broad"].to_list() == ["6", "6", "6"]
    assert task.catalogue["narrow"].to_list() == ["5", "5", "8"]
    assert task.catalogue["others"].to_list() == [[], ["7"], ["7"]]


def test_items_without_attributes_are_known_by_their_ids() -> None:
    items = pl.DataFrame(
        {"item_id": ["1"], "attributes": [[]]}, schema_overrides={"attributes": pl.List(pl.String)}
    )
    found, _ = attribute_features(items)
    assert found.height == 1


@pytest.mark.skipif("ADWRIGHT_DATA" not in os.environ, reason="ADWRIGHT_DATA is not set")
def test_beauty() -> None:
    task = build_next_item(Path(os.environ["ADWRIGHT_DATA"]) / "beauty")
    assert task.catalogue.height == 12_101
    assert len(task.visits("test")) == len(task.users) == 22_363
    names = [f.name for f in task.spec.features]
    assert names == ["item_id", "lead", "level_1", "level_2", "level_3", "level_4"]


def test_shares_of_the_households_are_nested_and_named(task: NextBasket) -> None:
    smaller = build_next_basket(CompleteJourney.open(), households=0.005)
    assert set(smaller.users) < set(task.users)
    assert smaller.data_hash != task.data_hash
    assert "of a 2% share" in task.protocol
    # The catalogue stays whole, so the same item has the same code.
    assert smaller.items.ids == task.items.ids


def test_weeks_move_visits_between_the_splits(task: NextBasket) -> None:
    other = build_next_basket(
        CompleteJourney.open(), households=0.02, train_until=40, valid_until=50
    )
    sizes = [[len(of.visits(s)) for s in ("train", "valid", "test")] for of in (task, other)]
    assert sum(sizes[0]) == sum(sizes[1])
    assert sizes[1][0] < sizes[0][0]
    assert sizes[1][1] > sizes[0][1]
    assert "Weeks 1-40 train, 41-50 validation" in other.protocol


def test_profiles_of_households_are_their_demographics(task: NextBasket) -> None:
    known = CompleteJourney.open().demographics().collect()
    ages = dict(known.select(pl.col("household_id").cast(pl.String), "age").iter_rows())
    column = [f.name for f in task.profile_features].index("age")
    vocabulary = task.profile_features[column].vocabulary
    for visit in range(0, len(task), 37):
        code = int(task.profile[visit, column])
        said = vocabulary[code - 1] if code else None
        age = ages.get(task.users[task.visit_user[visit]])
        assert said == (age if age in vocabulary else None)


def test_words_of_another_column() -> None:
    frame = pl.DataFrame({"name": ["Ripe a Fig"]})
    assert frame.select(words("name"))["words"].to_list() == [["ripe", "fig"]]
