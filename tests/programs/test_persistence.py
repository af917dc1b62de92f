from __future__ import annotations

import asyncio
import json
import logging
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, ProgramError, ResourceError
from adwright.programs.persistence import (
    KeptChains,
    KeptFolder,
    KeptPart,
    KeptProgram,
    ProgramLog,
    read_kept,
)
from adwright.programs.program import Program, SemanticCall, WantedOutput
from adwright.programs.runner import Session
from tests.support.programs.asking import Said, asked_for
from tests.support.programs.echo_engine import EchoEngine
from tests.support.programs.fake_engine import DrawnEngine
from tests.support.programs.fake_model import answer
from tests.support.programs.interpreter import Interpreter
from tests.support.programs.random_programs import Drawn, drawn_programs
from tests.support.programs.running import fits


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


def test_what_is_cancelled_is_not_kept(path: Path, log: ProgramLog) -> None:
    async def main() -> None:
        chains = KeptChains(EchoEngine(held="c"), log)
        task = asyncio.create_task(chains.generate(asked_for("tea"), Said()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())
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


def test_one_process_has_it_at_a_time(tmp_path: Path) -> None:
    async def main() -> None:
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

    asyncio.run(main())


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
