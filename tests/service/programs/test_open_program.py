from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from adwright.core.errors import ConfigError, ProgramError
from adwright.programs.persistence import ProgramLog
from adwright.programs.program import Program, SemanticCall, WantedOutput
from adwright.programs.runner import Session
from adwright.service.programs.book import OpenProgram
from tests.support.service.program_apps import ScriptedRouter

PROGRAM = Program(
    calls=(
        SemanticCall("a", "{{given}} {{x:output}}"),
        SemanticCall("b", "{{other}} {{y:output}}"),
    ),
    awaited=("given", "other"),
    outputs=(WantedOutput("x"), WantedOutput("y")),
)


def opened(log: ProgramLog | None = None) -> OpenProgram:
    chains = ScriptedRouter().for_program("p", "t")
    session = Session(chains)
    session.submit(PROGRAM)
    return OpenProgram("p", "t", chains, session, "detach", 5, 0.0, 0.0, log)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("kept", [True, False])
def test_what_is_said_of_variables_is_kept_once(tmp_path: Path, kept: bool) -> None:
    path = tmp_path / "p"

    async def main() -> None:
        log = ProgramLog(path) if kept else None
        one = opened(log)
        assert (one.state, one.outputs) == ("running", ("x", "y"))
        one.set("given", "tea")
        with pytest.raises(ProgramError):
            one.set("given", "coffee")
        with pytest.raises(ConfigError):
            one.set("x", "tea")
        one.fail("other", "nobody came")
        await settle()
        assert one.state == "failed"
        # What has its text stays as it is, so there is nothing to keep.
        one.cancel("x")
        if log is not None:
            log.close()

    asyncio.run(main())
    told = path.read_text("utf-8") if kept else ""
    lines = ['{"set":["given","tea"]}', '{"fail":["other","nobody came"]}']
    assert told.splitlines() == (lines if kept else [])


def test_a_cancelled_variable_is_kept(tmp_path: Path) -> None:
    async def main() -> None:
        log = ProgramLog(tmp_path / "p")
        one = opened(log)
        one.cancel("y")
        one.set("given", "tea")
        await settle()
        assert (one.session.variable("x").text, one.state) == ("[tea ]", "failed")
        log.close()

    asyncio.run(main())
    assert '{"cancel":["y",""]}' in (tmp_path / "p").read_text("utf-8")
