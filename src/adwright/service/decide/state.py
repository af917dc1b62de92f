"""The parts of one running service, which the endpoints work with."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from adwright.campaigns.store.keys import Caller
from adwright.campaigns.store.store import Store
from adwright.campaigns.store.tables import Recorded
from adwright.core.clock import Clock
from adwright.core.errors import AdwrightError, DataError
from adwright.service.config import ServiceConfig
from adwright.service.decide.decider import Decider
from adwright.service.decide.stop_list import StopList
from adwright.service.decide.writer import refused
from adwright.service.registry.registry import Models
from adwright.web.errors import ApiError, Busy
from adwright.web.gate import ServiceMetrics
from adwright.web.key_cache import KeyCache
from adwright.web.lanes import Lane, in_thread

T = TypeVar("T")
_PING_SECONDS = 0.5
PING_PATIENCE = 2.0
HEED_SECONDS = 1.0
#: Between two looks whether the others obey.
_SPREAD_SECONDS = 0.05
#: Threads for campaigns; of these, those that one tenant may have, and its calls that may wait.
_CAMPAIGNS = {"threads": 4, "share": 2, "waiting": 16}
_log = logging.getLogger("adwright.service")


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
    draining: bool = False
    # Heavy questions beside the decisions, one at a time.
    aside: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    _pinged: tuple[float, bool] = (float("-inf"), False)
    _ping: asyncio.Future[None] | None = None
    _ping_began: float = 0.0

    def __post_init__(self) -> None:
        # Writes that wait for a lock must not hold up those who only read.
        seconds = self.config.store_seconds
        self._reads = Lane("store_reads", **_CAMPAIGNS, seconds=seconds)
        self._writes = Lane("store_writes", **_CAMPAIGNS, seconds=seconds)

    async def read_store(self, tenant: str, call: Callable[[], T]) -> T:
        """What `call` returns, which reads a little from the store for the tenant.

        Raises as `Lane.run`, here and in `write_store`.
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

    async def _run(self, lane: Lane, tenant: str, call: Callable[[], T]) -> T:
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
