"""What is left of a program, and what it will read again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.dispatch.ready import ChainReader, PrefixTexts, ProgramOutlook, TokenCounts
from adwright.programs.graph import build_graph
from adwright.programs.prefixes import PrefixSeed, text_prefixes
from adwright.programs.program import LATENCY, Program, SemanticCall, WantedOutput
from adwright.programs.runner import AskedChain, Session
from tests.support.programs.asking import SEAT, job_of
from tests.support.programs.echo_engine import EchoEngine

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


def reader_of() -> ChainReader:
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
            reader = reader_of()
            outlook = ProgramOutlook(session, SEAT, reader)
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
            reader.written(chain, SEAT, 10)
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
        job.chain = reader.ready(asked, SEAT, "c1")
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
        assert texts.find(hash_of("Write: ", "tea")) == ("Write: tea", SEAT.salt)

    looked(look, "a")


def test_what_nobody_will_read_any_more_is_told_once() -> None:
    said: list[dict[int, int | None]] = []

    async def work() -> None:
        engine = EchoEngine(held="a b")
        async with Session(engine) as session:
            session.submit(PROGRAM)
            reader = reader_of()
            outlook = ProgramOutlook(session, SEAT, reader)
            texts = PrefixTexts(reader)
            for name in ("a", "b"):
                for _ in range(20):
                    await asyncio.sleep(0)
                told = outlook.upcoming([], texts)
                said.append({one.prefix: one.steps for one in told})
                engine.held[name].set()
            await session.variable("best").get()

    asyncio.run(work())
    assert said[0][hash_of("Write: ", "tea")] == 1
    assert said[1][hash_of("Write: ", "tea")] is None
    assert said[1][hash_of("Write: ")] == 1


def test_texts_that_take_long_to_count_are_left_for_later() -> None:
    program = Program(
        calls=(
            SemanticCall("a", "Write: {{o:output}}", {"o": "ad"}),
            SemanticCall("b", "Judge: {{long}} {{ad}} {{o:output}}", {"o": "best"}),
        ),
        values={"long": "x" * 30_000},
        outputs=(WantedOutput("best"),),
    )

    async def work() -> None:
        engine = EchoEngine(held="a")
        async with Session(engine) as session:
            session.submit(program)
            reader = reader_of()
            outlook = ProgramOutlook(session, SEAT, reader)
            found = {one.prefix for one in outlook.upcoming([], PrefixTexts(reader))}
            assert found == {hash_of("Judge: ")}

    asyncio.run(work())


def test_texts_of_prefixes_are_forgotten_with_the_last_program_that_has_them() -> None:
    texts = PrefixTexts(reader_of())
    chain = build_graph(PROGRAM).chains[0]
    other = replace(SEAT, program_id="q")
    segments, hashes = ("Write: ", "tea"), (1, 2)
    for seat in (SEAT, other, SEAT):
        texts.learn(seat, chain, hashes, segments)
    assert texts.find(1) is None, "what a template begins with is never given up"
    texts.forget("p")
    assert texts.find(2) == ("Write: tea", SEAT.salt)
    texts.forget("q")
    assert (texts.find(2), len(texts)) == (None, 0)
    texts.forget("nobody")
