"""An engine in another process, as an actor of Ray has it: what it says travels as plain values.

Errors travel as texts, since not every process has the classes of every other. `on_ray.RayEngine`
is its other side.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from typing import Any, NamedTuple

from adwright.core.errors import ConfigError, ResourceError
from adwright.programs.engines.engine_errors import (
    EngineGoneError,
    error_from_wire,
    error_to_wire,
)
from adwright.programs.scheduling.engine import ExecutionEngine

__all__ = ["Answered", "EngineBuilder", "HostedEngine", "value_of"]

#: Makes an engine, on the machine where it is to be.
EngineBuilder = Callable[[], AbstractAsyncContextManager[ExecutionEngine]]


class Answered(NamedTuple):
    """What came of a request, or a part of it: a value, or an error, in `engine_errors`' words."""

    value: Any = None
    error: Mapping[str, str] | None = None


def value_of(answered: Answered, where: str) -> Any:
    """The value. Raises the error as the engine would have; EngineGoneError where it is gone."""
    if answered.error is None:
        return answered.value
    if answered.error["kind"] == "gone":
        raise EngineGoneError(answered.error["what"], where=where, hint=answered.error["hint"])
    raise error_from_wire(answered.error)


class HostedEngine:
    """One engine, with requests from elsewhere. build: makes it."""

    def __init__(self, build: EngineBuilder) -> None:
        self._build = build
        self._stack = AsyncExitStack()
        self._engine: ExecutionEngine | None = None
        self._jobs: dict[str, asyncio.Task[Any]] = {}

    async def open(self) -> Answered:
        """Open the engine; its capabilities."""
        try:
            self._engine = await self._stack.enter_async_context(self._build())
            return Answered(self._engine.capabilities)
        except Exception as error:  # of a model that cannot be opened, any
            return Answered(error=_told(error))

    async def close(self) -> None:
        """Close it."""
        await self._stack.aclose()

    async def generate(
        self, job: str, prompt: str | Sequence[int], settings: Mapping[str, Any]
    ) -> AsyncGenerator[Answered, None]:
        """The reports of an answer, as they come. settings: as the engine takes them."""
        reports: asyncio.Queue[Answered | None] = asyncio.Queue()

        async def read() -> None:
            try:
                async with aclosing(_reports(self._there, job, prompt, settings)) as found:
                    async for one in found:
                        reports.put_nowait(Answered(one))
            except Exception as error:
                reports.put_nowait(Answered(error=_told(error)))
            finally:
                reports.put_nowait(None)

        # A task of its own, which `cancel` can end however the reader fares.
        task = self._jobs[job] = asyncio.create_task(read())
        try:
            while (one := await reports.get()) is not None:
                yield one
        finally:
            task.cancel()
            self._jobs.pop(job, None)

    async def fill(
        self, job: str, prompt: str | Sequence[int], salt: str, adapter: str | None
    ) -> Answered:
        """As the engine does."""
        return await _answered(lambda: self._there.fill(job, prompt, salt=salt, adapter=adapter))

    async def free(self, prompt: str | Sequence[int], salt: str) -> Answered:
        """As the engine does."""
        return await _answered(lambda: self._there.free(prompt, salt=salt))

    async def stats(self) -> Answered:
        """As the engine says."""
        return await _answered(lambda: self._there.stats())  # noqa: PLW0108 - it raises there

    async def cancel(self, job: str) -> Answered:
        """End a job."""
        task = self._jobs.pop(job, None)
        if task is not None:
            task.cancel()
        return await _answered(lambda: self._there.cancel(job))

    @property
    def _there(self) -> ExecutionEngine:
        if self._engine is None:
            raise ConfigError("the engine is not open", where="hosted engine", hint="open it")
        return self._engine


async def _answered(asking: Callable[[], Awaitable[Any]]) -> Answered:
    try:
        return Answered(await asking())
    except Exception as error:
        return Answered(error=_told(error))


def _reports(
    engine: ExecutionEngine, job: str, prompt: str | Sequence[int], settings: Mapping[str, Any]
) -> Any:
    return engine.generate(job, prompt, **settings)


def _told(error: Exception) -> Mapping[str, str]:
    told = error_to_wire(error)
    if isinstance(error, ResourceError):
        return {**told, "kind": "gone"}
    return told
