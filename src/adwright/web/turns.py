"""Tenants in turn at the event loop: while it is late, nobody may fill it.

All tenants share one interpreter. A tenant whose callers come back at once fills it, and everybody
else's requests come late, however fair the queues behind are. So requests that have arrived whole
wait here, where they cost nothing, while their tenant has as many in work as is allowed now. That
number grows as long as the loop is in time, and shrinks when it is late: what the processor can do
is used, and the loop stays in time. Where it has shrunk to one, a tenant rests after each three
times as long as it took.

A tenant that is alone never waits, nor does one that has had nothing in work for half of the time.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adwright.core.clock import Clock
from adwright.core.tenant_queue import TenantQueue
from adwright.web.errors import Busy

#: The loop is late from so many seconds on.
_LATE = 0.003
#: Requests that a tenant may have in work at least and at most; what the number loses and gains
#: at a beat.
_LEAST, _MOST = 1.0, 64.0
_LESS, _MORE = 0.7, 0.05
#: Where fewer are allowed, a tenant rests so many times as long as it worked, so many seconds at
#: most.
_TIGHT, _REST, _LONGEST_REST = 2.0, 3.0, 0.05
#: A tenant that came within so many seconds is there.
_THERE = 1.0
#: Of how busy a tenant was, so much is believed a beat later: half of it after a third of a second.
_KEPT = 0.98
_BUSY = 0.5


class Turns:
    """Lets requests of tenants work; belongs to one event loop.

    patience: seconds that a request may wait, then it is refused.
    """

    def __init__(self, clock: Clock, *, patience: float = 1.0) -> None:
        self._clock, self._patience = clock, patience
        self._allowed = _MOST
        self._queue: TenantQueue[asyncio.Future[None]] = TenantQueue()
        self._working = self._queue.work
        self._resting: set[str] = set()
        self._came: dict[str, float] = {}
        self._busy: dict[str, float] = {}

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return len(self._queue)

    def allowed(self, tenant: str) -> float:
        """Requests that the tenant may have in work now."""
        fills = len(self._came) > 1 and self._busy.get(tenant, 0.0) > _BUSY
        return self._allowed if fills else math.inf

    def beat(self, late: float) -> None:
        """Take note of how late the loop is, in seconds; called a hundred times a second."""
        if late > _LATE:
            most = max(self._working.values(), default=1)
            self._allowed = max(_LEAST, min(self._allowed, most) * _LESS)
        else:
            self._allowed = min(_MOST, self._allowed + _MORE)
        gone = self._clock.monotonic() - _THERE
        self._came = {t: at for t, at in self._came.items() if at > gone or t in self._working}
        self._busy = {
            tenant: _KEPT * self._busy.get(tenant, 0.0) + (1 - _KEPT) * (tenant in self._working)
            for tenant in self._came
        }
        for tenant in self._queue.tenants:
            self._let_in(tenant)

    @asynccontextmanager
    async def turn(self, tenant: str) -> AsyncIterator[float]:
        """Around the work on one request; gives the seconds that it waited. Raises Busy."""
        came = self._came[tenant] = self._clock.monotonic()
        if self._queue.waits(tenant) or not self._fits(tenant):
            await self._wait(tenant)
        else:
            self._working.add(tenant)
        began = self._clock.monotonic()
        try:
            yield began - came
        finally:
            self._leave(tenant, self._clock.monotonic() - began)

    def _fits(self, tenant: str) -> bool:
        allowed = self.allowed(tenant)
        return self._working[tenant] < allowed and not (
            tenant in self._resting and allowed < _TIGHT
        )

    def _leave(self, tenant: str, took: float) -> None:
        self._working.add(tenant, -1)
        if self.allowed(tenant) < _TIGHT and tenant not in self._resting:
            self._resting.add(tenant)
            rest = min(_REST * took, _LONGEST_REST)
            asyncio.get_running_loop().call_later(rest, self._rested, tenant)
        else:
            self._let_in(tenant)

    def _rested(self, tenant: str) -> None:
        self._resting.discard(tenant)
        self._let_in(tenant)

    async def _wait(self, tenant: str) -> None:
        """Wait until the request is let in, which counts it as in work."""
        let_in: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put(tenant, let_in)
        try:
            async with asyncio.timeout(self._patience):
                await let_in
        except BaseException as error:
            if let_in.done() and not let_in.cancelled():
                self._leave(tenant, 0.0)  # it was let in at the moment at which its caller went
            elif self._queue.drop(tenant, let_in):
                self._let_in(tenant)
            if isinstance(error, TimeoutError):
                raise Busy("turn", self._patience) from None
            raise

    def _let_in(self, tenant: str) -> None:
        while self._queue.waits(tenant) and self._fits(tenant):
            let_in = self._queue.pop(tenant)
            if not let_in.done():
                self._working.add(tenant)
                let_in.set_result(None)
