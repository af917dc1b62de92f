"""Flows: free names, texts and futures, and what is given to the runtime when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.frontend.flow import Flow, Input, Output, TextFuture, semantic_function
from adwright.programs.graph import build_graph
from adwright.programs.program import LATENCY, THROUGHPUT, Objective, Program, SemanticCall
from adwright.programs.runner import Session
from adwright.programs.steps import Join, Numbered, TextLines
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


@semantic_function(settings={"ad": GenerationConfig(max_tokens=60)}, model="small", adapter="house")
def write_ad(product: Input, tone: Input, ad: Output) -> None:
    """Write an ad for {{product}}.
    Be {{tone}}: {{ad:output}}
    """


@semantic_function()
def judge(ads: Input, best: Output, why: Output) -> None:
    """Of {{ads}} the best is {{best:output}}, because {{why:output}}"""


def flow_of(engine: EchoEngine) -> Flow:
    return Flow(Session(engine))


def test_a_docstring_is_the_template_of_a_call() -> None:
    call = write_ad.call
    assert call.template == "Write an ad for {{product}}.\nBe {{tone}}: {{ad:output}}"
    assert (call.name, call.model, call.adapter) == ("write_ad", "small", "house")
    assert call.settings["ad"].max_tokens == 60
    assert (write_ad.inputs, write_ad.outputs) == (("product", "tone"), ("ad",))


def test_calling_runs_nothing_and_get_runs_what_is_needed() -> None:
    async def work() -> None:
        engine = EchoEngine()
        flow = flow_of(engine)
        product = flow.value("tea")
        ads = [write_ad(flow, product, tone=tone) for tone in ("warm", "bold")]
        (listed,) = flow.step(Numbered(), ads)
        best, why = judge(flow, listed)
        idle = write_ad(flow, "milk", "dry")
        assert engine.begun == []
        first, second = (f"[Write an ad for tea.\nBe {tone}: ]" for tone in ("warm", "bold"))
        told = f"Of 1. {first}\n2. {second} the best is "
        assert await best.get(THROUGHPUT) == f"[{told}]"
        assert await why.get() == f"[{told}[{told}], because ]"
        assert engine.begun == ["write_ad", "write_ad_2", "judge", "judge"]
        assert engine.asked["write_ad"].deduced.objective == THROUGHPUT
        assert engine.asked["judge"].deduced.objective == LATENCY
        assert isinstance(idle, TextFuture)

    asyncio.run(work())


def test_parrot_fault_7_no_code_goes_to_the_runtime() -> None:
    """The body is never run, and the program is plain data."""

    @semantic_function()
    def loud(x: Input, y: Output) -> None:
        """Say {{x}}: {{y:output}}"""
        raise AssertionError("the body is run")

    flow = flow_of(EchoEngine())
    loud(flow, "it")
    (call,) = flow.program.calls
    assert call.template == "Say {{x}}: {{y:output}}"


@pytest.mark.parametrize(
    ("texts", "named", "what"),
    [
        (("a",), {}, "tone is missing"),
        (("a", "b", "c"), {}, "it takes 2 inputs, not 3"),
        (("a",), {"product": "b", "tone": "c"}, "product cannot be given here"),
        (("a", "b"), {"ad": "c"}, "ad cannot be given here"),
    ],
)
def test_a_call_with_other_inputs_is_refused(
    texts: tuple[str, ...], named: dict[str, str], what: str
) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        write_ad(flow_of(EchoEngine()), *texts, **named)
    assert (caught.value.where, caught.value.hint) == (
        "write_ad()",
        "its inputs are product, tone",
    )


def test_parameters_and_placeholders_must_agree() -> None:
    def missing(x: Input, z: Input, y: Output) -> None:
        """{{x}} {{y:output}}"""

    def unknown(x: Input, y: Output) -> None:
        """{{x}} {{w}} {{y:output}}"""

    def swapped(x: Output, y: Output) -> None:
        """{{x}} {{y:output}}"""

    def untyped(x: str, y: Output) -> None:
        """{{x}} {{y:output}}"""

    def bare(x: Input) -> None:
        pass

    for function, what in (
        (missing, "the parameter z stands nowhere"),
        (unknown, "the placeholder w is no parameter"),
        (swapped, "the placeholder x is no parameter"),
        (untyped, "the parameter x is neither Input nor Output"),
        (bare, "the template has no output"),
    ):
        with pytest.raises(ConfigError, match=what):
            semantic_function()(function)
