"""What is decided is carried out: on simulated engines it takes what the simulation says."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.dispatch.dispatcher import ChainDispatcher
from adwright.programs.dispatch.terms import DispatchTerms
from adwright.programs.objective import THROUGHPUT
from adwright.programs.program import Program, SemanticCall, WantedOutput
from adwright.programs.runner import Session, run_program
from adwright.programs.scheduling.scheduler import ProgramScheduler
from adwright.programs.simulation.sim_program import Segment, SimCall, SimProgram, fixed
from adwright.programs.simulation.simulate import simulate
from adwright.programs.simulation.simulated import SimulatedEngine
from tests.support.chains import CURVE
from tests.support.programs.dispatching import QUICK, check_empty, dispatcher_of
from tests.support.programs.scripted_engine import SALTED, ScriptedEngine
from tests.support.programs.simulated_execution import SimulatedExecution
from tests.support.programs.virtual_loop import run_virtually

CAN = replace(SALTED, kv_tokens=60_000)
RULES = "0123456789" * 150


def map_reduce(name: str) -> tuple[Program, SimProgram]:
    """Eight parts on one long beginning, and a summary of them, as text and in tokens."""
    calls = [
        SemanticCall(
            f"part{at}",
            "{{rules}}{{own" + str(at) + "}}{{o" + str(at) + ":output}}",
            settings={f"o{at}": GenerationConfig(max_tokens=60)},
        )
        for at in range(8)
    ]
    summary = "".join(f"{{{{o{at}}}}}" for at in range(8)) + "{{all:output}}"
    last = SemanticCall("all", summary, settings={"all": GenerationConfig(max_tokens=100)})
    program = Program(
        calls=(*calls, last),
        values={"rules": RULES} | {f"own{at}": name + str(at) * 29 for at in range(8)},
        outputs=(WantedOutput("all"),),
    )
    sims = [
        SimCall(f"part{at}", (fixed("rules", 1500), Segment(f"own{at}", 30)), 60) for at in range(8)
    ]
    read = tuple(Segment(f"part{at}", 60) for at in range(8))
    return program, SimProgram(name, "shop", 0.0, (*sims, SimCall("all", read, 100)))


def engines_of(number: int) -> dict[str, SimulatedExecution]:
    return {
        f"e{at}": SimulatedExecution(SimulatedEngine(f"e{at}", CAN, CURVE)) for at in range(number)
    }


def dispatcher_on(engines: dict[str, SimulatedExecution]) -> ChainDispatcher:
    return ChainDispatcher(engines, len, curves=dict.fromkeys(engines, CURVE), terms=QUICK)


@pytest.mark.parametrize("number", [1, 2])
def test_programs_take_as_long_as_the_simulation_says(number: int) -> None:
    engines = engines_of(number)
    texts, sims = zip(*(map_reduce(name) for name in "abc"), strict=True)

    async def one(dispatcher: ChainDispatcher, name: str, program: Program) -> float:
        with dispatcher.for_program(name, "shop") as engine:
            async with Session(engine) as session:
                engine.watch(session)
                session.submit(program)
                assert len(await session.variable("all").get()) == 100
        return asyncio.get_running_loop().time()

    async def work() -> list[float]:
        async with dispatcher_on(engines) as dispatcher:
            found = await asyncio.gather(
                *(one(dispatcher, name, each) for name, each in zip("abc", texts, strict=True))
            )
        return list(found)

    ours = run_virtually(work())
    plain = [SimulatedEngine(f"e{at}", CAN, CURVE) for at in range(number)]
    run = simulate(sims, plain, ProgramScheduler([each.state() for each in plain]))
    expected = [each.seconds for each in run.outcomes]
    assert sorted(ours) == pytest.approx(sorted(expected), rel=0.1)
    read = sum(each.engine.read_tokens for each in engines.values())
    assert read == pytest.approx(sum(each.read_tokens for each in plain), rel=0.02)


def test_a_beginning_is_read_once_for_all_parts() -> None:
    engines = engines_of(1)

    async def work() -> None:
        async with dispatcher_on(engines) as dispatcher:
            with dispatcher.for_program("a", "shop") as engine:
                await run_program(map_reduce("a")[0], engine)
            assert dispatcher.stats.cached_tokens == 8 * 1500

    run_virtually(work())
    assert engines["e0"].engine.read_tokens == 1500 + 8 * 30 + 8 * 60


def test_simulated_engines_that_die_lose_nothing_either() -> None:
    engines = engines_of(2)

    async def work() -> None:
        async with dispatcher_on(engines) as dispatcher:
            with dispatcher.for_program("a", "shop") as engine:
                running = asyncio.ensure_future(run_program(map_reduce("a")[0], engine))
                for _ in range(6):
                    await asyncio.sleep(0.4)
                    for each in engines.values():
                        each.die()
                    await asyncio.sleep(0.05)
                assert isinstance((await running)["all"], str)
            assert sum(dispatcher.stats.deaths.values()) >= 6

    run_virtually(work())
    assert all(not each.engine.load for each in engines.values())


def test_what_a_program_will_not_read_again_is_freed_where_memory_is_short() -> None:
    """But never what its templates begin with, which the next one reads."""
    can = replace(SALTED, fork=True, kv_tokens=500)
    call = SemanticCall("c", "Write: {{what}}{{o:output}} Now {{p:output}}")
    program = Program((call,), values={"what": "tea " * 60}, outputs=(WantedOutput("p"),))

    async def freed(kv_tokens: int) -> list[str]:
        engines = {"e": ScriptedEngine(lambda *_: "x" * 40, can=replace(can, kv_tokens=kv_tokens))}
        async with dispatcher_of(engines) as dispatcher:
            with dispatcher.for_program("p", "shop") as engine:
                async with Session(engine) as session:
                    engine.watch(session)
                    session.submit(program)
                    await session.variable("p").get()
            await asyncio.sleep(1.0)
            check_empty(dispatcher, engines)
        return engines["e"].freed

    assert "Write: " + "tea " * 60 + "x" * 40 + " Now " in run_virtually(freed(500))
    assert "Write: " not in run_virtually(freed(500))
    assert run_virtually(freed(60_000)) == []


def test_a_decision_that_cannot_be_made_is_told_to_everybody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engines = {"e": ScriptedEngine()}

    def broken(*_: object) -> None:
        raise KeyError("a mistake of ours")

    async def work() -> str:
        async with dispatcher_of(engines) as dispatcher:
            monkeypatch.setattr(dispatcher.carrier.scheduler, "decide", broken)
            with dispatcher.for_program("p") as engine:
                found = await run_program(map_reduce("a")[0], engine)
            monkeypatch.undo()
            with dispatcher.for_program("p") as engine:
                assert isinstance((await run_program(map_reduce("a")[0], engine))["all"], str)
        return str(found["all"])

    assert "a mistake of ours" in run_virtually(work())
    assert "no decision could be made" in caplog.text


def test_hints_go_to_engines_that_take_them() -> None:
    engines = {"e": ScriptedEngine(can=replace(SALTED, priority=True))}
    program = Program(
        calls=(SemanticCall("c", "soon {{o:output}}"), SemanticCall("d", "late {{p:output}}")),
        outputs=(WantedOutput("o"), WantedOutput("p", THROUGHPUT)),
    )

    async def work() -> None:
        terms = DispatchTerms(canary=None, weights={"shop": 2.0})
        async with dispatcher_of(engines, terms) as dispatcher:
            for tenant in ("shop", "other"):
                with dispatcher.for_program("p", tenant) as engine:
                    await run_program(program, engine)

    run_virtually(work())
    told = {one["prompt"][:4]: one["priority"] for one in engines["e"].asked}
    assert told == {"soon": 1, "late": 2}
    assert len({one["salt"] for one in engines["e"].asked}) == 2


def fan_out(rules: str, adapter: str | None = None) -> Program:
    """Four calls on one beginning."""
    calls = tuple(
        SemanticCall(f"c{at}", f"{{{{rules}}}}{at} {{{{o{at}:output}}}}", adapter=adapter)
        for at in range(4)
    )
    wanted = tuple(WantedOutput(f"o{at}", THROUGHPUT) for at in range(4))
    return Program(calls, values={"rules": rules}, outputs=wanted)


def test_what_an_engine_was_told_to_hold_is_freed_in_the_end() -> None:
    """Once it is thought to have gone, or there is too much of it."""
    can = replace(SALTED, fork=True, kv_tokens=1_000_000)

    async def held(kv_tokens: int, programs: int) -> ScriptedEngine:
        engine = ScriptedEngine(can=replace(can, kv_tokens=kv_tokens), pace=0.001)
        async with dispatcher_of({"e": engine}) as dispatcher:
            for at in range(programs):
                with dispatcher.for_program("p", "shop") as program:
                    await run_program(fan_out(f"{at} of the rules. " * 100), program)
            await asyncio.sleep(1.0)
            check_empty(dispatcher, {"e": engine})
        return engine

    much = run_virtually(held(1_000_000, 80))
    assert len(much.filled) == 80
    assert much.freed == much.filled[: len(much.freed)]
    assert len(much.filled) - len(much.freed) == 64
    little = run_virtually(held(10_000, 20))
    assert 8 <= len(little.freed) <= 18


def test_what_is_common_under_an_adapter_is_read_under_it() -> None:
    engine = ScriptedEngine()

    async def work() -> None:
        async with dispatcher_of({"e": engine}) as dispatcher:
            with dispatcher.for_program("p", "shop") as program:
                await run_program(fan_out("rules " * 300, "house"), program)

    run_virtually(work())
    assert engine.filled == ["house: " + "rules " * 300]
