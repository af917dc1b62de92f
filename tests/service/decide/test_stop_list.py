from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from adwright.campaigns.store.events import StopVersion
from adwright.campaigns.store.store import Store
from adwright.core.clock import FixedClock, SystemClock
from adwright.core.errors import ResourceError
from adwright.creative.lifetime.retirement.listing.apply_stops import apply_stops
from adwright.data.stops import Stops
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.decide.stop_list import StopList
from adwright.service.registry.registry import FixedModels
from tests.support.data.small_stop_list import small_stop_list
from tests.support.service.small_shop import ITEMS, NOW, deployed, request, running, wait_until


def stop(item: str, event_id: str = "s1", **changes: Any) -> dict[str, Any]:
    row = {"event_id": event_id, "time": NOW, "request_id": "r", "user_id": "anna", "kind": "stop"}
    return {**row, "item_id": item, **changes}


class Watched:
    """A store that counts what it is asked, and fails where it is told to."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.read: list[str] = []
        self.broken: set[str] = set()

    def stop_versions(self) -> Mapping[str, StopVersion]:
        if "versions" in self.broken:
            raise ResourceError("the store is down")
        return self.store.stop_versions()

    def stops_at(self, tenant: str, at: datetime) -> Stops:
        self.read.append(tenant)
        if tenant in self.broken:
            raise ResourceError("the store is down")
        return self.store.stops_at(tenant, at)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
def source(store: Store) -> Watched:
    return Watched(store)


@pytest.fixture
def stops(source: Watched, clock: FixedClock) -> StopList:
    return StopList(source, clock, seconds=5)


def items(stops: StopList, tenant: str = "acme") -> set[str]:
    return set(stops.items(tenant))


def test_a_look_reads_those_tenants_alone_that_have_something_new(
    store: Store, source: Watched, stops: StopList
) -> None:
    stops.look()
    assert (source.read, stops.of("acme"), stops.total) == ([], None, 0)
    store.record_events("acme", [stop("a")])
    stops.look()
    stops.look()
    store.record_events("umbrella", [stop("b"), stop("c", "s2")])
    stops.look()
    assert source.read == ["acme", "umbrella"]
    assert (items(stops), items(stops, "umbrella"), stops.total) == ({"a"}, {"b", "c"}, 3)
    store.record_events("acme", [stop("a", "s2", time=NOW, value=0.0)])
    stops.look()
    assert items(stops) == set()


def test_what_a_process_stores_itself_counts_without_a_look(store: Store, stops: StopList) -> None:
    store.record_events("acme", [stop("a")])
    store.record_events("umbrella", [stop("b")])
    stops.refresh("acme")
    assert (items(stops), items(stops, "umbrella")) == ({"a"}, set())


def test_a_stop_counts_from_its_moment_on(
    store: Store, source: Watched, stops: StopList, clock: FixedClock
) -> None:
    store.record_events("acme", [stop("a", time=NOW + timedelta(seconds=60))])
    stops.look()
    clock.advance(59)
    stops.look()
    assert (items(stops), source.read) == (set(), ["acme"])
    clock.advance(1)
    stops.look()
    assert items(stops) == {"a"}


def test_a_store_that_fails_keeps_the_list_and_is_told_of_once(
    store: Store,
    source: Watched,
    stops: StopList,
    clock: FixedClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store.record_events("acme", [stop("a")])
    stops.look()
    store.record_events("acme", [stop("b", "s2")])
    caplog.set_level(logging.INFO, logger="adwright.service")
    for broken in ("versions", "acme"):
        source.broken = {broken}
        for _ in range(3):
            clock.advance(5)
            stops.look()
            stops.refresh("umbrella")
    assert (items(stops), stops.age) == ({"a"}, 30)
    (said,) = caplog.messages
    assert "those known before go on to count" in said
    assert "the store is down" in said
    source.broken = set()
    stops.look()
    assert (items(stops), stops.age) == ({"a", "b"}, 0)
    assert caplog.messages[1:] == ["the stops can be read again"]


def test_one_tenant_that_cannot_be_read_holds_up_no_other(
    store: Store, source: Watched, stops: StopList
) -> None:
    source.broken = {"acme"}
    for tenant in ("acme", "umbrella"):
        store.record_events(tenant, [stop("a")])
    stops.look()
    assert (items(stops), items(stops, "umbrella")) == (set(), {"a"})


def test_a_read_that_hangs_holds_up_no_decision(
    store: Store, source: Watched, stops: StopList, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.record_events("acme", [stop("a")])
    stops.look()
    goes_on, entered = threading.Event(), threading.Event()

    def hang() -> dict[str, StopVersion]:
        entered.set()
        goes_on.wait(20)
        return {}

    monkeypatch.setattr(source, "stop_versions", hang)
    thread = threading.Thread(target=stops.look)
    thread.start()
    assert entered.wait(10)
    assert stops.heeded("acme", request()).exclude == {"a"}
    assert (stops.total, items(stops)) == (1, {"a"})
    goes_on.set()
    thread.join()


def test_of_those_that_wait_for_a_read_the_first_reads_for_all(
    store: Store, source: Watched, stops: StopList, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.record_events("acme", [stop("a")])
    goes_on, entered = threading.Event(), threading.Event()
    read = source.stops_at

    def slow(tenant: str, at: datetime) -> Stops:
        entered.set()
        goes_on.wait(20)
        return read(tenant, at)

    monkeypatch.setattr(source, "stops_at", slow)
    threads = [threading.Thread(target=stops.refresh, args=("acme",)) for _ in range(9)]
    threads[0].start()
    assert entered.wait(10)
    # What these have stored may have come too late for the read that is under way.
    for thread in threads[1:]:
        thread.start()
    threads[0].join(0.1)
    goes_on.set()
    for thread in threads:
        thread.join(10)
    assert 2 <= len(source.read) < 9
    assert items(stops) == {"a"}


def test_a_store_that_was_exchanged_for_an_empty_one_stops_nothing(
    store: Store, source: Watched, stops: StopList, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.record_events("acme", [stop("a")])
    stops.look()
    monkeypatch.setattr(source, "stop_versions", dict)
    stops.look()
    assert (stops.of("acme"), stops.total) == (None, 0)


def test_what_is_stopped_joins_what_the_request_excludes(store: Store, stops: StopList) -> None:
    plain = request()
    assert stops.heeded("acme", plain) is plain
    store.record_events("acme", [stop("a"), stop("b", "s2")])
    stops.look()
    assert stops.heeded("umbrella", plain) is plain
    known = stops.of("acme")
    assert known is not None
    assert stops.heeded("acme", plain).exclude is known.items
    assert stops.heeded("acme", request(exclude=frozenset("xa"))).exclude == {"a", "b", "x"}
    # Of many stops those that cannot be shown anyway are left out.
    assert stops.heeded("acme", request(candidates=("b", "x"))).exclude == {"b"}
    others = request(candidates=("x",), exclude=frozenset("y"))
    assert stops.heeded("acme", others) is others
    assert plain.exclude == frozenset()


def test_it_watches_from_its_start_to_its_end(store: Store, source: Watched) -> None:
    stops = StopList(source, SystemClock(), seconds=0.01)
    store.record_events("acme", [stop("a")])
    stops.start()
    assert items(stops) == {"a"}
    store.record_events("acme", [stop("b", "s2")])
    wait_until(lambda: items(stops) == {"a", "b"})
    stops.stop()
    assert not any(thread.name == "adwright-stops" for thread in threading.enumerate())
    store.record_events("acme", [stop("c", "s3")])
    stops.stop()
    assert items(stops) == {"a", "b"}


def test_a_stop_that_begins_before_the_next_look_is_not_missed(
    store: Store, source: Watched
) -> None:
    clock = SystemClock()
    stops = StopList(source, clock, seconds=600)
    stops.start()
    soon = clock.now() + timedelta(seconds=0.3)
    store.record_events("acme", [stop("a", time=soon)])
    stops.refresh("acme")
    wait_until(lambda: items(stops) == {"a"})
    assert clock.now() >= soon
    stops.stop()


def test_a_retirement_list_is_obeyed_until_it_is_taken_back(store: Store) -> None:
    plan = small_stop_list(
        [
            ("u1", ITEMS[3], None, "stop"),
            ("u2", ITEMS[5], "a", "stop"),
            ("u3", ITEMS[7], "b", "keep"),
        ]
    )
    store.put_creatives("acme", [{"creative_id": "a", "item_id": ITEMS[5]}])
    config = ServiceConfig(deadline_ms=2000)

    def write(events: pl.DataFrame) -> int:
        return store.record_events("acme", events).accepted

    app = create_app(config, store, FixedModels({"acme": deployed()}, SystemClock()))
    with running(app) as client:
        client.headers = {"X-API-Key": store.create_key("acme")}

        def shown(request_id: str) -> set[str]:
            app.state.service.stops.look()  # as it does every few seconds
            places = client.decide(request_id, k=100).json()["items"]
            return {place["item_id"] for place in places}

        assert shown("r1") == set(ITEMS)
        for new in (2, 0):
            assert apply_stops(plan, write, "retire", NOW, log=None).new == new
        assert shown("r2") == set(ITEMS) - {ITEMS[3], ITEMS[5]}
        first, second = client.get("/v1/stops").json()["items"]
        assert first["stop"]["stopped_by"] == "retire"
        why = first["stop"]["why"]
        assert (why["list"], why["cause"], why["days_left"]) == (plan.id, "wear-out", 14)
        assert second["creatives"][0]["creative_id"] == "a"
        later = NOW + timedelta(seconds=1)
        assert apply_stops(plan, write, "retire", later, log=None, undo=True).new == 2
        assert shown("r3") == set(ITEMS)
