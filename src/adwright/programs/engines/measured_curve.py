"""A latency curve measured from an engine in a few seconds, and kept for the next time.

    measured = await measure_curve(engine, tokens)
    scheduler curve: measured.curve

What is measured, each from the reports of the engine itself:

    prefill   two prompts that nobody has asked before, of n and n / 4 tokens: the tokens between
              the two over the seconds between their first pieces, so that what every request costs
              whatever its prompt falls out
    steps     b answers at once, for b = 1, 2, 4 ...: the seconds from the first to the last piece
              of each over the tokens between, the mean of all of them; rate = b / step
    kv        by how much a step with the long prompt before it takes longer than one with a short
              one, over the tokens between

The machine is as it was then: a curve that was measured beside other work says what is left. So the
record tells when, for how long, and what came of it, to be compared with a later one.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import platform
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from adwright.core.assets import cache_folder
from adwright.core.atomic import atomic_write_text
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import AdwrightError, ConfigError, ResourceError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.scheduling.engine import EngineCapabilities, ExecutionEngine, LatencyCurve

_PROMPT, _ANSWER, _SHORT = 1024, 24, 16
_FEWEST = 6
_LEAST = 1e-6
#: Seconds that the steps of one batch may take, about.
_BATCH_SECONDS = 1.0
_WHOLE = GenerationConfig(ignore_eos=True)


@dataclass(frozen=True)
class MeasuredCurve:
    """What was measured. batches, rates, prefill, kv_seconds: see `LatencyCurve`. prompt_tokens: of
    the long prompt; answer_tokens: of each answer, by batch. seconds: that measuring took. engine,
    machine: of what and where; measured_at: when, seconds since 1970."""

    engine: str
    machine: str
    measured_at: float
    seconds: float
    prompt_tokens: int
    answer_tokens: tuple[int, ...]
    batches: tuple[int, ...]
    rates: tuple[float, ...]
    prefill: float
    kv_seconds: float

    @property
    def curve(self) -> LatencyCurve:
        """The curve that schedulers take."""
        return LatencyCurve(self.batches, self.rates, self.prefill, self.kv_seconds)

    def save(self, file: Path) -> None:
        """Write it as JSON; ResourceError where that cannot be."""
        atomic_write_text(file, json.dumps(to_jsonable(self), indent=1) + "\n")


class _Written(NamedTuple):
    """prompt: its tokens; first: seconds to the first piece; step: of each further token."""

    prompt: int
    first: float
    step: float


async def measured_curve(
    engine: ExecutionEngine,
    tokens: Callable[[str], int],
    *,
    salt: str = "",
    file: Path | None = None,
) -> MeasuredCurve:
    """The curve in `file`, measured first where there is none that can be read.

    file: by default that of `curve_file`. Others as `measure_curve`.
    """
    place = curve_file(engine.capabilities) if file is None else file
    found = load_curve(place)
    if found is None:
        found = await measure_curve(engine, tokens, salt=salt)
        place.parent.mkdir(parents=True, exist_ok=True)
        found.save(place)
    return found


def curve_file(capabilities: EngineCapabilities) -> Path:
    """Where the curve of such an engine on this machine is kept: in the cache of models."""
    told = f"{to_jsonable(capabilities)} {_machine()}"
    return cache_folder() / f"curve-{hashlib.sha256(told.encode()).hexdigest()[:16]}.json"


def load_curve(file: Path) -> MeasuredCurve | None:
    """The curve of a file; None where there is no such file, or it is of another form."""
    try:
        return from_jsonable(MeasuredCurve, json.loads(file.read_text("utf-8")), source=str(file))
    except (OSError, ValueError, AdwrightError):
        return None


async def measure_curve(
    engine: ExecutionEngine,
    tokens: Callable[[str], int],
    *,
    salt: str = "",
    most: int = 32,
    clock: Callable[[], float] = time.perf_counter,
) -> MeasuredCurve:
    """Measure an engine that does nothing else meanwhile.

    tokens: of a text. salt: that it takes. most: the greatest batch, at most its own. clock: in
    seconds.
    Raises what the engine does; ResourceError where an answer ends too soon to be measured.
    """
    began, start = time.time(), clock()
    asked = _FreshTexts(engine, tokens, salt, clock)
    can = engine.capabilities
    room = can.context_length - _ANSWER
    long = max(_SHORT, min(_PROMPT, room // 2, can.kv_tokens // 2))
    await asked.write(_SHORT, _FEWEST)  # what is made at the first request is made now
    quarter, whole = await asked.write(long // 4, _FEWEST), await asked.write(long, _ANSWER)
    between = max(whole.first - quarter.first, _LEAST)
    unread = max(1, whole.prompt - quarter.prompt)
    batches, rates, answers = [], [], []
    steps: list[float] = []
    batch = 1
    while batch <= min(most, can.max_batch):
        guess = steps[-1] if steps else whole.step
        answer = max(_FEWEST, min(_ANSWER, int(_BATCH_SECONDS / max(guess, _LEAST))))
        if batch * (_SHORT + answer) > can.kv_tokens:
            break
        rows = await asyncio.gather(*(asked.write(_SHORT, answer) for _ in range(batch)))
        steps.append(max(fmean(row.step for row in rows), _LEAST))
        batches.append(batch)
        rates.append(batch / steps[-1])
        answers.append(answer)
        batch *= 2
    return MeasuredCurve(
        engine=", ".join(can.models),
        machine=_machine(),
        measured_at=began,
        seconds=clock() - start,
        prompt_tokens=whole.prompt,
        answer_tokens=tuple(answers),
        batches=tuple(batches),
        rates=tuple(rates),
        prefill=unread / between,
        kv_seconds=max(0.0, whole.step - steps[0]) / max(1, whole.prompt - _SHORT),
    )


class _FreshTexts:
    """Asks an engine for answers to texts that nobody has asked before."""

    def __init__(
        self,
        engine: ExecutionEngine,
        tokens: Callable[[str], int],
        salt: str,
        clock: Callable[[], float],
    ) -> None:
        self._engine, self._tokens, self._salt, self._clock = engine, tokens, salt, clock
        self._random = random.Random()
        self._numbers = count()
        self._settings: GenerationConfig | None = _WHOLE

    async def write(self, prompt_tokens: int, answer_tokens: int) -> _Written:
        """Write one answer of so many tokens. One that has no setting for that may end sooner."""
        text = self._text(prompt_tokens)
        try:
            return await self._timed(text, answer_tokens)
        except ConfigError:
            if self._settings is None:
                raise
            self._settings = None
            return await self._timed(text, answer_tokens)

    async def _timed(self, text: str, answer_tokens: int) -> _Written:
        began = self._clock()
        moments: list[float] = []
        told: int | None = None
        reports = self._engine.generate(
            f"curve {next(self._numbers)}",
            text,
            max_tokens=answer_tokens,
            salt=self._salt,
            settings=self._settings,
        )
        async for report in reports:
            if report.text or not report.over:
                moments.append(self._clock())
            told = report.tokens if report.tokens is not None else told
        if len(moments) < 2:
            raise ResourceError(
                "an answer ended before it could be measured",
                where=", ".join(self._engine.capabilities.models),
                hint="give the engine a curve by hand",
            )
        written = len(moments) if told is None else told
        step = (moments[-1] - moments[0]) / max(1, written - 1)
        return _Written(self._tokens(text), moments[0] - began, step)

    def _text(self, tokens: int) -> str:
        """Random words of about so many tokens."""
        words = [f"{self._random.getrandbits(20):x}"]
        each = max(1, self._tokens(" ".join(words * 8)) / 8)
        words += [f"{self._random.getrandbits(20):x}" for _ in range(int(tokens / each))]
        while len(words) > 1 and self._tokens(" ".join(words)) > tokens:
            words = words[: max(1, len(words) * 15 // 16)]
        return " ".join(words)


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} processors, {platform.node()}"
