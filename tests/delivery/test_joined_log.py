"""What is promised of these, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from adwright.core.artifacts import save_artifact
from adwright.core.errors import ArtifactError, FileUnreadableError, ValueInvalidError
from adwright.data.schema import validate_events
from adwright.data.sources.log import Log, save_log
from adwright.data.time import MICROSECONDS_PER_DAY
from adwright.delivery.joined_log import join_logs
from adwright.delivery.training_log import model_folder, open_history, training_log
from tests.support.data.ranking_task import shop_task, small_log
from tests.support.delivery.single_models import log, past, run_folder

LATER = datetime(2026, 3, 1, tzinfo=UTC)


def written(*changes: dict[str, Any]) -> pl.DataFrame:
    rows = [
        {
            "event_id": f"new{n}",
            "time": LATER + timedelta(hours=n),
            "request_id": f"q{n}",
            "user_id": "u1",
            "kind": "click",
            "item_id": "i3",
            **more,
        }
        for n, more in enumerate(changes)
    ]
    return validate_events(pl.DataFrame(rows), unique=False)


def test_both_are_one_log_in_order_of_time() -> None:
    found = join_logs(log(), [written({}, {}), written({"event_id": "new9"})])
    events = found.log.events.collect()
    assert events.height == found.old + found.served == log().events.collect().height + 3
    assert events["time"].is_sorted()
    assert (found.repeated, found.notes, found.since) == (0, (), LATER)
    assert not found.shown
    assert found.log.catalogue.items.equals(log().catalogue.items)
    (sentence,) = found.sentences()
    assert "3 that the service wrote" in sentence


def test_an_event_counts_once_and_the_old_one_stands(caplog: pytest.LogCaptureFixture) -> None:
    again = written({"event_id": "e0", "item_id": "i5"}, {}, {"event_id": "new1"})
    found = join_logs(log(), [again])
    assert (found.served, found.repeated) == (1, 2)
    stands = found.log.events.filter(event_id="e0").collect()["item_id"].to_list()
    assert stands == log().events.filter(event_id="e0").collect()["item_id"].to_list()
    assert "2 events of the service were there already" in found.sentences()


@pytest.mark.parametrize("columns", [[], ["title"]])
def test_items_without_a_past_are_taken_in_and_said_once(
    caplog: pytest.LogCaptureFixture, columns: list[str]
) -> None:
    old = log()
    items = old.catalogue.items.select("item_id", *(pl.lit("x").alias(name) for name in columns))
    old = replace(old, catalogue=replace(old.catalogue, items=items))
    coupon = {"kind": "redemption", "item_id": "coupon"}
    found = join_logs(old, [written({}, {"item_id": "strange"}, {"item_id": "strange"}, coupon)])
    after = found.log.catalogue.items
    assert after.columns == items.columns
    assert after["item_id"].to_list() == [*items["item_id"], "strange"]
    assert found.served == 4
    (note,) = [line for line in found.sentences() if "'strange'" in line]
    assert "2 events are of 1 items that the old log has not" in note
    assert ("data import --items" in note) is bool(columns)
    assert not found.faults
    assert not caplog.records


def test_nothing_new_is_refused() -> None:
    with pytest.raises(ValueInvalidError, match="nothing that the old log has not"):
        join_logs(log(), [])
    with pytest.raises(ValueInvalidError, match="2 of them dated later than now"):
        join_logs(log(), [written({}, {})], LATER - timedelta(days=1))


def busy_log() -> Log:
    """A thousand purchases of fifty people, of ten items, over ten days."""
    rows = [
        {
            "event_id": f"b{n}",
            "time": LATER - timedelta(days=1 + n % 10, minutes=n),
            "user_id": f"u{n % 50}",
            "item_id": f"i{n % 7}",
        }
        for n in range(1000)
    ]
    return replace(log(), events=written(*rows).lazy())


def feed(**changes: Any) -> list[dict[str, Any]]:
    """Three hundred more, by the same people, in three days."""
    return [
        {
            "event_id": f"{changes.get('kind')}{n}",
            "time": LATER + timedelta(minutes=14 * n),
            "user_id": f"u{n % 50}",
            "item_id": f"i{n % 7}",
            **{name: change(n) if callable(change) else change for name, change in changes.items()},
        }
        for n in range(300)
    ]


@pytest.mark.parametrize(
    ("rows", "about"),
    [
        (feed(), ""),
        (feed(time=lambda n: LATER + timedelta(days=0 if n % 50 else 999)), "later than now"),
        (feed(kind="impression"), "nobody did anything"),
        (feed(user_id=lambda n: "bot" if n % 3 else f"u{n % 50}"), "did more than"),
        (feed(item_id=lambda n: "hit" if n % 9 == 0 else f"i{n % 7}"), ""),
        (
            feed(
                item_id=lambda n: "hot" if n % 9 == 0 else f"i{n % 7}",
                user_id=lambda n: f"bot{n}" if n % 9 == 0 else f"u{n % 50}",
            ),
            "of the item 'hot'",
        ),
        (feed(item_id=lambda n: f"other{n}"), "without a past"),
        (feed(time=lambda n: LATER + timedelta(minutes=144 * n))[::30], "does all of it arrive?"),
        ([*feed(kind="impression"), *feed()], ""),
        ([*feed(kind="impression"), *feed()[:240]], "of its last 60 impressions 0 things"),
    ],
)
def test_a_broken_feed_is_told(rows: list[dict[str, Any]], about: str) -> None:
    found = join_logs(busy_log(), [written(*rows)], LATER + timedelta(days=40))
    assert about in " ".join(found.faults)
    assert bool(found.faults) is bool(about)
    assert found.log.events.collect()["time"].max() < LATER + timedelta(days=40)  # type: ignore[operator]


def test_what_was_taken_from_slates_of_the_service_is_said() -> None:
    slate = {"kind": "impression", "request_id": "s", "item_id": "i5"}
    taken = {"request_id": "s", "item_id": "i5"}
    other = {"request_id": "s", "item_id": "i6"}
    found = join_logs(log(), [written(slate, taken, other)])
    assert found.slated == 0.5
    assert "50% of what users did there" in found.sentences()[1]
    assert join_logs(log(), [written({})]).slated == 0


def test_whether_the_old_log_says_what_was_shown_is_kept() -> None:
    old = log()
    shown = written({"event_id": "shown", "kind": "impression", "time": LATER - timedelta(days=1)})
    told = replace(old, events=pl.concat([old.events.collect(), shown]).lazy())
    assert join_logs(told, [written({})]).shown
    assert not join_logs(old, [shown, written({})]).shown


def test_a_return_that_the_service_heard_of_takes_back_its_purchase() -> None:
    bought, back = {"kind": "purchase"}, {"kind": "return"}
    found = join_logs(log(), [written(bought, {"kind": "purchase", "item_id": "i4"}, back)])
    since = found.log.events.filter(pl.col("time") >= LATER).collect()
    assert since["item_id"].to_list() == ["i4"]
    assert "1 returns: 1 took back a purchase, 0 had none and were left out" in found.sentences()


def configured(folder: Path, values: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values))
    return folder / "model"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"data": {"kind": "journey"}}, "complete-journey"),
        ({"data": {"kind": "events", "path": "log"}}, "log"),
        ({"task": {"kind": "response"}}, "complete-journey"),
        ({"task": {"kind": "movielens"}}, "movielens"),
        ({"task": {"kind": "log", "folder": "mine"}}, "mine"),
        ({"task": {"kind": "folder", "folder": "there/task"}}, "there/task"),
        ({"log": "mine", "data": {"kind": "journey"}}, "mine"),
        ({"run": {"model": "hcn", "log": "mine"}, "model": {}}, "mine"),
        ({"run": {"log": ""}}, None),
        ({"log": "", "run": 3}, None),
        ({"other": 1}, None),
        ([], None),
    ],
)
def test_the_run_says_where_its_log_lies(
    tmp_path: Path, values: dict[str, Any], expected: str | None
) -> None:
    assert training_log(configured(tmp_path, values)) == expected


def test_a_task_of_an_imported_log_lies_in_that_log(tmp_path: Path) -> None:
    save_log(tmp_path / "log", small_log())
    shop_task(tmp_path / "log" / "task-1")
    task = {"kind": "folder", "folder": str(tmp_path / "log" / "task-1")}
    assert training_log(configured(tmp_path / "run", {"task": task})) == str(tmp_path / "log")


def test_the_model_of_a_run_is_found_and_two_are_named(tmp_path: Path) -> None:
    run = tmp_path / "run"
    save_artifact(run / "ranker", kind="x", config={})
    assert model_folder(run) == model_folder(run / "ranker") == run / "ranker"
    with pytest.raises(ArtifactError, match="no model here") as error:
        model_folder(tmp_path / "nowhere")
    assert "manifest.json" in error.value.hint
    save_artifact(run / "model", kind="x", config={})
    with pytest.raises(ArtifactError) as error:
        model_folder(run)
    assert str(run / "model") in error.value.hint
    assert str(run / "ranker") in error.value.hint


def test_a_log_gives_the_kinds_that_count_and_who_people_are(tmp_path: Path) -> None:
    run = run_folder(tmp_path)
    found = open_history(str(training_log(run / "model")), ("purchase",))
    wanted = past().events.sort("user_id", "time", "item_id")
    assert found.events.drop("kind").sort("user_id", "time", "item_id").equals(wanted)
    assert found.profiles is not None
    assert found.profiles.sort("user_id").equals(log().users.sort("user_id"))  # type: ignore[union-attr]
    clicks = open_history_of_small_log(tmp_path, ("click",))
    assert clicks.height == small_log().events.filter(kind="click").collect().height
    with pytest.raises(ValueInvalidError, match="the kinds that count are cart"):
        open_history_of_small_log(tmp_path, ("cart",))


def open_history_of_small_log(folder: Path, kinds: tuple[str, ...]) -> pl.DataFrame:
    if not (folder / "small").exists():
        save_log(folder / "small", small_log())
    return open_history(folder / "small", kinds).events


def test_sequences_stand_for_days_and_a_task_has_everybody_once(tmp_path: Path) -> None:
    (tmp_path / "sequences.txt").write_text("ann tea jam tea\nbob rye\n")
    (tmp_path / "item_attributes.json").write_text(json.dumps({"tea": [1], "jam": [1], "rye": [2]}))
    found = open_history(tmp_path, ("click",)).events
    assert found["user_id"].to_list() == ["ann", "ann", "ann", "bob"]
    assert (found["time"] // MICROSECONDS_PER_DAY).to_list() == [0, 1, 2, 0]
    task = shop_task(tmp_path / "task", users=6)
    events = open_history(task.folder, ("click",)).events
    every = pl.concat([pl.read_parquet(task.events_path(split)) for split in ("train", "test")])
    assert events.height == every.unique().height
    with pytest.raises(FileUnreadableError):
        open_history(tmp_path / "nowhere", ("click",))
