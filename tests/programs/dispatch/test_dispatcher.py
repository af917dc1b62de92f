"""The dispatcher before scripted engines: programs come to what they mean, whatever engines do."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, ProgramError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.dispatch.dispatcher import ChainDispatcher
from adwright.programs.dispatch.keeper import EngineKeeper, KeeperBounds, RestartableEngine
from adwright.programs.dispatch.ready import ChainReader, TokenCounts, TraceStore
from adwright.programs.dispatch.terms import (
    Admission,
    AdmissionBounds,
    DispatchTerms,
    OverloadedError,
    ProgramEngine,
)
from adwright.programs.engines.openai_http import OpenAIEngine, OpenAIEngineConfig
from adwright.programs.frontend.explain import explain
from adwright.programs.program import THROUGHPUT, Program, SemanticCall, WantedOutput
from adwright.programs.runner import AskedChain, ChainEngine, Failure, Saying, Session, run_program
from adwright.programs.scheduling.engine import EngineCapabilities
from tests.support.looped import in_a_loop
from tests.support.programs.asking import SEAT, Said, asked_for
from tests.support.programs.dispatching import check_empty, dispatcher_of, with_terms
from tests.support.programs.fake_model import answer
from tests.support.programs.faulty_server import FAULTS, Fault, FaultyServer, faulty_servers
from tests.support.programs.interpreter import Interpreter
from tests.support.programs.random_programs import Drawn, drawn_programs
from tests.support.programs.running import fits
from tests.support.programs.scripted_engine import SALTED, ScriptedEngine
from tests.support.programs.virtual_loop import run_virtually

TEAM = Program(
    calls=(
        SemanticCall("copy", "Write an ad for {{product}}: {{ad:output}}"),
        *(
            SemanticCall(f"r{at}", f"Judge {at}: {{{{ad}}}} {{{{v{at}:output}}}}")
            for at in range(3)
        ),
        SemanticCall("edit", "Edit {{v0}} {{v1}} {{v2}}: {{final:output}}"),
    ),
    values={"product": "tea"},
    outputs=(WantedOutput("final"),),
)
AD = "[Write an ad for tea: ]"
FINAL = "[Edit " + " ".join(f"[Judge {at}: {AD} ]" for at in range(3)) + ": ]"


async def outcome(dispatcher: ChainDispatcher, drawn: Drawn, name: str) -> dict[str, str | Failure]:
    """What each output of a drawn program comes to."""
    wanted = [one.variable for one in drawn.program.outputs]
    with dispatcher.for_program(name, f"tenant {name}") as engine:
        async with Session(engine) as session:
            engine.watch(session)
            session.submit(replace(drawn.program, outputs=()))
            for each in drawn.cancelled:
                session.cancel(each)
            session.submit(Program(outputs=drawn.program.outputs))
            for each in drawn.outside.keys() - drawn.cancelled:
                text = drawn.outside[each]
                if text is None:
                    session.fail(each, "nobody came")
                else:
                    session.set(each, text)
            variables = [session.variable(one) for one in wanted]
            await asyncio.gather(*(one.get() for one in variables), return_exceptions=True)
            return {one.name: one.failure or one.text for one in variables}


def engines_of(number: int, **further: object) -> dict[str, ScriptedEngine]:
    told: dict[str, tuple[str, str]] = {}
    return {
        f"e{at}": ScriptedEngine(answer, seed=at, told=told, **further)  # type: ignore[arg-type]
        for at in range(number)
    }


async def kills(engines: Mapping[str, ScriptedEngine], rng: random.Random, number: int) -> int:
    """Kill engines at random moments; returns in how many cases one had something to do."""
    busy = 0
    for _ in range(number):
        await asyncio.sleep(rng.expovariate(20.0))
        engine = rng.choice(list(engines.values()))
        busy += bool(engine.held)
        engine.die()
    return busy


def few(text: str) -> int:
    """Tokens so long that no answer has more than it may: the interpreter knows no such bound."""
    return -(-len(text) // 64)


@settings(max_examples=50)
@given(
    st.lists(drawn_programs(), min_size=1, max_size=3),
    st.integers(1, 3),
    st.booleans(),
    st.integers(0, 5),
)
def test_any_programs_mean_what_they_say(
    drawn: list[Drawn], number: int, fork: bool, deaths: int
) -> None:
    """On one or more engines of either kind, however often those are killed."""
    engines = engines_of(number, can=replace(SALTED, fork=fork))

    async def work() -> list[dict[str, str | Failure]]:
        async with dispatcher_of(engines, tokens=few) as dispatcher:
            killing = asyncio.ensure_future(kills(engines, random.Random(deaths), deaths))
            found = await asyncio.gather(
                *(outcome(dispatcher, one, f"p{at}") for at, one in enumerate(drawn))
            )
            await killing
            await asyncio.sleep(1.0)
            check_empty(dispatcher, engines)
        return found

    for one, found in zip(drawn, run_virtually(work()), strict=True):
        interpreter = Interpreter(one.program, answer, one.outside, one.cancelled)
        for name, came in found.items():
            assert fits(came, interpreter.meaning(name)), (name, came, interpreter.meaning(name))


@pytest.mark.parametrize("seed", range(4))
def test_engines_that_are_killed_again_and_again_lose_nothing(seed: int) -> None:
    """50 kills under load for each of four seeds: every program finishes, each variable has one
    value, and everything that is counted is back where it was."""
    engines = engines_of(3, pace=0.02)
    rng = random.Random(seed)
    team = replace(TEAM, outputs=(*TEAM.outputs, WantedOutput("ad"), WantedOutput("v1")))
    over: asyncio.Future[int]

    async def program(dispatcher: ChainDispatcher, at: int) -> list[dict[str, str | Failure]]:
        found = []
        for again in range(100):
            name = f"p{at}.{again}"
            own = replace(team, values={"product": name})
            with dispatcher.for_program(name, f"t{at % 3}") as engine:
                found.append(await run_program(own, engine))
            expected = Interpreter(own, answer)
            for variable, came in found[-1].items():
                assert fits(came, expected.meaning(variable)), (came, expected.meaning(variable))
            if over.done():
                break
        return found

    async def work() -> int:
        nonlocal over
        async with dispatcher_of(engines) as dispatcher:
            over = asyncio.ensure_future(kills(engines, rng, 50))
            await asyncio.gather(*(program(dispatcher, at) for at in range(8)))
            busy = await over
            await asyncio.sleep(2.0)
            check_empty(dispatcher, engines)
            assert sum(dispatcher.carrier.keeper.deaths.values()) > 25
        return busy

    assert run_virtually(work()) > 25


def test_the_values_of_one_call_go_to_the_next_inside_the_service() -> None:
    engines = {"e": ScriptedEngine()}

    async def work() -> None:
        async with dispatcher_of(engines) as dispatcher:
            with dispatcher.for_program("p", "shop") as engine:
                assert await run_program(TEAM, engine) == {"final": FINAL}
                events = [(one.kind, one.chain) for one in engine.trace.events]
                assert events[:4] == [
                    ("submit", ""),
                    ("ready", "copy.ad"),
                    ("placed", "copy.ad"),
                    ("first", "copy.ad"),
                ]
                assert engine.trace.placed == dict.fromkeys(
                    ("copy.ad", "r0.v0", "r1.v1", "r2.v2", "edit.final"), "e"
                )
                told = explain(TEAM, placed=engine.trace.placed).text.splitlines()
                assert [line.split()[-1] for line in told] == ["on", *"eeeee"]
                groups = {one.group for one in engine.trace.events if one.kind == "placed"}
                assert groups == {None, "p/edit.final"}
        check_empty(dispatcher, engines)

    run_virtually(work())
    assert engines["e"].most == 3


def test_what_is_common_is_read_once_and_the_others_wait_for_it() -> None:
    rules = "Follow the rules of the house. " * 100
    calls = tuple(
        SemanticCall(f"c{at}", "{{rules}}" + f"Now write number {at}: {{{{o{at}:output}}}}")
        for at in range(8)
    )
    program = Program(
        calls=calls,
        values={"rules": rules},
        outputs=tuple(WantedOutput(f"o{at}", THROUGHPUT) for at in range(8)),
    )
    engines = {"e": ScriptedEngine(lambda *_: "done")}

    async def work() -> None:
        async with dispatcher_of(engines) as dispatcher:
            with dispatcher.for_program("p", "shop") as engine:
                await run_program(program, engine)
                kinds = [one.kind for one in engine.trace.events]
                assert kinds.count("fill") == 1
                held = [one.tokens for one in engine.trace.events if one.kind == "first"]
                assert min(one or 0 for one in held) >= len(rules)
            assert dispatcher.carrier.cached_tokens >= 8 * len(rules)
        check_empty(dispatcher, engines)

    run_virtually(work())
    assert engines["e"].filled == [rules]


def test_whoever_does_not_wait_any_more_ends_it_on_the_engine_at_once() -> None:
    engines = {"e": ScriptedEngine(pace=10.0)}

    async def work() -> None:
        async with dispatcher_of(engines) as dispatcher:
            with dispatcher.for_program("p", "shop") as engine:
                async with Session(engine) as session:
                    session.submit(replace(TEAM, outputs=()))
                    reader = asyncio.ensure_future(session.get("final"))
                    await asyncio.sleep(1.0)
                    assert len(engines["e"].held) == 1
                    reader.cancel()
                    await asyncio.sleep(0.001)
                    assert not engines["e"].held
                    assert len(engines["e"].cancelled) == 1
                    assert dispatcher.carrier.scheduler.engines["e"].batch == 0
        check_empty(dispatcher, engines)

    run_virtually(work())
    assert engines["e"].begun == engines["e"].cancelled


def test_an_error_of_one_chain_is_its_own() -> None:
    """An engine's mistake is tried again; what it refuses is not."""

    def moody(model: str, adapter: str | None, prompt: str, settings: GenerationConfig) -> str:
        if prompt.startswith("Judge 0"):
            raise ConfigError("no judging")
        if prompt.startswith("Judge 1"):
            raise OSError("out of luck")
        return "fine"

    engines = {"e": ScriptedEngine(moody)}
    team = replace(TEAM, outputs=tuple(WantedOutput(f"v{at}") for at in range(3)))

    async def work() -> None:
        async with dispatcher_of(engines) as dispatcher:
            with dispatcher.for_program("p", "shop") as engine:
                found = await run_program(team, engine)
                assert found["v2"] == "fine"
                assert found["v0"] == Failure("call", "r0.v0", "no judging")
                assert found["v1"] == Failure("call", "r1.v1", "OSError('out of luck')")
            assert dispatcher.carrier.keeper.deaths == {"e": 0}
        check_empty(dispatcher, engines)

    run_virtually(work())
    prompts = [one["prompt"][:7] for one in engines["e"].asked]
    assert (prompts.count("Judge 0"), prompts.count("Judge 1") in (4, 5)) == (1, True)


def test_a_call_that_takes_too_long_is_ended_and_a_silent_engine_is_dead() -> None:
    told: dict[str, tuple[str, str]] = {}
    engines = {"e0": ScriptedEngine(told=told), "e1": ScriptedEngine(told=told)}
    engines["e0"].hangs = True

    async def work() -> None:
        async with dispatcher_of(engines, with_terms(call_seconds=60.0)) as dispatcher:
            with dispatcher.for_program("p", "shop") as engine:
                assert await run_program(TEAM, engine) == {"final": FINAL}
                again = [one for one in engine.trace.events if one.kind == "again"]
                assert [one.chain for one in again] == ["copy.ad"]
            assert dispatcher.carrier.keeper.deaths == {"e0": 1, "e1": 0}
            engines["e0"].hangs = False
            await asyncio.sleep(100.0)
            assert dispatcher.carrier.scheduler.engines["e0"].alive
        check_empty(dispatcher, engines)

    run_virtually(work())
    assert True


def test_closing_ends_everything_and_tells_everybody() -> None:
    engines = {"e": ScriptedEngine(pace=10.0)}

    async def work() -> None:
        dispatcher = dispatcher_of(engines)
        async with dispatcher:
            engine = dispatcher.for_program("p", "shop")
            running = asyncio.ensure_future(run_program(TEAM, engine))
            await asyncio.sleep(1.0)
        found = (await running)["final"]
        assert isinstance(found, Failure)
        assert "program was closed" in found.what
        check_empty(dispatcher, engines)
        with pytest.raises(ProgramError, match="closed"):
            dispatcher.for_program("q")
        assert len(asyncio.all_tasks()) == 1

    run_virtually(work())
    assert len(engines["e"].cancelled) == 1


def test_more_tokens_than_there_is_room_for_are_refused_with_a_time() -> None:
    engines = {"e": ScriptedEngine(lambda *_: "x" * 50, pace=1.0)}
    bounds = AdmissionBounds(all_tokens=1_000, tenant_tokens=600)

    async def work() -> None:
        async with dispatcher_of(engines, with_terms(admission=bounds)) as dispatcher:
            first = dispatcher.for_program("p", "a", tokens=500)
            with pytest.raises(OverloadedError, match="of one tenant") as caught:
                dispatcher.for_program("q", "a", tokens=200)
            assert caught.value.retry_after >= 1.0
            second = dispatcher.for_program("q", "b", tokens=400)
            with pytest.raises(OverloadedError, match="all together"):
                dispatcher.for_program("r", "c", tokens=200)
            # A chain beyond what was reserved for its program is let in by itself.
            third = dispatcher.for_program("r", "c")
            found = (await run_program(TEAM, third))["final"]
            assert isinstance(found, Failure)
            assert "come again later" in found.what
            first.close()
            assert isinstance((await run_program(TEAM, third))["final"], str)
            second.close()
            third.close()
        check_empty(dispatcher, engines)

    run_virtually(work())
    assert True


def test_a_tenant_has_so_many_tokens_on_the_engines_and_no_more() -> None:
    engines = {"e": ScriptedEngine(pace=1.0)}
    bounds = AdmissionBounds(tenant_in_flight=400)
    judges = replace(TEAM, outputs=tuple(WantedOutput(f"v{at}") for at in range(3)))

    async def work() -> None:
        async with dispatcher_of(engines, with_terms(admission=bounds)) as dispatcher:
            with dispatcher.for_program("p", "a") as engine:
                found = await run_program(judges, engine)
                assert all(isinstance(one, str) for one in found.values())
        check_empty(dispatcher, engines)

    run_virtually(work())
    assert engines["e"].most == 2


def test_what_no_engine_takes_is_refused_by_what_is_wrong() -> None:
    engines = {"e": ScriptedEngine(can=replace(SALTED, adapters=False))}

    async def refused(dispatcher: ChainDispatcher, call: SemanticCall) -> str:
        program = Program(calls=(call,), outputs=(WantedOutput("o"),))
        with dispatcher.for_program("p") as engine:
            found = (await run_program(program, engine))["o"]
        assert isinstance(found, Failure)
        return found.what

    async def work() -> None:
        async with dispatcher_of(engines) as dispatcher:
            call = SemanticCall("c", "x {{o:output}}")
            assert "no engine has the model 'big'" in await refused(
                dispatcher, replace(call, model="big")
            )
            assert "takes adapters" in await refused(dispatcher, replace(call, adapter="house"))
            long = {"o": GenerationConfig(max_tokens=100_000)}
            assert "more than an engine takes" in await refused(
                dispatcher, replace(call, settings=long)
            )
            with (
                dispatcher.for_program("p"),
                pytest.raises(ConfigError, match="program of that id"),
            ):
                dispatcher.for_program("p")
        check_empty(dispatcher, engines)

    run_virtually(work())
    assert not engines["e"].begun


def test_an_engine_that_mixes_tenants_is_taken_for_one_domain_only() -> None:
    engines = {"e": ScriptedEngine(can=EngineCapabilities(("model",)))}
    with pytest.raises(ConfigError, match="prefixes of all tenants together"):
        ChainDispatcher(engines, len)
    with pytest.raises(ConfigError, match="there is no engine"):
        ChainDispatcher({}, len)

    async def work() -> None:
        async with ChainDispatcher(engines, len, terms=DispatchTerms(one_domain=True)) as one:
            one.for_program("p", "a").close()
            with pytest.raises(ConfigError, match="only one domain"):
                one.for_program("q", "b")
            one.for_program("q", "b", domain="a").close()

    run_virtually(work())


@in_a_loop
async def test_it_works_in_real_time_too() -> None:
    engines = {"e": ScriptedEngine(pace=0.001)}

    async with dispatcher_of(engines) as dispatcher:
        with dispatcher.for_program("p", "shop") as engine:
            assert await run_program(TEAM, engine) == {"final": FINAL}
        check_empty(dispatcher, engines)

    assert len(engines["e"].begun) == 5


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


class Owner:
    """Notes what a program's engine asks of the dispatcher."""

    def __init__(self, most: int = 100) -> None:
        self.over: list[str] = []
        self.admission = Admission(AdmissionBounds(all_tokens=most), float)
        self.engine = ProgramEngine(
            SEAT,
            TraceStore().begin("p", "shop", 0.0),
            self.admission,
            ChainReader(TokenCounts(len), model="small"),
            run=self._run,
            over=lambda engine: self.over.append(engine.seat.program_id),
        )

    async def _run(self, engine: ProgramEngine, asked: AskedChain, say: Saying) -> str:
        say(asked.prompt)
        return engine.seat.program_id


def test_it_is_what_a_session_asks() -> None:
    owner, said = Owner(), Said()
    engine: ChainEngine = owner.engine
    assert asyncio.run(engine.generate(asked_for("tea"), said)) == "p"
    assert said.pieces == ["tea"]


def test_what_is_reserved_is_used_by_its_chains_and_given_back_at_the_end() -> None:
    owner = Owner()
    owner.engine.reserve(60)
    assert (owner.engine.use(40), owner.engine.reserved) == (True, 20)
    assert not owner.engine.use(30)
    with pytest.raises(OverloadedError):
        owner.engine.reserve(50)
    owner.engine.reserve(30)
    owner.engine.close()
    assert owner.admission.tokens == 40, "its chain is not over"
    owner.engine.close()
    assert (owner.over, owner.engine.is_closed) == (["p"], True)


def test_a_session_is_watched() -> None:
    owner = Owner()
    owner.engine.watch(Session(owner.engine))
    assert owner.engine.outlook is not None
    assert owner.engine.outlook.left() == (0, 0)


def test_a_closed_program_runs_nothing() -> None:
    engines = {"e": ScriptedEngine()}

    async def work() -> None:
        async with dispatcher_of(engines) as dispatcher:
            with dispatcher.for_program("p") as engine:
                pass
            with pytest.raises(ProgramError, match="the program is closed"):
                await engine.generate(asked_for("tea"), Said())

    run_virtually(work())
    assert engines["e"].begun == []


CHAOS_BOUNDS = KeeperBounds(first=0.05, beat=1.0)
TERMS = DispatchTerms(keeper=CHAOS_BOUNDS, canary=None, retry_seconds=0.05)


@asynccontextmanager
async def before(*servers: FaultyServer) -> AsyncIterator[ChainDispatcher]:
    """A dispatcher of two tenants before the servers."""
    async with AsyncExitStack() as stack:
        engines = {}
        for at, url in enumerate(await stack.enter_async_context(faulty_servers(*servers))):
            config = OpenAIEngineConfig(url, "m", domain=None, connect_seconds=3.0)
            engines[f"e{at}"] = await stack.enter_async_context(OpenAIEngine(config))
        told = (engines, lambda text: len(text) // 4)
        yield await stack.enter_async_context(ChainDispatcher(*told, terms=TERMS))


async def texts(dispatcher: ChainDispatcher, name: str, tenant: str) -> list[str]:
    """The texts of a program of three calls and one that reads them."""
    made = [SemanticCall(f"c{at}", f"Call {at} of {name}: {{{{v{at}:output}}}}") for at in range(3)]
    reads = " ".join(f"{{{{v{at}}}}}" for at in range(3))
    made.append(SemanticCall("all", f"{reads}: {{{{all:output}}}}"))
    with dispatcher.for_program(name, tenant) as engine:
        async with Session(engine) as session:
            engine.watch(session)
            session.submit(Program(calls=tuple(made), outputs=(WantedOutput("all"),)))
            return [await session.get("all")]


@pytest.mark.parametrize("fault", FAULTS)
@in_a_loop
async def test_all_programs_finish_while_one_of_four_servers_is_healthy(fault: Fault) -> None:
    servers = [FaultyServer(slow=0.1) for _ in range(4)]
    async with before(*servers) as dispatcher:
        for healthy in (3, 0):
            for at, one in enumerate(servers):
                one.fault = "" if at == healthy else fault
            names = [(f"p{healthy}-{at}", "ab"[at % 2]) for at in range(10)]
            found = await asyncio.gather(*(texts(dispatcher, *one) for one in names))
            assert found == [["fine"]] * 10
            assert servers[healthy].asked[""] > 0
        for one in servers:
            one.fault = ""
        until = time.monotonic() + 20
        while not all(dispatcher.stats.alive.values()) and time.monotonic() < until:
            await asyncio.sleep(0.05)
        assert all(dispatcher.stats.alive.values()), "all come back"


@in_a_loop
async def test_one_at_a_time_goes_to_the_one_that_answers() -> None:
    servers = [FaultyServer(), FaultyServer()]
    servers[0].fault = "500"
    async with before(*servers) as dispatcher:
        for at in range(10):
            assert await texts(dispatcher, f"p{at}", "t") == ["fine"]
    assert servers[1].asked[""] == 40
    # Beside the first few failures only we ask it, not the calls of programs.
    assert servers[0].asked["500"] < 25


@pytest.mark.parametrize("number", [1, 2])
@in_a_loop
async def test_a_key_that_no_server_knows_is_told(number: int) -> None:
    servers = [FaultyServer() for _ in range(number)]
    for one in servers:
        one.fault = "401"
    async with before(*servers) as dispatcher:
        for at in range(2):
            began = time.monotonic()
            with pytest.raises(ProgramError, match=r"401.*the key is not known"):
                await texts(dispatcher, f"p{at}", "t")
            assert time.monotonic() - began < (2 if number == 1 else 20)
