"""What is measured of an engine whose speed is known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adwright.core.errors import ConfigError, ResourceError
from adwright.programs.engines.measured_curve import (
    curve_file,
    load_curve,
    measure_curve,
    measured_curve,
)
from adwright.programs.scheduling.engine import EngineCapabilities, EngineReport

PREFILL, KV = 2000.0, 1e-6


def step_seconds(rows: int) -> float:
    return 0.01 + 0.002 * rows


class Known:
    """An engine on a clock of its own: a step takes `step_seconds`, and KV for each token held."""

    def __init__(self, *, fixed: bool = True, short: bool = False, most: int = 12) -> None:
        self.capabilities = EngineCapabilities(("known",), max_batch=most, context_length=2000)
        self.now, self.fixed, self.short = 0.0, fixed, short
        self.held: list[int] = []
        self.waiting: list[asyncio.Future[None]] = []
        self.prompts: set[str] = set()
        self.asked: list[dict[str, Any]] = []

    async def generate(self, job: str, prompt: str, **told: Any) -> AsyncIterator[EngineReport]:
        if told["settings"] is not None and not self.fixed:
            raise ConfigError("no ignore_eos")
        assert prompt not in self.prompts, "it would be found in the cache"
        self.prompts.add(prompt)
        self.asked.append(told)
        tokens = len(prompt.split())
        self.now += tokens / PREFILL
        self.held.append(tokens)
        most = 1 if self.short else told["max_tokens"]
        for at in range(most):
            await self._step()
            yield EngineReport("x", None, at == most - 1)
        self.held.remove(tokens)

    async def _step(self) -> None:
        """The last row that waits makes a step for all."""
        own = asyncio.get_running_loop().create_future()
        self.waiting.append(own)
        for _ in range(50):
            await asyncio.sleep(0)
            if own.done():
                return
        self.now += step_seconds(len(self.waiting)) + KV * sum(self.held)
        woken, self.waiting = self.waiting, []
        for one in woken:
            one.set_result(None)


def words(text: str) -> int:
    return len(text.split())


def measured(engine: Any, **further: Any) -> Any:
    return asyncio.run(measure_curve(engine, words, clock=lambda: engine.now, **further))


@pytest.mark.parametrize("fixed", [True, False])
def test_it_is_the_curve_of_the_engine(fixed: bool) -> None:
    engine = Known(fixed=fixed)
    found = measured(engine, salt="s")
    assert found.batches == (1, 2, 4, 8)
    assert found.rates == pytest.approx([b / step_seconds(b) for b in found.batches], rel=0.02)
    assert found.prefill == pytest.approx(PREFILL, rel=0.05)
    assert found.kv_seconds == pytest.approx(KV, rel=0.2)
    assert {told["salt"] for told in engine.asked} == {"s"}
    assert found.seconds == pytest.approx(engine.now)
    assert (found.engine, found.prompt_tokens > 900) == ("known", True)
    curve = found.curve
    assert curve.step_seconds(8) == pytest.approx(step_seconds(8), rel=0.02)


def test_no_more_rows_than_asked_for() -> None:
    assert measured(Known(), most=2).batches == (1, 2)
    assert measured(Known(most=1)).batches == (1,)


def test_answers_that_are_too_short() -> None:
    with pytest.raises(ResourceError, match="before it could be measured"):
        measured(Known(short=True))


def test_it_is_measured_once(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "curve.json"
    engine: Any = Known(most=1)
    first = asyncio.run(measured_curve(engine, words, file=file))
    asked = len(engine.asked)
    assert asyncio.run(measured_curve(engine, words, file=file)) == first
    assert len(engine.asked) == asked
    assert load_curve(file) == first
    for text in ("{", "{}", '{"engine": 3}'):
        file.write_text(text)
        assert load_curve(file) is None
    assert load_curve(tmp_path / "none") is None


def test_each_kind_of_engine_has_a_file_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADWRIGHT_CACHE", "/somewhere")
    files = {curve_file(EngineCapabilities((name,), max_batch=b)) for name in "ab" for b in (1, 2)}
    assert len(files) == 4
    assert {str(one.parent) for one in files} == {"/somewhere"}
