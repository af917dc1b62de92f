"""?"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import polars as pl
import pytest

from adwright.campaigns.store.events import StopVersion
from adwright.campaigns.store.keys import SCOPES, Replica
from adwright.campaigns.store.store import Store
from adwright.core.clock import FixedClock, SystemClock
from adwright.core.errors import ResourceError
from adwright.creative.lifetime.stop_events import apply_stops
from adwright.data.stops import Stops
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.decide import state as state_module
from adwright.service.decide.state import LEASE, ServiceState, StopList
from adwright.service.registry.registry import FixedModels, ModelStatus
from adwright.web.errors import ApiError
from tests.support.data.small_stop_list import small_stop_list
from tests.support.looped import in_a_loop
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

    def stops_of(self, tenant: str) -> tuple[Stops, StopVersion]:
        self.read.append(tenant)
        if tenant in self.broken:
            raise ResourceError("the store is down")
        return self.store.stops_of(tenant)

    def beat(self, name: str, replica: Replica) -> None:
        if "beat" in self.broken:
            raise ResourceError("the store is down")
        self.store.beat(name, replica)

    def replicas(self) -> Mapping[str, Replica]:
        return self.store.replicas()

    def drop_replicas(self, names: Sequence[str]) -> None:
        self.store.drop_replicas(names)


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
    stops.look()
    store.record_events("umbrella", [stop("c", "s2")])
    stops.refresh("acme")
    assert (items(stops), items(stops, "umbrella")) == ({"a"}, {"b"})


@pytest.mark.parametrize("ahead", [-86_400, 0, 8, 1e9])
def test_the_order_is_the_stores_whatever_the_callers_clock_says(
    store: Store, stops: StopList, ahead: float
) -> None:
    times = [NOW + timedelta(seconds=ahead), NOW, NOW - timedelta(seconds=60)]
    for event_id, value, then, hidden in (
        ("m", None, times[0], {"a"}),
        ("z", 0.0, times[2], set()),
        ("b", None, times[1], {"a"}),
    ):
        store.record_events("acme", [stop("a", event_id, value=value, time=then)])
        stops.look()
        assert items(stops) == hidden
    kept = store.stops("acme")
    assert kept["event_id"].to_list() == ["m", "z", "b"]
    assert kept["time"].is_sorted()
    assert kept["time"].n_unique() == 3
    assert store.events("acme", kinds=["stop"]).equals(kept)


def test_a_clock_that_steps_back_lifts_no_stop(store: Store, source: Watched) -> None:
    back = StopList(source, FixedClock(NOW - timedelta(days=400)), seconds=5)
    store.record_events("acme", [stop("a")])
    back.look()
    assert items(back) == {"a"}


def test_a_stop_is_in_force_where_every_process_that_lives_has_seen_it(store: Store) -> None:
    clocks = [FixedClock(NOW), FixedClock(NOW + timedelta(days=1)), FixedClock(NOW)]
    first, second, third = (StopList(store, clock, seconds=1) for clock in clocks)
    for one in (first, second, third):
        one.start()
    number = store.record_events("acme", [stop("a")]).stops
    assert first.spread("acme", number) == (0, 3)
    first.refresh("acme")
    assert first.spread("acme", number) == (1, 3)
    second.look()
    assert first.spread("acme", number) == (2, 3)
    # The third says nothing any more: after its lease it shows nothing, and nobody waits for it.
    for _ in range(3):
        for clock in clocks:
            clock.advance(LEASE / 2)
        first.look()
        second.look()
        first.spread("acme", number)
    assert first.spread("acme", number) == (2, 2)
    with pytest.raises(ApiError, match="what is stopped"):
        third.heeded("acme", request())
    third.look()
    assert items(third) == {"a"}
    assert first.spread("acme", number) == (3, 3)
    for one in (second, third):
        one.stop()
    assert first.spread("acme", number) == (1, 1)
    first.stop()
    assert store.replicas() == {}


def test_who_comes_back_decides_only_once_it_has_read_anew(
    store: Store, source: Watched, stops: StopList, clock: FixedClock
) -> None:
    store.record_events("acme", [stop("a")])
    for broken in ("beat", "versions"):
        source.broken = {broken}
        stops.look()
        with pytest.raises(ApiError):
            stops.items("umbrella")
    source.broken = {"acme"}
    stops.look()
    assert items(stops, "umbrella") == set()
    with pytest.raises(ApiError):
        stops.items("acme")
    source.broken = set()
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
            clock.advance(2)
            stops.look()
            stops.refresh("umbrella")
    assert (items(stops), stops.age) == ({"a"}, 12)
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
    assert items(stops, "umbrella") == {"a"}


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
    read = source.stops_of
    stops.look()

    def slow(tenant: str) -> tuple[Stops, StopVersion]:
        entered.set()
        goes_on.wait(20)
        return read(tenant)

    monkeypatch.setattr(source, "stops_of", slow)
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
    stops.look()
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
    known = stops.of("acme")
    assert known is not None
    assert known.items == {"a", "b"}


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
        client.headers = {"X-API-Key": store.create_key("acme", SCOPES)}

        def shown(request_id: str) -> set[str]:
            app.state.service.stops.look()  # as it does every few seconds
            places = client.decide(request_id, k=100).json()["items"]
            return {place["item_id"] for place in places}

        assert shown("r1") == set(ITEMS)
        for new in (2, 0):
            assert apply_stops(plan, write, "retire", NOW, log=None).new == new
        assert shown("r2") == set(ITEMS) - {ITEMS[3], ITEMS[5]}
        first, second = client.get("/v1/stops").json()["items"]
        assert first["stops"][0]["stopped_by"] == "retire"
        why = first["stops"][0]["why"]
        assert (why["list"], why["cause"], why["days_left"]) == (plan.id, "wear-out", 14)
        assert second["creatives"][0]["creative_id"] == "a"
        later = NOW + timedelta(seconds=1)
        assert apply_stops(plan, write, "retire", later, log=None, undo=True).new == 2
        assert shown("r3") == set(ITEMS)


class Statuses(FixedModels):
    def statuses(self) -> Mapping[str, ModelStatus]:
        return {
            "a": ModelStatus(deployed()),
            "b": ModelStatus(deployed(), refused="v2", reason="broken"),
            "c": ModelStatus(refused="v1", reason="broken"),
        }


def state_of(app: Any) -> ServiceState:
    state: ServiceState = app.state.service
    return state


def test_models_are_counted(store: Store, clock: FixedClock) -> None:
    app = create_app(ServiceConfig(), store, Statuses({}, clock), clock=clock)
    assert state_of(app).counts() == (2, 2)
    text = state_of(app).metrics.text().decode()
    assert "adwright_models_loaded 2.0" in text
    assert "adwright_models_refused 2.0" in text


@in_a_loop
async def test_the_store_is_asked_at_most_twice_a_second(
    store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    up = [True]

    def ping() -> None:
        asked.append(up[0])
        if not up[0]:
            raise ResourceError("the store is down")

    monkeypatch.setattr(store, "ping", ping)
    state = state_of(create_app(ServiceConfig(), store, FixedModels({}, clock), clock=clock))

    assert await state.store_answers()
    up[0] = False
    assert await state.store_answers()
    clock.advance(0.6)
    assert not await state.store_answers()
    assert asked == [True, False]


def test_a_store_that_hangs_is_answered_for(
    store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, asked = threading.Event(), list[bool]()

    def ping() -> None:
        asked.append(True)
        assert goes_on.wait(30)

    monkeypatch.setattr(store, "ping", ping)
    monkeypatch.setattr(state_module, "PING_PATIENCE", 0.1)
    state = state_of(create_app(ServiceConfig(), store, FixedModels({}, clock), clock=clock))

    async def main() -> None:
        assert not await state.store_answers()
        clock.advance(5)
        # The first question is open still: no other is asked, and none waits.
        async with asyncio.timeout(20):
            assert not any([await state.store_answers() for _ in range(50)])
        assert asked == [True]
        goes_on.set()
        for _ in range(500):
            if await state.store_answers():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("it does not recover")

    asyncio.run(main())


@in_a_loop
async def test_writes_that_hang_hold_no_reads_up_and_are_counted_where_they_are_too_many(
    store: Store, clock: FixedClock
) -> None:
    config = ServiceConfig(store_seconds=0.2)
    state = state_of(create_app(config, store, FixedModels({}, clock), clock=clock))
    goes_on = threading.Event()

    writes = [
        asyncio.create_task(state.write_store("acme", partial(goes_on.wait, 30))) for _ in range(30)
    ]
    await asyncio.sleep(0)
    assert await state.read_store("acme", lambda: "read") == "read"
    assert await state.write_store("umbrella", lambda: "written") == "written"
    errors = await asyncio.gather(*writes, return_exceptions=True)
    goes_on.set()
    statuses = Counter(each.status for each in errors if isinstance(each, ApiError))
    assert statuses == {503: 2 + 16, 429: 12}
    assert 'adwright_shed_total{reason="store_writes"} 12.0' in state.metrics.text().decode()


def test_ready_says_what_is_missing(store: Store, clock: FixedClock) -> None:
    app = create_app(ServiceConfig(), store, FixedModels({}, clock), clock=clock)
    with running(app) as client:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "not_ready")
        assert answer.json()["models"] == 0
        assert client.get("/healthz").json() == {"status": "ok"}
    app = create_app(ServiceConfig(), store, FixedModels({"acme": deployed()}, clock), clock=clock)
    with running(app) as client:
        assert client.get("/readyz").status_code == 200
        state_of(app).draining = True
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["draining"]) == (503, True)
