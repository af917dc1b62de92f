"""From chains of sessions to chains of the scheduler."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.deduction import Deduced, PrefixSeed, text_prefixes
from adwright.programs.dispatch.ready import (
    AnswerLengths,
    ChainJob,
    ChainReader,
    PrefixTexts,
    ProgramOutlook,
    ProgramSeat,
    ProgramTrace,
    StreamConsumerError,
    TokenCounts,
    TraceEvent,
    TraceStore,
    emit_spans,
    further_settings,
)
from adwright.programs.dispatch.terms import DispatchTerms
from adwright.programs.graph import Chain, build_graph
from adwright.programs.program import LATENCY, Objective, Program, SemanticCall, WantedOutput
from adwright.programs.runner import AskedChain, Session
from adwright.programs.scheduling.scheduler import PlacementScore
from adwright.programs.steps import ConstantText
from tests.support.looped import in_a_loop
from tests.support.programs.asking import SEAT as asking_SEAT
from tests.support.programs.asking import Said, job_of
from tests.support.programs.echo_engine import EchoEngine
from tests.support.programs.scripted_engine import SALTED

SEAT = ProgramSeat("p", "shop", "shop", False, 7.0)


def words(text: str) -> int:
    return len(text.split())


def reader_of() -> ChainReader:
    return ChainReader(TokenCounts(words), model="small")


def asked_of(*segments: str, **further: object) -> AskedChain:
    call = SemanticCall("c", "t {{o:output}}", settings={"o": GenerationConfig(max_tokens=50)})
    call = replace(call, **further)  # type: ignore[arg-type]
    chain = Chain(call, "o", "o", (ConstantText("t"),), 0, 1)
    deduced = Deduced(Objective("ttft", 0.5), "edit.final", 3, 170)
    return AskedChain(chain, segments, deduced)


def test_a_chain_is_read_in_tokens_up_to_each_border() -> None:
    chain = reader_of().ready(asked_of("a b c", " ", "d e", "f"), SEAT, "c1")
    assert chain.prefix_tokens == (3, 5, 6), "a border behind no new token is none"
    assert len(set(chain.prefix)) == 3
    assert (chain.chain_id, chain.program_id, chain.tenant, chain.model) == (
        *("c1", "p", "shop", "small"),
    )
    assert (chain.group, chain.depth, chain.critical_tokens) == ("p/edit.final", 3, 170)
    assert (chain.objective, chain.arrived) == (Objective("ttft", 0.5), 7.0)
    assert chain.new_tokens == 50


def test_prompts_that_begin_alike_have_the_same_hashes_and_no_others_do() -> None:
    reader = reader_of()
    one = reader.ready(asked_of("rules", "a"), SEAT, "c1")
    other = reader.ready(asked_of("rules", "b"), replace(SEAT, program_id="q"), "c2")
    assert one.prefix[0] == other.prefix[0]
    assert one.prefix[1] != other.prefix[1]
    for seat, further in (
        (replace(SEAT, domain="other"), {}),
        (replace(SEAT, public=True), {}),
        (SEAT, {"model": "big"}),
        (SEAT, {"adapter": "house"}),
    ):
        apart = reader.ready(asked_of("rules", "a", **further), seat, "c3")
        assert not {*apart.prefix} & {*one.prefix}
    shared = [replace(SEAT, tenant=each, domain="all", public=True) for each in "ab"]
    first, second = (reader.ready(asked_of("rules"), each, "c") for each in shared)
    assert first.prefix == second.prefix


def test_a_prompt_without_a_token_is_one_of_its_own() -> None:
    reader = reader_of()
    one, other = (reader.ready(asked_of(""), SEAT, each) for each in ("c1", "c2"))
    assert one.prefix_tokens == (1,)
    assert one.prefix != other.prefix


def test_answers_are_expected_by_template_and_tenant() -> None:
    reader, asked = reader_of(), asked_of("a")
    reader.written(asked.chain, SEAT, 12)
    assert reader.ready(asked, SEAT, "c").new_tokens == 12
    assert reader.ready(asked, replace(SEAT, tenant="other"), "c").new_tokens == 50
    assert reader.expected(asked_of("a", template="u {{o:output}}").chain, SEAT) == 50


def test_the_text_up_to_a_border() -> None:
    reader, segments = reader_of(), ("a b c", " ", "d e", "", "f")
    found = [reader.beginning(segments, borders, SEAT) for borders in (1, 2, 3)]
    assert found == ["a b c", "a b c d e", "a b c d ef"]


def test_the_salt_names_nobody_and_is_that_of_the_domain() -> None:
    assert SEAT.salt == replace(SEAT, program_id="q", tenant="other").salt
    others = {replace(SEAT, domain="x").salt, replace(SEAT, public=True).salt, SEAT.salt}
    assert len(others) == 3
    assert "shop" not in SEAT.salt


SETTINGS = {"o": GenerationConfig(max_tokens=40)}
PROGRAM = Program(
    calls=(
        SemanticCall("a", "Write: {{what}} {{o:output}}", {"o": "ad"}, SETTINGS),
        SemanticCall("b", "Write: {{what}} {{ad}} {{o:output}}", {"o": "better"}, SETTINGS),
        SemanticCall("c", "Write: {{better}} {{o:output}}", {"o": "best"}, SETTINGS),
    ),
    values={"what": "tea"},
    outputs=(WantedOutput("best", LATENCY),),
)


def outlook_reader_of() -> ChainReader:
    return ChainReader(TokenCounts(len), model="small")


def hash_of(*segments: str) -> int:
    return text_prefixes(segments, len, PrefixSeed("shop", "small")).hashes[-1]


Look = Callable[[Session, EchoEngine, ProgramOutlook, ChainReader], None]


def looked(look: Look, held: str) -> None:
    """Look at the program while what is held runs."""

    async def work() -> None:
        engine = EchoEngine(held=held)
        async with Session(engine) as session:
            session.submit(PROGRAM)
            for _ in range(20):
                await asyncio.sleep(0)
            reader = outlook_reader_of()
            outlook = ProgramOutlook(session, asking_SEAT, reader)
            look(session, engine, outlook, reader)
            for gate in engine.held.values():
                gate.set()
            await session.variable("best").get()
            assert outlook.left() == (0, 0)

    asyncio.run(work())


def test_tokens_that_are_left_are_those_of_chains_that_are_not_over() -> None:
    found: list[tuple[int, int]] = []
    for held in ("a", "b", "c"):
        looked(lambda _, __, outlook, ___: found.append(outlook.left()), held)
    assert [writes for _, writes in found] == [120, 80, 40]
    assert found[0][0] > found[1][0] > found[2][0] > 0


def test_what_was_learned_of_answers_counts() -> None:
    def look(
        session: Session, engine: EchoEngine, outlook: ProgramOutlook, reader: ChainReader
    ) -> None:
        for name in "abc":
            chain = next(one for one in session.graph.chains if one.call.name == name)
            reader.written(chain, asking_SEAT, 10)
        assert outlook.left()[1] == 30

    looked(look, "a")


def test_prefixes_are_told_with_their_steps_and_taken_back_once_they_are_over() -> None:
    def look(
        session: Session, engine: EchoEngine, outlook: ProgramOutlook, reader: ChainReader
    ) -> None:
        texts = PrefixTexts(reader)
        asked: AskedChain = engine.asked["a"]
        job = job_of("a")
        job.asked = asked
        job.chain = reader.ready(asked, asking_SEAT, "c1")
        told = {one.prefix: one.steps for one in outlook.upcoming([job], texts)}
        assert told == {
            hash_of("Write: "): 0,
            hash_of("Write: ", "tea"): 0,
            hash_of("Write: ", "tea", " "): 0,
        }
        told = {one.prefix: one.steps for one in outlook.upcoming([], texts)}
        assert told[hash_of("Write: ")] == 1, "the nearest of those who read it"
        assert told[hash_of("Write: ", "tea")] == 1
        over = outlook.over()
        assert {one.steps for one in over} == {None}
        assert {one.prefix for one in over} == told.keys()
        assert outlook.over() == []
        assert texts.find(hash_of("Write: ", "tea")) == ("Write: tea", asking_SEAT.salt)

    looked(look, "a")


@in_a_loop
async def test_what_nobody_will_read_any_more_is_told_once() -> None:
    said: list[dict[int, int | None]] = []

    engine = EchoEngine(held="a b")
    async with Session(engine) as session:
        session.submit(PROGRAM)
        reader = outlook_reader_of()
        outlook = ProgramOutlook(session, asking_SEAT, reader)
        texts = PrefixTexts(reader)
        for name in ("a", "b"):
            for _ in range(20):
                await asyncio.sleep(0)
            told = outlook.upcoming([], texts)
            said.append({one.prefix: one.steps for one in told})
            engine.held[name].set()
        await session.variable("best").get()

    assert said[0][hash_of("Write: ", "tea")] == 1
    assert said[1][hash_of("Write: ", "tea")] is None
    assert said[1][hash_of("Write: ")] == 1


@in_a_loop
async def test_texts_that_take_long_to_count_are_left_for_later() -> None:
    program = Program(
        calls=(
            SemanticCall("a", "Write: {{o:output}}", {"o": "ad"}),
            SemanticCall("b", "Judge: {{long}} {{ad}} {{o:output}}", {"o": "best"}),
        ),
        values={"long": "x" * 30_000},
        outputs=(WantedOutput("best"),),
    )

    engine = EchoEngine(held="a")
    async with Session(engine) as session:
        session.submit(program)
        reader = outlook_reader_of()
        outlook = ProgramOutlook(session, asking_SEAT, reader)
        found = {one.prefix for one in outlook.upcoming([], PrefixTexts(reader))}
        assert found == {hash_of("Judge: ")}


def test_texts_of_prefixes_are_forgotten_with_the_last_program_that_has_them() -> None:
    texts = PrefixTexts(outlook_reader_of())
    chain = build_graph(PROGRAM).chains[0]
    other = replace(asking_SEAT, program_id="q")
    segments, hashes = ("Write: ", "tea"), (1, 2)
    for seat in (asking_SEAT, other, asking_SEAT):
        texts.learn(seat, chain, hashes, segments)
    assert texts.find(1) is None, "what a template begins with is never given up"
    texts.forget("p")
    assert texts.find(2) == ("Write: tea", asking_SEAT.salt)
    texts.forget("q")
    assert (texts.find(2), len(texts)) == (None, 0)
    texts.forget("nobody")


ANY = {"type": "object"}


def on_loop(work: Callable[[], None]) -> None:
    async def whole() -> None:
        work()

    asyncio.run(whole())


def broken_off(settings: GenerationConfig | None = None) -> tuple[ChainJob, Said]:
    """A job of which `abc` was said."""
    said = Said()
    job = job_of("tea", settings, said)
    assert job.begin(SALTED, len) is not None
    for piece in ("ab", "", "c"):
        job.add(piece)
    return job, said


def test_an_attempt_asks_what_the_chain_does() -> None:
    def work() -> None:
        request = job_of("tea", GenerationConfig(max_tokens=7)).begin(SALTED, len)
        assert request is not None
        assert (request.prompt, request.max_tokens) == ("tea", 7)
        assert (request.schema, request.settings) == (None, None)
        settings = GenerationConfig(json_schema=ANY, temperature=0.5)
        request = job_of("tea", settings).begin(SALTED, len)
        assert request is not None
        assert (request.schema, request.settings) == ('{"type": "object"}', settings)

    on_loop(work)
    assert further_settings(GenerationConfig(max_tokens=3, json_schema=ANY)) is None
    assert further_settings(GenerationConfig(stop=("x",))) is not None


def test_what_was_said_is_gone_on_with() -> None:
    def work() -> None:
        job, said = broken_off(GenerationConfig(max_tokens=10, min_tokens=5))
        request = job.begin(SALTED, len)
        assert request is not None
        assert (request.prompt, request.max_tokens, job.before) == ("teaabc", 7, 3)
        assert request.settings is not None
        assert (request.settings.min_tokens, request.settings.max_tokens) == (2, 7)
        job.add("d")
        assert (job.text, said.pieces, said.taken_back) == ("abcd", ["ab", "c", "d"], 0)

    on_loop(work)


def test_what_is_drawn_is_not_drawn_from_the_same_numbers_again() -> None:
    def work() -> None:
        job, _ = broken_off(GenerationConfig(temperature=1.0, seed=5))
        request = job.begin(SALTED, len)
        assert request is not None
        assert request.settings is not None
        assert request.settings.seed == 6

    on_loop(work)


@pytest.mark.parametrize(
    "settings", [GenerationConfig(json_schema=ANY), GenerationConfig(regex="x+")]
)
def test_a_form_of_the_whole_is_begun_anew(settings: GenerationConfig) -> None:
    def work() -> None:
        job, said = broken_off(settings)
        request = job.begin(SALTED, len)
        assert request is not None
        assert (request.prompt, request.max_tokens, job.before) == ("tea", settings.max_tokens, 0)
        assert (job.text, said.pieces, said.taken_back) == ("", [], 1)

    on_loop(work)


def test_so_is_what_a_chat_server_wrote() -> None:
    def work() -> None:
        job, said = broken_off()
        request = job.begin(replace(SALTED, continues=False), len)
        assert request is not None
        assert (request.prompt, said.taken_back) == ("tea", 1)

    on_loop(work)


def test_an_answer_that_is_as_long_as_it_may_be_is_whole() -> None:
    def work() -> None:
        job, _ = broken_off(GenerationConfig(max_tokens=3))
        assert job.begin(SALTED, len) is None
        assert job.text == "abc"

    on_loop(work)


def test_who_is_told_may_refuse_and_a_job_comes_to_one_thing() -> None:
    def work() -> None:
        job = job_of("tea", say=Said(most=1))
        job.add("a")
        with pytest.raises(StreamConsumerError) as caught:
            job.add("b")
        assert isinstance(caught.value.__cause__, OSError)
        assert job.text == "a"
        job.settle("a")
        job.settle(ValueError("late"))
        assert job.answer.result() == "a"
        job.note("set", 1.0, tokens=1)
        assert job.trace.events[0].chain == "c.o"

    on_loop(work)


def test_each_text_is_counted_once_in_each_domain() -> None:
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return len(text)

    counts = TokenCounts(count)
    assert [counts.of("tea", "a") for _ in range(3)] == [3, 3, 3]
    assert counted == ["tea"]
    assert counts.of("tea", "b") == 3
    assert counted == ["tea", "tea"], "whether another tenant has asked cannot be told by the time"


def test_domains_and_texts_are_told_apart_whatever_they_hold() -> None:
    counts = TokenCounts(len)
    assert (counts.of("bc", "a"), counts.of("c", "ab"), counts.of("abc", "")) == (2, 1, 3)


def test_so_many_counts_are_kept_and_those_used_last() -> None:
    counted: list[str] = []
    counts = TokenCounts(lambda text: counted.append(text) or 1, most=2)  # type: ignore[func-returns-value]
    for text in ("a", "b", "a", "c", "a", "b"):
        counts.of(text)
    assert counted == ["a", "b", "c", "b"]
    assert len(counts) == 2
    with pytest.raises(ConfigError, match="most must be at least 1"):
        TokenCounts(len, most=0)


def test_long_texts_are_counted_beside_the_event_loop() -> None:
    threads = set()

    def count(text: str) -> int:
        threads.add(threading.current_thread())
        return len(text)

    counts = TokenCounts(count)
    asyncio.run(counts.prepare(["short", "x" * 30_000], "d"))
    assert threads
    assert threading.current_thread() not in threads
    assert counts.of("x" * 30_000, "d") == 30_000
    assert threading.current_thread() not in threads
    assert counts.of("short", "d") == 5
    assert threading.current_thread() in threads


def test_answers_are_expected_to_be_as_long_as_those_before() -> None:
    lengths = AnswerLengths()
    assert lengths.expected(("t",), 100) == 100
    lengths.note(("t",), 10)
    lengths.note(("t",), 20)
    assert lengths.expected(("t",), 100) == 15
    assert lengths.expected(("t",), 8) == 8
    assert lengths.expected(("other",), 100) == 100
    lengths.note(("none",), 0)
    assert lengths.expected(("none",), 100) == 1


def test_lengths_follow_what_changes_and_are_bounded() -> None:
    lengths = AnswerLengths(most=2)
    for tokens in [10] * 100 + [50] * 100:
        lengths.note(("t",), tokens)
    assert 48 <= lengths.expected(("t",), 100) <= 50
    for name in "ab":
        lengths.note((name,), 5)
    assert lengths.expected(("t",), 100) == 100


def test_weights_are_positive_and_named() -> None:
    with pytest.raises(ConfigError, match="weights of shop must be above 0"):
        DispatchTerms(weights={"shop": 0.0})
    assert DispatchTerms(weights={"shop": 2.0}).weights == {"shop": 2.0}


SCORE = PlacementScore(0.1, 0.2, 0.3)


def test_events_come_in_order_and_say_where_each_chain_ran_last() -> None:
    trace = TraceStore().begin("p", "shop", 1000.0)
    trace.note(TraceEvent(0.0, "submit"))
    for engine in ("e0", "e1"):
        trace.note(TraceEvent(1.0, "placed", "a.o", engine, group="g", score=SCORE))
    assert trace.placed == {"a.o": "e1"}
    trace.note(TraceEvent(2.0, "over"))
    assert [one.kind for one in trace.events] == ["submit", "placed", "placed", "over"]


def test_an_event_tells_what_is_known_of_it() -> None:
    event = TraceEvent(1.0, "placed", "a.o", "e1", group="g", score=SCORE)
    assert json.loads(json.dumps(event.as_json())) == {
        "time": 1.0,
        "kind": "placed",
        "chain": "a.o",
        "engine": "e1",
        "group": "g",
        "score": {"prefill": 0.1, "queue": 0.2, "interference": 0.3},
    }
    assert TraceEvent(1.0, "first", "a.o", "e1", 0).as_json()["tokens"] == 0


def test_traces_are_bounded_in_events_and_in_programs() -> None:
    store = TraceStore(programs=2, events=3)
    trace = store.begin("p", "shop", 0.0)
    for at in range(5):
        trace.note(TraceEvent(float(at), "ready", f"c{at}"))
    assert [one.chain for one in trace.events] == ["c2", "c3", "c4"]
    assert trace.left_out == 2
    store.begin("q", "shop", 0.0)
    again = store.begin("p", "shop", 0.0)
    store.begin("r", "shop", 0.0)
    assert store.find("q") is None
    assert store.find("p") is again
    with pytest.raises(ConfigError, match="events must be at least 1"):
        TraceStore(events=0)


EVENTS = (
    TraceEvent(10.0, "submit"),
    TraceEvent(10.1, "ready", "a.o", tokens=30),
    TraceEvent(10.2, "placed", "a.o", "e0", group="g", score=PlacementScore(0.1, 0.2, 0.3)),
    TraceEvent(10.3, "ready", "b.o", tokens=5),
    TraceEvent(10.5, "set", "a.o", "e0", 12),
    TraceEvent(10.6, "failed", "b.o", why="it broke"),
    TraceEvent(11.0, "over"),
)


def trace_of(*events: TraceEvent) -> ProgramTrace:
    trace = ProgramTrace("p", "shop", 1_700_000_000.0, 100)
    for event in events:
        trace.note(event)
    return trace


def test_a_program_is_a_span_and_so_is_each_chain_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    api = pytest.importorskip("opentelemetry.trace")
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    exporter, provider = memory.InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    monkeypatch.setattr(api, "get_tracer", provider.get_tracer)
    assert emit_spans(trace_of(*EVENTS))
    first, second, root = exporter.get_finished_spans()
    assert (first.name, root.name) == ("chain", "program")
    assert root.attributes == {"adwright.program": "p", "adwright.tenant": "shop"}
    assert first.parent.span_id == second.parent.span_id == root.context.span_id
    assert root.start_time == 1_700_000_000 * 10**9
    assert root.end_time - root.start_time == pytest.approx(1e9)
    assert first.end_time - first.start_time == pytest.approx(0.4e9)
    assert [one.name for one in first.events] == ["ready", "placed", "set"]
    assert first.events[1].attributes["adwright.prefill_seconds"] == 0.1
    assert first.events[1].attributes["adwright.engine"] == "e0"
    assert first.status.is_unset
    assert second.status.description == "it broke"


def test_without_a_provider_or_the_package_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not emit_spans(trace_of())
    assert not emit_spans(trace_of(*EVENTS))
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    assert not emit_spans(trace_of(*EVENTS))
