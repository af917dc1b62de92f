"""What is decided is carried out: on simulated engines it takes what the simulation says."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from adwright.core.errors import ConfigError, ResourceError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.dispatch.carrier import Attempt, Attempts
from adwright.programs.dispatch.dispatcher import ChainDispatcher
from adwright.programs.dispatch.terms import (
    Admission,
    AdmissionBounds,
    DispatchTerms,
    OverloadedError,
)
from adwright.programs.program import THROUGHPUT, Program, SemanticCall, WantedOutput
from adwright.programs.runner import Session, run_program
from adwright.programs.scheduling.engine import EngineReport, EngineStats, ExecutionEngine
from adwright.programs.scheduling.scheduler import ProgramScheduler
from benchmarks.programs.simulation import Segment, SimCall, SimProgram, SimulatedEngine, simulate
from tests.support.chains import CURVE, fixed
from tests.support.programs.asking import Said, job_of
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


def test_who_has_least_left_by_the_graph_comes_first() -> None:
    """Of two programs with one call that is ready each, the one that waits for no others."""
    engine = ScriptedEngine(can=replace(SALTED, max_batch=1))
    settings = {"o": GenerationConfig(max_tokens=40)}

    def call(name: str, reads: str = "") -> SemanticCall:
        return SemanticCall(name, f"{name} {reads} {{{{o:output}}}}", {"o": name}, settings)

    waiting = tuple(call(f"later{at}", "{{tool}}") for at in range(20))
    wanted = tuple(WantedOutput(one.name) for one in waiting)
    wide = Program(
        (call("wide"), *waiting), awaited=("tool",), outputs=(*wanted, WantedOutput("wide"))
    )
    narrow = Program((call("narrow"),), outputs=(WantedOutput("narrow"),))
    busy = Program((call("busy"),), outputs=(WantedOutput("busy"),))

    async def one(dispatcher: ChainDispatcher, program: Program, name: str) -> None:
        with dispatcher.for_program(name, "shop") as seat:
            async with Session(seat) as session:
                seat.watch(session)
                session.submit(program)
                await session.variable(name).get()

    async def work() -> None:
        async with dispatcher_of({"e": engine}) as dispatcher:
            told = (("busy", busy), ("wide", wide), ("narrow", narrow))
            await asyncio.gather(*(one(dispatcher, each, name) for name, each in told))

    run_virtually(work())
    assert [one["prompt"].split()[0] for one in engine.asked] == ["busy", "narrow", "wide"]


def test_who_waits_at_an_engine_in_vain_goes_elsewhere_in_time() -> None:
    """It holds the prefix, and would have been free by now; nothing happens there."""
    can = replace(SALTED, max_batch=2)
    told: dict[str, tuple[str, str]] = {}
    engines = {one: ScriptedEngine(can=can, pace=0.001, told=told) for one in ("e0", "e1")}
    settings = {"o": GenerationConfig(max_tokens=20)}
    call = SemanticCall("c", "{{rules}}{{own}} {{o:output}}", {}, settings)

    def program(own: str) -> Program:
        values = {"rules": "rules " * 1_200, "own": own}
        return Program((call,), values=values, outputs=(WantedOutput("o"),))

    async def one(dispatcher: ChainDispatcher, own: str) -> list[str]:
        with dispatcher.for_program(own, "shop") as seat:
            await run_program(program(own), seat)
            return [f"{each.kind} {each.engine}" for each in seat.trace.events]

    async def work() -> None:
        curves = dict.fromkeys(engines, CURVE)
        async with ChainDispatcher(engines, len, curves=curves, terms=QUICK) as dispatcher:
            first = (await one(dispatcher, "first"))[2].split()[1]
            engines[first].pace = 1_000.0
            long = [asyncio.ensure_future(one(dispatcher, own)) for own in ("x", "y")]
            await asyncio.sleep(0.001)
            assert dispatcher.stats.running[first] == 2
            engines[first].pace = 0.001
            found = await one(dispatcher, "z")
            assert asyncio.get_running_loop().time() < 100.0
            (other,) = engines.keys() - {first}
            assert found[2:4] == [f"waits {first}", f"placed {other}"]
            for each in long:
                each.cancel()

    run_virtually(work())
    assert sorted(len(one.begun) for one in engines.values()) == [1, 3]


def test_nothing_more_is_heard_of_a_text_from_an_engine_that_was_taken_for_dead() -> None:
    """It says that it is gone to one, and goes on writing for another."""

    class HalfDead(ScriptedEngine):
        async def stats(self) -> EngineStats:
            return EngineStats(0, 0, 0)

        def _text(self, job: str, prompt: str, *further: Any) -> str:
            if prompt.startswith("a") and len(self.begun) < 3:
                raise ResourceError("gone, it seems")
            return super()._text(job, prompt, *further)

    engine = HalfDead(lambda *_: "x" * 60, pace=0.1, seed=5)
    program = Program(
        calls=(SemanticCall("b", "b {{b:output}}"), SemanticCall("a", "a {{a:output}}")),
        outputs=(WantedOutput("b"),),
    )

    async def work() -> None:
        async with dispatcher_of({"e": engine}) as dispatcher:
            with dispatcher.for_program("p", "shop") as seat:
                async with Session(seat) as session:
                    session.submit(program)
                    while not session.variable("b").said:
                        await asyncio.sleep(0.01)
                    assert await session.get("a") == "x" * 60
                    assert await session.variable("b").get() == "x" * 60
            check_empty(dispatcher, {"e": engine})
            assert dispatcher.stats.deaths == {"e": 1}

    run_virtually(work())
    assert len(engine.begun) == 4


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


def admission_of(**bounds: int | None) -> Admission:
    return Admission(AdmissionBounds(**bounds), lambda tokens: tokens / 10)


def test_so_many_tokens_are_let_in_and_the_error_says_when_there_is_room() -> None:
    admission = admission_of(all_tokens=1_000)
    admission.let_in("a", 600)
    admission.let_in("b", 400)
    with pytest.raises(OverloadedError, match=r"1,000 tokens to do all together") as caught:
        admission.let_in("c", 300)
    assert caught.value.retry_after == 30.0
    assert pickle.loads(pickle.dumps(caught.value)).retry_after == 30.0  # noqa: S301
    admission.let_go("a", 600)
    admission.let_in("c", 300)
    assert admission.by_tenant == {"b": 400, "c": 300}
    admission.let_go("c", 300)
    admission.let_go("b", 400)
    assert (admission.tokens, admission.by_tenant) == (0, {})


def test_one_tenant_is_bounded_by_itself() -> None:
    admission = admission_of(all_tokens=None, tenant_tokens=100)
    admission.let_in("a", 90)
    with pytest.raises(OverloadedError, match="of one tenant"):
        admission.let_in("a", 20)
    admission.let_in("b", 100)


def test_who_comes_alone_is_let_in_however_much_it_is() -> None:
    """Else it would wait for ever: what can never fit is refused elsewhere."""
    admission = admission_of(all_tokens=100, tenant_tokens=50)
    admission.let_in("a", 5_000)
    assert admission.tokens == 5_000


def test_chains_on_the_engines_are_bounded_by_tenant() -> None:
    admission = admission_of(tenant_in_flight=100)
    assert admission.has_room("a", 500)
    admission.begin("a", 80)
    assert not admission.has_room("a", 30)
    assert admission.has_room("a", 20)
    assert admission.has_room("b", 30)
    admission.end("a", 80)
    assert admission.in_flight == {}
    assert admission_of().has_room("a", 10**9)
