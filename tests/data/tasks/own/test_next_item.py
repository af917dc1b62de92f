"""The next-basket task of any log."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ConfigError, SchemaError, ValueInvalidError
from adwright.data.column_kinds import FoundColumn
from adwright.data.features import Feature
from adwright.data.schema import Catalogue, validate_events
from adwright.data.sources.log import Log, save_log
from adwright.data.tasks.own.next_item import (
    NextItemConfig,
    build_next_item,
    choose_columns,
    item_features,
    open_next_item,
    profiles_as_trained,
    read_visits,
    repeat_share,
    split_visits,
    user_features,
    visits_digest,
    with_made_columns,
)
from adwright.data.tasks.split import check_cut
from adwright.data.time import MICROSECONDS_PER_DAY
from tests.support.data.small_next_basket import small_task

START = datetime(2024, 3, 4, 8, tzinfo=UTC)  # a Monday
ITEMS = pl.DataFrame(
    {
        "item_id": [f"i{n}" for n in range(30)],
        "shelf": [n % 3 for n in range(30)],
        "title": [f"{'red' if n % 2 else 'blue'} hat {n}" for n in range(30)],
    }
)


def shop(users: int = 40, visits: int = 30, *, again: bool = False, seed: int = 0) -> Log:
    """Users who come every day and take two items; i25 to i29 are never taken."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for user in range(users):
        order = rng.permutation(25)
        for visit in range(visits if again else 12):
            wanted = rng.choice(25, 2, replace=False) if again else order[2 * visit : 2 * visit + 2]
            for item in wanted:
                rows.append(
                    {
                        "event_id": f"e{len(rows)}",
                        "user_id": f"u{user:02}",
                        "request_id": f"r{user}-{visit}",
                        "time": START + timedelta(days=visit, minutes=user),
                        "kind": "purchase",
                        "item_id": f"i{item}",
                        "value": float(item),
                    }
                )
    events = validate_events(pl.DataFrame(rows)).lazy()
    users_table = pl.DataFrame(
        {
            "user_id": [f"u{n:02}" for n in range(users)],
            "age": [20.5 + n for n in range(users)],
            "town": ["north" if n % 2 else "south" for n in range(users)],
        }
    )
    return Log(events, Catalogue.checked(ITEMS), users_table)


def test_the_task_says_what_the_log_says() -> None:
    log = shop(users=40, visits=30, again=True)
    found = build_next_item(log, name="shop")
    task = found.task
    events = log.events.collect()
    assert len(task) == events["request_id"].n_unique()
    assert len(task.item) == events.height
    assert sorted(task.items.ids) == sorted(events["item_id"].unique())
    visit = int(task.visits("test")[5])
    user, when = task.users[task.visit_user[visit]], task.visit_time[visit]
    before = events.filter(pl.col("user_id") == user, pl.col("time").dt.epoch("us") < int(when))
    batch = task.batch(np.array([visit]))
    seen = sorted(task.items.ids[int(code) - 1] for code in batch.history.values)
    assert seen == sorted(before["item_id"])
    now = events.filter(pl.col("user_id") == user, pl.col("time").dt.epoch("us") == int(when))
    taken = sorted(task.items.ids[int(code) - 1] for code in batch.targets.values)
    assert taken == sorted(now["item_id"])


def test_every_decision_is_told() -> None:
    found = build_next_item(shop(again=True), name="shop")
    text = "\n".join(found.choices.lines())
    for part in (
        "visits: each request of purchase, at its first moment",
        "split: by time: 960 visits train, 120 validate, 120 test",
        "candidates: the 25 items that were taken; the catalogue has 5 more",
        "repeats: what a user had stays a candidate",
        "column shelf: category, 3 values (whole numbers that repeat)",
        "column title: text (words, most of them once)",
        "column age: number (fractions)",
        "column town: category, 2 values (text)",
        "context of a query: weekday, hour",
    ):
        assert part in text, text
    assert "shop, next item" in found.task.protocol
    assert "No sampled negatives" in found.task.protocol


def test_features_come_from_columns_users_and_times() -> None:
    task = build_next_item(shop(again=True)).task
    kinds = {f.name: (f.kind, f.of) for f in task.spec.features}
    assert kinds == {
        "item_id": ("categorical", "item"),
        "shelf": ("categorical", "item"),
        "title words": ("multi", "item"),
        "age": ("categorical", "user"),
        "town": ("categorical", "user"),
        "weekday": ("categorical", "context"),
        "hour": ("categorical", "context"),
    }
    town = [f.name for f in task.profile_features].index("town")
    vocabulary = task.profile_features[town].vocabulary
    user = np.array([int(name[1:]) for name in task.users])[task.visit_user]
    assert all(
        vocabulary[code - 1] == ("north" if n % 2 else "south")
        for code, n in zip(task.profile[:, town], user, strict=True)
    )


@pytest.mark.parametrize("apart", [1, 3_600, 100_000])
def test_places_in_a_sequence_count_as_days(apart: int) -> None:
    """Seconds since 1970 that only number the visits of a user: a place is a day."""
    log = shop()
    place = pl.col("request_id").str.split("-").list.last().cast(pl.Int64)
    time = pl.from_epoch(1 + apart * place, "s").dt.replace_time_zone("UTC").dt.cast_time_unit("us")
    task = build_next_item(replace(log, events=log.events.with_columns(time=time))).task
    assert np.unique(task.time).tolist() == [n * MICROSECONDS_PER_DAY for n in range(12)]
    assert not task.profile_features or "weekday" not in {f.name for f in task.spec.features}


def test_the_longest_sequence_fits_into_ten_years() -> None:
    rows = [
        {
            "event_id": f"e{n}",
            "user_id": f"u{n % 4}",
            "request_id": f"r{n}",
            "time": datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=n),
            "kind": "purchase",
            "item_id": f"i{n % 30}",
        }
        for n in range(20_000)
    ]
    table = pl.DataFrame(rows).with_columns(value=pl.lit(None, pl.Float64))
    log = Log(validate_events(table).lazy(), Catalogue.checked(ITEMS))
    task = build_next_item(log).task
    assert len(np.unique(task.time)) == 5_000
    assert 3_500 < task.time.max() / MICROSECONDS_PER_DAY < 3_650


def test_repeats_are_what_training_shows() -> None:
    again, once = build_next_item(shop(again=True)), build_next_item(shop())
    assert again.choices.repeats
    assert again.choices.repeat_share > 0.3
    assert not once.choices.repeats
    assert once.choices.repeat_share == 0
    assert build_next_item(shop(), NextItemConfig(repeats=True)).choices.repeats


def test_repeat_share_is_that_of_a_loop() -> None:
    task = small_task()
    had: dict[int, set[int]] = {}
    again = total = 0
    for visit in task.visits("train"):
        mine = had.setdefault(int(task.visit_user[visit]), set())
        taken = task.targets[task.target_offsets[visit] : task.target_offsets[visit + 1]].tolist()
        again += sum(item in mine for item in taken)
        total += len(taken)
        mine.update(taken)
    assert repeat_share(task) == pytest.approx(again / total)


@pytest.mark.parametrize(
    ("config", "changed"),
    [
        (NextItemConfig(min_value=10), lambda a, b: len(a.task.item) < len(b.task.item)),
        (NextItemConfig(split="last"), lambda a, b: a.choices.split != b.choices.split),
        (
            NextItemConfig(shares=(0.6, 0.2)),
            lambda a, b: (a.task.split > 0).sum() > (b.task.split > 0).sum(),
        ),
        (NextItemConfig(candidates="catalogue"), lambda a, _: len(a.task.items) == 31),
        (
            NextItemConfig(item_columns={"shelf": "none"}),
            lambda a, _: "shelf" not in {f.name for f in a.task.spec.features},
        ),
        (
            NextItemConfig(user_columns={"town": "none"}),
            lambda a, _: "town" not in {f.name for f in a.task.spec.features},
        ),
        (
            NextItemConfig(min_count=26),
            lambda a, _: {f.name: f for f in a.task.spec.features}["shelf"].cardinality == 1,
        ),
        (NextItemConfig(seed=1), lambda a, b: not np.array_equal(a.task.item, b.task.item)),
    ],
)
def test_every_setting_changes_something(config: NextItemConfig, changed: Any) -> None:
    log = shop(again=True)
    asked, default = build_next_item(log, config), build_next_item(log)
    assert changed(asked, default)
    assert asked.task.data_hash != default.task.data_hash


def test_times_of_day_that_say_nothing_are_no_context() -> None:
    log = shop(again=True)
    days = log.events.with_columns(time=pl.col("time").dt.truncate("1d"))
    found = build_next_item(Log(days, log.catalogue))
    assert found.choices.context == ("weekday",)
    places = days.with_columns(time=pl.col("time").dt.offset_by("-54y"))
    found = build_next_item(Log(places, log.catalogue))
    assert found.choices.context == ()
    assert "places in a sequence" in found.choices.split


def test_what_cannot_be_is_refused() -> None:
    log = shop()
    short = Log(log.events, Catalogue.checked(ITEMS.head(3)))
    with pytest.raises(ValueInvalidError, match="22 items of the log are not in the catalogue"):
        build_next_item(short)
    date = datetime(2024, 3, 9, tzinfo=UTC)
    with pytest.raises(ConfigError, match="dates cut a log by time"):
        NextItemConfig(split="last", valid_from=date, test_from=date + timedelta(days=1))


def test_an_imported_folder_and_a_file_are_opened(tmp_path: Path) -> None:
    log = shop(again=True)
    save_log(tmp_path / "shop", log)
    folder = open_next_item(tmp_path / "shop")
    assert folder.task.name == "shop"
    assert folder.task.data_hash == build_next_item(log, name="shop").task.data_hash
    file = open_next_item(tmp_path / "shop" / "events.parquet")
    assert [f.name for f in file.task.spec.features] == ["item_id", "weekday", "hour"]


def test_public_sets_are_as_published(tmp_path: Path) -> None:
    (tmp_path / "sequences.txt").write_text("1 a b c d\n2 b c a e\n3 a e d b\n")
    (tmp_path / "item_attributes.json").write_text('{"a": ["x"], "b": ["x", "y"]}')
    found = open_next_item(tmp_path)
    assert found.task.visits("test").size == 3
    assert not found.choices.repeats
    assert found.choices.context == ()
    assert {name: c.kind for name, c in found.choices.columns.items()} == {
        "lead": "category",
        "level_1": "category",
    }
    assert open_next_item(tmp_path, NextItemConfig(repeats=True)).choices.repeats


VISITS_START = datetime(2024, 1, 1, 9, 30, tzinfo=UTC)
Row = tuple[str, str, float, str, str]


def log_of(rows: list[Row], value: float | None = None) -> pl.LazyFrame:
    """(user, request, minutes, kind, item) to an EventLog."""
    table = pl.DataFrame(
        [
            {
                "event_id": f"e{n}",
                "user_id": user,
                "request_id": request,
                "time": VISITS_START + timedelta(minutes=minutes),
                "kind": kind,
                "item_id": item,
                "value": None if value is None else value + n,
            }
            for n, (user, request, minutes, kind, item) in enumerate(rows)
        ],
        schema_overrides={"value": pl.Float64},
    )
    return validate_events(table).lazy()


def minutes_of(events: pl.DataFrame) -> list[tuple[str, float]]:
    return [
        (item, (time - VISITS_START).total_seconds() / 60)
        for item, time in events.select("item_id", "time").iter_rows()
    ]


def test_a_request_counts_at_its_first_moment() -> None:
    rows: list[Row] = [
        ("a", "r1", 0, "purchase", "i1"),
        ("a", "r1", 5, "purchase", "i2"),
        ("a", "r2", 9, "purchase", "i3"),
    ]
    found = read_visits(log_of(rows))
    assert minutes_of(found.events) == [("i1", 0), ("i2", 0), ("i3", 9)]
    assert found.kinds == ("purchase",)
    assert found.why == "each request of purchase, at its first moment"


def test_a_decision_counts_from_its_impression() -> None:
    rows: list[Row] = [
        ("a", "r1", 0, "impression", "i1"),
        ("a", "r1", 0, "impression", "i2"),
        ("a", "r1", 3, "click", "i2"),
        ("a", "r2", 9, "impression", "i4"),
        ("a", "r2", 10, "click", "i4"),
    ]
    assert minutes_of(read_visits(log_of(rows)).events) == [("i2", 0), ("i4", 9)]


def test_what_another_request_reaches_into_counts_by_its_moments() -> None:
    """The second click of r1 comes after r2 began: r2 must not know it."""
    rows: list[Row] = [
        ("a", "r1", 0, "impression", "i1"),
        ("a", "r1", 1, "click", "i1"),
        ("a", "r2", 4, "click", "i2"),
        ("a", "r1", 8, "click", "i3"),
        ("a", "r3", 9, "click", "i4"),
        ("a", "r3", 9, "click", "i5"),
    ]
    found = read_visits(log_of(rows))
    assert minutes_of(found.events)[:3] == [("i1", 1), ("i2", 4), ("i3", 8)]
    assert found.why.endswith("1 that others reach into count by their moments")


def test_where_a_request_is_a_session_its_moments_are_visits() -> None:
    rows: list[Row] = [(f"u{n}", f"s{n}", at, "view", f"i{at}") for n in range(4) for at in (0, 7)]
    found = read_visits(log_of(rows))
    assert minutes_of(found.events) == [("i0", 0), ("i7", 7)] * 4
    assert "0% of the users have two requests" in found.why


def test_kinds_and_values_that_count() -> None:
    rows: list[Row] = [
        ("a", "r1", 0, "view", "i1"),
        ("a", "r2", 1, "rating", "i2"),
        ("a", "r3", 2, "rating", "i3"),
        ("a", "r4", 3, "stop", "i4"),
    ]
    log = log_of(rows, value=2)
    assert read_visits(log).kinds == ("view", "rating")
    assert read_visits(log, ("rating", "click")).events["item_id"].to_list() == ["i2", "i3"]
    assert read_visits(log, min_value=4).events["item_id"].to_list() == ["i3"]
    with pytest.raises(ValueInvalidError, match="no event is history"):
        read_visits(log, ("purchase",))
    with pytest.raises(ValueInvalidError, match="no event is left"):
        read_visits(log, min_value=99)


def coming_back(users: int, visits: int, days: float = 1.0) -> pl.DataFrame:
    """Users who come every `days` days, all through the log."""
    rows: list[Row] = [
        (f"u{u}", f"r{u}-{v}", 1440 * days * v + u, "purchase", f"i{v % 5}")
        for u in range(users)
        for v in range(visits)
    ]
    return read_visits(log_of(rows)).events


def test_users_who_come_back_are_split_by_time() -> None:
    events, why = split_visits(coming_back(60, 20))
    assert why.startswith("by time: 960 visits train, 120 validate, 120 test; validation from")
    bounds = events.group_by("split").agg(
        first=pl.col("time").min(), last=pl.col("time").max(), number=pl.len()
    )
    parts = {row["split"]: row for row in bounds.iter_rows(named=True)}
    assert parts["train"]["last"] < parts["valid"]["first"]
    assert parts["valid"]["last"] < parts["test"]["first"]
    assert [parts[name]["number"] for name in ("train", "valid", "test")] == [960, 120, 120]


def test_users_who_come_once_are_split_by_their_last_visits() -> None:
    """Each user comes in a month of their own."""
    rows: list[Row] = [
        (f"u{u:03}", f"r{v}", 43_200 * u + 60 * v, "rating", f"i{v}")
        for u in range(300)
        for v in range(5)
    ]
    events, why = split_visits(read_visits(log_of(rows)).events)
    assert "of users whom training knows" in why
    assert why.startswith("the last visit of each of the 300 users with three tests")
    splits = events.filter(pl.col("user_id") == "u007")["split"].to_list()
    assert splits == ["train", "train", "train", "valid", "test"]


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        (lambda: coming_back(4, 10), "a split would have 4 visits"),
        (
            lambda: coming_back(60, 20).with_columns(pl.col("time").dt.offset_by("-54y")),
            "places in a sequence",
        ),
    ],
)
def test_why_not_by_time(events: object, reason: str) -> None:
    assert reason in split_visits(events())[1]  # type: ignore[operator]


def test_users_of_two_visits_train() -> None:
    rows: list[Row] = [("a", f"r{n}", n, "click", f"i{n}") for n in range(4)]
    rows += [("b", f"r{n}", n, "click", f"i{n}") for n in range(2)]
    events, _ = split_visits(read_visits(log_of(rows)).events, "last")
    assert events.filter(pl.col("user_id") == "b")["split"].to_list() == ["train", "train"]
    with pytest.raises(ValueInvalidError, match="has no visit"):
        split_visits(events.filter(pl.col("user_id") == "b").drop("split"), "last")


def test_the_rule_the_shares_and_the_dates_can_be_said() -> None:
    events = coming_back(60, 20)
    assert split_visits(events, "last")[1].startswith("the last visit")
    few = coming_back(4, 10)
    assert split_visits(few, "time")[1].startswith("by time")
    halves = split_visits(events, shares=(0.5, 0.25))[0]
    assert (halves["split"] == "train").sum() == 600
    dates = (VISITS_START + timedelta(days=3), VISITS_START + timedelta(days=5))
    cut, why = split_visits(events, dates=dates)
    assert (cut["split"] == "train").sum() == 180
    assert "test from 2024-01-06 09:30 UTC" in why
    with pytest.raises(ValueInvalidError, match="the test split has no visit"):
        split_visits(events, dates=(dates[0], VISITS_START + timedelta(days=999)))


def test_the_digest_is_of_values_not_of_their_order() -> None:
    events = coming_back(3, 3)
    assert visits_digest(events) == visits_digest(events.reverse())
    assert visits_digest(events) != visits_digest(events.head(8))
    other = events.with_columns(item_id=pl.col("item_id") + "x")
    assert visits_digest(events) != visits_digest(other)


@pytest.mark.parametrize(
    ("shares", "dates", "message"),
    [
        ((0.9, 0.1), (None, None), "leave a part"),
        ((0.8, 0.1), (VISITS_START, None), "come together"),
        ((0.8, 0.1), (VISITS_START, VISITS_START), "begin before"),
        ((0.8, 0.1), (VISITS_START.replace(tzinfo=None), None), "come together"),
        (
            (0.8, 0.1),
            (VISITS_START.replace(tzinfo=None), VISITS_START.replace(tzinfo=None, year=2025)),
            "time zone",
        ),
    ],
)
def test_cuts_that_cannot_be(
    shares: tuple[float, float], dates: tuple[datetime | None, datetime | None], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_cut(shares, dates)


ROWS = 40
COLUMNS: dict[str, list[Any]] = {
    "genre": [n % 3 for n in range(ROWS)],
    "pages": [100 + 7 * n for n in range(ROWS)],
    "price": [n / 3 for n in range(ROWS)],
    "brand": [f"b{n % 5}" for n in range(ROWS)],
    "title": [f"Stór hús {n}" for n in range(ROWS)],
    "url": [f"x{n}" for n in range(ROWS)],
    "tags": [[f"t{n % 4}", "all"] for n in range(ROWS)],
    "vector": [[0.5, 1.0] for _ in range(ROWS)],
    "new": [n % 2 == 0 for n in range(ROWS)],
    "shop": ["one"] * ROWS,
    "empty": [None] * ROWS,
}
ITEM_COLUMNS_ITEMS = pl.DataFrame({"item_id": [f"i{n}" for n in range(ROWS)], **COLUMNS})


def test_what_was_found_is_not_looked_for_again() -> None:
    known = {"genre": FoundColumn("number", 3, "known"), "url": FoundColumn("category", 40, "text")}
    found = choose_columns(ITEM_COLUMNS_ITEMS, known=known)
    assert found["genre"] is known["genre"]
    assert found["url"].kind == "none"
    assert choose_columns(ITEM_COLUMNS_ITEMS, known=known, given={"genre": "category"})[
        "genre"
    ].kind == ("category")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"colour": "category"}, "not there"),
        ({"item_id": "category"}, "not there"),
        ({"tags": "category"}, "cannot be a category"),
    ],
)
def test_kinds_that_do_not_fit_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        choose_columns(ITEM_COLUMNS_ITEMS, given=given)


def test_the_features_of_a_catalogue() -> None:
    items, features = item_features(
        ITEM_COLUMNS_ITEMS, choose_columns(ITEM_COLUMNS_ITEMS), min_count=3
    )
    assert features == (
        Feature("item_id", "categorical", "item"),
        Feature("genre", "categorical", "item", min_count=3),
        Feature("pages", "bucketised", "item"),
        Feature("price", "bucketised", "item"),
        Feature("brand", "categorical", "item", min_count=3),
        Feature("title words", "multi", "item", min_count=3),
        Feature("tags", "multi", "item", min_count=3),
        Feature("new", "categorical", "item", min_count=3),
    )
    assert items["genre"].dtype == pl.String
    assert items["title words"][7].to_list() == ["stór", "hús"]
    assert items["title words"][12].to_list() == ["stór", "hús", "12"]


def test_a_name_that_rows_use_is_another_feature() -> None:
    table = ITEM_COLUMNS_ITEMS.select("item_id", pl.col("price").alias("popularity"))
    items, features = item_features(table, choose_columns(table))
    assert features[1] == Feature("item popularity", "bucketised", "item")
    assert items["item popularity"].equals(items["popularity"])


def test_new_items_get_the_columns_that_are_made_of_others() -> None:
    table = ITEM_COLUMNS_ITEMS.with_columns(
        pl.col("price").alias("popularity"), pl.col("title").alias("time")
    )
    known, features = item_features(table, choose_columns(table))
    wanted = [feature.name for feature in features]
    assert {"item popularity", "title words", "item time words"} <= set(wanted)
    new = with_made_columns(table, wanted)
    assert new.select(wanted).equals(known.select(wanted).with_columns(pl.col("genre").cast(int)))
    assert with_made_columns(ITEM_COLUMNS_ITEMS.select("item_id"), wanted).columns == ["item_id"]


def test_the_features_of_users() -> None:
    users = pl.DataFrame(
        {
            "user_id": [f"u{n}" for n in range(16)],
            "age": [20.0 + n for n in range(16)],
            "town": [f"t{n % 2}" for n in range(16)],
            "note": [f"likes red hat {n}" for n in range(16)],
        }
    )
    columns = choose_columns(users, key="user_id")
    table, features = user_features(users, columns, taken=["town"])
    assert [f.name for f in features] == ["age", "user town"]
    assert table.columns == ["user_id", "age", "user town"]
    assert table["age"].n_unique() == 8
    assert table["age"].dtype == pl.String
    assert table.filter(pl.col("user_id") == "u0")["user town"][0] == "t0"


def user(name: str, *vocabulary: str) -> Feature:
    return Feature(name, "categorical", "user", vocabulary=vocabulary)


@pytest.mark.parametrize("scale", [1.0, 1e-4, 3.7e6, -2.5])
def test_numbers_get_the_names_that_the_training_gave_them(scale: float) -> None:
    age = np.random.default_rng(0).integers(18, 80, 300) * scale
    users = pl.DataFrame({"user_id": [f"u{n}" for n in range(300)], "age": age})
    known, (feature,) = user_features(users, {"age": FoundColumn("number", 300, "")}, taken=())
    fitted = user("age", *sorted(known["age"].unique()))
    found = profiles_as_trained(users.with_columns(pl.col("age").cast(pl.String)), [fitted])
    assert feature.name == "age"
    # Names have six digits: a number on a bound may fall on its other side.
    assert float(np.mean(found["age"].to_numpy() == known["age"].to_numpy())) > 0.95
    assert found.columns == ["user_id", "age"]
    again = profiles_as_trained(known, [fitted])
    assert again["age"].to_list() == known["age"].to_list()


def test_categories_stay_and_new_names_are_found() -> None:
    users = pl.DataFrame({"user_id": ["a"], "hour": ["7"], "town": ["north"]})
    wanted = [user("user hour", "7", "8"), user("town", "north"), user("gone", "x")]
    found = profiles_as_trained(users, wanted)
    assert found.row(0, named=True) == {
        "user_id": "a",
        "hour": "7",
        "town": "north",
        "user hour": "7",
    }
    item = Feature("town", "categorical", "item", vocabulary=("below 1", "from 1"))
    assert profiles_as_trained(users, [item]).equals(users)
