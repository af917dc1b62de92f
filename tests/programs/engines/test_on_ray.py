from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import pytest

from adwright.core.errors import ConfigError, MissingExtraError
from adwright.programs.dispatch.dispatcher import ChainDispatcher
from adwright.programs.engines.engine_errors import EngineGoneError
from adwright.programs.engines.hosted_engine import EngineBuilder
from adwright.programs.engines.on_ray import RayEngine
from adwright.programs.program import Program, SemanticCall, WantedOutput
from adwright.programs.runner import Session
from tests.support.forks import ray_worker
from tests.support.programs.dispatching import QUICK, SCRIPTED_CURVE
from tests.support.ray_nodes import nodes

PROGRAMS = 24


def scripted(pace: float) -> EngineBuilder:
    """Makes a scripted engine; travels by value."""

    def build() -> Any:
        from contextlib import nullcontext
        from dataclasses import replace

        from tests.support.programs.scripted_engine import SALTED, ScriptedEngine

        # Each is in a process of its own: none knows how another has begun.
        return nullcontext(ScriptedEngine(can=replace(SALTED, continues=False), pace=pace))

    return build


def chain_of_three(number: int) -> Program:
    """A writer, and two who go on from what was written."""
    return Program(
        calls=(
            SemanticCall("a", f"tea {number} {{{{x:output}}}}"),
            SemanticCall("b", "{{x}} again {{y:output}}"),
            SemanticCall("c", "{{y}} and again {{z:output}}"),
        ),
        outputs=(WantedOutput("z"),),
    )


async def ran(dispatcher: ChainDispatcher, number: int) -> str:
    with dispatcher.for_program(f"p{number}", "shop") as chains:
        async with Session(chains) as session:
            chains.watch(session)
            session.submit(chain_of_three(number))
            return await session.get("z")


async def through_the_death_of_a_node(cluster: Any, other: Any) -> None:
    engines = {f"e{at}": RayEngine(scripted(0.1), cpus=1, name=f"e{at}") for at in range(2)}
    for engine in engines.values():
        await engine.__aenter__()
    curves = dict.fromkeys(engines, SCRIPTED_CURVE)
    async with ChainDispatcher(engines, len, curves=curves, terms=QUICK) as dispatcher:
        tasks = [asyncio.create_task(ran(dispatcher, one)) for one in range(PROGRAMS)]
        while not all(dispatcher.stats.running.values()):
            await asyncio.sleep(0.01)
        cluster.remove_node(other, allow_graceful=False)
        texts = await asyncio.wait_for(asyncio.gather(*tasks), 120)
        assert texts == [f"[[[tea {one} ] again ] and again ]" for one in range(PROGRAMS)]
        assert sum(dispatcher.stats.deaths.values()) >= 1
        # Without room for it the dead one waits, and is back once a machine joins.
        cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20, worker_path=ray_worker())
        end = time.monotonic() + 120
        while not all(dispatcher.stats.alive.values()):
            assert time.monotonic() < end, dispatcher.stats
            await asyncio.sleep(0.1)
        assert await ran(dispatcher, PROGRAMS)
    for engine in engines.values():
        await engine.close()
        await engine.close()


async def one_alone() -> None:
    engine = RayEngine(scripted(0.01), cpus=0)
    async with engine:
        assert engine.capabilities.salt
        assert await engine.fill("f", "tea", salt="s") == 0
        reports = [one async for one in engine.generate("a.1", "tea", max_tokens=9, salt="s")]
        assert ("".join(one.text for one in reports), reports[0].cached_tokens) == ("[tea]", 2)
        # Who reads no further ends the job there, too.
        unread = engine.generate("b.1", "tea" * 99, max_tokens=9)
        await anext(unread)
        await unread.aclose()
        while (await engine.stats()).running:
            await asyncio.sleep(0.01)
        await engine.free("tea", salt="s")
        await engine.cancel("c")


# Ray warns of settings of its own that it will drop, and leaves sockets to the interpreter.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_every_program_finishes_where_a_node_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    with nodes(monkeypatch) as (cluster, other):
        asyncio.run(one_alone())
        asyncio.run(through_the_death_of_a_node(cluster, other))


def test_what_is_not_open_says_so() -> None:
    engine = RayEngine(scripted(0.1))
    with pytest.raises(ConfigError, match="the engine is not open"):
        _ = engine.capabilities
    with pytest.raises(EngineGoneError, match="the engine has no actor"):
        asyncio.run(engine.stats())


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"adwright\[ray\]"):
        asyncio.run(RayEngine(scripted(0.1)).restart())
