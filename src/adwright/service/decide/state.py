"""The parts of one running service, which the endpoints work with."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from adwright.campaigns.store.events import StopVersion
from adwright.campaigns.store.keys import Caller, Replica
from adwright.campaigns.store.store import Store
from adwright.campaigns.store.tables import Recorded
from adwright.core.clock import Clock
from adwright.core.errors import AdwrightError, DataError
from adwright.data.stops import Stops
from adwright.delivery.decision import Request
from adwright.service.config import ServiceConfig
from adwright.service.decide.ads import Ads
from adwright.service.decide.decider import Decider
from adwright.service.decide.following import Followed
from adwright.service.decide.writer import refused, unavailable
from adwright.service.registry.registry import Models
from adwright.web.errors import ApiError, Busy
from adwright.web.gate import ServiceMetrics
from adwright.web.key_cache import KeyCache
from adwright.web.turns import BoundedPool, Watcher, in_thread

# --------------------------------------------------------------------------------------------------
# What is stopped, in memory, so that no decision ever asks the store for it.
#
# A thread looks each second for what other processes wrote; stops that this process stores are read
# before they are acknowledged. Each look asks first which tenants have anything new, and reads the
# stops of these alone. While the store cannot be read, what was read last goes on to count. The
# order of stops is the store's, and no clock has a part in it.
#
# Each process tells the store that it lives, and which stops it obeys, so that every process can
# say on how many a stop is in force. Who has not told it for `LEASE` seconds decides no more until
# it has looked anew: the others count on that, and wait for it no longer. Lives are told by a count
# that rises, and judged by whoever reads it on his own watch, since the clocks of machines differ.

T = TypeVar("T")
#: Seconds at least that a process may decide without a word to the store; with a slower look, as
#: long as four looks take.
LEASE = 15.0
_LOOKS = 4
#: Processes that said nothing for so many leases are forgotten.
_FORGOTTEN = 20
_log = logging.getLogger("adwright.service")


@dataclass(frozen=True, eq=False)
class _KnownStops:
    """number: of the read that found it."""

    version: StopVersion
    number: int
    stops: Stops


class StopList:
    """The stops of all tenants; may be shared by threads.

    seconds: between two looks at the store.
    """

    def __init__(self, source: Store, clock: Clock, *, seconds: float) -> None:
        self._source = source
        self._clock = clock
        self._seconds = seconds
        self._lease = max(LEASE, _LOOKS * seconds)
        self._name = secrets.token_hex(8)
        # Readers take one reference: what is new is put in the place of an entry.
        self._known: dict[str, _KnownStops] = {}
        self._looked = clock.monotonic()
        self._seen = 0  # the last stop of all tenants
        self._told = Replica(0, 0, self._lease)
        self._beat = float("-inf")  # when it was last told, by the beginning of the telling
        self._heard: dict[str, tuple[int, float]] = {}  # of each process: beats, since when
        # The number that has to be read of a tenant before anything is decided for it again.
        self._owed: dict[str, int] = {}
        self._failing = False
        self._reads = 0  # that were begun
        self._lock = threading.Lock()  # held while the store is read: never by a decision
        self._looking = threading.Lock()
        self._watch = Watcher(self._look_again, "stops", seconds)

    @property
    def total(self) -> int:
        """How many items are not shown, of all tenants together."""
        return sum(len(known.stops.items) for known in list(self._known.values()))

    @property
    def age(self) -> float:
        """Seconds since the store was last asked with success, or since the beginning."""
        return self._clock.monotonic() - self._looked

    def of(self, tenant: str) -> Stops | None:
        """What is stopped of the tenant's; None where it never stopped anything."""
        known = self._known.get(tenant)
        return None if known is None else known.stops

    def items(self, tenant: str) -> frozenset[str]:
        """The tenant's items that must not be shown. Raises ApiError 503 where that is unknown:
        others may take this process for dead."""
        silent = self._clock.monotonic() - self._beat
        if silent >= self._lease or tenant in self._owed:
            raise unavailable("what is stopped could not be asked of the store for too long")
        known = self._known.get(tenant)
        return frozenset() if known is None else known.stops.items

    def heeded(self, tenant: str, request: Request) -> Request:
        """The request, with the stopped items among those that it excludes. Raises as `items`."""
        stopped = self.items(tenant)
        if not stopped:
            return request
        if request.candidates is not None:
            stopped = stopped.intersection(request.candidates)
            if not stopped:
                return request
        # The set itself where it is all: whoever prepares it does so once for many requests.
        exclude = request.exclude | stopped if request.exclude else stopped
        return replace(request, exclude=exclude)

    def obeys(self, tenant: str, number: int) -> bool:
        """Whether this process obeys the tenant's stops up to this number of the store."""
        known = self._known.get(tenant)
        return known is not None and known.version[0] >= number

    def owe(self, tenant: str, number: int) -> None:
        """Decide nothing for the tenant until its stops up to this number were read, which were
        acknowledged, but could not be read in time."""
        if not self.obeys(tenant, number):
            self._owed[tenant] = number

    def spread(self, tenant: str, number: int) -> tuple[int, int]:
        """(processes that obey the tenant's stops up to this number, processes that live), as the
        store knows them now. Raises what the store raises."""
        others = self._alive(self._source.replicas())
        others.pop(self._name, None)
        seen = sum(one.seen >= number for one in others.values())
        return seen + self.obeys(tenant, number), len(others) + 1

    def start(self) -> None:
        """Look for the first time, and begin to watch."""
        self.look()
        self._watch.start()

    def stop(self, seconds: float | None = None) -> None:
        """Stop watching; waits for a look that is under way, at most `seconds`."""
        if self._watch.stop(seconds):
            self._beat = float("-inf")
            self._tried(lambda: self._source.drop_replicas([self._name]))

    def look(self) -> None:
        """Read the stops of those tenants that have something new, and tell the store."""
        with self._looking:
            began = self._clock.monotonic()
            # Others must count this process before it reads, or they would not wait for it.
            anew = began - self._beat >= self._lease
            if anew and not self._tell():
                return
            with self._lock:
                versions = self._tried(self._source.stop_versions)
                if versions is None:
                    return
                if self._read_new(versions, anew=anew):
                    self._looked = began
                    self._seen = max((version[0] for version in versions.values()), default=0)
                    if self._failing:
                        _log.info("the stops can be read again")
                    self._failing = False
            due = began - self._beat >= self._lease / _LOOKS
            if (due or self._seen != self._told.seen) and self._tell():
                self._beat = began

    def _read_new(self, versions: Mapping[str, StopVersion], *, anew: bool) -> bool:
        """Read what has changed; whether all could be read. anew: what was known counts no more."""
        fine = True
        for tenant in self._known.keys() - versions.keys():
            del self._known[tenant]  # the store was exchanged for another
            self._owed.pop(tenant, None)
        for tenant, version in versions.items():
            known = self._known.get(tenant)
            same = known is not None and known.version == version and tenant not in self._owed
            if not same and not self._read(tenant):
                fine = False
                if anew or known is None:
                    self._owed.setdefault(tenant, version[0])
        return fine

    def refresh(self, tenant: str) -> None:
        """Read the stops of one tenant now; where that fails, the next look tries again. Of calls
        that wait for their turn together, the first reads for all."""
        asked = self._reads
        with self._lock:
            known = self._known.get(tenant)
            if known is None or known.number <= asked:
                self._read(tenant)

    def _read(self, tenant: str) -> bool:
        self._reads = number = self._reads + 1
        found = self._tried(lambda: self._source.stops_of(tenant))
        if found is not None:
            self._known[tenant] = _KnownStops(found[1], number, found[0])
            if found[1][0] >= self._owed.get(tenant, 0):
                self._owed.pop(tenant, None)
        return found is not None

    def _tell(self) -> bool:
        """Tell the store that this process lives, and what it has seen; whether it took it."""
        told = Replica(self._seen, self._told.beats + 1, self._lease)

        def tell() -> Replica:
            self._source.beat(self._name, told)
            return told

        taken = self._tried(tell)
        self._told = taken or self._told
        return taken is not None

    def _alive(self, found: Mapping[str, Replica]) -> dict[str, Replica]:
        """Those whose count has risen within their lease, as far as this process has seen."""
        now, before = self._clock.monotonic(), self._heard
        heard = {name: (one.beats, now) for name, one in found.items()}
        heard |= {name: was for name, was in before.items() if heard.get(name, was)[0] == was[0]}
        self._heard = {name: heard[name] for name in found}
        silent = {name: now - since for name, (_, since) in self._heard.items()}
        dead = [name for name, one in found.items() if silent[name] > _FORGOTTEN * one.lease]
        if dead:
            self._source.drop_replicas(dead)
        return {name: one for name, one in found.items() if silent[name] <= one.lease}

    def _tried(self, call: Callable[[], T]) -> T | None:
        """What `call` returns; None where it fails, which is said once until it goes well."""
        try:
            return call()
        except Exception as error:
            if not self._failing:
                _log.error("stops cannot be read, those known before go on to count: %s", error)
            self._failing = True
            return None

    def _look_again(self) -> None:
        self.look()
        self._tried(lambda: self._alive(self._source.replicas()))


_PING_SECONDS = 0.5
PING_PATIENCE = 2.0
HEED_SECONDS = 1.0
#: Between two looks whether the others obey.
_SPREAD_SECONDS = 0.05
#: Threads for campaigns; of these, those that one tenant may have, and its calls that may wait.
_CAMPAIGNS = {"threads": 4, "share": 2, "waiting": 16}


@dataclass(eq=False)
class ServiceState:
    """The parts, and whether the service is about to end."""

    config: ServiceConfig
    store: Store
    models: Models
    decider: Decider
    keys: KeyCache[Caller]
    metrics: ServiceMetrics
    clock: Clock
    stops: StopList
    ads: Ads
    followed: Followed
    draining: bool = False
    # Heavy questions beside the decisions, one at a time.
    aside: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    _pinged: tuple[float, bool] = (float("-inf"), False)
    _ping: asyncio.Future[None] | None = None
    _ping_began: float = 0.0

    def __post_init__(self) -> None:
        # Writes that wait for a lock must not hold up those who only read.
        seconds = self.config.store_seconds
        self._reads = BoundedPool("store_reads", **_CAMPAIGNS, seconds=seconds)
        self._writes = BoundedPool("store_writes", **_CAMPAIGNS, seconds=seconds)

    async def read_store(self, tenant: str, call: Callable[[], T]) -> T:
        """What `call` returns, which reads a little from the store for the tenant.

        Raises as `BoundedPool.run`, here and in `write_store`.
        """
        return await self._run(self._reads, tenant, call)

    async def write_store(self, tenant: str, call: Callable[[], T]) -> T:
        """What `call` returns, which writes a little to the store for the tenant."""
        return await self._run(self._writes, tenant, call)

    async def store_stops(self, caller: Caller, stops: Sequence[dict[str, Any]]) -> Recorded:
        """Store stops, before whatever else of the tenant waits for the store."""
        tenant, key_id = caller.tenant, caller.key_id
        put = partial(self.store.record_events, tenant, stops, key_id=key_id)
        try:
            recorded = await self.write_store(tenant, put)
        except DataError as error:
            raise refused(error, stops) from error
        self.decider.count(recorded)
        return recorded

    async def heed_stops(self, tenant: str, number: int, wait: float) -> tuple[int, int | None]:
        """Read what the tenant has just stopped, so that it counts from now on, and wait so many
        seconds for the other processes: (how many obey the stops up to this number of the store,
        how many live; None where the store does not say). Where reading fails or takes longer than
        a second, nothing is decided for the tenant here until it was done."""
        until = self.clock.monotonic() + wait
        while True:
            spread: tuple[int, int | None] = int(self.stops.obeys(tenant, number)), None
            with suppress(TimeoutError, ApiError, AdwrightError):
                async with asyncio.timeout(HEED_SECONDS):
                    if not spread[0]:
                        await self._reads.run(tenant, partial(self.stops.refresh, tenant))
                        spread = int(self.stops.obeys(tenant, number)), None
                    spread = await self._reads.run(
                        tenant, partial(self.stops.spread, tenant, number)
                    )
            self.stops.owe(tenant, number)
            left = until - self.clock.monotonic()
            if spread[0] == spread[1] or left <= 0 or self.draining:
                return spread
            await asyncio.sleep(min(_SPREAD_SECONDS, left))

    async def _run(self, lane: BoundedPool, tenant: str, call: Callable[[], T]) -> T:
        try:
            return await lane.run(tenant, call)
        except Busy as busy:
            self.metrics.shed.labels(busy.reason).inc()
            raise

    def counts(self) -> tuple[int, int]:
        """How many models decide, and how many newer ones were refused."""
        statuses = self.models.statuses().values()
        loaded = sum(status.deployed is not None for status in statuses)
        return loaded, sum(bool(status.refused) for status in statuses)

    async def store_answers(self) -> bool:
        """Whether the store answers and takes writes; asked at most once in half a second.

        Answers within two seconds; at once while an earlier question has been open for so long.
        """
        now = self.clock.monotonic()
        if self._ping is None and now - self._pinged[0] >= _PING_SECONDS:
            self._ping, self._ping_began = in_thread("ping", self.store.ping), now
        if self._ping is not None:
            patience = max(0.0, self._ping_began + PING_PATIENCE - now)
            await asyncio.wait({self._ping}, timeout=patience)
        return self._heard()

    def _heard(self) -> bool:
        """What the question that is open, or the last one, has brought."""
        if self._ping is not None:
            if not self._ping.done():
                return False
            error, self._ping = self._ping.exception(), None
            if error is not None and self._pinged[1]:
                _log.error("the store cannot be used: %s", error)
            self._pinged = (self._ping_began, error is None)
        return self._pinged[1]
