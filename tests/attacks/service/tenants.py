"""Attacks of one tenant on the share of another: floods, and models that misbehave.

In each, an honest tenant asks for 20 decisions a second with the usual deadline, and keeps 99% of
the answers and twice its 99th percentile at most. The attackers' threads run beside it.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from tests.attacks.attack import Area, Attack
from tests.attacks.service.faulty import GO_ON, MODULE
from tests.attacks.service.running import ATTACKER, THIRD, VERSION, Running, caller, kept, running

Attacker = Callable[[threading.Event], object]
#: What the attackers were answered with, which says that they were at work.
Statuses = Counter[int]


def _body(events: int, **more: object) -> str:
    """So many valid events; RUN stands where their ids differ from those of another body."""
    event = {"time": "2024-06-01T18:30:07Z", "request_id": "v", "kind": "click", "item_id": "i"}
    rows = [
        {**event, "event_id": f"RUN-{n}", "user_id": f"u{n % 100}", **more} for n in range(events)
    ]
    return json.dumps({"events": rows})


def _repeat(
    service: Running,
    path: str,
    body: str,
    *,
    every: float = 0.0,
    tenant: str = ATTACKER,
    statuses: Statuses | None = None,
) -> Attacker:
    """Send `body` again and again, with other ids each time: as fast as it is answered, or once
    in `every` seconds."""

    def attack(stop: threading.Event) -> None:
        began, me = time.monotonic(), threading.get_native_id()
        with caller(service, tenant) as calling:
            sent = 0
            while not stop.is_set():
                status, _ = calling.post(path, body.replace("RUN", f"{me}-{sent}"))
                sent += 1
                if statuses is not None:
                    statuses[status] += 1
                stop.wait(began + sent * every - time.monotonic() if every else 0)

    return attack


def _decide(**fields: object) -> str:
    return json.dumps({"request_id": "RUN", "user_id": "u", "k": 10, **fields})


def _flood(
    path: str, body: str, callers: int, service: Running, *, every: float = 0.0
) -> Mapping[str, float]:
    """What is kept beside so many callers that repeat a body."""
    statuses = Statuses()
    attackers = [_repeat(service, path, body, every=every, statuses=statuses)] * callers
    measures = kept(service, *attackers)
    assert statuses[200] + statuses[429] == statuses.total(), statuses
    assert statuses[200] > 10, f"the attacker had no share of its own: {statuses}"
    return {**measures, "attacker_200": statuses[200], "attacker_429": statuses[429]}


def _lists(callers: int, service: Running) -> Mapping[str, float]:
    """Many campaigns, listed all the time."""
    campaign = json.dumps({"campaign_id": "RUN", "start": "2024-06-01T00:00:00Z"})
    with caller(service) as calling:
        for n in range(2000):
            calling.post("/v1/campaigns", campaign.replace("RUN", f"c{n}"))

    def attack(stop: threading.Event) -> None:
        with caller(service) as calling:
            while not stop.is_set():
                calling.get("/v1/campaigns?limit=1000")

    return kept(service, *[attack] * callers)


def _keys(callers: int, service: Running) -> Mapping[str, float]:
    """A key that nobody has with each request."""

    def attack(stop: threading.Event) -> None:
        sent, me = 0, threading.get_native_id()
        while not stop.is_set():
            with caller(service, key=f"{me}_{sent}_unknown") as calling:
                assert calling.get("/v1/models")[0] in (401, 429)
            sent += 1

    return kept(service, *[attack] * callers)


@contextmanager
def _model(service: Running, *kinds: str) -> Iterator[None]:
    """Faulty models of the attacker, and of a third tenant, during the block."""
    tenants = (ATTACKER, THIRD)[: len(kinds)]
    for tenant, kind in zip(tenants, kinds, strict=True):
        (service.folder / "models" / tenant / GO_ON).unlink(missing_ok=True)
        service.publish(tenant, f"{kind}.{time.monotonic_ns()}")
    try:
        yield
    finally:
        for tenant in tenants:
            (service.folder / "models" / tenant / GO_ON).touch()
            service.publish(tenant, VERSION)


def _faulty(kinds: tuple[str, ...], rate: float, service: Running) -> Mapping[str, float]:
    """Models that misbehave while they are asked `rate` times a second."""
    statuses = Statuses()
    attackers = [
        _repeat(service, "/v1/decide", _decide(), every=1 / rate, tenant=tenant, statuses=statuses)
        for tenant in (ATTACKER, THIRD)[: len(kinds)]
    ]

    def first(_: threading.Event) -> None:
        with caller(service) as calling:
            calling.post("/v1/decide", json.dumps({"request_id": "hang", "user_id": "u"}))

    with _model(service, *kinds):
        measures = kept(service, first, *attackers)
    assert statuses[200] > 10, f"not even the fallback answers: {statuses}"
    return {**measures, "attacker_200": statuses[200], "attacker_429": statuses[429]}


def _hung_is_told(service: Running) -> None:
    """A model that hangs is shown to its tenant and to whoever watches, and comes back."""

    def hung() -> tuple[bool, int]:
        """What the tenant is shown, then what the watcher is: two answers, of two moments."""
        with caller(service) as calling:
            shown = json.loads(calling.get("/v1/models")[1])["models"][0]["hung"]
            ready = json.loads(calling.get("/readyz")[1])
        assert ready["status"] == "ready"
        return bool(shown), int(ready["hung"])

    with _model(service, "hangs"):
        with caller(service) as calling:
            status, _ = calling.post("/v1/decide", _decide().replace("RUN", f"{time.time()}"))
        assert status == 200
        _wait(lambda: hung() == (True, 1))
        (service.folder / "models" / ATTACKER / GO_ON).touch()
        with caller(service) as calling:
            _wait(lambda: _stage(calling) != "popularity" or hung() == (False, 0))


def _stage(calling: object) -> str:
    _, text = calling.post("/v1/decide", _decide().replace("RUN", f"{time.time()}"))  # type: ignore[attr-defined]
    return str(json.loads(text).get("stage"))


def _wait(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.1)


def _conflicts(service: Running) -> None:
    """A repeated event_id with another payload."""
    with caller(service) as calling:
        one = _body(1).replace("RUN", f"{time.monotonic_ns()}")
        calling.post("/v1/events", one)
        _, text = calling.post("/v1/events", one.replace("click", "purchase"))
        assert json.loads(text) == {"accepted": 0, "duplicates": 1, "conflicts": 1}
        _, metrics = calling.get("/metrics")
        assert 'adwright_events_total{outcome="conflicting"} 1.0' in metrics


def _all_at_once(service: Running) -> Mapping[str, float]:
    statuses = Statuses()
    decides = _repeat(service, "/v1/decide", _decide(), statuses=statuses)
    events = _repeat(service, "/v1/events", _body(1000), statuses=statuses)
    third = _repeat(service, "/v1/decide", _decide(), every=0.05, tenant=THIRD)
    with _model(service, "fails", "hangs"):
        return kept(service, *[decides] * 4, *[events] * 2, third)


EVENTS, DECIDES = "/v1/events", "/v1/decide"
LONG = _decide(exclude=[f"item-{n}" for n in range(190)], context={"page": "x" * 250})
SAME = json.dumps({"request_id": "the same", "user_id": "u", "k": 50})


def _attack(
    name: str, run: Callable[[Running], Mapping[str, float] | None], *, accepted: str = ""
) -> Attack:
    return Attack(name, run, seconds=300, accepted=accepted)


AREAS = [
    Area(
        "shares of tenants",
        [
            Attack("an event sent again with another payload", _conflicts, quick=True),
            Attack("a model that hangs, and is told", _hung_is_told, quick=True),
            _attack("decisions by 16 callers", partial(_flood, DECIDES, _decide(), 16)),
            _attack("decisions that exclude nearly all", partial(_flood, DECIDES, LONG, 8)),
            _attack("the same request_id by 8 callers", partial(_flood, DECIDES, SAME, 8)),
            _attack("bodies of 1,000 events by 2 callers", partial(_flood, EVENTS, _body(1000), 2)),
            _attack("bodies of 1,000 events by 8 callers", partial(_flood, EVENTS, _body(1000), 8)),
            _attack("10,000 events a second", partial(_flood, EVENTS, _body(500), 2, every=0.1)),
            _attack(
                "events with a context each by 4 callers",
                partial(_flood, EVENTS, _body(500, context={"a": "x" * 200, "b": 1.5}), 4),
            ),
            _attack("single events by 16 callers", partial(_flood, EVENTS, _body(1), 16)),
            _attack("2,000 campaigns listed by 8 callers", partial(_lists, 8)),
            _attack("unknown keys by 8 callers", partial(_keys, 8)),
            _attack("a model that hangs on one request", partial(_faulty, ("hangs-once",), 20)),
            _attack("a model that hangs always", partial(_faulty, ("hangs",), 20)),
            _attack(
                "two models that hang busily",
                partial(_faulty, ("spins", "spins"), 5),
                accepted="a model that computes in Python without end shares the interpreter with"
                " all; no caller can make one of ours do so, and an artifact holds no code",
            ),
            _attack("a model that fails always", partial(_faulty, ("fails",), 50)),
            _attack("two models that take 200 ms", partial(_faulty, ("slow", "slow"), 20)),
            _attack("all at once", _all_at_once),
        ],
        shared=partial(running, module=MODULE, settings={"retry_seconds": 1.0}),
        memory=0,
    )
]
