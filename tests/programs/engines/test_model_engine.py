"""Any model as an engine, on one whose answers are written beforehand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from adwright.core.errors import ConfigError, ResourceError, ValueInvalidError
from adwright.lm.engine.base import AnswerWriter
from adwright.lm.engine.generation import Cancellation, GenerationConfig, Health
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from adwright.programs.engines.engine_errors import EngineFailedError, EngineGoneError
from adwright.programs.engines.model_engine import ModelEngine
from adwright.programs.scheduling.engine import EngineCapabilities, EngineReport, ExecutionEngine

CAN = EngineCapabilities(("scripted",), max_batch=4)
UNCACHED = EngineCapabilities(("scripted",), prefix_cache=False, max_batch=4)


class Falling(ScriptedModel):
    """One whose answers end in an error."""

    state: Health = "ready"
    opened = 0

    def __init__(self) -> None:
        super().__init__(ScriptedConfig(("a reply",)))
        Falling.opened += 1

    def health(self) -> Health:
        return self.state

    def _write(
        self,
        answers: Sequence[AnswerWriter],
        config: GenerationConfig,
        cancel: Cancellation | None,
    ) -> Generator[None, None, None]:
        yield from ()
        raise ResourceError("it fell", where="here")


def scripted(*replies: str, seconds: float = 0.0) -> ModelEngine:
    config = ScriptedConfig(replies or ("a reply",), seconds_per_token=seconds)
    return ModelEngine(lambda: ScriptedModel(config), CAN)


async def all_of(reports: AsyncIterator[EngineReport]) -> list[EngineReport]:
    return [report async for report in reports]


def run(work: Any) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


def test_several_answers_at_once() -> None:
    async def main() -> None:
        async with scripted("tea") as engine:
            protocol: ExecutionEngine = engine
            asked = GenerationConfig(logprobs=True)
            found = await asyncio.gather(
                *(
                    all_of(protocol.generate(f"{at}", [65, 66], max_tokens=9, settings=asked))
                    for at in range(9)
                )
            )
            for reports in found:
                assert "".join(one.text for one in reports) == "tea"
                assert [one.over for one in reports] == [False] * (len(reports) - 1) + [True]
                assert (reports[-1].tokens, reports[0].cached_tokens) == (4, None)
                assert len([value for one in reports for value in one.logprobs]) == 3
            assert await engine.fill("f", "some text") == 0
            assert await engine.stats() == (0, 0, 0)

    run(main())


def test_what_is_cancelled_or_left_ends() -> None:
    async def main() -> None:
        async with scripted("a" * 1000, seconds=0.01) as engine:
            reports = engine.generate("one", "prompt", max_tokens=1000)
            async with aclosing(reports):
                await anext(reports)
                stats = await engine.stats()
                assert (stats.running, stats.kv_tokens >= 6) == (1, True)
                with pytest.raises(ConfigError, match="job of this name"):
                    await engine.fill("one", "prompt")
                await engine.cancel("one")
                assert (await all_of(reports))[-1].over
            left = engine.generate("two", "prompt", max_tokens=1000)
            async with aclosing(left):
                await anext(left)
            assert (await engine.stats()).running == 0
            await engine.cancel("two")
            await engine.free("prompt", salt="")

    run(main())


def test_a_cache_belongs_to_one_domain() -> None:
    async def main() -> None:
        model = ScriptedModel(ScriptedConfig(("a",)))
        async with ModelEngine(lambda: model, CAN, domain="tenant") as engine:
            assert await all_of(engine.generate("a", "b", max_tokens=3, salt="tenant"))
            for salt in ("", "other"):
                with pytest.raises(ConfigError, match="another domain"):
                    await all_of(engine.generate("a", "b", max_tokens=3, salt=salt))
        async with ModelEngine(lambda: model, UNCACHED) as engine:
            for salt in ("", "other"):
                assert await all_of(engine.generate("a", "b", max_tokens=3, salt=salt))
            assert not engine.capabilities.salt

    run(main())


def test_what_is_wrong_with_a_request_is_final() -> None:
    async def main() -> None:
        async with scripted() as engine:
            with pytest.raises(ConfigError, match="adapters"):
                await all_of(engine.generate("a", "b", max_tokens=3, adapter="one"))
            with pytest.raises(ConfigError, match="JSON"):
                await all_of(engine.generate("a", "b", max_tokens=3, schema="{"))
            with pytest.raises(ValueInvalidError):
                await all_of(engine.generate("a", [5000], max_tokens=3))

    run(main())


def test_a_model_that_is_there_failed_and_one_that_is_not_is_gone() -> None:
    async def main() -> None:
        before, model = Falling.opened, Falling()
        async with ModelEngine(lambda: model, CAN) as engine:
            with pytest.raises(EngineFailedError, match=r"it fell \[here\]"):
                await engine.fill("a", "b")
            model.state = "starting"
            with pytest.raises(EngineGoneError, match="it fell"):
                await engine.fill("a", "b")
            with pytest.raises(EngineGoneError, match="starting"):
                await engine.stats()
            assert not engine.alive
            asyncio.get_running_loop().call_later(0.1, setattr, model, "state", "ready")
            await engine.restart()
            assert engine.alive
            assert (await engine.stats()).running == 0
        assert Falling.opened == before + 1

    run(main())


def test_one_that_does_not_come_back_is_opened_anew() -> None:
    async def main() -> None:
        before = Falling.opened
        async with ModelEngine(Falling, CAN, start_seconds=0.1) as engine:
            engine.model.state = "starting"  # type: ignore[attr-defined]
            await engine.restart()
            assert engine.alive
        assert Falling.opened == before + 2

    run(main())


def test_closing_ends_what_waits() -> None:
    async def main() -> None:
        engine = scripted("a" * 1000, seconds=0.01)
        async with engine:
            waiting = [
                asyncio.create_task(all_of(engine.generate(f"{at}", "b", max_tokens=500)))
                for at in range(6)
            ]
            await asyncio.sleep(0.05)
            await engine.close()
            for found in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(found, EngineGoneError) or found[-1].over  # type: ignore[index]
            with pytest.raises(EngineGoneError, match="not open"):
                await engine.stats()

    run(main())
