"""A history of stops and decisions under kills, freezes and steps of clocks, and what is checked.

Clients stop items, take that back and ask for decisions of two processes on one store, while these
are killed with SIGKILL, frozen with SIGSTOP and have their clocks put forward and back. Callers'
clocks are wrong too, and whole seconds. Every call is written down with the time before it was sent
and that after it was answered, on the one clock of the clients; what follows from these alone is
checked, whatever happened in between:

    shown      a decision that began after a stop was acknowledged shows the item, though nothing
               that was sent before the decision's answer could have taken that stop back
    hidden     a decision leaves an item out though whatever could have stopped it was taken back,
               acknowledged before the decision began
    lost       an acknowledged stop, or what took one back, is not in the store
    differs    in the end a process says of an item something else than the store's order does

Now and then another tenant stops something, and a stop that was acknowledged is sent again: neither
may change anything.

An acknowledgement binds the process that gave it; where it says "in_force", it binds all.

    python -m benchmarks.service._history STORE_URL MODELS DESCRIPTOR SETTINGS    one such process
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np

from adwright.campaigns.store.store import Store
from adwright.core.clock import SystemClock
from adwright.data.stops import stopped
from adwright.delivery.popularity import save_popularity
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.decide import state as stop_list
from adwright.service.registry.publishing import load_deployed
from adwright.service.registry.registry import FolderModels, publish
from adwright.web.server import serve
from benchmarks.service._client import Pool
from benchmarks.service._process import Service

TENANT, OTHER = "shop", "other"
ITEMS = tuple(f"item-{n}" for n in range(12))
CLIENTS = 12
REPLICAS = 2
LEASE = 3.0  # of the processes here: so long is one waited for that was killed
SETTINGS = {
    **{"deadline_ms": 2000, "max_deadline_ms": 2000, "stops_poll_seconds": 0.3},
    **{"key_stale_seconds": 60.0, "drain_seconds": 0.0},
}
#: Seconds by which the clocks of callers and of processes are wrong.
CALLERS = (-60, -1, 0, 0, 0, 8, 3600, 2_300_000_000)
STEPS = (-86_400, -3600, -5, 0, 5, 60, 86_400 * 400)
PAUSE = (1.0, 3.0)  # seconds between two disturbances
TRIES = 4
CLOCK = "ADWRIGHT_CLOCK_FILE"


@dataclass
class Call:
    """One call. end: infinite where nothing was answered that says it was done. names: the stops
    that it takes back, None for all of its user's. shown: by a decision. force: whether all
    processes obey, as the answer says."""

    kind: Literal["stop", "undo", "decide"]
    replica: int
    begin: float
    end: float = math.inf
    item: str = ""
    event_id: str = ""
    user: str = ""
    names: tuple[str, ...] | None = None
    force: bool = False
    shown: frozenset[str] = frozenset()

    @property
    def done(self) -> bool:
        """Whether it was acknowledged."""
        return self.end < math.inf

    def takes_back(self, stop: Call) -> bool:
        """Whether it is an undoing of such a stop, by whose it is."""
        named = stop.user == self.user if self.names is None else stop.event_id in self.names
        return self.item == stop.item and named


@dataclass(frozen=True)
class _Bound:
    """What a stop forbids, and from when on it may not be counted any more. until: the first moment
    at which something was sent that can have taken it back. over: by process, when an undoing that
    came after it was acknowledged there."""

    stop: Call
    until: float
    over: dict[int, float]

    def forbids(self, decision: Call) -> bool:
        """Whether the item cannot be in a decision."""
        binds = self.stop.force or self.stop.replica == decision.replica
        return binds and self.stop.end < decision.begin and self.until >= decision.end

    def may_stand(self, decision: Call) -> bool:
        """Whether a decision may leave the item out for it."""
        return self.stop.begin < decision.end and self.over[decision.replica] >= decision.begin


def violations(calls: Sequence[Call]) -> list[str]:
    """What the calls show that may not be, in words."""
    bounds: dict[str, list[_Bound]] = defaultdict(list)
    undone: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        if call.kind == "undo":
            undone[call.item].append(call)
    for stop in (call for call in calls if call.kind == "stop"):
        found = [one for one in undone[stop.item] if one.takes_back(stop)]
        until = min((one.begin for one in found if one.end >= stop.begin), default=math.inf)
        after = [one for one in found if one.done and one.begin > stop.end]
        over = {
            replica: min(
                (one.end for one in after if one.force or one.replica == replica),
                default=math.inf,
            )
            for replica in range(REPLICAS)
        }
        bounds[stop.item].append(_Bound(stop, until, over))
    said = []
    for decision in (call for call in calls if call.kind == "decide" and call.done):
        for item in ITEMS:
            if item in decision.shown:
                for bound in bounds[item]:
                    if bound.forbids(decision):
                        late = decision.begin - bound.stop.end
                        said.append(
                            f"shown: {item} by process {decision.replica}, {late:.2f} s after "
                            f"{bound.stop.event_id} was acknowledged"
                        )
                        break
            elif not any(bound.may_stand(decision) for bound in bounds[item]):
                said.append(f"hidden: {item} by process {decision.replica}, taken back before")
    return said


@dataclass
class Trial:
    """One history on the store at `url`. named: whether undoings may name stops, which an earlier
    service cannot. seconds, operations: it goes on until both are over."""

    url: str
    seconds: float
    operations: int = 0
    seed: int = 0
    named: bool = True
    calls: list[Call] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def run(self) -> list[str]:
        """Play it; what may not be, in words."""
        self._rng = np.random.default_rng(self.seed)
        with tempfile.TemporaryDirectory() as folder, Store.open(self.url) as store:
            models = Path(folder) / "models"
            save_popularity(models / TENANT / "v1", list(ITEMS), np.arange(1.0, len(ITEMS) + 1))
            publish(models, TENANT, "v1")
            self._key, self._other = key_of(store), key_of(store, OTHER)
            self._clocks = [Path(folder) / f"clock-{n}" for n in range(REPLICAS)]
            self._services = []
            try:
                for clock in self._clocks:
                    clock.write_text("0")
                    service = Service(
                        self.url, models, settings=SETTINGS, module="benchmarks.service._history"
                    )
                    self._services.append(service)
                    self._start(len(self._services) - 1)
                asyncio.run(self._play())
                found = violations(self.calls) + self._kept(store)
            finally:
                for service in self._services:
                    service.close()
        return found

    def _start(self, replica: int) -> None:
        os.environ[CLOCK] = str(self._clocks[replica])  # for the process that begins
        self._services[replica].start()

    async def _play(self) -> None:
        self._down: int | None = None
        self._pools = [Pool("127.0.0.1", service.port) for service in self._services]
        self._over = asyncio.Event()
        began = time.monotonic()
        clients = [asyncio.create_task(self._client(n)) for n in range(CLIENTS)]
        while time.monotonic() < began + self.seconds or len(self.calls) < self.operations:
            await asyncio.sleep(float(self._rng.uniform(*PAUSE)))
            await self._disturb()
            print(f"{len(self.calls):,} calls, {dict(self.counts)}", flush=True)
        self._over.set()
        await asyncio.wait_for(asyncio.gather(*clients), 120)
        for replica in range(REPLICAS):
            await self._again(replica, self._last)
        await asyncio.sleep(2 * LEASE)
        for replica in range(REPLICAS):  # what stands in the end
            await self._decide(replica)
        for pool in self._pools:
            pool.close()

    async def _disturb(self) -> None:
        replica = int(self._rng.integers(REPLICAS))
        self._down = replica
        service, what = self._services[replica], self._rng.choice(["kill", "freeze", *["step"] * 4])
        self.counts[f"{what}s"] += 1
        match what:
            case "kill":
                await asyncio.to_thread(service.kill)
                await asyncio.sleep(float(self._rng.uniform(0, 2)))
                await asyncio.to_thread(self._start, replica)
            case "freeze":
                os.kill(service.pid, signal.SIGSTOP)
                await asyncio.sleep(float(self._rng.uniform(0.5, 2 * LEASE)))
                os.kill(service.pid, signal.SIGCONT)
            case _:
                self._clocks[replica].write_text(str(self._rng.choice(STEPS)))
        self._down = None

    async def _client(self, number: int) -> None:
        rng, user = np.random.default_rng([self.seed, number]), f"user-{number % 4}"
        known: dict[str, list[str]] = defaultdict(list)
        while not self._over.is_set():
            item, replica = str(rng.choice(ITEMS)), self._choose(rng)
            match rng.choice(["decide", "stop", "undo"], p=[0.84, 0.08, 0.08]):
                case "decide":
                    await self._decide(replica)
                case "stop":
                    call = Call("stop", replica, time.monotonic(), item=item, user=user)
                    await self._send(call, rng)
                    known[item].append(call.event_id)
                    await self._decide(self._choose(rng))
                case _:
                    names = tuple(known[item][-3:]) if self.named and rng.random() < 0.5 else None
                    if names != ():
                        call = Call("undo", replica, time.monotonic(), item=item, user=user)
                        call.names = names
                        await self._send(call, rng)
                        await self._decide(replica)

    def _choose(self, rng: np.random.Generator) -> int:
        """A process; one that is down only now and then, or all clients would soon wait for it."""
        replica = int(rng.integers(REPLICAS))
        return 1 - replica if replica == self._down and rng.random() < 0.95 else replica

    async def _decide(self, replica: int) -> None:
        call = Call("decide", replica, time.monotonic())
        body = {"request_id": secrets.token_hex(8), "user_id": "u", "k": 100}
        status, answer = await self._post(replica, "/v1/decide", body)
        if status == 200:
            call.shown = frozenset(place["item_id"] for place in answer["items"])
            call.end = time.monotonic()
        self.calls.append(call)

    async def _send(self, call: Call, rng: np.random.Generator) -> None:
        """Send a stop or an undoing, the same again where no answer says that it is there."""
        call.event_id = secrets.token_hex(6)
        self.calls.append(call)  # at once: what comes of it concerns others before it is answered
        then = datetime.now(UTC) + timedelta(seconds=int(rng.choice(CALLERS)))
        event: dict[str, Any] = {
            **{"event_id": call.event_id, "time": then.strftime("%Y-%m-%dT%H:%M:%SZ")},
            **{"request_id": "s", "user_id": call.user, "kind": "stop", "item_id": call.item},
        }
        if call.kind == "undo":
            event["value"] = 0
        if call.names is not None:
            event["undoes"] = list(call.names)
        path = "/v1/events?wait=4" if rng.random() < 0.5 else "/v1/events"
        for _ in range(TRIES):
            status, answer = await self._post(call.replica, path, {"events": [event]})
            if status == 200:
                call.force = (answer.get("stops") or {}).get("in_force", False)
                call.end = time.monotonic()
                self.counts["in force"] += call.force
                break
            await asyncio.sleep(0.2)
        if call.done:
            self._last = event
        if call.done and rng.random() < 0.3:
            await self._again(call.replica, event)

    async def _again(self, replica: int, event: dict[str, Any]) -> None:
        """Send an acknowledged event again, right after another tenant's stop."""
        others = event | {"event_id": secrets.token_hex(6), "value": 1}
        others.pop("undoes", None)
        await self._post(replica, "/v1/events", {"events": [others]}, self._other)
        await self._post(replica, "/v1/events", {"events": [event]})
        self.counts["sent again"] += 1

    async def _post(
        self, replica: int, path: str, body: dict[str, Any], key: str | None = None
    ) -> tuple[int, Any]:
        text = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key or self._key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
        )
        answer = await self._pools[replica].send(head.encode() + text)
        self.counts[f"{answer.status}"] += 1
        return answer.status, json.loads(answer.body) if answer.status == 200 else None

    def _kept(self, store: Store) -> list[str]:
        """What is lost, or is otherwise in a process than in the store."""
        table = store.stops(TENANT)
        there = set(table["event_id"])
        sent = (call for call in self.calls if call.kind != "decide" and call.done)
        said = [f"lost: {call.event_id}" for call in sent if call.event_id not in there]
        expected = frozenset(ITEMS) - stopped(table, None, datetime(9999, 1, 1, tzinfo=UTC)).items
        for call in self.calls[-REPLICAS:]:
            if call.shown != expected:
                differing = sorted(call.shown ^ expected)
                said.append(f"differs: process {call.replica} in {differing}")
        return said


def key_of(store: Store, tenant: str = TENANT) -> str:
    """A key for all that is done here; in an earlier store keys have no scopes."""
    try:
        from adwright.campaigns.store.keys import SCOPES
    except ImportError:
        return store.create_key(tenant)
    return store.create_key(tenant, SCOPES)


class _SteppingClock(SystemClock):
    """The machine's, put forward or back by what a file says, in seconds."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=float(self._file.read_text() or 0))


def main(url: str, models: str, descriptor: str, settings: str) -> None:
    """Serve until a signal comes, by a clock that can be stepped."""
    config, clock = ServiceConfig(**json.loads(settings)), _SteppingClock(Path(os.environ[CLOCK]))
    setattr(stop_list, "LEASE", LEASE)  # noqa: B010 - of an earlier service, which has none
    with Store.open(url, clock=clock, seconds=config.store_seconds) as store:
        folder = FolderModels(models, load_deployed, clock, seconds=config.poll_seconds)
        serve(create_app(config, store, folder, clock=clock), socket.socket(fileno=int(descriptor)))


if __name__ == "__main__":
    main(*sys.argv[1:])
