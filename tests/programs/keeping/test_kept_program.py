from __future__ import annotations

import asyncio
import random
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, ProgramError
from adwright.programs.keeping.kept_chains import KeptChains
from adwright.programs.keeping.kept_program import KeptPart, KeptProgram, read_kept
from adwright.programs.keeping.program_log import ProgramLog
from adwright.programs.program import Program, SemanticCall, WantedOutput
from adwright.programs.runner import Session
from tests.support.programs.fake_engine import DrawnEngine
from tests.support.programs.fake_model import answer
from tests.support.programs.interpreter import Interpreter
from tests.support.programs.random_programs import Drawn, drawn_programs
from tests.support.programs.running import fits

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
