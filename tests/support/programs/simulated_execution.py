"""A simulated engine behind the face of real ones, on a loop whose time is virtual."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from hashlib import blake2b

from adwright.core.errors import ResourceError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.scheduling.engine import EngineCapabilities, EngineReport, EngineStats
from benchmarks.programs.simulation import SimulatedEngine, SimulatedEvent
from tests.support.chains import chain_of

#: Characters of a prompt that are found again as a whole; a character is a token.
_BLOCK = 10


class SimulatedExecution:
    """Answers have `max_tokens` letters, and no two are the same."""

    def __init__(self, engine: SimulatedEngine) -> None:
        self.engine = engine
        self._waits: dict[str, asyncio.Queue[SimulatedEvent | None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def capabilities(self) -> EngineCapabilities:
        return self.engine.capabilities

    def die(self) -> None:
        self.engine.die()
        for events in self._waits.values():
            events.put_nowait(None)

    async def restart(self) -> None:
        self.engine.revive()

    async def fill(
        self, job: str, prompt: str | Sequence[int], *, salt: str = "", adapter: str | None = None
    ) -> int:
        async for event in self._events(job, prompt, 0, salt):
            cached = event.cached
        return cached

    async def generate(
        self,
        job: str,
        prompt: str | Sequence[int],
        *,
        max_tokens: int,
        adapter: str | None = None,
        schema: str | None = None,
        priority: int = 0,
        salt: str = "",
        settings: GenerationConfig | None = None,
    ) -> AsyncGenerator[EngineReport, None]:
        async for event in self._events(job, prompt, max_tokens, salt):
            if event.kind == "prefilled":
                yield EngineReport("", event.cached)
            else:
                text = (job + "x" * max_tokens)[:max_tokens]
                yield EngineReport(text, over=True, tokens=max_tokens)

    async def cancel(self, job: str) -> None:
        self.engine.cancel(job, self._now())
        self._look()

    async def free(self, prompt: str | Sequence[int], *, salt: str = "") -> None:
        return

    async def stats(self) -> EngineStats:
        if not self.engine.alive:
            raise ResourceError("the engine is gone")
        return EngineStats(self.engine.load, 0, self.engine.held_tokens)

    async def _events(
        self, job: str, prompt: str | Sequence[int], tokens: int, salt: str
    ) -> AsyncGenerator[SimulatedEvent, None]:
        if not self.engine.alive:
            raise ResourceError("the engine is gone")
        assert isinstance(prompt, str)
        ends = [*range(_BLOCK, len(prompt), _BLOCK), len(prompt)]
        running, hashes = blake2b(salt.encode(), digest_size=8), []
        for end in ends:
            running.update(prompt[end - _BLOCK if end % _BLOCK == 0 else ends[-2] : end].encode())
            hashes.append(int.from_bytes(running.digest()))
        events = self._waits[job] = asyncio.Queue()
        self.engine.submit(chain_of(job, tokens=ends, prefix=hashes, new=tokens), self._now())
        self._look()
        try:
            while (event := await events.get()) is not None:
                yield event
                if event.kind == "done":
                    return
            raise ResourceError("the engine is gone")
        finally:
            del self._waits[job]

    def _look(self) -> None:
        """What has happened by now, and when to look again."""
        for event in self.engine.advance(self._now() + 1e-9):
            if event.chain_id in self._waits:
                self._waits[event.chain_id].put_nowait(event)
        if self._timer is not None:
            self._timer.cancel()
        due = self.engine.next_time()
        loop = asyncio.get_running_loop()
        self._timer = None if due is None else loop.call_at(due, self._look)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
