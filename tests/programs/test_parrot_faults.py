"""The nine faults that reading Parrot's code showed, each of which ours has not.

One test each through the whole of it, from the program to the engines; tests of the parts name the
fault that they are about, too.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, ProgramError, ResourceError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.dispatch.dispatcher import ChainDispatcher
from adwright.programs.dispatch.terms import AdmissionBounds, DispatchTerms
from adwright.programs.persistence import (
    KeptChains,
    KeptFolder,
    KeptPart,
    KeptProgram,
    ProgramLog,
    read_kept,
)
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
from tests.support.looped import in_a_loop
from tests.support.programs.asking import Said, asked_for
from tests.support.programs.dispatching import QUICK, check_empty, dispatcher_of, with_terms
from tests.support.programs.echo_engine import EchoEngine
from tests.support.programs.fake_engine import DrawnEngine
from tests.support.programs.fake_model import answer
from tests.support.programs.interpreter import Interpreter
from tests.support.programs.random_programs import Drawn, drawn_programs
from tests.support.programs.running import fits
from tests.support.programs.scripted_engine import SALTED, ScriptedEngine
from tests.support.programs.virtual_loop import run_virtually


def test_each_thing_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    log = ProgramLog(path)
    log.begin("p", "shop", "detach", 5)
    log.part(Program(values={"a": "ä"}), "key", "digest")
    log.text("writer.ad", "x\ny")
    log.failure("legal.view", "no")
    log.said("set", "brief", "b")
    log.said("cancel", "ad")
    log.close()
    assert [json.loads(one) for one in path.read_text("utf-8").splitlines()] == [
        {"begin": ["p", "shop", "detach", 5]},
        {"part": {"values": {"a": "ä"}}, "key": "key", "digest": "digest"},
        {"text": ["writer.ad", "x\ny"]},
        {"error": ["legal.view", "no"]},
        {"set": ["brief", "b"]},
        {"cancel": ["ad", ""]},
    ]
    assert path.stat().st_mode & 0o777 == 0o600


def test_once_closed_it_takes_nothing_and_forgotten_it_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    log = ProgramLog(path)
    log.close()
    log.text("a", "b")
    assert not path.read_bytes()
    log.forget()
    log.forget()
    log.text("a", "b")
    assert not path.exists()


def test_a_place_where_nothing_can_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match=r"file.*choose another path"):
        ProgramLog(tmp_path / "file" / "p.jsonl")


NONE: Mapping[str, str] = {}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "p"


@pytest.fixture
def log(path: Path) -> Iterator[ProgramLog]:
    with closing(ProgramLog(path)) as log:
        yield log


def generated(chains: KeptChains) -> str:
    return asyncio.run(chains.generate(asked_for("tea"), Said()))


def test_a_text_is_kept(path: Path, log: ProgramLog) -> None:
    assert generated(KeptChains(EchoEngine(), log)) == "[tea]"
    assert path.read_text("utf-8") == '{"text":["c.o","[tea]"]}\n'


def test_an_error_is_kept_as_a_session_tells_it(path: Path, log: ProgramLog) -> None:
    with pytest.raises(OSError, match="c is broken"):
        generated(KeptChains(EchoEngine(broken="c"), log))
    assert path.read_text("utf-8") == '{"error":["c.o","OSError(\'c is broken\')"]}\n'


def test_what_has_run_is_not_run_again(log: ProgramLog) -> None:
    engine = EchoEngine()
    assert generated(KeptChains(engine, log, {"c.o": "kept"}, NONE)) == "kept"
    with pytest.raises(ProgramError) as told:
        generated(KeptChains(engine, log, NONE, {"c.o": "it was wrong [there] -> mend"}))
    assert str(told.value) == "it was wrong [there] -> mend"
    assert not engine.begun


@in_a_loop
async def test_what_is_cancelled_is_not_kept(path: Path, log: ProgramLog) -> None:
    chains = KeptChains(EchoEngine(held="c"), log)
    task = asyncio.create_task(chains.generate(asked_for("tea"), Said()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    assert not path.read_bytes()


def test_nobody_is_told_what_cannot_be_kept(
    log: ProgramLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(ResourceError, match="the disk is full"):
        generated(KeptChains(EchoEngine(), log))


PART = Program(
    calls=(SemanticCall("writer", "An ad for {{product}}: {{ad:output}}"),),
    awaited=("product",),
    outputs=(WantedOutput("ad"),),
)


def logged(path: Path) -> ProgramLog:
    log = ProgramLog(path)
    log.begin("p", "shop", "cancel", 5)
    log.part(PART, "key", "digest")
    return log


def test_a_program_is_read_as_it_was_written(tmp_path: Path) -> None:
    log = logged(tmp_path / "p")
    log.said("set", "product", "tea")
    log.text("writer.ad", "Drink tea.")
    log.failure("legal.view", "no")
    log.close()
    found = read_kept(tmp_path / "p")
    assert found is not None
    assert (found.program_id, found.tenant, found.on_disconnect, found.made) == (
        *("p", "shop", "cancel"),
        5,
    )
    assert found.events == (KeptPart(PART, "key", "digest"), ("set", "product", "tea"))
    assert (found.texts, found.errors) == ({"writer.ad": "Drink tea."}, {"legal.view": "no"})
    found.log.close()


def test_a_line_that_was_begun_is_left_out_and_the_next_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "p"
    log = logged(path)
    log.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"set": ["product", "t')
    found = read_kept(path)
    assert found is not None
    assert len(found.events) == 1
    found.log.said("fail", "product", "nobody came")
    found.log.close()
    again = read_kept(path)
    assert again is not None
    assert again.events[1:] == (("fail", "product", "nobody came"),)
    again.log.close()


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p"
    logged(path).close()
    path.write_bytes(path.read_bytes().replace(b'"writer"', b"7"))
    with pytest.raises(ConfigError, match="name"):
        read_kept(path)


async def lived(drawn: Drawn, log: ProgramLog, engine: DrawnEngine) -> frozenset[str]:
    """Submit all, say what comes from outside, and let everything end. Returns what was cancelled:
    not what a step had made by then."""
    async with Session(KeptChains(engine, log)) as session:
        session.submit(drawn.program)
        log.part(drawn.program, "", "")
        cancelled = {one for one in drawn.cancelled if not session.variable(one).is_settled}
        for name in cancelled:
            session.cancel(name)
            log.said("cancel", name)
        for name in drawn.outside.keys() - cancelled:
            text = drawn.outside[name]
            with suppress(ProgramError):
                if text is None:
                    session.fail(name, "nobody came")
                    log.said("fail", name, "nobody came")
                else:
                    session.set(name, text)
                    log.said("set", name, text)
        variables = [session.variable(one.variable) for one in drawn.program.outputs]
        await engine.drive(
            asyncio.gather(*(one.get() for one in variables), return_exceptions=True)
        )
    return frozenset(cancelled)


async def lived_again(drawn: Drawn, kept: KeptProgram, engine: DrawnEngine) -> None:
    """Go on from a kept program, and compare with what the program means."""
    meaning = Interpreter(drawn.program, answer, drawn.outside, drawn.cancelled).meaning
    async with Session(KeptChains(engine, kept.log, kept.texts, kept.errors)) as session:
        known = kept.replay(session, lambda part: session.submit(part.program))
        said = {one[1] for one in kept.events if isinstance(one, tuple)}
        for name in drawn.cancelled - said:
            session.cancel(name)
        for name in drawn.outside.keys() - drawn.cancelled - said:
            text = drawn.outside[name]
            session.fail(name, "nobody came") if text is None else session.set(name, text)
        getting = asyncio.gather(*map(session.get, known), return_exceptions=True)
        texts = await asyncio.wait_for(getting, 5)
        # Of a text that no schema admits, the failure.
        assert {one for one in texts if isinstance(one, str)} <= {*kept.texts.values()}
        variables = [session.variable(one.variable) for one in drawn.program.outputs]
        await engine.drive(
            asyncio.gather(*(one.get() for one in variables), return_exceptions=True)
        )
        for one in variables:
            assert fits(one.failure or one.text, meaning(one.name))
    assert not {*engine.begun} & {*kept.texts, *kept.errors}


@settings(max_examples=40)
@given(drawn_programs(), st.integers(0, 1 << 30))
def test_a_program_goes_on_from_wherever_it_was_cut_off(drawn: Drawn, seed: int) -> None:
    rng = random.Random(seed)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "p"
        log = ProgramLog(path)
        log.begin("p", "shop", "detach", 5)
        drawn = replace(drawn, cancelled=asyncio.run(lived(drawn, log, DrawnEngine(seed))))
        log.close()
        lines = path.read_bytes().splitlines(keepends=True)
        cut = b"".join(lines[: rng.randint(2, len(lines))])
        path.write_bytes(cut + b'{"text":["x'[: rng.randint(0, 11)])
        kept = read_kept(path)
        assert kept is not None
        with closing(kept.log):
            asyncio.run(lived_again(drawn, kept, DrawnEngine(seed + 1)))


@in_a_loop
async def test_one_process_has_it_at_a_time(tmp_path: Path) -> None:
    first, second = KeptFolder(tmp_path / "kept"), KeptFolder(tmp_path / "kept", patience=0.1)
    await first.open()
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700
    with pytest.raises(ResourceError, match="another service keeps its programs there"):
        await second.open()
    third = KeptFolder(tmp_path / "kept")
    waits = asyncio.create_task(third.open())
    await asyncio.sleep(0.15)
    assert not waits.done()
    first.close()
    first.close()
    await waits
    third.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match=r"file"):
        asyncio.run(KeptFolder(tmp_path / "file" / "kept").open())


def test_programs_come_back_the_oldest_first_and_what_is_none_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = KeptFolder(tmp_path)
    for name in ("b", "a", "broken"):
        log = folder.new(name, "shop", "detach", 5)
        log.part(Program(values={"a": "b"}), "", "")
        log.close()
    (tmp_path / "broken.jsonl").write_text("{}\n[\n", encoding="utf-8")
    folder.new("empty", "shop", "detach", 5).close()
    with caplog.at_level(logging.WARNING):
        found = list(folder.programs())
    assert [one.program_id for one in found] == ["b", "a"]
    assert "broken.jsonl" in caplog.text
    assert not (tmp_path / "empty.jsonl").exists()
    for one in found:
        one.log.close()


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
        for told, is_broken in (({}, False), (form, True)):
            call = SemanticCall("c", "say {{o:output}}", settings=told)
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
