"""Flows: free names, texts and futures, and what is given to the runtime when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from adwright.core.errors import ConfigError
from adwright.programs.frontend.flow import Flow
from adwright.programs.graph import build_graph
from adwright.programs.program import LATENCY, THROUGHPUT, Objective, Program, SemanticCall
from adwright.programs.runner import Session
from adwright.programs.steps import Join, TextLines
from tests.support.programs.echo_engine import EchoEngine

CALL = SemanticCall("ask", "Ask {{x}}: {{y:output}}")


class Recorder:
    """A runtime that writes down what it is asked."""

    def __init__(self) -> None:
        self.submitted: list[Program] = []
        self.told: list[tuple[str, str]] = []

    def submit(self, program: Program) -> None:
        self.submitted.append(program)

    def set(self, name: str, text: str) -> None:
        self.told.append((name, text))

    async def get(self, name: str, objective: Objective = LATENCY) -> str:
        self.told.append((name, str(objective)))
        return name

    async def stream(self, name: str, objective: Objective = LATENCY) -> AsyncIterator[str]:
        self.told.append((name, str(objective)))
        yield name


def test_names_are_free_ones() -> None:
    flow = Flow(Recorder())
    names = [flow.value("t", name).name for name in ("a", "a_2", "a", "a", "b", "a_2")]
    assert names == ["a", "a_2", "a_3", "a_4", "b", "a_2_2"]
    long = [flow.value("t", "n" * 90).name for _ in range(2)]
    assert build_graph(flow.program).variables == (*names, *long)


def test_a_call_is_bound_to_texts_and_futures() -> None:
    flow = Flow(Recorder())
    (one,) = flow.call(CALL, {"x": "text"}, ("y",))
    (two,) = flow.call(CALL, {"x": one}, ("y",))
    joined, *_ = flow.step(Join(), [one, two, "end"])
    lines = flow.step(TextLines(), [joined], outputs=2)
    assert flow.program.values == {"ask_x": "text", "join_text": "end"}
    assert [call.bindings for call in flow.program.calls] == [
        {"x": "ask_x", "y": "y"},
        {"x": "y", "y": "y_2"},
    ]
    assert flow.program.steps[0].inputs == ("y", "y_2", "join_text")
    assert [one.name for one in lines] == ["lines_made", "lines_made_2"]
    assert build_graph(flow.program)


def test_all_that_was_added_is_submitted_once_with_what_is_asked_for() -> None:
    async def work() -> None:
        runtime = Recorder()
        flow = Flow(runtime)
        (one,) = flow.call(CALL, {"x": "text"}, ("y",))
        one.want(THROUGHPUT)
        assert runtime.submitted == []
        assert await one.get(Objective("ttft", 1.0)) == "y"
        assert [piece async for piece in one.stream()] == ["y"]
        tool = flow.awaited("tool")
        tool.set("42")
        (first, second) = runtime.submitted
        assert first.joined(second) == flow.program
        assert (first.outputs[0].objective, second.awaited) == (THROUGHPUT, ("tool",))
        assert runtime.told == [("y", "ttft 1 s"), ("y", "latency"), ("tool", "42")]

    asyncio.run(work())


def test_a_future_of_another_flow_is_refused() -> None:
    one, other = Flow(Recorder()), Flow(Recorder())
    with pytest.raises(ConfigError, match="belongs to another flow"):
        one.call(CALL, {"x": other.value("t")}, ("y",))


def test_a_session_is_a_runtime() -> None:
    async def work() -> None:
        async with Session(EchoEngine()) as session:
            flow = Flow(session)
            tool = flow.awaited("tool")
            (answer,) = flow.call(CALL, {"x": tool}, ("y",))
            reader = asyncio.ensure_future(answer.get())
            await asyncio.sleep(0)
            tool.set("42")
            assert await reader == "[Ask 42: ]"
            assert "".join([piece async for piece in answer.stream()]) == "[Ask 42: ]"

    asyncio.run(work())
