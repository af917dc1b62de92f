from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from adwright.core.errors import ProgramError, ResourceError
from adwright.programs.keeping.kept_chains import KeptChains
from adwright.programs.keeping.program_log import ProgramLog
from tests.support.programs.asking import Said, asked_for
from tests.support.programs.echo_engine import EchoEngine

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


def test_nobody_is_told_what_cannot_be_kept() -> None:
    with (
        closing(ProgramLog(Path("/dev/full"))) as log,
        pytest.raises(ResourceError, match="the disk is full"),
    ):
        generated(KeptChains(EchoEngine(), log))
