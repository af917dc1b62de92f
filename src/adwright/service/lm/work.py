"""Run the work of models on a few threads, behind a short queue.

A model computes for seconds, so it never runs on the event loop; a caller that goes away takes its
work along; what cannot begin soon is refused at once; and nobody waits for longer than a bound.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from starlette.requests import Request

from adwright.core.clock import Clock
from adwright.lm.engine.generation import Cancellation
from adwright.service.lm.shares import Asked, LmShares
from adwright.web.errors import ApiError, Busy

T = TypeVar("T")
Told = tuple[str, object]
_log = logging.getLogger("adwright.service")
_UNNAMED = Asked()
#: Seconds that work has to end in once it is cancelled, before its caller is told without it; and
#: after which the service says that it is stuck.
_GRACE, _STUCK = 2.0, 60.0
#: Seconds that the end of the service waits for its work.
_CLOSE = 10.0


class Gone(Exception):
    """The caller closed the connection: there is nobody to answer."""


class TimeUp(ApiError):
    """503: there was no answer within the bound of the service."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            503,
            f"there was no answer within {seconds:g} s",
            hint="ask for less at once, or later",
            headers={"Retry-After": "5"},
        )


@dataclass(eq=False)
class _Job:
    run: Callable[[], None]
    future: Future[Any]
    cancel: Cancellation = field(default_factory=Cancellation)
    left: float | None = None


class LmWork:
    """Runs work for requests in the order of `shares`, each for at most so many seconds."""

    def __init__(self, shares: LmShares[Any], *, clock: Clock, seconds: float = 300.0) -> None:
        self._shares: LmShares[_Job] = shares
        self._clock, self._most = clock, seconds
        self._told = threading.Condition()
        self._closed = False
        self._seconds = 0.0

    @property
    def pending(self) -> int:
        """Requests in work and in the queue."""
        return len(self._shares.working) + self._shares.waiting

    @property
    def stuck(self) -> bool:
        """Whether some work goes on long after it was cancelled."""
        now = time.monotonic()
        with self._told:
            left = [job.left for job in self._shares.working if job.left is not None]
        return any(now - at > _STUCK for at in left)

    def asks(self, model: str) -> bool:
        """Whether a request, in work or waiting, is for the model of that name."""
        with self._told:
            return self._shares.asks(model)

    async def run(
        self, work: Callable[[Cancellation], T], request: Request, asked: Asked = _UNNAMED
    ) -> T:
        """Return the result of `work`, which checks its cancellation while it computes.

        Raises Busy where the queue is full; Gone, once the work was told to end, where the
        connection is closed before; TimeUp where the bound is over, and work that is cancelled then
        does not return what it has.
        """
        job = self._submit(work, asked)
        future = asyncio.wrap_future(job.future)
        gone = asyncio.create_task(closed(request))
        try:
            both: set[asyncio.Future[Any]] = {future, gone}
            first = asyncio.FIRST_COMPLETED
            done, _ = await asyncio.wait(both, timeout=self._most, return_when=first)
            if not done:
                job.cancel.cancel()
                done, _ = await asyncio.wait(both, timeout=_GRACE, return_when=first)
            if future.done():
                result: T = future.result()
                return result
            raise Gone if gone in done else TimeUp(self._most)
        finally:
            gone.cancel()
            self._leave(job)
            future.cancel()

    def stream(
        self,
        work: Callable[[Cancellation], Iterator[T]],
        request: Request,
        asked: Asked = _UNNAMED,
    ) -> AsyncIterator[T]:
        """Yield what `work` does. Raises Busy at once where the queue is full; Gone and TimeUp as
        `run` does.

        Leaving the iterator early, in whatever way, ends the work.
        """
        feed: _Feed[T] = _Feed(asyncio.get_running_loop())
        job = self._submit(lambda cancel: feed.fill(work, cancel), asked)
        job.future.add_done_callback(feed.end)
        return self._taken(feed, job, request)

    def close(self) -> None:
        """Cancel all work and wait for it, within a bound."""
        with self._told:
            self._closed = True
            working = self._shares.working
            while (job := self._shares.drop()) is not None:
                job.future.cancel()
            for job in working:
                job.cancel.cancel()
            if not self._told.wait_for(lambda: not self._shares.working, _CLOSE):
                _log.error("%d requests could not be ended", len(self._shares.working))

    async def _taken(self, feed: _Feed[T], job: _Job, request: Request) -> AsyncIterator[T]:
        gone = asyncio.create_task(closed(request))
        loop = asyncio.get_running_loop()
        until = loop.time() + self._most
        try:
            while True:
                next_one = asyncio.create_task(feed.queue.get())
                both: set[asyncio.Future[Any]] = {next_one, gone}
                left = max(0.0, until - loop.time())
                done, _ = await asyncio.wait(
                    both, timeout=left, return_when=asyncio.FIRST_COMPLETED
                )
                if not done and not job.cancel.cancelled:
                    job.cancel.cancel()
                    until += _GRACE
                    done, _ = await asyncio.wait(
                        both, timeout=_GRACE, return_when=asyncio.FIRST_COMPLETED
                    )
                if not next_one.done():
                    next_one.cancel()
                    raise Gone if gone in done else TimeUp(self._most)
                kind, value = next_one.result()
                if kind == "end":
                    return
                if isinstance(value, Exception):
                    raise value
                yield value  # type: ignore[misc]
        finally:
            gone.cancel()
            self._leave(job)

    def _submit(self, work: Callable[[Cancellation], T], asked: Asked) -> _Job:
        future: Future[T] = Future()
        job = _Job(lambda: self._run(job, lambda: work(job.cancel)), future)
        with self._told:
            if self._closed:
                raise ApiError(503, "the service is ending", headers={"Retry-After": "5"})
            ahead = self.pending
            self._shares.put(job, asked)
            self._begin()
            over = self._shares.over()
        busy = Busy("lm_queue", ahead / self._shares.running * self._seconds)
        for other in over:
            with suppress(InvalidStateError):  # its caller has just gone
                other.future.set_exception(busy)
        if job in over:
            raise busy
        return job

    def _begin(self) -> None:
        """Start what may begin."""
        while (job := self._shares.take()) is not None:
            # No thread of a pool: the interpreter waits for those at its end, whatever they do.
            threading.Thread(target=job.run, name="adwright-lm", daemon=True).start()

    def _run(self, job: _Job, work: Callable[[], object]) -> None:
        began = self._clock.monotonic()
        try:
            result, error = work(), None
        except Exception as raised:
            result, error = None, raised
        took = self._clock.monotonic() - began
        with self._told:
            self._seconds += (took - self._seconds) * (0.1 if self._seconds else 1.0)
            self._shares.leave(job)
            if not self._closed:
                self._begin()
            self._told.notify_all()
        with suppress(InvalidStateError):  # its caller has gone
            if error is None:
                job.future.set_result(result)
            else:
                job.future.set_exception(error)

    def _leave(self, job: _Job) -> None:
        """The caller waits no more: work that waits is forgotten, work that runs is told."""
        job.cancel.cancel()
        with self._told:
            job.left = time.monotonic()
            if job not in self._shares.working:
                self._shares.leave(job)


class _Feed(Generic[T]):
    """Passes items from a thread to the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.queue: asyncio.Queue[Told] = asyncio.Queue()

    def put(self, kind: str, value: object) -> None:
        # The loop may be closed by the time that the work notices its end.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.queue.put_nowait, (kind, value))

    def end(self, future: Future[None]) -> None:
        """Pass on that the work is over, or was never begun."""
        if not future.cancelled() and (error := future.exception()) is not None:
            self.put("item", error)
        self.put("end", None)

    def fill(self, work: Callable[[Cancellation], Iterator[T]], cancel: Cancellation) -> None:
        """Pass on what `work` yields until it ends, fails or is cancelled; in the thread."""
        items = work(cancel)
        try:
            for item in items:
                self.put("item", item)
        finally:
            if isinstance(items, Generator):
                items.close()


async def in_thread(call: Callable[[], T], seconds: float) -> T:
    """The result of `call`, in a thread of its own that the end of the program does not wait for.

    Raises TimeUp where it takes longer; the thread goes on then.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            result = call()
            with suppress(InvalidStateError):  # nobody waits any more
                future.set_result(result)
        except Exception as error:
            with suppress(InvalidStateError):
                future.set_exception(error)

    threading.Thread(target=run, name="adwright-aside", daemon=True).start()
    done, _ = await asyncio.wait({waited := asyncio.wrap_future(future)}, timeout=seconds)
    if not done:
        waited.cancel()
        raise TimeUp(seconds)
    return waited.result()


async def closed(request: Request) -> None:
    """Return when the caller has closed the connection; the body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
