"""An engine of the scheduler's kind for tests: it answers by a function, and can die and hang."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from adwright.core.errors import ResourceError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.scheduling.engine import EngineCapabilities, EngineReport, EngineStats

#: Tokens are characters.
SALTED = EngineCapabilities(
    ("model",), salt=True, adapters=True, kv_tokens=200_000, context_length=100_000
)
Answer = Callable[[str, str | None, str, GenerationConfig], str]


def echo(model: str, adapter: str | None, prompt: str, settings: GenerationConfig) -> str:
    """The prompt in brackets."""
    del model, adapter, settings
    return f"[{prompt}]"


class ScriptedEngine:
    """answer: of a prompt. pace: seconds of a piece, and of 1,000 tokens of a prompt that it does
    not hold. seed: of where pieces are cut. told: of all engines of a test, what each chain was
    asked first, so that whoever is asked to go on knows what that means.

    held: jobs that it has. begun, cancelled: numbers of jobs; freed, filled: prompts. most: jobs it
    ever had at a time.
    """

    def __init__(
        self,
        answer: Answer = echo,
        *,
        can: EngineCapabilities = SALTED,
        pace: float = 0.01,
        seed: int = 0,
        told: dict[str, tuple[str, str]] | None = None,
    ) -> None:
        self._answer, self._can, self.pace = answer, can, pace
        self._random = random.Random(seed)
        self._told = {} if told is None else told
        self.held: dict[str, str] = {}
        self.prompts: dict[str, list[str]] = {}
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.filled: list[str] = []
        self.freed: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.lives: Counter[str] = Counter()
        self.most = self.life = 0
        self.is_alive = True
        self.hangs = False
        #: What it refuses to start after a death, so many times.
        self.refusals = 0

    @property
    def capabilities(self) -> EngineCapabilities:
        return self._can

    def die(self) -> None:
        """All it held is lost."""
        self.is_alive = False
        self.life += 1
        self.held.clear()
        self.prompts.clear()

    async def restart(self) -> None:
        await asyncio.sleep(self.pace)
        if self.refusals:
            self.refusals -= 1
            raise ResourceError("no room to start")
        self.is_alive = True

    async def fill(
        self, job: str, prompt: str | Sequence[int], *, salt: str = "", adapter: str | None = None
    ) -> int:
        assert isinstance(prompt, str)
        self.filled.append(prompt if adapter is None else f"{adapter}: {prompt}")
        cached = await self._read(job, prompt, salt)
        self.held.pop(job, None)
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
        assert isinstance(prompt, str)
        self.begun.append(job)
        self.asked.append(
            {"prompt": prompt, "max_tokens": max_tokens, "priority": priority, "salt": salt}
            | {"settings": settings, "adapter": adapter}
        )
        life = self.life
        try:
            cached = await self._read(job, prompt, salt)
            text = self._text(job, prompt, max_tokens, adapter, schema, settings, salt)
            said, is_first = 0, True
            while said < len(text):
                cut = self._random.randint(said + 1, len(text))
                report = EngineReport(text[said:cut], cached if is_first else None)
                said, is_first = cut, False
                yield self._seen(report, prompt, settings)
                await asyncio.sleep(self.pace)
                self._require_life(life)
                while self.hangs:
                    await asyncio.sleep(1.0)
            yield EngineReport("", cached if is_first else None, over=True, tokens=len(text))
        finally:
            self.held.pop(job, None)

    async def cancel(self, job: str) -> None:
        self._require_life(self.life)
        self.cancelled.append(job)
        self.held.pop(job, None)

    async def free(self, prompt: str | Sequence[int], *, salt: str = "") -> None:
        assert isinstance(prompt, str)
        self._require_life(self.life)
        self.freed.append(prompt)

    async def stats(self) -> EngineStats:
        self._require_life(self.life)
        while self.hangs:
            await asyncio.sleep(1.0)
        return EngineStats(len(self.held), 0, sum(map(len, self.held.values())))

    def _seen(
        self, report: EngineReport, prompt: str, settings: GenerationConfig | None
    ) -> EngineReport:
        """What of a report is told."""
        del prompt
        if settings is None or not settings.logprobs:
            return report
        return report._replace(logprobs=(-0.25,) * len(report.text))

    def _text(
        self,
        job: str,
        prompt: str,
        max_tokens: int,
        adapter: str | None,
        schema: str | None,
        settings: GenerationConfig | None,
        salt: str,
    ) -> str:
        """What it writes, or goes on with."""
        del salt
        chain = job.rpartition(".")[0]
        begun, text = self._told.get(chain, ("", ""))
        rest = prompt[len(begun) :] if begun and prompt.startswith(begun) else ""
        if rest:
            assert text.startswith(rest), "it was asked to go on with what was never said"
            return text[len(rest) :]
        form = None if schema is None else json.loads(schema)
        config = settings or GenerationConfig(max_tokens=max_tokens, json_schema=form)
        text = self._answer("", adapter, prompt, config)
        if not job.startswith("canary"):
            self._told[chain] = prompt, text
        return text

    async def _read(self, job: str, prompt: str, salt: str) -> int:
        life = self.life
        self._require_life(life)
        assert job not in self.held, "a job has another's number"
        self.held[job] = prompt
        self.most = max(self.most, len(self.held))
        known = self.prompts.setdefault(salt, [])
        caches = self._can.prefix_cache or self._can.fork
        cached = max((_common(prompt, each) for each in known), default=0) if caches else 0
        await asyncio.sleep(self.pace * (1 + (len(prompt) - cached) / 1000))
        self._require_life(life)
        known.append(prompt)
        return min(cached, len(prompt) - 1)

    def _require_life(self, life: int) -> None:
        if not self.is_alive or self.life != life:
            raise ResourceError("the engine is gone")


def _common(one: str, other: str) -> int:
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return min(len(one), len(other))
