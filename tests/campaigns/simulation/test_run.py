from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.campaigns.simulation.run import (
    Driven,
    Shown,
    SimulationConfig,
    Source,
    drive,
    make_plan,
    read_back,
)
from adwright.campaigns.store.store import Store
from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.data.sources.log import open_log
from adwright.delivery.policy.rules import GreedyConfig, SoftmaxConfig
from tests.support.store.small_world import SMALL, START, played, population

WEEK = SimulationConfig(days=7, places=4, batch=32)


def test_a_plan_never_sends_a_person_twice_at_once() -> None:
    people = population()
    plan = make_plan(people, WEEK)
    sizes = np.diff(plan.bounds)
    assert sizes.sum() == len(plan)
    assert 1 <= sizes.min() <= sizes.max() <= 32
    for first, end in zip(plan.bounds[:-1], plan.bounds[1:], strict=True):
        batch = plan.user[first:end]
        assert len(set(batch.tolist())) == len(batch)
    assert (np.diff(plan.time) >= 0).all()
    requests = plan.requests(people.users, 0, 3)
    assert [one.request_id for one in requests] == [plan.request_id(n) for n in range(3)]
    assert requests[0].time >= START
    assert requests[0].context == {"simulation": "simulation"}
    assert plan.end >= START + timedelta(days=7)
    assert plan.end.hour == 0


def test_what_was_written_is_what_is_read(tmp_path: Path) -> None:
    config = replace(WEEK, name="round")
    with played(tmp_path, SoftmaxConfig(), GreedyConfig(), config) as one:
        driven, events, log = one.driven, one.read.events, open_log(tmp_path / "log")
        assert one.read.files == len(list((tmp_path / "log").rglob("*.parquet"))) >= 7
        assert one.store.events("world").height == 0
    assert log.events.collect().height == events.height == len(driven.event_ids)
    kinds = dict(events.group_by("kind").len().iter_rows())
    assert kinds["purchase"] == driven.count("purchase")
    assert kinds["click"] == driven.count("click")
    assert driven.new == driven.count("click") + driven.count("purchase")
    assert kinds["impression"] == 4 * len(one.plan)
    shown = events.filter(pl.col("kind") == "impression")
    assert shown["propensity"].is_between(0, 1, closed="right").all()
    assert set(shown["policy_id"]) == {"A it", "B it"}
    bought = events.filter(pl.col("kind") == "purchase")
    assert bought["event_id"].str.ends_with("-purchase").all()
    assert bought["value"].is_between(1.0, 5.0).all()
    assert json.loads(bought["context"][0]) == {"simulation": "round"}
    # Each was shown to that person, at that place, by that policy, and clicked first.
    keys = ["request_id", "user_id", "item_id", "position", "policy_id"]
    assert bought.join(shown, on=keys).height == bought.height
    clicked = events.filter(pl.col("kind") == "click")
    assert bought.join(clicked, on=keys).filter(pl.col("time_right") < pl.col("time")).height == (
        bought.height
    )


def test_the_same_seed_gives_the_same_log(tmp_path: Path) -> None:
    logs = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        config = replace(WEEK, seed=seed)
        with played(tmp_path / name, SoftmaxConfig(), GreedyConfig(), config) as one:
            logs.append(one.read.events)
    assert logs[0].equals(logs[1])
    assert not logs[0].equals(logs[2])


def test_run_again_nothing_is_counted_twice(tmp_path: Path) -> None:
    with played(tmp_path, GreedyConfig(), GreedyConfig(), WEEK) as first:
        events = first.read.events
    with played(tmp_path, GreedyConfig(), GreedyConfig(), WEEK) as second:
        assert second.read.events.height == events.height
        assert second.driven.new == 0
        assert second.read.events.equals(events)


def test_the_people_remember_what_they_took(tmp_path: Path) -> None:
    with played(tmp_path, GreedyConfig(), GreedyConfig(), WEEK) as one:
        assert one.people.history_features.added == one.driven.count("purchase") > 0


class Forgetful:
    """Acknowledges everything and stores nothing but impressions of one item."""

    def __init__(self, item: str = "i00") -> None:
        self.item = item

    def decide(self, requests: list[Any]) -> list[Shown]:
        return [Shown(one.request_id, "p", "fine", (self.item,)) for one in requests]

    def send_events(self, events: list[Any]) -> int:
        return len(events)


def test_events_that_were_lost_are_noticed(tmp_path: Path) -> None:
    people = population()
    plan = make_plan(people, WEEK)
    driven = drive(people, Forgetful(), plan)
    assert {len(one) for one in driven.shown} == {1}
    with Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        store.create_tenant("t")
        with pytest.raises(DataError, match="acknowledged are not in its log"):
            read_back([Source(store, "t", tmp_path / "log")], plan, driven)


def test_an_item_that_nobody_knows() -> None:
    people = population()
    with pytest.raises(ValueInvalidError, match="neither the log nor the catalogue"):
        drive(people, Forgetful("cake"), make_plan(people, WEEK))


def test_other_events_of_the_tenant_are_told_apart(tmp_path: Path) -> None:
    people = population()
    plan = make_plan(people, replace(WEEK, name="mine"))
    driven = Driven(outcomes=[{"event_id": "mine-1", "kind": "click"}])
    assert (driven.count("click"), driven.count("purchase")) == (1, 0)
    event = {"time": START, "user_id": "u", "kind": "click", "item_id": "i00"}
    with Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        store.create_tenant("t")
        rows = [{**event, "event_id": f"{name}-1", "request_id": f"{name}-0"} for name in "ab"]
        mine = {**event, "event_id": "mine-1", "request_id": "mine-0"}
        store.record_events("t", [*rows, mine])
        read = read_back([Source(store, "t", tmp_path / "log")], plan, driven)
    assert read.events["event_id"].to_list() == ["mine-1"]
    assert read.others == 2


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\n"}, "name"),
        ({"days": 0.0}, "days"),
        ({"places": 0}, "places"),
        ({"batch": 0}, "batch"),
        ({"share": 2.0}, "share"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_that_are_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        replace(WEEK, **change)


def test_nobody_comes() -> None:
    people = population(replace(SMALL, people=0.01))
    with pytest.raises(DataError, match="nobody comes"):
        make_plan(people, replace(WEEK, days=0.01))


def test_people_are_dealt_by_the_name_unless_there_is_a_salt() -> None:
    assert SimulationConfig(name="x").split.salt == "x"
    assert SimulationConfig(name="x", salt="y", share=0.2).split.salt == "y"
    assert SimulationConfig(share=0.2).split.share == 0.2
