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
import logging
import math
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from adwright.core.clock import Clock
from adwright.core.tenant_queue import TenantQueue
from adwright.web.errors import ApiError, Busy

_log = logging.getLogger("adwright.service")
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


class AdaptiveConcurrency:
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


# --------------------------------------------------------------------------------------------------
# Blocking calls on threads, each kind in a lane of its own, so that none can stop another kind.
#
# A lane has a bound on its threads, on who waits for one, and on how long anybody waits, also where
# the call beneath never returns: its thread then stays taken, and the caller is answered.

T = TypeVar("T")


def in_thread(name: str, call: Callable[[], T]) -> asyncio.Future[T]:
    """The coming result of `call` on a thread of its own, or what it raises.

    The interpreter does not wait for the thread at its end, as it does for those of a pool: this
    one may never return.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)

    def work() -> None:
        result, error = None, None
        try:
            result = call()
        except Exception as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    # An error that nobody asks for is none.
    answer.add_done_callback(lambda done: done.cancelled() or done.exception())
    threading.Thread(target=work, name=f"adwright-{name}", daemon=True).start()
    return answer


class Watcher:
    """Calls `look` every so many seconds, on a thread of its own; what it raises is logged.

    name: of what is looked at.
    """

    def __init__(self, look: Callable[[], None], name: str, seconds: float) -> None:
        self._look, self._name, self._seconds = look, name, seconds
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look, the first time after a while."""
        self._ended.clear()
        self._thread = threading.Thread(
            target=self._run, name=f"adwright-{self._name}", daemon=True
        )
        self._thread.start()

    def stop(self, seconds: float | None = None) -> bool:
        """Look no more; waits for a look that is under way, at most `seconds`. Whether it had
        begun."""
        self._ended.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(seconds)
        return thread is not None

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            try:
                self._look()
            except Exception:
                _log.exception("the %s could not be looked at", self._name)


def store_is_silent(seconds: float) -> ApiError:
    """503: the store has not answered in time."""
    return ApiError(
        503,
        f"the store has not answered within {seconds:g} s",
        hint="send it again in a while; it does no harm if it was stored after all",
        headers={"Retry-After": "1"},
    )


@dataclass(eq=False)
class _Awaited:
    """One call. answer: what the caller waits for; done as soon as it waits no longer."""

    call: Callable[[], Any]
    answer: asyncio.Future[Any]


class BoundedPool:
    """Runs the blocking calls of several owners on a few threads; belongs to one event loop.

    name: what is full, for the metrics. threads: calls at a time. share: of one owner's. waiting:
    calls that one owner may have waiting. seconds: how long a call is waited for, from its coming
    to its answer. The owners take turns.
    """

    def __init__(
        self, name: str, *, threads: int, share: int, waiting: int, seconds: float
    ) -> None:
        self._name, self._threads, self._share = name, threads, share
        self._waiting, self._seconds = waiting, seconds
        self._queue: TenantQueue[_Awaited] = TenantQueue()

    async def run(self, owner: str, call: Callable[[], T]) -> T:
        """What `call` returns or raises.

        Raises Busy where too many of the owner's calls wait, ApiError 503 where the answer does
        not come in time; the call may then still be made, or be on its way.
        """
        self._begin()
        if self._queue.waits(owner) >= self._waiting:
            raise Busy(self._name, self._seconds)
        mine = _Awaited(call, asyncio.get_running_loop().create_future())
        self._queue.put(owner, mine)
        self._begin()
        try:
            async with asyncio.timeout(self._seconds) as limit:
                answer: T = await mine.answer
                return answer
        except TimeoutError:
            if limit.expired():
                raise store_is_silent(self._seconds) from None
            raise

    def _begin(self) -> None:
        """Begin what may begin: a call of each owner in turn, as long as threads are free."""
        queue = self._queue
        for owner in queue.tenants:
            while queue.waits(owner) and queue.head(owner).answer.done():
                queue.drop(owner, queue.head(owner))  # whoever waited for it has gone
            free = self._threads - queue.work.total()
            if queue.waits(owner) and free and queue.work[owner] < self._share:
                mine = queue.pop(owner)
                queue.work.add(owner)
                done = partial(self._end, owner, mine)
                in_thread(self._name, mine.call).add_done_callback(done)

    def _end(self, owner: str, mine: _Awaited, done: asyncio.Future[Any]) -> None:
        self._queue.work.add(owner, -1)
        error = done.exception()
        if not mine.answer.done():
            if error is None:
                mine.answer.set_result(done.result())
            else:
                mine.answer.set_exception(error)
        self._begin()
