from __future__ import annotations

import asyncio

from adwright.core.clock import FixedClock
from adwright.programs.program import NativeStep, Program, SemanticCall, WantedOutput
from adwright.programs.steps import Join
from adwright.service.programs.book import OpenProgram, ProgramBook, ProgramServiceConfig
from adwright.service.programs.routes import program_out, trace_out, variable_out
from tests.support.service.program_apps import ScriptedRouter

PROGRAM = Program(
    calls=(
        SemanticCall("bad", "a{{x:output}}"),
        SemanticCall("slow", "b{{y:output}}"),
        SemanticCall("last", "{{y}}{{z:output}}"),
        SemanticCall("unread", "c{{w:output}}"),
    ),
    steps=(
        NativeStep("both", Join(), ("x", "y"), ("xy",)),
        NativeStep("one", Join(), ("v",), ("u",)),
    ),
    values={"v": "word"},
    outputs=tuple(WantedOutput(one) for one in ("xy", "z", "u")),
)


def test_a_program_of_which_each_part_is_in_another_state() -> None:
    async def scenario() -> OpenProgram:
        router = ScriptedRouter(held="slow", broken="bad")
        book = ProgramBook(router, ProgramServiceConfig(), FixedClock(), ["m"])
        one, _ = book.open("t", PROGRAM)
        for _ in range(20):
            await asyncio.sleep(0)
        found = program_out(one)
        assert {each.id: each.state for each in found.nodes} == {
            "bad.x": "failed",
            "slow.y": "running",
            "last.z": "waiting",
            "unread.w": "idle",
            "both": "failed",
            "one": "done",
        }
        assert (found.state, found.values) == ("running", {"u": "word"})
        assert [(name, each.origin) for name, each in found.failures.items()] == [("xy", "bad.x")]
        kinds = {each.id: (each.kind, each.objective) for each in found.nodes}
        assert kinds["unread.w"] == ("chain", "")
        assert kinds["one"] == ("step", "latency")
        assert kinds["last.z"] == ("chain", "latency")
        assert variable_out(one.session.variable("y")).characters == 1
        assert trace_out(one).events[0] == {"time": 0.0, "kind": "submit", "chain": ""}
        router.let("slow")
        await asyncio.sleep(0.01)
        assert program_out(one).state == "failed"
        await book.close()
        return one

    assert asyncio.run(scenario()).state == "failed"
