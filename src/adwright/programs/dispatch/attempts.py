"""What runs on the engines: a task for each start and fill, and how each of them ends.

An attempt is over in one of five ways, and whoever dispatches is told of each once: it has ended,
it failed for good, it failed and may be tried again, its engine is gone, or it was stopped, which
nobody need be told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from adwright.core.errors import AdwrightError, ResourceError
from adwright.programs.dispatch.ready import ChainJob, ChainRequest, SayingFailedError
from adwright.programs.scheduling.engine import EngineCapabilities, ExecutionEngine, ReadyChain
from adwright.programs.scheduling.order import class_of

_log = logging.getLogger("adwright.programs")


@dataclass(eq=False)
class Attempt:
    """A chain on an engine. job: who waits for it; None: it is read for others, without an answer.
    cached: tokens of the prompt that the engine had held; tokens: of the answer; None: it does not
    say. number: of the attempts of all chains. since: when it began."""

    chain: ReadyChain
    engine_id: str
    number: str
    job: ChainJob | None
    prompt: str
    salt: str
    cached: int | None = None
    tokens: int | None = None
    since: float = 0.0
    task: asyncio.Task[None] | None = None


class AttemptEvents(Protocol):
    """Who is told."""

    def began(self, attempt: Attempt) -> None:
        """Its prompt has been read."""
        ...

    def ended(self, attempt: Attempt) -> None:
        """It is over, and its answer is whole."""
        ...

    def failed(self, attempt: Attempt, error: Exception, *, final: bool) -> None:
        """It is over without one. final: another attempt would fail as this one."""
        ...

    def gone(self, engine_id: str, why: str) -> None:
        """The engine is gone, and with it all that was there."""
        ...

    def silent(self, engine_id: str) -> None:
        """The engine has not answered in time."""
        ...


class Attempts:
    """All that runs on the engines. call_seconds, stop_seconds: see `DispatchTerms`. heard: when
    each engine last wrote something."""

    def __init__(
        self,
        engines: Mapping[str, ExecutionEngine],
        events: AttemptEvents,
        *,
        count: Callable[[str], int],
        call_seconds: float,
        stop_seconds: float,
    ) -> None:
        self._engines, self._events, self._count = engines, events, count
        self._call_seconds, self._stop_seconds = call_seconds, stop_seconds
        self.heard: dict[str, float] = {}
        self._running: dict[str, Attempt] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    @property
    def tasks(self) -> int:
        """Tasks that are not over, those that end or free something among them."""
        return len(self._tasks)

    def start(self, attempt: Attempt, can: EngineCapabilities) -> None:
        """Begin an attempt, on an engine that can do so much."""
        attempt.since = asyncio.get_running_loop().time()
        self._running[attempt.chain.chain_id] = attempt
        if attempt.job is None:
            work = self._fill(attempt)
        else:
            request = attempt.job.begin(can, self._count)
            work = self._write(attempt, attempt.job, request, can)
        attempt.task = self.spawn(work)

    def quiet(self, since: float) -> set[str]:
        """Engines that have had something to do since then, and have written nothing."""
        old = {one.engine_id for one in self._running.values() if one.since < since}
        return {one for one in old if self.heard.get(one, 0.0) < since}

    def stop(self, chain_id: str) -> list[asyncio.Task[None]]:
        """Stop the attempt of a chain, if there is one; returns what is to be waited for until the
        engine has let go of it."""
        attempt = self._running.pop(chain_id, None)
        if attempt is None:
            return []
        ending = [self.spawn(self._cancel(attempt))]
        if attempt.task is not None and attempt.task is not asyncio.current_task():
            attempt.task.cancel()
            ending.append(attempt.task)
        return ending

    def lost(self, engine_id: str) -> None:
        """The engine is gone: nothing that ran there will be heard of."""
        for chain_id, attempt in list(self._running.items()):
            if attempt.engine_id == engine_id:
                del self._running[chain_id]
                if attempt.task is not None and attempt.task is not asyncio.current_task():
                    attempt.task.cancel()

    def free(self, engine_id: str, prompt: str, salt: str) -> None:
        """Tell an engine that nobody will begin with this any more."""
        self.spawn(self._free(engine_id, prompt, salt))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that `close` ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Stop everything, and wait until the engines have let go of it, within the bound."""
        for chain_id in list(self._running):
            self.stop(chain_id)
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=2 * self._stop_seconds)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _write(
        self, attempt: Attempt, job: ChainJob, request: ChainRequest | None, can: EngineCapabilities
    ) -> None:
        try:
            if request is not None:
                async with asyncio.timeout(self._call_seconds):
                    await self._read(attempt, job, request, can)
        except SayingFailedError as error:
            cause = error.__cause__
            if self._drop(attempt):
                self.spawn(self._cancel(attempt))
                told = cause if isinstance(cause, Exception) else error
                self._events.failed(attempt, told, final=True)
        except BaseException as error:
            self._break_off(attempt, error)
        else:
            if self._drop(attempt):
                self._events.ended(attempt)

    async def _read(
        self, attempt: Attempt, job: ChainJob, request: ChainRequest, can: EngineCapabilities
    ) -> None:
        further = {} if request.settings is None else {"settings": request.settings}
        reports = self._engines[attempt.engine_id].generate(
            attempt.number,
            request.prompt,
            max_tokens=request.max_tokens,
            adapter=attempt.chain.adapter,
            schema=request.schema,
            priority=class_of(attempt.chain) if can.priority else 0,
            salt=attempt.salt,
            **further,
        )
        is_first, is_over = True, False
        now = asyncio.get_running_loop().time
        try:
            async for report in reports:
                self.heard[attempt.engine_id] = now()
                if report.cached_tokens is not None:
                    attempt.cached = report.cached_tokens
                if is_first:
                    is_first = False
                    self._events.began(attempt)
                job.add(report.text)
                attempt.tokens, is_over = report.tokens, report.over
        finally:
            if isinstance(reports, AsyncGenerator):
                await reports.aclose()
        if not is_over:
            raise ConnectionError(f"the answer of engine {attempt.engine_id} broke off")

    async def _fill(self, attempt: Attempt) -> None:
        try:
            async with asyncio.timeout(self._call_seconds):
                engine = self._engines[attempt.engine_id]
                attempt.cached = await engine.fill(
                    attempt.number,
                    attempt.prompt,
                    salt=attempt.salt,
                    adapter=attempt.chain.adapter,
                )
        except BaseException as error:
            self._break_off(attempt, error)
        else:
            if self._drop(attempt):
                self._events.ended(attempt)

    def _break_off(self, attempt: Attempt, error: BaseException) -> None:
        """An attempt has ended in an error: say which."""
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError):
            if task is not None and task.cancelling():
                raise error
            error = ConnectionError("the engine cancelled it")
        if not isinstance(error, Exception):
            raise error
        if self._running.get(attempt.chain.chain_id) is not attempt:
            return
        if isinstance(error, ResourceError):
            self._drop(attempt)
            self._events.gone(attempt.engine_id, str(error))
            return
        final = isinstance(error, AdwrightError)
        if isinstance(error, TimeoutError):
            self.spawn(self._cancel(attempt))
            self._events.silent(attempt.engine_id)
        if self._drop(attempt):
            self._events.failed(attempt, error, final=final)

    def _drop(self, attempt: Attempt) -> bool:
        """It is over; whether anybody still wanted to hear of it."""
        if self._running.get(attempt.chain.chain_id) is not attempt:
            return False
        del self._running[attempt.chain.chain_id]
        return True

    async def _cancel(self, attempt: Attempt) -> None:
        await self._say(attempt.engine_id, self._engines[attempt.engine_id].cancel(attempt.number))

    async def _free(self, engine_id: str, prompt: str, salt: str) -> None:
        await self._say(engine_id, self._engines[engine_id].free(prompt, salt=salt))

    async def _say(self, engine_id: str, call: Coroutine[Any, Any, None]) -> None:
        """Tell an engine something that has no answer."""
        try:
            async with asyncio.timeout(self._stop_seconds):
                await call
        except ResourceError as error:
            self._events.gone(engine_id, str(error))
        except TimeoutError:
            self._events.silent(engine_id)
        except Exception as error:  # it goes on with what it was to end, and no more
            _log.warning("engine %s did not do as it was told: %r", engine_id, error)
