"""Where the events of a list go."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from adwright.campaigns.store.store import Store
from adwright.cli.retire import (
    RecordOptions,
    kept_options,
    opened_lives,
    period_of,
    said_period,
    stop_in_store,
)
from adwright.core.clock import SystemClock
from adwright.core.errors import ConfigError, FileUnreadableError
from adwright.creative.lifetime.lives import DeliveryLives
from adwright.creative.lifetime.stop_events import stop_events
from adwright.creative.lifetime.stop_list import RetirementList
from adwright.data.creatives import Creative, CreativeState
from adwright.data.sources.complete_journey import CompleteJourney
from tests.support.commands import call
from tests.support.data.deliveries import record
from tests.support.data.small_journey import transactions, write_journey
from tests.support.data.small_life_log import SmallLives
from tests.support.data.small_stop_list import small_stop_list


def test_the_verbs_are_named_in_the_order_of_their_use() -> None:
    said = call("retire", "--help")
    places = [said.index(f" {verb} ") for verb in ("train", "list", "replay", "apply", "undo")]
    assert places[0] > 0
    for verb in ("train", "list", "replay", "apply", "undo"):
        assert "--help" in call("retire", verb, "--help")


def test_a_list_is_applied_once_and_taken_back_in_a_file(runs: Path, tmp_path: Path) -> None:
    stops = RetirementList.open(runs / "list").stops.height
    events = tmp_path / "stops.jsonl"
    apply = ("retire", "apply", runs / "list", "--events", events)
    assert f"would be stopped: {stops}" in call(*apply, "--record", runs / "ads", "--dry-run")
    assert not events.exists()
    assert f"stopped: {stops} units" in call(*apply, "--record", runs / "ads")
    assert "stopped: 0 units" in call(*apply)
    assert "taken back" in call("retire", "undo", runs / "list", "--events", events)
    values = [json.loads(line)["value"] for line in events.read_text().splitlines()]
    assert values == [1.0] * stops + [0.0] * stops


def test_a_list_reaches_a_store_and_leaves_it(runs: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ads.db'}"
    with Store.open(url, create=True) as store:
        store.create_tenant("shop")
    found = RetirementList.open(runs / "list")
    kept, *others = found.stops["unit_id"].to_list()
    target = ("--store", url, "--tenant", "shop", "--leave-out", kept)
    call("retire", "apply", runs / "list", *target, "--by", "anna", "--dry-run")
    call("retire", "apply", runs / "list", *target, "--by", "anna")
    with Store.open(url) as store:
        now = store.stops_at("shop")
    assert now.table.height == len(others)
    assert set(now.table["user_id"]) == {"anna"}
    # What somebody else stopped, by order of a court, is not the list's to take back.
    court = now.table.head(1).select("item_id", "creative_id").to_dicts()[0]
    order = {"event_id": "court", "request_id": "r", "user_id": "legal", "kind": "stop"}
    with Store.open(url) as store:
        store.record_events("shop", [{**order, **court, "time": SystemClock().now()}])
    said = call("retire", "undo", runs / "list", *target)
    with Store.open(url) as store:
        left = store.stops_at("shop")
    assert left.table["event_id"].to_list() == ["court"]
    if left.items:
        assert f"still stopped by others: 1 items ({court['item_id']}), by legal" in said


def test_ads_of_the_store_are_stopped_and_go_back_through_review(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ads.db'}"
    ads = [Creative(headline=name, item_id=name, creative_id=name) for name in "abcd"]
    live: list[CreativeState] = ["in review", "approved", "live"]
    with Store.open(url) as store:
        store.create_tenant("shop")
        store.write_creatives("shop", ads, author="ann")
        for state in live:
            store.move_creatives("shop", ["a", "b", "c"], state, author="ann")
        store.move_creatives("shop", ["b"], "paused", author="ann")
    # Two of them name no item: the store knows it. One is a draft, which nobody shows.
    rows = [("u1", None, "a", "stop"), ("u2", "b", "b", "stop"), ("u3", None, "d", "stop")]
    small_stop_list([*rows, ("u4", "c", "c", "keep")]).save(tmp_path / "list")

    def states() -> list[str]:
        with Store.open(url) as store:
            return [one.state for one in store.creatives_full("shop")]

    apply = ("retire", "apply", tmp_path / "list", "--store", url, "--tenant", "shop")
    undo = ("retire", "undo", *apply[2:], "--by", "ben")
    assert "2 ads would be stopped" in call(*apply, "--dry-run")
    assert states() == ["live", "paused", "live", "draft"]
    assert "2 ads stopped" in call(*apply, "--by", "anna")
    assert states() == ["stopped", "stopped", "live", "draft"]
    with Store.open(url) as store:
        assert set(store.stops_at("shop").creatives) == {"a", "b", "d"}
        assert store.creative_moves("shop", "a")[-1].author == "anna"
        # Somebody looks at one of them before the list is taken back.
        for state in live:
            store.move_creatives("shop", ["b"], state, author="ann")
    assert "ads" not in call(*apply)  # a list stops an ad once
    assert states() == ["stopped", "live", "live", "draft"]
    assert "1 ads in review again" in call(*undo)
    assert "ads" not in call(*undo)
    assert states() == ["in review", "live", "live", "draft"]
    with Store.open(url) as store:
        assert not store.stops_at("shop").creatives


@pytest.mark.parametrize("undo", [False, True])
def test_what_a_kill_left_undone_the_next_call_does(tmp_path: Path, undo: bool) -> None:
    plan = small_stop_list([("u1", "a", "a", "stop")])
    now = SystemClock().now()
    with Store.open(f"sqlite:///{tmp_path / 'ads.db'}") as store:
        store.create_tenant("shop")
        ad = Creative(headline="a", item_id="a", creative_id="a")
        store.write_creatives("shop", [ad], author="ann", submit=True)
        for state in ("approved", "live"):
            store.move_creatives("shop", ["a"], state, author="ann")
        if undo:
            stop_in_store(store, "shop", plan, "ben", now)
        store.record_events("shop", stop_events(plan, "ben", now, undo=undo))  # and killed
        assert stop_in_store(store, "shop", plan, "ben", now, undo=undo)[1] == ["a"]
        (found,) = store.creatives_full("shop")
        assert found.state == ("in review" if undo else "stopped")
        assert store.stops("shop").height == 1 + undo


def test_units_that_share_an_item_are_held_back_and_said(tmp_path: Path) -> None:
    rows = [("u1", "tea", None, "stop"), ("u2", "jam", "c2", "stop"), ("u3", "tea", None, "keep")]
    small_stop_list(rows).save(tmp_path / "list")
    out = tmp_path / "stops.jsonl"
    said = call("retire", "apply", tmp_path / "list", "--events", out)
    assert "held back: 1 units" in said
    assert [json.loads(line)["item_id"] for line in out.read_text().splitlines()] == ["jam"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("apply", "{}/list"), "a file of events, or into a store"),
        (("apply", "{}/list", "--store", "sqlite:///none.db"), "a store has tenants"),
        (("apply", "{}/nowhere", "--events", "a.jsonl"), "no readable list"),
        (("apply", "{}/list", "--events", "a.txt"), "Parquet or to JSON lines"),
        (("apply", "{}/list", "--events", "a.jsonl", "--leave-out", "a9999"), "no unit"),
    ],
)
def test_mistakes_are_named(
    runs: Path,
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    text = call("retire", *(each.format(runs) for each in arguments), code=2)
    assert said in text.replace("\n", " ")
    assert "to do:" in text or "where:" in text
    assert not (runs / "new" / "model").exists()


def test_the_list_stops_what_brings_little(runs: Path) -> None:
    found = RetirementList.open(runs / "list")
    stops = found.stops
    assert 0 < stops.height < len(found)
    good = (stops["unit_id"].str.slice(1).cast(pl.Int64) % 2 == 0).sum()
    assert good < 0.2 * stops.height
    assert stops["item_id"].null_count() == 0
    assert "What to stop" in (runs / "list" / "list.html").read_text("utf-8")


def test_a_replay_of_days_that_training_has_not_seen(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "replay.json"
    said = call("retire", "replay", "--model", runs / "run", "--out", out)
    assert "best fatigue rule" in said
    found = json.loads(out.read_text("utf-8"))
    assert found["cost_name"] == "spend"
    assert found["value_name"] == "clicks"
    early = call("retire", "replay", "--model", runs / "run", "--from", "2026-02-01", code=2)
    assert "may know what it is judged by" in early.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("predict", "--model", "{}/nowhere"), "here"),
        (("predict", "--model", "{}/run", "--at", "June"), "is no day of this record"),
        (("predict", "--model", "{}/run", "--at", "2031-01-01"), "outside of the record"),
        (("predict", "{}/nowhere.csv", "--model", "{}/run"), "no such record of ads"),
        (("predict", "--model", "{}/run", "--out", "{}/list"), "exists already"),
    ],
)
def test_decide_mistakes_are_named(
    runs: Path,
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    text = call("retire", *(each.format(runs) for each in arguments), code=2)
    assert said in text.replace("\n", " ")
    assert "to do:" in text or "where:" in text
    assert not (runs / "new" / "model").exists()


def test_options_are_kept_beside_what_was_made(tmp_path: Path) -> None:
    options = RecordOptions("ads", "ad", "clicks", "EUR", Path("items.csv"), "store", 0.25)
    options.keep(tmp_path)
    assert kept_options(tmp_path, None) == options
    newer = kept_options(tmp_path, "newer")
    assert (newer.record, newer.unit_of, newer.share) == ("newer", "ad", 0.25)
    with pytest.raises(FileUnreadableError, match="does not say what it was made from"):
        kept_options(tmp_path / "nowhere", None)


def test_periods_are_days_of_a_record_and_weeks_of_the_year() -> None:
    days = DeliveryLives(record())
    period = period_of(days, "2024-01-05", "--at")
    assert period is not None
    assert said_period(days, period) == "2024-01-05"
    assert days.log.period_name(period) == "day 2024-01-05"
    weeks = SmallLives(20)
    assert period_of(weeks, "14", "--at") == 14
    assert said_period(weeks, 14) == "14"
    assert weeks.log.period_name(14) == "week 14"
    assert period_of(weeks, None, "--at") is None
    for lives, text in ((days, "14"), (weeks, "2024-01-05")):
        with pytest.raises(ConfigError, match="of this record"):
            period_of(lives, text, "--at")


def test_displays_go_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_journey = write_journey(tmp_path / "data", transactions())

    def opened(*_: object, **__: object) -> CompleteJourney:
        return small_journey

    monkeypatch.setattr(CompleteJourney, "open", opened)
    lives = opened_lives(RecordOptions("complete-journey", where="store"), offline=True)
    assert lives.log.cost_name == "display weeks"
    assert "/all/" not in lives.log.ids["unit_id"][0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "{}/ads", "--out", "{}/run"), "exists already"),
        (("train", "{}/ads", "--before", "2020-01-01", "--out", "{}/new"), "early"),
        (("train", "{}/ads", "--value", "conversions", "--out", "{}/new"), "none of this value"),
        (("train", "{}/ads", "--currency", "USD", "--out", "{}/new"), "none of this currency"),
    ],
)
def test_train_mistakes_are_named(
    runs: Path,
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    text = call("retire", *(each.format(runs) for each in arguments), code=2)
    assert said in text.replace("\n", " ")
    assert "to do:" in text or "where:" in text
    assert not (runs / "new" / "model").exists()
