"""Engines die and come back."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from adwright.core.errors import ConfigError
from adwright.programs.dispatch.keeper import EngineKeeper, KeeperBounds, RestartableEngine
from tests.support.programs.scripted_engine import ScriptedEngine
from tests.support.programs.virtual_loop import run_virtually

BOUNDS = KeeperBounds(first=1.0, longest=8.0, start=50.0, beat=5.0, silent=10.0)


class RemoteEngine(ScriptedEngine):
    """Nobody here can start it."""

    restart = None  # type: ignore[assignment]


class Kept:
    """A keeper, and when what was told."""

    def __init__(self, engine: ScriptedEngine) -> None:
        self.engine = engine
        self.working: list[str] = []
        self.told: list[tuple[float, str]] = []
        self.keeper = EngineKeeper(
            {"e": engine},
            bounds=BOUNDS,
            died=lambda _, why: self.note(why),
            rests=lambda _, rest, why: self.note(f"{rest}: {why}"),
            back=lambda _: self.note("back"),
            working=lambda: self.working,
        )

    def note(self, what: str) -> None:
        self.told.append((round(asyncio.get_running_loop().time(), 1), what))

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        async def whole() -> None:
            self.keeper.start()
            await work
            await self.keeper.close()
            assert len(asyncio.all_tasks()) == 1

        run_virtually(whole())


def test_an_engine_is_started_at_once_after_a_long_life_and_ever_more_slowly_after_short_ones() -> (
    None
):
    kept = Kept(ScriptedEngine(pace=0.0))

    async def work() -> None:
        for _ in range(6):
            kept.engine.die()
            kept.keeper.dead("e", "killed")
            kept.keeper.dead("e", "killed")
            assert kept.keeper.gone == ("e",)
            while kept.keeper.gone:
                await asyncio.sleep(0.1)
        await asyncio.sleep(20.0)
        kept.engine.die()
        kept.keeper.dead("e", "killed")
        await asyncio.sleep(0.1)
        assert not kept.keeper.gone

    kept.run(work())
    starts = [time for time, what in kept.told if what == "back"]
    deaths = [time for time, what in kept.told if what == "killed"]
    waits = [round(a - b) for a, b in zip(starts, deaths, strict=True)]
    assert waits == [0, 1, 2, 4, 8, 8, 0]
    assert kept.keeper.deaths == {"e": 7}


def test_starts_that_fail_are_tried_again() -> None:
    kept = Kept(ScriptedEngine(pace=0.0))
    kept.engine.refusals = 3

    async def work() -> None:
        kept.engine.die()
        kept.keeper.dead("e", "killed")
        await asyncio.sleep(30.0)

    kept.run(work())
    assert kept.told == [(0.0, "killed"), (7.0, "back")]


def test_an_engine_elsewhere_is_asked_until_it_answers() -> None:
    engine = RemoteEngine(pace=0.0)
    assert not isinstance(engine, RestartableEngine) or engine.restart is None
    kept = Kept(engine)

    async def work() -> None:
        engine.die()
        kept.keeper.dead("e", "cut off")
        await asyncio.sleep(10.0)
        assert kept.keeper.gone
        engine.is_alive = True
        await asyncio.sleep(10.0)

    kept.run(work())
    assert [what for _, what in kept.told] == ["cut off", "back"]


def test_who_gives_no_sign_while_there_is_work_is_dead() -> None:
    kept = Kept(ScriptedEngine())
    kept.engine.hangs = True

    async def work() -> None:
        await asyncio.sleep(30.0)
        assert not kept.told, "nobody looks at an engine that has nothing to do"
        kept.working.append("e")
        await asyncio.sleep(20.0)
        kept.working.clear()
        kept.engine.hangs = False
        await asyncio.sleep(60.0)

    kept.run(work())
    assert [what for _, what in kept.told] == ["TimeoutError", "back"]
    assert 40.0 <= kept.told[0][0] <= 45.0


def test_seconds_are_positive() -> None:
    with pytest.raises(ConfigError, match="beat must be above 0"):
        KeeperBounds(beat=0.0)
