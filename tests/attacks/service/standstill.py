"""A service whose store is made to stand still, and what its callers see meanwhile.

Callers of every kind go on asking in threads of their own: decisions, events, models, campaigns
read and written, /readyz, /healthz. What they saw while the store stood still is then judged: each
answer within its bound, /readyz telling the truth, and in the end everything as before.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from adwright.campaigns.store.keys import SCOPES
from adwright.campaigns.store.store import Store
from adwright.delivery.popularity import save_popularity
from adwright.service.registry.registry import publish
from benchmarks.service._process import Service
from tests.support.data.event_rows import event_row

TENANTS = ("acme", "umbrella")
START = "2024-05-01T12:00:00Z"
#: What the service promises: a decision's deadline and grace, the time of events and of the store.
DECIDE, EVENTS, STORE = 0.04 + 1.0, 10.0, 5.0
#: What the machine, which callers and service share, may add.
SLACK = 1.0
#: By then /readyz must know: it asks twice a second, and believes a write of the last second.
KNOWS_AFTER = 4.0
RECOVERY = 30.0
WRITERS = 8


@dataclass(frozen=True)
class Shop:
    """A service that runs on the store at `url`. keys: one of each tenant."""

    service: Service
    url: str
    folder: Path
    keys: Mapping[str, str]


@contextmanager
def shop(url: str, folder: Path) -> Iterator[Shop]:
    """Two tenants with a popularity model each, served until the block ends."""
    models = folder / "models"
    with Store.open(url) as store:
        keys = {tenant: store.create_key(tenant, SCOPES) for tenant in TENANTS}
        for tenant in TENANTS:
            store.put_campaign(
                tenant, {"campaign_id": "spring", "start": np.datetime64(START[:-1]).item()}
            )
            save_popularity(
                models / tenant / "v1", [f"item-{n}" for n in range(50)], np.arange(50.0)
            )
            publish(models, tenant, "v1")
    service = Service(url, models, settings={})
    try:
        service.start()
        yield Shop(service, url, folder, keys)
    finally:
        service.close()


def call(shop: Shop, method: str, path: str, body: object = None, key: str = "") -> tuple[int, str]:
    """Status and text of an answer over a fresh connection; status 0 where there is none."""
    connection = HTTPConnection("127.0.0.1", shop.service.port, timeout=60)
    headers = {"X-API-Key": key or shop.keys[TENANTS[0]], "Content-Type": "application/json"}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, HTTPException):
        return 0, ""
    finally:
        connection.close()


@dataclass(frozen=True)
class Seen:
    """One answer: when it was asked for, its status, and the seconds that it took."""

    at: float
    status: int
    seconds: float


@dataclass
class Watch:
    """Callers of every kind, while it is entered. acknowledged: ids of events that must be kept."""

    shop: Shop
    seen: dict[str, list[Seen]] = field(default_factory=dict)
    acknowledged: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Watch:
        kinds: dict[str, tuple[Callable[[str], int], float, int]] = {
            "decide": (self._decide, 0.2, 1),
            "events": (self._events, 0.3, 1),
            "models": (lambda _: call(self.shop, "GET", "/v1/models")[0], 0.3, 1),
            "reads": (lambda _: call(self.shop, "GET", "/v1/campaigns")[0], 0.3, 1),
            "writes": (self._write, 0.2, WRITERS),
            "readyz": (lambda _: call(self.shop, "GET", "/readyz")[0], 0.3, 1),
            "healthz": (lambda _: call(self.shop, "GET", "/healthz")[0], 0.1, 1),
        }
        for kind, (ask, pause, many) in kinds.items():
            self.seen[kind] = []
            for number in range(many):
                arguments = (kind, ask, pause, number)
                self._threads.append(
                    threading.Thread(target=self._ask, args=arguments, daemon=True)
                )
                self._threads[-1].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(70)

    def between(self, kind: str, first: float, last: float) -> list[Seen]:
        """What was asked for in that time."""
        return [one for one in self.seen[kind] if first <= one.at < last]

    def _ask(self, kind: str, ask: Callable[[str], int], pause: float, number: int) -> None:
        turn = 0
        while not self._stop.is_set():
            began = time.monotonic()
            status = ask(f"{number}-{turn}")
            self.seen[kind].append(Seen(began, status, time.monotonic() - began))
            turn += 1
            self._stop.wait(pause)

    def _decide(self, turn: str) -> int:
        body = {"request_id": f"d{turn}", "user_id": "ann", "k": 3}
        status, text = call(self.shop, "POST", "/v1/decide", body)
        if status == 200:
            places = [place["position"] for place in json.loads(text)["items"]]
            self.acknowledged += [f"d{turn}-{place}" for place in places]
        return status

    def _events(self, turn: str) -> int:
        ids = [f"e{turn}-{n}" for n in range(5)]
        status, _ = call(self.shop, "POST", "/v1/events", {"events": [event(one) for one in ids]})
        if status == 200:
            self.acknowledged += ids
        return status

    def _write(self, turn: str) -> int:
        body = {"campaign_id": f"c{turn}", "start": START}
        return call(self.shop, "POST", "/v1/campaigns", body)[0]


def event(event_id: str) -> dict[str, Any]:
    """An event as it is sent."""
    return event_row(event_id, START, f"r{event_id}", "ann", "click", "item-1")


def stand_still(
    shop: Shop, disturbed: AbstractContextManager[object], seconds: float, *, reads: bool
) -> dict[str, float]:
    """Let the store stand still for so long, and judge what the callers saw.

    disturbed: while it is entered, nothing can be written. reads: whether campaigns must be read
    meanwhile, as with SQLite's log. Returns the longest times and those of the recovery.
    """
    with Watch(shop) as watch:
        time.sleep(2)
        first = time.monotonic()
        with disturbed:
            time.sleep(seconds)
            last = time.monotonic()
        recovery = _recovered(shop)
    measures = _judged(watch, first, last, reads=reads)
    shop.service.stop()
    require_kept(shop, watch.acknowledged)
    return {**measures, "recovery_s": round(recovery, 1)}


def _judged(watch: Watch, first: float, last: float, *, reads: bool) -> dict[str, float]:
    bounds = {"decide": DECIDE, "events": EVENTS, "models": 1.0, "writes": STORE, "readyz": 2.0}
    bounds["reads"] = 1.0 if reads else STORE
    measures = {}
    for kind, bound in bounds.items():
        seen = watch.between(kind, first, last)
        assert seen, f"{kind}: none came back"
        longest = max(one.seconds for one in seen)
        measures[f"{kind}_s"] = round(longest, 2)
        statuses = Counter(one.status for one in seen)
        assert longest <= bound + SLACK, f"{kind}: {longest:.1f} s, bound {bound:g} s; {statuses}"
        assert set(statuses) <= {200, 429, 503}, f"{kind}: {statuses}"
    for kind in ("models", "reads")[: 1 + reads]:
        statuses = Counter(one.status for one in watch.between(kind, first, last))
        assert set(statuses) == {200}, f"{kind}: {statuses}"
    told = watch.between("readyz", first + KNOWS_AFTER, last - SLACK)
    assert told, "readyz was not asked"
    assert {one.status for one in told} == {503}, f"readyz: {Counter(one.status for one in told)}"
    health = sorted(one.seconds for one in watch.between("healthz", first, last))
    measures["healthz_ms"] = round(1e3 * health[int(0.9 * len(health))], 1)
    assert measures["healthz_ms"] < 100, measures
    return measures


def _recovered(shop: Shop) -> float:
    """The seconds until everything is as before."""
    began = time.monotonic()
    while (taken := time.monotonic() - began) < RECOVERY:
        body = {"request_id": f"after-{taken}", "user_id": "ann", "k": 3, "deadline_ms": 2000}
        campaign = {"campaign_id": "after", "start": START}
        statuses = (
            call(shop, "POST", "/v1/decide", body)[0],
            call(shop, "POST", "/v1/campaigns", campaign)[0],
            call(shop, "GET", "/readyz")[0],
        )
        if statuses == (200, 200, 200):
            return taken
        time.sleep(0.2)
    raise AssertionError(f"not as before after {RECOVERY:g} s: {statuses}")


def require_kept(shop: Shop, acknowledged: list[str], *, folder: Path | None = None) -> None:
    """Raise AssertionError unless each acknowledged event is in the store or its log once."""
    with Store.open(shop.url) as store:
        log = store.log(TENANTS[0], folder or shop.folder / "log").collect()["event_id"].to_list()
    counts = Counter(log)
    lost = [one for one in acknowledged if counts[one] == 0]
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged are lost: {lost[:5]}"
    assert len(counts) == len(log), "some are there twice"
