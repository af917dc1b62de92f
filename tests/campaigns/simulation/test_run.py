from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.campaigns.simulation import run as module
from adwright.campaigns.simulation.run import (
    Driven,
    HttpClient,
    Shown,
    SimulationConfig,
    Source,
    SplitClient,
    drive,
    make_plan,
    read_back,
)
from adwright.campaigns.store.store import Store
from adwright.core.errors import ConfigError, DataError, ResourceError, ValueInvalidError
from adwright.data.sources.log import open_log
from adwright.delivery.decision import Request
from adwright.delivery.policy.rules import GreedyConfig, SoftmaxConfig
from adwright.delivery.policy.slate_policy import ABSplit
from tests.support.store.small_world import START, played, population

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


@pytest.mark.parametrize(("change", "match"), [({"name": ""}, "name"), ({"name": "a\n"}, "name")])
def test_settings_that_are_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        replace(WEEK, **change)


NOW = datetime(2024, 6, 1, 18, 30, tzinfo=UTC)


class Scripted(ThreadingHTTPServer):
    """Answers with what `script` holds, then as a service that is well."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[tuple[int, dict[str, str], bytes]] = []
        self.seen: list[tuple[str, dict[str, Any], str]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Scripted

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.seen.append((self.path, body, self.headers["X-API-Key"]))
            scripted = self.server.script.pop(0) if self.server.script else None
        status, headers, text = scripted or (200, {}, json.dumps(_well(self.path, body)).encode())
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(text))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _well(path: str, body: dict[str, Any]) -> dict[str, Any]:
    if path.endswith("/events"):
        return {"accepted": len(body["events"]), "duplicates": 0}
    items = [{"item_id": f"for-{body['user_id']}-{place}"} for place in range(body["k"])]
    return {"policy_id": "greedy", "stage": "fine", "items": items}


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the client waits, on one connection."""
    found: list[float] = []
    monkeypatch.setattr(module, "sleep", found.append)
    monkeypatch.setattr(module, "CONNECTIONS", 1)
    return found


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def requests(n: int, k: int = 2) -> list[Request]:
    return [Request(f"r{i}", f"u{i}", NOW, k=k, context={"page": "start"}) for i in range(n)]


def event(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "event_id": f"e{number}",
        "time": NOW,
        "request_id": "r",
        "user_id": f"u{number}",
        "kind": "click",
        "item_id": "tea",
        "value": None,
        "context": '{"page": "start"}',
        **changes,
    }


def test_what_a_request_allows_is_passed_on(server: Scripted) -> None:
    with HttpClient(server.url, "key") as client:
        client.decide(
            [Request("r", "u", NOW, exclude=frozenset({"b", "a"}), candidates=("tea", "jam"))]
        )
    (_, body, _) = server.seen[0]
    assert (body["exclude"], body["candidates"]) == (["a", "b"], ["tea", "jam"])


def test_events_are_sent_in_batches_without_nulls(server: Scripted) -> None:
    with HttpClient(server.url, "key") as client:
        assert client.send_events([event(n) for n in range(1200)]) == 1200
    assert sorted(len(body["events"]) for _, body, _ in server.seen) == [200, 500, 500]
    sent = server.seen[0][1]["events"][0]
    assert "value" not in sent
    assert sent["context"] == {"page": "start"}


def test_load_that_is_shed_is_sent_again_after_the_wait_that_was_asked_for(
    server: Scripted, slept: list[float]
) -> None:
    server.script = [(429, {"Retry-After": "3"}, b""), (503, {}, b""), (429, {}, b"")]
    with HttpClient(server.url, "key") as client:
        assert client.decide(requests(1))[0].request_id == "r0"
        assert client.retries == 3
    assert 3 <= slept[0] <= 4.5
    assert 0.2 <= slept[1] <= 0.3
    assert 0.4 <= slept[2] <= 0.6
    assert len({json.dumps(body) for _, body, _ in server.seen}) == 1


def test_a_connection_that_breaks_is_opened_anew(server: Scripted, slept: list[float]) -> None:
    server.script = [(0, {}, b""), (0, {}, b"")]
    with HttpClient(server.url, "key") as client:
        assert client.send_events([event(1)]) == 1
        assert client.send_events([event(2)]) == 1
    assert len(slept) == 2


def test_patience_ends(
    server: Scripted, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = [(429, {"Retry-After": "60"}, b"")] * 3
    monkeypatch.setattr(module, "ATTEMPTS", 3)
    monkeypatch.setattr(module, "LONGEST_WAIT", 2.0)
    with (
        HttpClient(server.url, "key") as client,
        pytest.raises(ResourceError, match="in 3 attempts: status 429"),
    ):
        client.decide(requests(1))
    assert slept == [2.0, 2.0]


@pytest.mark.parametrize(
    ("status", "text", "match"),
    [
        (401, b'{"error": {"message": "the key is not known", "hint": "x"}}', "key is not known"),
        (404, b"<html>", "none of the service's"),
        (500, b'{"error": 3}', "none of the service's"),
    ],
)
def test_a_refusal_is_not_repeated(server: Scripted, status: int, text: bytes, match: str) -> None:
    server.script = [(status, {}, text)]
    with HttpClient(server.url, "key") as client, pytest.raises(ConfigError, match=match) as caught:
        client.decide(requests(1))
    assert f"status {status}" in str(caught.value)
    assert len(server.seen) == 1


def test_client_settings_that_are_refused() -> None:
    with pytest.raises(ConfigError, match="plain text"):
        HttpClient("http://host", "clé\n")


class Noted:
    def __init__(self, name: str) -> None:
        self.name, self.users, self.sent = name, list[str](), list[str]()

    def decide(self, asked: list[Request]) -> list[Shown]:
        self.users += [one.user_id for one in asked]
        return [Shown(one.request_id, self.name, "fine", ()) for one in asked]

    def send_events(self, events: list[dict[str, Any]]) -> int:
        self.sent += [one["user_id"] for one in events]
        return len(events)


def test_a_split_sends_each_arm_to_its_own() -> None:
    a, b, split = Noted("a"), Noted("b"), ABSplit("trial")
    client = SplitClient(a, b, split)
    asked = requests(40)
    found = client.decide(asked)
    assert [one.request_id for one in found] == [one.request_id for one in asked]
    assert [one.policy_id for one in found] == [split.arm(one.user_id).lower() for one in asked]
    assert client.send_events([event(n) for n in range(40)]) == 40
    assert set(a.sent) == set(a.users)
    assert set(b.sent) == set(b.users)
    assert client.decide([]) == []
