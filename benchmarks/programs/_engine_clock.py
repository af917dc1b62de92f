"""Seconds as an engine has them that has a core to itself, on a machine that it shares.

    while it has something to do    CPU-seconds of its processes
    while it has nothing to do      seconds that pass

So what waits for the engine is counted in its own work, whoever else computes meanwhile, and what
waits for a round trip, a tool or a program to arrive is counted as it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any

from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.scheduling.engine import (
    EngineCapabilities,
    EngineReport,
    EngineStats,
    ExecutionEngine,
)

_Prompt = str | Sequence[int]
_LEAST = 0.002


def cpu_seconds(pid: int) -> float:
    """That a process has used, all its threads together."""
    return time.clock_gettime((~pid << 3) | 2)  # CPUCLOCK_SCHED of another process


class EngineClock:
    """pids: of the processes of the engines; with several, their CPU-seconds together."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = tuple(pids)
        self._busy = 0
        self._passed, self._last = 0.0, self._sample()

    def cpu(self) -> float:
        """CPU-seconds of the engines so far."""
        return sum(map(cpu_seconds, self._pids))

    def now(self) -> float:
        """Seconds since it was made."""
        return self._passed + self._sample() - self._last

    async def sleep(self, seconds: float) -> None:
        """Return once so many have passed."""
        until = self.now() + seconds
        # Several threads of an engine may let it go faster than the wall clock.
        while (left := until - self.now()) > 0:
            await asyncio.sleep(max(_LEAST, left / 2))

    @contextmanager
    def at_work(self) -> Any:
        """While the engine has one thing more to do."""
        self._turn(1)
        try:
            yield
        finally:
            self._turn(-1)

    def _turn(self, more: int) -> None:
        self._passed += self._sample() - self._last
        self._busy += more
        self._last = self._sample()

    def _sample(self) -> float:
        return self.cpu() if self._busy else time.perf_counter()


class ClockedEngine:
    """An `ExecutionEngine` that tells the clock when it has something to do. salt: in the place of
    what is told, so that all systems are one domain."""

    def __init__(self, engine: ExecutionEngine, clock: EngineClock) -> None:
        self._engine, self._clock = engine, clock
        self.peak_tokens = 0

    @property
    def capabilities(self) -> EngineCapabilities:
        """Of the engine."""
        return self._engine.capabilities

    async def fill(
        self, job: str, prompt: _Prompt, *, salt: str = "", adapter: str | None = None
    ) -> int:
        """See there."""
        with self._clock.at_work():
            return await self._engine.fill(job, prompt, adapter=adapter)

    async def generate(
        self,
        job: str,
        prompt: _Prompt,
        *,
        max_tokens: int,
        adapter: str | None = None,
        schema: str | None = None,
        priority: int = 0,
        salt: str = "",
        settings: GenerationConfig | None = None,
    ) -> AsyncGenerator[EngineReport, None]:
        """See there."""
        with self._clock.at_work():
            reports = self._engine.generate(
                job,
                prompt,
                max_tokens=max_tokens,
                adapter=adapter,
                schema=schema,
                settings=settings,
            )
            async with aclosing(reports) as each:  # type: ignore[type-var]
                async for report in each:
                    yield report

    async def cancel(self, job: str) -> None:
        """See there."""
        await self._engine.cancel(job)

    async def free(self, prompt: _Prompt, *, salt: str = "") -> None:
        """See there."""
        await self._engine.free(prompt)

    async def stats(self) -> EngineStats:
        """See there."""
        return await self._engine.stats()
