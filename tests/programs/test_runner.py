"""Sessions: random programs mean what the interpreter says, and each promise by itself."""

from __future__ import annotations

import asyncio
import random
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, ProgramError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.deduction import Deduced
from adwright.programs.graph import ProgramLimits
from adwright.programs.program import THROUGHPUT, Objective, Program, SemanticCall, WantedOutput
from adwright.programs.runner import (
    AskedChain,
    ChainEngine,
    Failure,
    Session,
    Variable,
    run_program,
)
from tests.support.looped import in_a_loop
from tests.support.programs.echo_engine import EchoEngine
from tests.support.programs.fake_engine import DrawnEngine
from tests.support.programs.fake_model import answer
from tests.support.programs.interpreter import Interpreter
from tests.support.programs.random_programs import Drawn, drawn_programs
from tests.support.programs.running import come_to, fits, parts_of, through_disorder


@settings(max_examples=120)
@given(drawn_programs(), st.integers(0, 2**32), st.none() | st.integers(1, 3), st.booleans())
def test_any_program_means_what_it_says(
    drawn: Drawn, seed: int, in_flight: int | None, at_once: bool
) -> None:
    """Set at once or in parts, whatever is cancelled, fails or comes from outside."""
    interpreter = Interpreter(drawn.program, answer, drawn.outside, drawn.cancelled)
    engine = DrawnEngine(seed)
    unasked = replace(drawn.program, outputs=())
    parts = [unasked] if at_once else parts_of(unasked, random.Random(seed))
    if at_once and not drawn.cancelled:
        parts = [drawn.program]
    else:
        parts = [*parts, Program(outputs=drawn.program.outputs)]
    found = asyncio.run(come_to(drawn, engine, in_flight, parts))
    for name, came in found.items():
        assert fits(came, interpreter.meaning(name)), (name, came, interpreter.meaning(name))
    assert engine.begun.keys() <= {*interpreter.asked}, "what nobody needs was run"
    assert all(count == 1 for count in engine.begun.values())
    assert in_flight is None or engine.most <= in_flight


@settings(max_examples=80)
@given(drawn_programs(most=8), st.integers(0, 2**32))
def test_a_variable_comes_to_one_thing_whatever_happens_meanwhile(drawn: Drawn, seed: int) -> None:
    interpreter = Interpreter(drawn.program, answer, drawn.outside)
    rng = random.Random(seed)
    found, cancelled = asyncio.run(through_disorder(drawn, DrawnEngine(seed), rng))
    for name, came in found.items():
        if isinstance(came, Failure) and came.kind == "cancelled":
            assert came.origin in cancelled
        else:
            assert fits(came, interpreter.meaning(name)), (name, came)


def call(name: str, reads: str = "", **further: Any) -> SemanticCall:
    """A call that writes the variable of its own name."""
    inputs = " ".join(f"{{{{{one}}}}}" for one in reads.split())
    return SemanticCall(name, f"{name} {inputs}: {{{{{name}:output}}}}", **further)


async def breathe() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


CHAIN = Program(
    calls=(call("a"), call("b", "a"), call("c", "b"), call("other")),
    outputs=(WantedOutput("c"), WantedOutput("other")),
)


def test_values_go_from_call_to_call() -> None:
    found = asyncio.run(run_program(CHAIN, EchoEngine()))
    assert found == {"c": "[c [b [a : ]: ]: ]", "other": "[other : ]"}


@in_a_loop
async def test_parrot_fault_5_one_error_leaves_the_rest_of_the_session_alone() -> None:
    """There an engine's error made the whole session unusable."""

    async with Session(EchoEngine(broken="a")) as session:
        session.submit(CHAIN)
        assert await session.get("other") == "[other : ]"
        with pytest.raises(ProgramError) as caught:
            await session.get("c")
        assert caught.value.where == "variable c, from a.a"
        session.submit(Program(calls=(call("d", "other"), call("e", "a"))))
        assert await session.get("d") == "[d [other : ]: ]"
        assert session.variable("e").failure == session.variable("a").failure


def test_parrot_fault_3_a_call_goes_on_behind_its_own_answer() -> None:
    template = "one {{x:output}} two {{given}} {{y:output}} three {{z:output}}"
    program = Program(
        calls=(SemanticCall("s", template),),
        values={"given": "G"},
        outputs=(WantedOutput("z"), WantedOutput("y")),
    )
    engine = EchoEngine()
    found = asyncio.run(run_program(program, engine))
    first = "[one ]"
    second = f"[one {first} two G ]"
    assert found == {"y": second, "z": f"[one {first} two G {second} three ]"}
    assert engine.asked["s"].segments == ("one ", first, " two ", "G", " ", second, " three ")


@in_a_loop
async def test_parrot_fault_6_cancelling_ends_what_nobody_else_needs() -> None:
    """There was no cancelling at all."""

    engine = EchoEngine(held="a b other")
    async with Session(engine) as session:
        session.submit(CHAIN)
        await breathe()
        assert session.running == ("a.a", "other.other")
        session.cancel("c")
        await breathe()
        assert (session.running, engine.cancelled) == (("other.other",), ["a"])
        states = [session.variable(one).state for one in ("a", "b", "c", "other")]
        assert states == ["pending", "pending", "cancelled", "pending"]
        # What was ended may still be asked for; then it is begun anew.
        engine.held["a"].set()
        assert await session.get("a") == "[a : ]"
        session.cancel("a")
        assert session.variable("a").state == "set"


@in_a_loop
async def test_parrot_fault_6_who_disconnects_ends_only_what_nobody_else_reads() -> None:
    engine = EchoEngine(held="a")
    async with Session(engine) as session:
        session.submit(replace(CHAIN, outputs=()))
        await breathe()
        assert engine.begun == []
        readers = [asyncio.ensure_future(session.get(one)) for one in ("b", "c")]
        await breathe()
        for reader in readers:
            assert session.running == ("a.a",)
            reader.cancel()
            await breathe()
        assert (session.running, engine.cancelled) == ((), ["a"])


@in_a_loop
async def test_what_is_asked_for_again_while_it_is_being_ended_is_begun_anew() -> None:
    engine = EchoEngine(held="a")
    async with Session(engine) as session:
        session.submit(replace(CHAIN, outputs=()))
        reader = asyncio.ensure_future(session.get("a"))
        await breathe()
        reader.cancel()
        await asyncio.sleep(0)  # it leaves
        assert session.running == ("a.a",)
        again = asyncio.ensure_future(session.get("a"))
        engine.held["a"].set()
        assert await again == "[a : ]"
        assert (engine.begun, engine.cancelled) == (["a", "a"], ["a"])


@in_a_loop
async def test_who_reads_a_stream_and_leaves_asks_no_more() -> None:
    engine = EchoEngine(held="a")
    async with Session(engine) as session:
        session.submit(replace(CHAIN, outputs=()))
        stream = session.stream("a", Objective("ttft", 1.0))
        assert await anext(stream) == "["
        assert engine.asked["a"].deduced.objective == Objective("ttft", 1.0)
        again = session.stream("a")
        assert await anext(again) == "["
        await stream.aclose()
        await breathe()
        assert session.running == ("a.a",)
        engine.held["a"].set()
        assert "".join([piece async for piece in again]) == "a : ]"


@in_a_loop
async def test_an_answer_that_comes_after_all_is_kept_where_it_may_be() -> None:
    engine = EchoEngine(held="a", deaf="a")
    async with Session(engine) as session:
        session.submit(replace(CHAIN, outputs=()))
        reader = asyncio.ensure_future(session.get("a"))
        await breathe()
        reader.cancel()
        await breathe()
        assert session.variable("a").text == "[late]"


@in_a_loop
async def test_a_variable_is_set_from_outside_once() -> None:
    async with Session(EchoEngine()) as session:
        session.submit(Program(calls=(call("a", "tool"),), awaited=("tool", "other")))
        reader = asyncio.ensure_future(session.get("a"))
        await breathe()
        assert not reader.done()
        session.set("tool", "42")
        assert await reader == "[a 42: ]"
        with pytest.raises(ProgramError, match="it is set already"):
            session.set("tool", "43")
        with pytest.raises(ConfigError, match="not set from outside"):
            session.set("a", "x")
        with pytest.raises(ConfigError, match="no variable 'none'"):
            session.set("none", "x")
        session.fail("other", "the tool is gone")
        with pytest.raises(ProgramError, match="the tool is gone"):
            await session.get("other")


@in_a_loop
async def test_what_is_added_reads_what_is_there() -> None:
    engine = EchoEngine(held="b")
    async with Session(engine) as session:
        session.submit(CHAIN)
        await breathe()
        session.submit(Program(calls=(call("d", "a c"),), outputs=(WantedOutput("d"),)))
        with pytest.raises(ConfigError, match="two have the name a"):
            session.submit(Program(calls=(call("a"),)))
        with pytest.raises(ConfigError, match="nobody sets nothing"):
            session.submit(Program(calls=(call("x"), call("y", "nothing"))))
        engine.held["b"].set()
        found = await session.variable("d").get()
        assert found == "[d [a : ] [c [b [a : ]: ]: ]: ]"
        assert "x.x" not in session.graph.nodes
        assert engine.begun.count("a") == 1


def test_an_output_that_is_not_of_its_schema_fails_its_readers() -> None:
    program = Program(
        calls=(
            call("a", settings={"a": GenerationConfig(json_schema={"type": "object"})}),
            call("b", "a"),
        ),
        outputs=(WantedOutput("b"),),
    )
    found = asyncio.run(run_program(program, EchoEngine()))["b"]
    assert isinstance(found, Failure)
    assert (found.kind, found.origin) == ("output", "a.a")
    assert "it is no JSON" in found.what


def test_texts_are_bounded_one_by_one_and_together() -> None:
    limits = ProgramLimits(text_characters=12)
    found = asyncio.run(run_program(CHAIN, EchoEngine(), limits=limits))
    assert found["other"] == "[other : ]"
    assert isinstance(found["c"], Failure)
    assert (found["c"].origin, found["c"].kind) == ("c.c", "output")
    assert "at most 12" in found["c"].what

    async def work() -> None:
        async with Session(EchoEngine(), limits=ProgramLimits(all_characters=8)) as session:
            session.submit(CHAIN)
            assert await session.get("a") == "[a : ]"
            with pytest.raises(ProgramError, match="at most 8 characters"):
                await session.get("b")
            with pytest.raises(ConfigError, match="at most 8 characters"):
                session.submit(Program(values={"long": "xxx"}))
            session.submit(Program(values={"short": "x"}))

    asyncio.run(work())


class TalkingEngine:
    """Says more than it may, or something else than it returns."""

    def __init__(self, pieces: list[str], text: str) -> None:
        self._pieces, self._text = pieces, text

    async def generate(self, asked: AskedChain, say: Callable[[str], None]) -> str:
        for piece in self._pieces:
            say(piece)
            await asyncio.sleep(0)
        return self._text


@pytest.mark.parametrize(
    ("pieces", "text", "what"),
    [
        (["x"] * 20, "x" * 20, "at most 12 are taken"),
        (["x", "y"], "xz", "not the beginning"),
        ([], "\ud800", "half a character"),
    ],
)
def test_what_an_engine_may_not_say_fails_its_chain(
    pieces: list[str], text: str, what: str
) -> None:
    program = Program(calls=(call("a"),), outputs=(WantedOutput("a"),))
    limits = ProgramLimits(text_characters=12)
    found = asyncio.run(run_program(program, TalkingEngine(pieces, text), limits=limits))["a"]
    assert isinstance(found, Failure)
    assert what in found.what


@in_a_loop
async def test_closing_ends_everything_and_wakes_everybody() -> None:
    engine = EchoEngine(held="a other")
    session = Session(engine)
    session.submit(CHAIN)
    reader = asyncio.ensure_future(session.get("c"))
    await breathe()
    await session.close()
    with pytest.raises(ProgramError, match="the session was closed"):
        await reader
    assert (session.running, sorted(engine.cancelled)) == ((), ["a", "other"])
    with pytest.raises(ProgramError, match="the session is closed"):
        session.submit(Program())
    await session.close()


def test_a_chain_that_the_engine_itself_cancels_fails() -> None:
    class Dying:
        async def generate(self, asked: AskedChain, say: Callable[[str], None]) -> str:
            raise asyncio.CancelledError

    program = Program(calls=(call("a"),), outputs=(WantedOutput("a"),))
    found = asyncio.run(run_program(program, Dying()))["a"]
    assert found == Failure("call", "a.a", "the engine cancelled it")


@in_a_loop
async def test_asking_and_leaving_again_and_again_keeps_nothing() -> None:
    engine = EchoEngine(held="a")
    async with Session(engine, in_flight=1) as session:
        session.submit(Program(calls=(call("a"), call("b"))))
        first = asyncio.ensure_future(session.get("a"))
        await breathe()
        for _ in range(300):
            reader = asyncio.ensure_future(session.get("b"))
            await asyncio.sleep(0)
            reader.cancel()
            await asyncio.sleep(0)
        assert len(session.deduction.chains) == 1
        assert engine.begun == ["a"]
        engine.held["a"].set()
        assert await first == "[a : ]"


@in_a_loop
async def test_templates_that_share_less_than_they_could_are_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    template = "At {{now}}: " + "follow the rules of the house, " * 9 + "{{ad:output}}"

    async with Session(EchoEngine()) as session:
        session.submit(Program(values={"now": "noon"}))
        for name in ("a", "b"):
            session.submit(Program(calls=(SemanticCall(name, template, {"ad": name}),)))

    (record,) = caplog.records
    assert record.getMessage().startswith("call a, template, line 1: {{now}} changes from call")


def test_a_program_that_nobody_asks_anything_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing is asked for"):
        asyncio.run(run_program(replace(CHAIN, outputs=()), EchoEngine()))
    with pytest.raises(ConfigError, match="a variable is awaited"):
        asyncio.run(run_program(replace(CHAIN, awaited=("x",)), EchoEngine()))
    with pytest.raises(ConfigError, match="in_flight must be at least 1"):
        Session(EchoEngine(), in_flight=0)


def test_parrot_fault_9_models_adapters_and_settings_go_with_each_call() -> None:
    """There, a program had one model, and no schema, adapter or log-probabilities."""
    settings = GenerationConfig(logprobs=True, json_schema={"type": "array"}, max_tokens=7)
    program = Program(
        calls=(
            call("a", model="small", adapter="house", settings={"a": settings}),
            call("b", model="large"),
        ),
        outputs=(WantedOutput("a"), WantedOutput("b")),
    )
    engine = EchoEngine()
    asyncio.run(run_program(program, engine))
    chains = [engine.asked[one].chain for one in ("a", "b")]
    assert [(one.call.model, one.call.adapter) for one in chains] == [
        ("small", "house"),
        ("large", None),
    ]
    assert chains[0].settings == settings


T = TypeVar("T")
BROKEN = Failure("call", "writer.ad", "the engine broke")


def run(work: Callable[[], Awaitable[T]]) -> T:
    async def main() -> T:
        return await work()

    return asyncio.run(main())


def test_a_variable_is_set_once() -> None:
    variable = Variable("ad")
    assert (variable.state, variable.is_settled) == ("pending", False)
    with pytest.raises(ProgramError, match=r"no text yet \[variable ad\]"):
        _ = variable.text
    variable.set("Tea")
    assert (variable.state, variable.text, variable.said) == ("set", "Tea", "Tea")
    for again in (lambda: variable.set("x"), lambda: variable.fail(BROKEN)):
        with pytest.raises(ProgramError, match="it is set already"):
            again()
    with pytest.raises(ProgramError, match="it is set already"):
        variable.add("x")


def test_the_empty_text_is_a_text() -> None:
    variable = Variable("ad")
    variable.set("")
    assert (variable.state, variable.text) == ("set", "")


def test_a_failure_names_where_it_began() -> None:
    variable = Variable("short")
    variable.fail(BROKEN)
    assert variable.state == "failed"
    with pytest.raises(ProgramError) as caught:
        _ = variable.text
    assert str(caught.value) == "the engine broke [variable short, from writer.ad]"


def test_who_was_cancelled_is_told_from_who_lost_by_it() -> None:
    told = Failure("cancelled", "ad", "it was cancelled")
    own, other = Variable("ad"), Variable("short")
    own.fail(told)
    other.fail(told)
    assert (own.state, other.state) == ("cancelled", "failed")


def test_all_who_wait_are_woken_and_nobody_is_kept() -> None:
    async def work() -> list[str]:
        variable, made = Variable("ad"), weakref.WeakSet[asyncio.Future[None]]()
        loop = asyncio.get_running_loop()
        begin = loop.create_future

        def begun() -> asyncio.Future[None]:
            made.add(one := begin())
            return one

        loop.create_future = begun  # type: ignore[method-assign]
        waiting = [asyncio.ensure_future(variable.get()) for _ in range(3)]
        await breathe()
        assert len(made) == 3
        waiting.pop().cancel()
        await breathe()
        assert len(made) == 2
        variable.set("Tea")
        found = [await one for one in waiting]
        assert len(made) == 0
        return [*found, await variable.get()]

    assert run(work) == ["Tea"] * 3


@in_a_loop
async def test_who_waits_for_what_fails_gets_the_error() -> None:
    variable = Variable("ad")
    waiting = asyncio.ensure_future(variable.get())
    await breathe()
    variable.fail(BROKEN)
    with pytest.raises(ProgramError, match="the engine broke"):
        await waiting


@given(st.lists(st.text(max_size=3), max_size=6), st.text(max_size=3), st.integers(0, 6))
def test_a_stream_is_the_text_whenever_it_is_begun(
    pieces: list[str], rest: str, start: int
) -> None:
    async def work() -> str:
        variable = Variable("ad")
        reader = None
        for at, piece in enumerate([*pieces, None]):
            if at == min(start, len(pieces)):
                reader = asyncio.ensure_future(read(variable))
            await breathe()
            if piece is not None:
                variable.add(piece)
        variable.set("".join(pieces) + rest)
        assert variable.characters == len(variable.text)
        assert reader is not None
        return await reader

    async def read(variable: Variable) -> str:
        return "".join([piece async for piece in variable.stream()])

    assert run(work) == "".join(pieces) + rest


@in_a_loop
async def test_a_stream_comes_piece_by_piece_and_ends_with_the_error() -> None:
    variable = Variable("ad")
    stream = variable.stream()
    variable.add("Te")
    assert await anext(stream) == "Te"
    variable.add("a")
    variable.fail(BROKEN)
    with pytest.raises(ProgramError, match="the engine broke"):
        await anext(stream)


def test_a_text_that_was_not_streamed_so_is_refused() -> None:
    variable = Variable("ad")
    variable.add("Cof")
    with pytest.raises(ProgramError, match="not the beginning"):
        variable.set("Tea")
    assert variable.state == "pending"


@in_a_loop
async def test_what_was_said_may_be_taken_back_while_nobody_has_read_it() -> None:
    variable = Variable("ad")
    early, late = variable.stream(), variable.stream()
    variable.add("Cof")
    assert await anext(early) == "Cof"
    waiting = asyncio.ensure_future(anext(early))
    await breathe()
    variable.take_back()
    assert (variable.said, variable.characters) == ("", 0)
    with pytest.raises(ProgramError, match="begun anew"):
        await waiting
    variable.add("Tea")
    assert await anext(late) == "Tea"
    await late.aclose()


PROGRAM = Program(
    calls=(SemanticCall("a", "for {{x}}: {{y:output}}"),),
    values={"x": "tea"},
    outputs=(WantedOutput("y", THROUGHPUT),),
)


def test_a_chain_comes_with_its_prompt_and_what_is_wanted_of_it() -> None:
    engine = EchoEngine()
    runs: ChainEngine = engine
    assert asyncio.run(run_program(PROGRAM, runs)) == {"y": "[for tea: ]"}
    asked = engine.asked["a"]
    assert isinstance(asked, AskedChain)
    assert (asked.segments, asked.prompt) == (("for ", "tea", ": "), "for tea: ")
    assert asked.deduced == Deduced(THROUGHPUT, None, 1, 128)
