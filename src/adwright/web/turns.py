"""Tenants in turn at the event loop: while it is late, nobody may have much in work.

All tenants share one interpreter. A tenant whose callers come back at once fills it, and everybody
else's requests come late, however fair the queues behind are. So requests that have arrived whole
wait here, where they cost nothing, while their tenant has as many in work as is allowed now. That
number grows as long as the loop is in time, and shrinks when it is late: what the processor can do
is used, and the loop stays in time. A tenant that is alone never waits.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adwright.core.clock import Clock
from adwright.web.errors import Busy

__all__ = ["Turns"]

#: The loop is late from so many seconds on.
_LATE = 0.004
#: The least that each tenant may have in work, and what the number loses and gains at a beat.
_LEAST, _LESS, _MORE = 1.0, 0.7, 0.25
_MOST = 64.0
#: A tenant that came within so many seconds is there.
_THERE = 1.0


class Turns:
    """Lets requests of tenants work; belongs to one event loop.

    patience: seconds that a request may wait, then it is refused.
    """

    def __init__(self, clock: Clock, *, patience: float = 1.0) -> None:
        self._clock = clock
        self._patience = patience
        self._allowed = _MOST
        self._working: dict[str, int] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._came: dict[str, float] = {}

    @property
    def allowed(self) -> float:
        """Requests that each tenant may have in work now, where there are several."""
        return self._allowed if len(self._came) > 1 else math.inf

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return sum(map(len, self._waiting.values()))

    def beat(self, late: float) -> None:
        """Take note of how late the loop is, in seconds; called each few milliseconds."""
        if late > _LATE:
            self._allowed = max(_LEAST, min(self._allowed, self._most_in_work()) * _LESS)
        else:
            self._allowed = min(_MOST, self._allowed + _MORE)
        gone = self._clock.monotonic() - _THERE
        self._came = {t: at for t, at in self._came.items() if at > gone or t in self._working}
        for tenant in list(self._waiting):
            self._let_in(tenant)

    @asynccontextmanager
    async def turn(self, tenant: str) -> AsyncIterator[float]:
        """Around the work on one request; gives the seconds that it waited. Raises Busy."""
        came = self._came[tenant] = self._clock.monotonic()
        if self._working.get(tenant, 0) >= self.allowed or tenant in self._waiting:
            await self._wait(tenant)
        else:
            self._working[tenant] = self._working.get(tenant, 0) + 1
        try:
            yield self._clock.monotonic() - came
        finally:
            self._leave(tenant)

    def _leave(self, tenant: str) -> None:
        self._working[tenant] -= 1
        if not self._working[tenant]:
            del self._working[tenant]
        self._let_in(tenant)

    async def _wait(self, tenant: str) -> None:
        """Wait until the request is let in, which counts it as in work."""
        let_in: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(let_in)
        try:
            async with asyncio.timeout(self._patience):
                await let_in
        except BaseException as error:
            if let_in.done() and not let_in.cancelled():
                self._leave(tenant)  # it was let in at the moment at which its caller went
            elif tenant in self._waiting and let_in in self._waiting[tenant]:
                self._waiting[tenant].remove(let_in)
                self._let_in(tenant)
            if isinstance(error, TimeoutError):
                raise Busy("turn", self._patience) from None
            raise

    def _let_in(self, tenant: str) -> None:
        line = self._waiting.get(tenant)
        while line and self._working.get(tenant, 0) < self.allowed:
            let_in = line.popleft()
            if not let_in.done():
                self._working[tenant] = self._working.get(tenant, 0) + 1
                let_in.set_result(None)
        if line is not None and not line:
            del self._waiting[tenant]

    def _most_in_work(self) -> int:
        return max(self._working.values(), default=1)
