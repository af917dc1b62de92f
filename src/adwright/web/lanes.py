"""Blocking calls on threads, each kind in a lane of its own, so that none can stop another kind.

A lane has a bound on its threads, on who waits for one, and on how long anybody waits, also where
the call beneath never returns: its thread then stays taken, and the caller is answered.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from adwright.core.tenant_queue import TenantQueue
from adwright.web.errors import ApiError, Busy

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


class Lane:
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
