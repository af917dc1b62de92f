from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Any

import pytest

from adwright.core.errors import AssetError, ConfigError
from adwright.programs.engines.engine_errors import EngineFailedError, EngineGoneError
from adwright.programs.engines.hosted_engine import Answered, HostedEngine, value_of
from adwright.programs.scheduling.engine import EngineReport
from tests.support.programs.scripted_engine import SALTED, ScriptedEngine

TOLD = {"max_tokens": 50, "salt": "shop"}


async def opened(engine: Any) -> HostedEngine:
    hosted = HostedEngine(lambda: nullcontext(engine))
    assert value_of(await hosted.open(), "e") == engine.capabilities
    return hosted


async def answer_of(hosted: HostedEngine) -> list[EngineReport]:
    return [value_of(one, "e") async for one in hosted.generate("a", "tea", TOLD)]


def test_reports_and_answers_pass_through() -> None:
    async def main() -> None:
        engine = ScriptedEngine()
        hosted = await opened(engine)
        reports = await answer_of(hosted)
        assert "".join(one.text for one in reports) == "[tea]"
        assert reports[-1].over
        assert value_of(await hosted.fill("b", "teapot", "shop", None), "e") == 3
        assert value_of(await hosted.stats(), "e").running == 0
        await hosted.free("tea", "shop")
        assert engine.freed == ["tea"]
        await hosted.close()

    asyncio.run(main())


def test_a_job_that_is_cancelled_ends() -> None:
    async def main() -> None:
        engine = ScriptedEngine(pace=10.0)
        hosted = await opened(engine)
        answering = asyncio.create_task(answer_of(hosted))
        await asyncio.sleep(0.01)
        assert engine.held
        await hosted.cancel("a")
        assert await asyncio.wait_for(answering, 5) == []
        assert (engine.held, engine.cancelled) == ({}, ["a"])

    asyncio.run(main())


def test_who_reads_no_further_ends_the_job() -> None:
    async def main() -> None:
        engine = ScriptedEngine()
        hosted = await opened(engine)
        reports = hosted.generate("a", "tea" * 50, TOLD)
        await anext(reports)
        await reports.aclose()
        await asyncio.sleep(0)
        assert not engine.held

    asyncio.run(main())


def test_an_engine_that_is_gone_is_told_from_one_that_failed() -> None:
    class Failing(ScriptedEngine):
        async def stats(self) -> Any:
            raise KeyError("oops")

    async def main() -> None:
        engine = Failing()
        hosted = await opened(engine)
        with pytest.raises(EngineFailedError, match="KeyError"):
            value_of(await hosted.stats(), "e")
        engine.die()
        with pytest.raises(EngineGoneError, match=r"the engine is gone \[e\]"):
            await answer_of(hosted)
        with pytest.raises(EngineGoneError):
            value_of(await hosted.cancel("a"), "e")

    asyncio.run(main())


def test_what_is_not_open_says_so() -> None:
    def no_model() -> Any:
        raise AssetError("there is no such model", where="m")

    async def main() -> None:
        hosted = HostedEngine(no_model)
        with pytest.raises(ConfigError, match="there is no such model"):
            value_of(await hosted.open(), "e")
        with pytest.raises(ConfigError, match="the engine is not open"):
            value_of(await hosted.stats(), "e")

    asyncio.run(main())


def test_a_value_is_itself() -> None:
    assert value_of(Answered(SALTED), "e") is SALTED
