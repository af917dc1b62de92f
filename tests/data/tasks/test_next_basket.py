"""The next-basket task against what a reader of the log would write down."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ConfigError, FileUnreadableError, SchemaError, ValueInvalidError
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.sources.movielens import MovieLens
from adwright.data.tasks.next_basket import NextBasket, build_visits, reordered
from adwright.data.tasks.next_basket_sources import (
    attribute_features,
    build_next_basket,
    build_next_item,
    read_sequences,
)
from adwright.data.tasks.response import MOVIELENS_FEATURES, build_movielens_task
from adwright.data.tasks.split import SPLITS
from adwright.data.tasks.task import Task
from adwright.data.time import MICROSECONDS_PER_DAY
from tests.support.data.small_next_basket import FEATURES, catalogue, events_of, small_task


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


VISITS = [
    ("ua", 0, ["i1", "i2"], "train"),
    ("ua", 3, ["i2", "i2", "i3"], "train"),
    ("ua", 3, ["i4"], "train"),  # another request of the same instant
    ("ua", 5, ["i1"], "test"),
    ("ub", 1, ["i5"], "train"),
]


def _task(seed: int = 0) -> NextBasket:
    return build_visits(
        events_of(VISITS),
        catalogue(),
        name="t",
        protocol="p",
        data_hash="h",
        features=FEATURES,
        seed=seed,
    )


def _ids(next_basket_task: NextBasket, codes: list[int]) -> list[str]:
    return [next_basket_task.items.ids[code - 1] for code in codes]


def test_history_is_what_happened_before_the_instant() -> None:
    task = _task()
    batch = task.batch(np.arange(len(task)))
    histories = [sorted(_ids(task, [int(c) for c in one])) for one in batch.history.to_lists()]
    first = ["i1", "i2"]
    assert histories == [[], first, first, ["i1", "i2", "i2", "i2", "i3", "i4"], []]
    targets = {tuple(_ids(task, [int(c) for c in one])) for one in batch.targets.to_lists()}
    assert targets == {("i1", "i2"), ("i2", "i3"), ("i4",), ("i1",), ("i5",)}
    assert batch.age[:2].tolist() == [3, 3]
    assert sorted(batch.age[4:].tolist()) == [2, 2, 2, 2, 5, 5]


def test_only_the_most_recent_events_where_asked() -> None:
    task = _task()
    last = np.array([3])
    assert task.batch(last, max_history=4).history.values.numel() == 4
    assert float(task.batch(last, max_history=4).age.max()) == 2


def test_counts_are_of_training_events_alone() -> None:
    task = _task()
    assert task.count[1 + 1] == 1  # i1 was bought twice, once in a test week
    assert task.count[1 + 2] == 3
    assert task.count.sum() == 7
    assert list(task.visits("test")) == [3]


def test_profile_codes_follow_the_visit() -> None:
    task = _task()
    names = [f.name for f in task.profile_features]
    assert names == ["town", "weekday", "hour"]
    weekday = task.profile_features[1].vocabulary
    assert weekday[task.profile[1, 1] - 1] == "4"


def test_order_in_a_request_is_the_seed_s() -> None:
    orders = {tuple(_task(seed).item.tolist()) for seed in range(6)}
    assert len(orders) > 1


def test_items_in_another_order_are_the_same_task() -> None:
    task = _task()
    ids = [*task.items.ids[3:], *task.items.ids[:3]]
    other = reordered(task, ids)
    assert list(other.items.ids) == other.catalogue["item_id"].to_list() == ids
    assert _ids(other, other.item.tolist()) == _ids(task, task.item.tolist())
    visits = np.arange(len(task))
    sets = [
        [sorted(_ids(one, [int(c) for c in row])) for row in one.batch(visits).targets.to_lists()]
        for one in (task, other)
    ]
    assert sets[0] == sets[1]
    for n, item in enumerate(ids, start=1):
        assert other.count[n] == task.count[1 + task.items.ids.index(item)]
    expected = task.items.categorical["kind"][[task.items.ids.index(i) + 1 for i in ids]]
    assert other.items.categorical["kind"][1:].tolist() == expected.tolist()
    assert reordered(task, task.items.ids) is task
    with pytest.raises(ConfigError, match="the log has"):
        reordered(task, [*ids[1:], "another"])


def test_a_missing_column_an_unknown_item_and_no_training_are_named() -> None:
    events = events_of(VISITS)
    kept = {"name": "t", "protocol": "p", "data_hash": "h", "features": FEATURES}
    with pytest.raises(SchemaError, match="split"):
        build_visits(events.drop("split"), catalogue(), **kept)  # type: ignore[arg-type]
    with pytest.raises(ValueInvalidError, match="i5"):
        build_visits(events, catalogue(5), **kept)  # type: ignore[arg-type]
    with pytest.raises(ValueInvalidError, match="training split"):
        build_visits(
            events.with_columns(split=pl.lit("test")),
            catalogue(),
            **kept,  # type: ignore[arg-type]
        )


def test_batches_equal_a_walk_through_the_log() -> None:
    task = small_task(people=4, seed=3)
    visits = np.arange(len(task))[::-1].copy()
    batch = task.batch(visits)
    ends = batch.history.offsets.tolist()
    for row, visit in enumerate(visits.tolist()):
        first = int(task.user_offsets[task.visit_user[visit]])
        mine = slice(first, int(task.user_offsets[task.visit_user[visit] + 1]))
        before = task.time[mine] < task.visit_time[visit]
        assert batch.history.to_lists()[row] == task.item[mine][before].tolist()
        ages = (task.visit_time[visit] - task.time[mine][before]) / MICROSECONDS_PER_DAY
        assert batch.age[ends[row] : ends[row + 1]].tolist() == pytest.approx(ages.tolist())
        wanted = np.unique(task.item[mine][task.time[mine] == task.visit_time[visit]])
        assert batch.targets.to_lists()[row] == wanted.tolist()


def test_a_position_stands_for_a_day() -> None:
    events = events_of(VISITS)
    days = events.with_columns(time=(pl.col("time") - pl.col("time").min()).dt.total_days())
    kept = {"name": "t", "protocol": "p", "data_hash": "h", "features": FEATURES}
    by_time = build_visits(events, catalogue(), **kept)  # type: ignore[arg-type]
    by_day = build_visits(days, catalogue(), **kept)  # type: ignore[arg-type]
    assert (np.diff(by_day.time) == np.diff(by_time.time)).all()
    every = np.arange(len(by_day))
    # Nobody knows the time in between: events are as old as there are later ones.
    assert (by_day.timeless, by_time.timeless) == (True, False)
    assert by_day.batch(every).age.tolist() == by_time.batch(every).by_place().age.tolist()


@pytest.mark.parametrize("column", ["user_id", "request_id", "item_id", "time", "split"])
def test_each_column_is_needed(column: str) -> None:
    with pytest.raises(SchemaError, match=f"the events lack a column .*column {column}"):
        build_visits(
            events_of(VISITS).drop(column),
            catalogue(),
            name="t",
            protocol="p",
            data_hash="h",
            features=FEATURES,
        )


@pytest.fixture(scope="module")
def next_basket_task() -> NextBasket:
    return build_next_basket(CompleteJourney.open(), households=0.02)


def test_splits_follow_each_other_in_time(next_basket_task: NextBasket) -> None:
    train, valid, test = (
        next_basket_task.visit_time[next_basket_task.visits(s)] for s in ("train", "valid", "test")
    )
    # Weeks break at midnight of the stores, which no basket of the sample straddles.
    assert train.max() < valid.min() <= valid.max() < test.min()


def test_settings_are_checked() -> None:
    source = CompleteJourney.open()
    with pytest.raises(ConfigError, match="train_until"):
        build_next_basket(source, train_until=50, valid_until=48)
    with pytest.raises(ConfigError, match="households"):
        build_next_basket(source, households=0)


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


def test_shares_of_the_households_are_nested_and_named(next_basket_task: NextBasket) -> None:
    smaller = build_next_basket(CompleteJourney.open(), households=0.005)
    assert set(smaller.users) < set(next_basket_task.users)
    assert smaller.data_hash != next_basket_task.data_hash
    assert "of a 2% share" in next_basket_task.protocol
    # The catalogue stays whole, so the same item has the same code.
    assert smaller.items.ids == next_basket_task.items.ids


def test_weeks_move_visits_between_the_splits(next_basket_task: NextBasket) -> None:
    other = build_next_basket(
        CompleteJourney.open(), households=0.02, train_until=40, valid_until=50
    )
    sizes = [
        [len(of.visits(s)) for s in ("train", "valid", "test")] for of in (next_basket_task, other)
    ]
    assert sum(sizes[0]) == sum(sizes[1])
    assert sizes[1][0] < sizes[0][0]
    assert sizes[1][1] > sizes[0][1]
    assert "Weeks 1-40 train, 41-50 validation" in other.protocol


def test_profiles_of_households_are_their_demographics(next_basket_task: NextBasket) -> None:
    known = CompleteJourney.open().demographics().collect()
    ages = dict(known.select(pl.col("household_id").cast(pl.String), "age").iter_rows())
    column = [f.name for f in next_basket_task.profile_features].index("age")
    vocabulary = next_basket_task.profile_features[column].vocabulary
    for visit in range(0, len(next_basket_task), 37):
        code = int(next_basket_task.profile[visit, column])
        said = vocabulary[code - 1] if code else None
        age = ages.get(next_basket_task.users[next_basket_task.visit_user[visit]])
        assert said == (age if age in vocabulary else None)


SEQUENCES = {"7": ["a", "b", "c", "b", "d"], "8": ["d", "a"], "9": ["e"], "x": list("edcba")[:4]}
ATTRIBUTES = '{"a": [1, 2], "b": [2], "c": [], "unheard of": [9]}'


def write_source(folder: Path, *, lines: str | None = None, attributes: str = ATTRIBUTES) -> Path:
    folder.mkdir()
    text = "\n".join(" ".join([user, *items]) for user, items in SEQUENCES.items())
    (folder / "sequences.txt").write_text(text if lines is None else lines, encoding="utf-8")
    (folder / "item_attributes.json").write_text(attributes, encoding="utf-8")
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "tiny")


def test_positions_are_counted_and_items_carry_their_attributes(source: Path) -> None:
    events, table = read_sequences(source)
    assert events.rows()[:2] == [("7", "a", 0, 4), ("7", "b", 1, 3)]
    items = {row["item_id"]: row for row in table.to_dicts()}
    assert set(items) == set("abcde")
    assert (items["a"]["attribute"], items["a"]["attributes"]) == ("1", ["1", "2"])
    assert (items["c"]["attribute"], items["c"]["attributes"]) == (None, [])
    assert (items["e"]["attribute"], items["e"]["attributes"]) == (None, [])


@pytest.mark.parametrize(
    ("lines", "attributes", "kind", "words"),
    [
        ("7 a b c\n8", "{}", ValueInvalidError, "row 1, value '8'"),
        ("7 a b c\n\n8 b", "{}", ValueInvalidError, "row 1"),
        ("7 a b c\n7 a b", "{}", ValueInvalidError, "a person has two lines"),
        ("7 a b c\n8 d e", "{", FileUnreadableError, "not a JSON file"),
        ("7 a b c\n8 d e", "[]", FileUnreadableError, "not an object of lists"),
        ("7 a b c\n8 d e", '{"a": 1}', FileUnreadableError, "not an object of lists"),
    ],
)
def test_broken_files_are_named(
    tmp_path: Path, lines: str, attributes: str, kind: type[Exception], words: str
) -> None:
    source = write_source(tmp_path / "tiny", lines=lines, attributes=attributes)
    with pytest.raises(kind) as caught:
        read_sequences(source)
    assert words in str(caught.value)


def test_absent_files_and_other_encodings_are_named(source: Path) -> None:
    path = source / "sequences.txt"
    path.write_bytes("7 caf\xe9 b\n8 c d".encode("latin-1"))
    with pytest.raises(FileUnreadableError, match="not UTF-8") as caught:
        read_sequences(source)
    assert caught.value.file == str(path)
    path.unlink()
    with pytest.raises(FileUnreadableError, match="does not exist"):
        read_sequences(source)
