"""Run the work of models on a few threads, behind a short queue.

A model computes for seconds, so it never runs on the event loop; a caller that goes away takes its
work along; what cannot begin soon is refused at once; and nobody waits for longer than a bound.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import defaultdict
from collections.abc import (
    AsyncGenerator,
    Callable,
    Generator,
    Iterator,
    Sequence,
)
from concurrent.futures import Future, InvalidStateError
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from starlette.requests import Request

from adwright.core.clock import Clock
from adwright.core.tenant_queue import TenantQueue
from adwright.lm.engine.generation import (
    Cancellation,
    Chunk,
    GenerationConfig,
    LanguageModel,
    Prompt,
    TokenPrompt,
)
from adwright.web import turns
from adwright.web.errors import ApiError, Busy

# --------------------------------------------------------------------------------------------------
# Whose work is next: each tenant has its share of what is computed, and of the queue.
#
# The tenant with the least in work comes next, and among equals the one that was served longest
# ago. The last free place is kept for a tenant that has nothing in work, so that one that floods
# finds the others before it, and they need not wait for it to end. Where the queue is full, the
# newest request of the tenant that has most in it is refused.

J = TypeVar("J")
#: Characters of a token, for a first guess.
_CHARACTERS = 4


@dataclass(frozen=True)
class Asked:
    """What a request asks for. answers: that are computed for it. tokens: of its prompts and of the
    longest answers that it may get. model: the name that the model has for itself."""

    tenant: str = ""
    answers: int = 1
    tokens: int = 0
    model: str = ""


def prompt_tokens(prompts: Sequence[Prompt]) -> int:
    """About how many tokens these are, without asking a tokeniser."""
    return sum(
        len(one.ids)
        if isinstance(one, TokenPrompt)
        else sum(
            len(text) // _CHARACTERS + 1
            for text in ([one] if isinstance(one, str) else [turn.content for turn in one])
        )
        for one in prompts
    )


class LmShares(Generic[J]):
    """Jobs that wait or are in work. Not safe for several threads.

    running: answers in work. waiting: jobs in the queue. several: whether there are several
    tenants; otherwise a job is one answer, and only these two bounds count. tenant_waiting: jobs of
    one tenant in the queue. tenant_tokens: of one tenant in work; it may have one job of more.
    """

    def __init__(
        self,
        *,
        running: int,
        waiting: int,
        several: bool = False,
        tenant_waiting: int = 0,
        tenant_tokens: int = 0,
    ) -> None:
        self.running = running
        self._most, self._several = waiting, several
        self._tenant_most, self._tenant_tokens = tenant_waiting, tenant_tokens
        self._spare = int(several and running > 1)
        self._queue: TenantQueue[J] = TenantQueue()
        self._asked: dict[J, Asked] = {}
        self._work: dict[J, Asked] = {}
        self._served: defaultdict[str, int] = defaultdict(int)

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._queue)

    @property
    def working(self) -> Sequence[J]:
        """Jobs in work."""
        return tuple(self._work)

    def asks(self, model: str) -> bool:
        """Whether a job, in work or waiting, is for the model of that name."""
        queued = (self._asked[job] for job in self._queue)
        return any(asked.model == model for asked in (*self._work.values(), *queued))

    def put(self, job: J, asked: Asked) -> None:
        """Let a job wait."""
        self._asked[job] = asked
        self._queue.put(asked.tenant, job)

    def take(self) -> J | None:
        """The next job that may begin, in work from now on; None where all have to wait."""
        used, queue = sum(map(self._weight, self._work.values())), self._queue
        for tenant in sorted(
            queue.tenants, key=lambda one: (self._in_work(one)[0], self._served[one])
        ):
            asked = self._asked[queue.head(tenant)]
            answers, tokens = self._in_work(tenant)
            spare = self._spare if answers else 0
            fits = used + self._weight(asked) + spare <= self.running
            if not fits and not answers:
                return None  # it would wait for ever if others went past it
            over = self._several and answers and tokens + asked.tokens > self._tenant_tokens
            if fits and not over:
                job = queue.pop(tenant)
                self._work[job] = asked
                self._served[tenant] = max(self._served.values()) + 1
                return job
        return None

    def over(self) -> list[J]:
        """Take out of the queue, and return, what is too much for it."""
        found, queue = [], self._queue
        for tenant in queue.tenants if self._several else ():
            while queue.waits(tenant) > self._tenant_most:
                found.append(self._last(tenant))
        while len(queue) > self._most:
            found.append(self._last(max(queue.tenants, key=queue.waits)))
        return found

    def drop(self) -> J | None:
        """Take a job out of the queue; None where none waits."""
        return self._last(self._queue.tenants[0]) if len(self._queue) else None

    def leave(self, job: J) -> None:
        """Forget a job, wherever it is."""
        asked = self._asked.pop(job, Asked())
        if self._work.pop(job, None) is None:
            self._queue.drop(asked.tenant, job)

    def _last(self, tenant: str) -> J:
        job = self._queue.drop_last(tenant)
        del self._asked[job]
        return job

    def _weight(self, asked: Asked) -> int:
        return min(asked.answers, self.running - self._spare) if self._several else 1

    def _in_work(self, tenant: str) -> tuple[int, int]:
        """Answers and tokens of a tenant that are in work."""
        own = [asked for asked in self._work.values() if asked.tenant == tenant]
        return sum(map(self._weight, own)), sum(asked.tokens for asked in own)


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
        # A stream of one piece, to its end: who asks again at once finds the place free.
        async with aclosing(self.stream(lambda cancel: iter([work(cancel)]), request, asked)) as it:
            for result in [result async for result in it]:
                return result
        raise asyncio.CancelledError  # the service ends

    def stream(
        self,
        work: Callable[[Cancellation], Iterator[T]],
        request: Request,
        asked: Asked = _UNNAMED,
    ) -> AsyncGenerator[T, None]:
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

    async def _taken(self, feed: _Feed[T], job: _Job, request: Request) -> AsyncGenerator[T, None]:
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
    answer = turns.in_thread("aside", call)
    done, _ = await asyncio.wait({answer}, timeout=seconds)
    if not done:
        answer.cancel()
        raise TimeUp(seconds)
    return answer.result()


async def closed(request: Request) -> None:
    """Return when the caller has closed the connection; the body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


# --------------------------------------------------------------------------------------------------
# Several answers at a time, piece by piece.

#: The index of an answer, and a piece of it.
Piece = tuple[int, Chunk]


def pieces(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    settings: GenerationConfig,
    cancel: Cancellation,
) -> Iterator[Piece]:
    """The answers to B prompts in turns, a piece of each; answer i draws from `seed + i`.

    An engine that computes the requests of several callers together does so here too. Closing the
    iterator ends all of them.
    """
    streams = {
        index: model.stream(prompt, replace(settings, seed=settings.seed + index), cancel=cancel)
        for index, prompt in enumerate(prompts)
    }
    try:
        while streams:
            for index, chunks in list(streams.items()):
                chunk = next(chunks, None)
                if chunk is None:
                    del streams[index]
                else:
                    yield index, chunk
    finally:
        for chunks in streams.values():
            if isinstance(chunks, Generator):
                chunks.close()
