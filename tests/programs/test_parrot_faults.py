"""The nine faults that reading Parrot's code showed, each of which ours has not.

One test each through the whole of it, from the program to the engines; tests of the parts name the
fault that they are about, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from adwright.core.errors import ProgramError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.dispatch.dispatcher import ChainDispatcher
from adwright.programs.dispatch.terms import AdmissionBounds, DispatchTerms
from adwright.programs.program import (
    LATENCY,
    THROUGHPUT,
    Objective,
    Program,
    SemanticCall,
    WantedOutput,
)
from adwright.programs.runner import Failure, Session, run_program
from adwright.programs.scheduling.engine import LatencyCurve
from tests.support.programs.dispatching import QUICK, check_empty, dispatcher_of, with_terms
from tests.support.programs.scripted_engine import SALTED, ScriptedEngine
from tests.support.programs.virtual_loop import run_virtually

RULES = "Follow the rules of this house. " * 60


def run_on(
    engines: dict[str, ScriptedEngine],
    work: Callable[[ChainDispatcher], Awaitable[None]],
    terms: DispatchTerms = QUICK,
    curve: LatencyCurve | None = None,
) -> None:
    """Work with a dispatcher on the engines, after which nothing is left."""

    async def whole() -> None:
        dispatcher = dispatcher_of(engines, terms)
        if curve is not None:
            told = dict.fromkeys(engines, curve)
            dispatcher = ChainDispatcher(engines, len, curves=told, terms=terms)
        async with dispatcher:
            await work(dispatcher)
        check_empty(dispatcher, engines)

    run_virtually(whole())


def calls_of(count: int, start: str, objective: Objective = LATENCY) -> Program:
    """So many calls that begin alike."""
    calls = tuple(
        SemanticCall(f"c{at}", "{{start}}" + f"{at}: {{{{o{at}:output}}}}") for at in range(count)
    )
    outputs = tuple(WantedOutput(f"o{at}", objective) for at in range(count))
    return Program(calls=calls, values={"start": start}, outputs=outputs)


async def ran(dispatcher: ChainDispatcher, program: Program, name: str = "p") -> list[str]:
    """Run a program of the tenant `shop`; the engines that its chains ran on."""
    with dispatcher.for_program(name, "shop") as engine:
        found = await run_program(program, engine)
        assert all(isinstance(one, str) for one in found.values()), found
        return list(engine.trace.placed.values())


def test_fault_1_an_engine_that_holds_the_prefix_is_preferred_and_of_others_the_emptiest() -> None:
    """A later engine without the prefix displaced one that had it, and the tie-break took the
    engine with less room."""

    async def work(dispatcher: ChainDispatcher) -> None:
        (first,) = await ran(dispatcher, calls_of(1, RULES))
        for _ in range(5):
            assert await ran(dispatcher, calls_of(1, RULES)) == [first]
        (second,) = await ran(dispatcher, calls_of(1, "Something else: "))
        assert second != first, "the one with most room"
        (third,) = await ran(dispatcher, calls_of(1, "And a third thing: "))
        assert third not in (first, second)

    run_on({f"e{at}": ScriptedEngine() for at in range(3)}, work)


def test_fault_2_limits_and_deadlines_are_kept() -> None:
    """The limit of tokens was never looked at, deadlines did nothing, and a time to the first token
    or of a token was an error."""
    curve = LatencyCurve((1, 2, 3, 64), (100.0, 100.0, 100.0, 100.0), 100_000.0)
    engine = ScriptedEngine()

    async def slow(dispatcher: ChainDispatcher) -> None:
        # A row more makes each step 10 ms longer.
        await ran(dispatcher, calls_of(9, "x", Objective("tpot", 0.025)))
        assert engine.most == 2
        await ran(dispatcher, calls_of(9, "y", THROUGHPUT))
        assert engine.most == 9

    run_on({"e": engine}, slow, curve=curve)
    narrow = ScriptedEngine(can=replace(SALTED, max_batch=1))

    async def urgent(dispatcher: ChainDispatcher) -> None:
        whenever = asyncio.ensure_future(ran(dispatcher, calls_of(5, "z", THROUGHPUT), "slow"))
        await asyncio.sleep(0.001)
        await ran(dispatcher, calls_of(1, "now", Objective("ttft", 0.5)), "quick")
        await ran(dispatcher, calls_of(1, "soon", Objective("deadline", 2.0)), "timed")
        assert not whenever.done()
        await whenever

    run_on({"e": narrow}, urgent)
    prompts = [one["prompt"][:1] for one in narrow.asked]
    assert prompts.index("n") == 1
    assert prompts.index("s") <= 3


def test_fault_3_a_call_with_several_outputs_goes_on_behind_each() -> None:
    """The next chain of a request with several outputs started at the wrong node."""
    template = "one {{x:output}} two {{given}} {{y:output}} three {{z:output}}"
    program = Program(
        (SemanticCall("s", template),), values={"given": "G"}, outputs=(WantedOutput("z"),)
    )
    engine = ScriptedEngine()

    async def work(dispatcher: ChainDispatcher) -> None:
        await ran(dispatcher, program)

    run_on({"e": engine}, work)
    first, second = "[one ]", "[one [one ] two G ]"
    assert [one["prompt"] for one in engine.asked] == [
        *("one ", f"one {first} two G ", f"one {first} two G {second} three ")
    ]


def test_fault_4_a_group_larger_than_an_engine_is_divided() -> None:
    """A group had to fit one engine, or waited for ever."""
    engines = {f"e{at}": ScriptedEngine(can=replace(SALTED, max_batch=2)) for at in range(3)}
    parts = calls_of(12, RULES, THROUGHPUT)
    summary = SemanticCall("all", "".join(f"{{{{o{at}}}}}" for at in range(12)) + "{{all:output}}")
    program = replace(parts, calls=(*parts.calls, summary), outputs=(WantedOutput("all"),))

    async def work(dispatcher: ChainDispatcher) -> None:
        with dispatcher.for_program("p", "shop") as engine:
            await run_program(program, engine)
            placed = [one for one in engine.trace.events if one.kind == "placed"]
        assert {one.group for one in placed[:-1]} == {"p/all.all"}
        assert {one.engine for one in placed} == set(engines)

    run_on(engines, work)


def test_fault_5_an_engine_that_fails_costs_nobody_his_program() -> None:
    """One engine's error marked it bad for ever and poisoned the session: nothing was tried again,
    elsewhere, and nothing that was lost was computed anew."""
    told: dict[str, tuple[str, str]] = {}
    engines = {f"e{at}": ScriptedEngine(pace=0.1, told=told) for at in range(2)}
    program = Program(
        calls=(
            SemanticCall("a", RULES + "{{a:output}}"),
            SemanticCall("b", "of {{a}}: {{b:output}} {{b2:output}}"),
        ),
        outputs=(WantedOutput("b2"),),
    )

    async def work(dispatcher: ChainDispatcher) -> None:
        with dispatcher.for_program("p", "shop") as engine:
            async with Session(engine) as session:
                session.submit(program)
                for _ in range(8):
                    await asyncio.sleep(0.15)
                    for each in engines.values():
                        if each.held:
                            each.die()
                assert (await session.variable("b2").get()).startswith("[of [Follow")
                session.submit(Program((SemanticCall("c", "then {{b}} {{c:output}}"),)))
                assert (await session.get("c")).startswith("[then [of [")
        assert sum(dispatcher.stats.deaths.values()) >= 4
        await asyncio.sleep(1.0)
        assert all(dispatcher.stats.alive.values())

    run_on(engines, work)


def test_fault_5_who_reads_along_sees_one_text_whatever_dies() -> None:
    """The retry goes on from what was said; where the whole must have a form, it is begun anew, and
    who had read a part of it is told."""
    engine = ScriptedEngine(lambda *_: '"' + "x" * 80 + '"', pace=0.1, seed=1)
    form = {"o": GenerationConfig(json_schema={"type": "string"})}

    async def read(session: Session, name: str) -> str:
        return "".join([piece async for piece in session.stream(name)])

    async def work(dispatcher: ChainDispatcher) -> None:
        for settings, is_broken in (({}, False), (form, True)):
            call = SemanticCall("c", "say {{o:output}}", settings=settings)
            with dispatcher.for_program("p", "shop") as seat:
                async with Session(seat) as session:
                    session.submit(Program((call,)))
                    reader = asyncio.ensure_future(read(session, "o"))
                    whole = asyncio.ensure_future(session.get("o"))
                    while not session.variable("o").said:
                        await asyncio.sleep(0.01)
                    engine.die()
                    assert await whole == '"' + "x" * 80 + '"'
                    if is_broken:
                        with pytest.raises(ProgramError, match="begun anew"):
                            await reader
                    else:
                        assert await reader == await whole

    run_on({"e": engine}, work)


def test_fault_6_who_leaves_ends_it_texts_stream_and_there_is_a_bound() -> None:
    """There was no cancelling, nobody noticed that a client was gone, nothing streamed, and only
    the length of the queue was bounded."""
    engine = ScriptedEngine(lambda *_: "word " * 40, pace=1.0, seed=2)
    terms = with_terms(admission=AdmissionBounds(all_tokens=400))

    async def work(dispatcher: ChainDispatcher) -> None:
        with dispatcher.for_program("p", "shop") as seat:
            async with Session(seat) as session:
                session.submit(calls_of(1, "tea", THROUGHPUT))
                with dispatcher.for_program("q", "shop") as other:
                    refused = (await run_program(calls_of(1, RULES), other))["o0"]
                assert isinstance(refused, Failure)
                assert "come again later" in refused.what
                pieces = session.stream("o0")
                assert (await anext(pieces)).startswith("word")
                assert not session.variable("o0").is_settled
                await pieces.aclose()
                session.cancel("o0")
                await asyncio.sleep(0.001)
                assert not engine.held
        assert dispatcher.admission.tokens == 0

    run_on({"e": engine}, work, terms)
    assert engine.cancelled == engine.begun


def test_fault_7_engines_learn_of_nobody_and_nothing_is_executed() -> None:
    """The session's token was a constant, and byte-code from clients was run in the server."""
    engine = ScriptedEngine()
    code = "{{x}} {x.__class__} ${x} __import__('os').abort() {{o:output}}"
    program = Program(
        (SemanticCall("c", code),), values={"x": "{{x}}"}, outputs=(WantedOutput("o"),)
    )

    async def work(dispatcher: ChainDispatcher) -> None:
        await ran(dispatcher, program, "name-of-a-program")

    for _ in range(2):
        run_on({"e": engine}, work)
    assert engine.asked[0]["prompt"] == "{{x}} {x.__class__} ${x} __import__('os').abort() "
    told = " ".join([*engine.begun, *(one["salt"] for one in engine.asked)])
    assert "shop" not in told
    assert "name-of-a-program" not in told
    first, second = (one.split("-")[0] for one in engine.begun)
    assert first != second, "nobody guesses the names of another's jobs"


def test_fault_8_prefixes_are_found_by_all_of_their_tokens_their_tenant_and_bounded() -> None:
    """They were found by their first 40 characters, whoever's they were, and never given up."""
    engine = ScriptedEngine(can=replace(SALTED, kv_tokens=9_000))

    async def work(dispatcher: ChainDispatcher) -> None:
        state = dispatcher.carrier.scheduler.engines["e"]
        one, other = (calls_of(4, RULES + last, THROUGHPUT) for last in ("Be brief.", "Be long."))
        await asyncio.gather(ran(dispatcher, one, "a"), ran(dispatcher, other, "b"))
        assert sorted(engine.filled) == [RULES + "Be brief.", RULES + "Be long."]
        held = dispatcher.stats.cached_tokens
        with dispatcher.for_program("c", "another shop") as seat:
            await run_program(calls_of(1, RULES + "Be brief."), seat)
        assert dispatcher.stats.cached_tokens == held, "it is another tenant's"
        for at in range(10):
            await ran(dispatcher, calls_of(1, f"{at} {RULES}"))
            assert state.held_tokens <= 9_000

    run_on({"e": engine}, work)


def test_fault_9_schemas_adapters_models_and_settings_reach_the_engine_of_each_call() -> None:
    """A program had one model, and neither schema, adapter, log-probabilities nor metrics."""
    engines = {
        "small": ScriptedEngine(lambda *_: "[]", can=replace(SALTED, models=("small",))),
        "large": ScriptedEngine(can=replace(SALTED, models=("large",))),
    }
    settings = GenerationConfig(
        max_tokens=7, json_schema={"type": "array"}, logprobs=True, temperature=0.5, seed=3
    )
    program = Program(
        calls=(
            SemanticCall("a", "x {{o:output}}", settings={"o": settings}, adapter="house"),
            SemanticCall("b", "y {{o}} {{p:output}}", model="large"),
        ),
        outputs=(WantedOutput("p"),),
    )

    async def work(dispatcher: ChainDispatcher) -> None:
        assert await ran(dispatcher, program) == ["small", "large"]
        stats = dispatcher.stats
        assert (stats.written_tokens, stats.decisions) == (2 + len("[y [] ]"), 2)

    run_on(engines, work)
    (asked,) = engines["small"].asked
    assert (asked["settings"], asked["adapter"], asked["max_tokens"]) == (settings, "house", 7)
