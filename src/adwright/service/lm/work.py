"""Run the work of models on a few threads, behind a short queue.

A model computes for seconds, so it never runs on the event loop; a caller that goes away takes its
work along; and what cannot begin soon is refused at once.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Generic, TypeVar

from starlette.requests import Request

from adwright.core.clock import Clock
from adwright.lm.engine.generation import Cancellation
from adwright.web.errors import Busy

__all__ = ["Gone", "LmWork"]

T = TypeVar("T")
Told = tuple[str, object]


class Gone(Exception):
    """The caller closed the connection: there is nobody to answer."""


class LmWork:
    """Runs work for requests: `running` at a time, `waiting` in the queue, Busy beyond."""

    def __init__(self, *, running: int, waiting: int, clock: Clock) -> None:
        self._running = running
        self._most = running + waiting
        self._clock = clock
        self._pool = ThreadPoolExecutor(running, thread_name_prefix="adwright-lm")
        self._open: set[Cancellation] = set()
        self._lock = threading.Lock()
        self._seconds = 0.0

    @property
    def pending(self) -> int:
        """Requests in work and in the queue."""
        return len(self._open)

    async def run(self, work: Callable[[Cancellation], T], request: Request) -> T:
        """Return the result of `work`, which checks its cancellation while it computes.

        Raises Busy where the queue is full; Gone, once the work was told to end, where the
        connection is closed before.
        """
        cancel = Cancellation()
        future = asyncio.wrap_future(self._submit(cancel, lambda: work(cancel)))
        gone = asyncio.create_task(_closed(request))
        try:
            both: set[asyncio.Future[Any]] = {future, gone}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not future.done():
                raise Gone
            return future.result()
        finally:
            gone.cancel()
            cancel.cancel()
            future.cancel()

    def stream(
        self, work: Callable[[Cancellation], Iterator[T]], request: Request
    ) -> AsyncIterator[T]:
        """Yield what `work` does. Raises Busy at once where the queue is full; Gone as `run` does.

        Leaving the iterator early, in whatever way, ends the work.
        """
        loop = asyncio.get_running_loop()
        cancel = Cancellation()
        feed: _Feed[T] = _Feed(loop)
        future = self._submit(cancel, lambda: feed.fill(work, cancel))
        future.add_done_callback(lambda _: feed.put("end", None))
        return self._taken(feed, future, cancel, request)

    def close(self) -> None:
        """Cancel all work and wait for it."""
        with self._lock:
            live = list(self._open)
        for cancel in live:
            cancel.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def _taken(
        self, feed: _Feed[T], future: Future[None], cancel: Cancellation, request: Request
    ) -> AsyncIterator[T]:
        gone = asyncio.create_task(_closed(request))
        try:
            while True:
                next_one = asyncio.create_task(feed.queue.get())
                both: set[asyncio.Future[Any]] = {next_one, gone}
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                if not next_one.done():
                    next_one.cancel()
                    raise Gone
                kind, value = next_one.result()
                if kind == "end":
                    return
                if isinstance(value, Exception):
                    raise value
                yield value  # type: ignore[misc]
        finally:
            gone.cancel()
            cancel.cancel()
            future.cancel()

    def _submit(self, cancel: Cancellation, work: Callable[[], T]) -> Future[T]:
        with self._lock:
            if len(self._open) >= self._most:
                ahead = len(self._open) / self._running
                raise Busy("lm_queue", ahead * self._seconds)
            self._open.add(cancel)

        def timed() -> T:
            began = self._clock.monotonic()
            try:
                return work()
            finally:
                took = self._clock.monotonic() - began
                self._seconds += (took - self._seconds) * (0.1 if self._seconds else 1.0)

        def done(_: Future[T]) -> None:
            with self._lock:
                self._open.discard(cancel)

        future = self._pool.submit(timed)
        future.add_done_callback(done)
        return future


class _Feed(Generic[T]):
    """Passes items from a thread to the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.queue: asyncio.Queue[Told] = asyncio.Queue()

    def put(self, kind: str, value: object) -> None:
        # The loop may be closed by the time that the work notices its end.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.queue.put_nowait, (kind, value))

    def fill(self, work: Callable[[Cancellation], Iterator[T]], cancel: Cancellation) -> None:
        """Pass on what `work` yields until it ends, fails or is cancelled; in the thread."""
        try:
            items = work(cancel)
            try:
                for item in items:
                    self.put("item", item)
                    if cancel.cancelled:
                        break
            finally:
                if isinstance(items, Generator):
                    items.close()
        except Exception as error:
            self.put("item", error)


async def _closed(request: Request) -> None:
    """Returns when the caller has closed the connection; the body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
