"""The next-basket task of any log."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.schema import Catalogue, validate_events
from adwright.data.sources.log import Log, save_log
from adwright.data.tasks.own.next_item import (
    NextItemConfig,
    build_next_item,
    open_next_item,
    repeat_share,
)
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
    with pytest.raises(ConfigError, match="min_count"):
        NextItemConfig(min_count=0)
    with pytest.raises(ConfigError, match="split cannot be 'random'"):
        NextItemConfig(split="random")  # type: ignore[arg-type]


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


def test_complete_journey_goes_by_its_name() -> None:
    found = open_next_item("complete-journey")
    assert found.choices.repeats
    assert "Weeks 1-44 train" in found.choices.split
    assert found.choices.context == ("weekday", "hour")
