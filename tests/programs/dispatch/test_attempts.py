"""How attempts end, each in one way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from adwright.core.errors import ConfigError, ResourceError
from adwright.programs.dispatch.attempts import Attempt, Attempts
from adwright.programs.scheduling.engine import EngineReport, ExecutionEngine
from tests.support.programs.asking import Said, job_of
from tests.support.programs.scripted_engine import SALTED, ScriptedEngine
from tests.support.programs.virtual_loop import run_virtually


class Noted:
    """Attempts on one engine `e`, and what they tell."""

    def __init__(self, engine: ExecutionEngine) -> None:
        self.told: list[str] = []
        self.attempts = Attempts(
            {"e": engine}, self, count=len, call_seconds=50.0, stop_seconds=5.0
        )

    def began(self, attempt: Attempt) -> None:
        self.told.append(f"began {attempt.cached}")

    def ended(self, attempt: Attempt) -> None:
        self.told.append(f"ended {attempt.tokens}")

    def failed(self, attempt: Attempt, error: Exception, *, final: bool) -> None:
        now = asyncio.get_running_loop().time()
        self.told.append(f"{'failed' if final else f'again at {now:.0f}'}: {error}")

    def gone(self, engine_id: str, why: str) -> None:
        self.told.append(f"gone: {why}")
        self.attempts.lost(engine_id)

    def silent(self, engine_id: str) -> None:
        self.told.append(f"{engine_id} is silent")

    def start(self, prompt: str, *, say: Said | None = None, fill: bool = False) -> Attempt:
        job = job_of(prompt, say=say)
        number = f"{prompt}.1"
        attempt = Attempt(job.chain, "e", number, None if fill else job, prompt, "salt")
        self.attempts.start(attempt, replace(SALTED, priority=True))
        return attempt


def run(work: Coroutine[Any, Any, None]) -> None:
    async def whole() -> None:
        await work
        assert len(asyncio.all_tasks()) == 1

    run_virtually(whole())


def test_an_attempt_begins_once_and_ends_once() -> None:
    engine, said = ScriptedEngine(), Said()
    noted = Noted(engine)

    async def work() -> None:
        noted.start("tea", say=said)
        noted.start("cup", fill=True)
        await asyncio.sleep(10.0)
        assert len(noted.attempts) == noted.attempts.tasks == 0

    run(work())
    assert noted.told == ["began 0", "ended None", "ended 5"]
    assert "".join(said.pieces) == "[tea]"
    assert engine.asked[0] | {"settings": None} == {
        **{"prompt": "tea", "max_tokens": 128, "priority": 1, "salt": "salt"},
        **{"settings": None, "adapter": None},
    }


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConfigError("it is too long"), ["failed: it is too long"]),
        (ResourceError("killed"), ["gone: killed"]),
        (KeyError("x"), ["again at 0: 'x'"]),
        (asyncio.CancelledError(), ["again at 0: the engine cancelled it"]),
        (None, ["began None", "again at 0: the answer of engine e broke off"]),
    ],
)
def test_what_each_error_means(error: BaseException | None, told: list[str]) -> None:
    class Failing(ScriptedEngine):
        async def generate(self, *_: Any, **__: Any) -> AsyncGenerator[EngineReport, None]:
            if error is not None:
                raise error
            yield EngineReport("half")

    noted = Noted(Failing())

    async def work() -> None:
        noted.start("tea")
        await asyncio.sleep(5.0)

    run(work())
    assert noted.told == told


def test_what_was_cached_may_be_said_last() -> None:
    class Late(ScriptedEngine):
        async def generate(self, *_: Any, **__: Any) -> AsyncGenerator[EngineReport, None]:
            yield EngineReport("a")
            yield EngineReport("b", cached_tokens=7, over=True)

    noted = Noted(Late())
    found: list[Attempt] = []

    async def work() -> None:
        found.append(noted.start("tea"))
        await asyncio.sleep(5.0)

    run(work())
    assert noted.told == ["began None", "ended None"]
    assert found[0].cached == 7


def test_whoever_stops_one_can_wait_until_the_engine_has_let_go() -> None:
    engine = ScriptedEngine(pace=10.0)
    noted = Noted(engine)

    async def work() -> None:
        attempt = noted.start("tea")
        await asyncio.sleep(1.0)
        assert engine.held
        await asyncio.wait(noted.attempts.stop(attempt.chain.chain_id))
        assert asyncio.get_running_loop().time() == 1.0
        assert noted.attempts.stop(attempt.chain.chain_id) == []

    run(work())
    assert (engine.held, engine.cancelled, noted.told) == ({}, ["tea.1"], [])


def test_one_that_takes_too_long_is_ended_and_the_engine_looked_at() -> None:
    engine = ScriptedEngine()
    engine.hangs = True
    noted = Noted(engine)

    async def work() -> None:
        noted.start("tea")
        await asyncio.sleep(60.0)

    run(work())
    assert noted.told == ["began 0", "e is silent", "again at 50: "]
    assert engine.cancelled == ["tea.1"]


def test_what_is_not_taken_ends_the_attempt_on_the_engine() -> None:
    engine = ScriptedEngine(lambda *_: "x" * 100)
    noted = Noted(engine)

    async def work() -> None:
        noted.start("tea", say=Said(most=1))
        await asyncio.sleep(5.0)

    run(work())
    assert noted.told == ["began 0", "failed: too much is said"]
    assert engine.cancelled == ["tea.1"]


def test_nothing_is_heard_of_what_ran_on_an_engine_that_is_gone() -> None:
    engine = ScriptedEngine(pace=1.0)
    noted = Noted(engine)

    async def work() -> None:
        for prompt in ("tea", "cup"):
            noted.start(prompt)
        noted.start("mug", fill=True)
        await asyncio.sleep(0.5)
        engine.die()
        await asyncio.sleep(10.0)
        assert len(noted.attempts) == 0

    run(work())
    assert noted.told == ["gone: the engine is gone"]


def test_an_engine_that_does_not_do_as_it_is_told_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Deaf(ScriptedEngine):
        async def cancel(self, job: str) -> None:
            raise OSError("deaf")

        async def free(self, prompt: object, *, salt: str = "") -> None:
            await asyncio.sleep(100.0)

    noted = Noted(Deaf(pace=10.0))

    async def work() -> None:
        attempt = noted.start("tea")
        noted.attempts.free("e", "tea", "salt")
        await asyncio.sleep(1.0)
        noted.attempts.stop(attempt.chain.chain_id)
        await noted.attempts.close()

    run(work())
    assert "did not do as it was told: OSError('deaf')" in caplog.text
    assert noted.told == ["e is silent"]


def test_closing_stops_everything() -> None:
    engine = ScriptedEngine(pace=10.0)
    noted = Noted(engine)

    async def work() -> None:
        for prompt in ("tea", "cup"):
            noted.start(prompt)
        await asyncio.sleep(1.0)
        await noted.attempts.close()
        assert noted.attempts.tasks == 0

    run(work())
    assert (sorted(engine.cancelled), engine.held) == (["cup.1", "tea.1"], {})
