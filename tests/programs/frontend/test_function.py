"""Semantic functions: parameters and placeholders agree, and calling one adds a call."""

from __future__ import annotations

import asyncio

import pytest

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.frontend.flow import Flow, Input, Output, TextFuture, semantic_function
from adwright.programs.program import LATENCY, THROUGHPUT
from adwright.programs.runner import Session
from adwright.programs.steps import Numbered
from tests.support.programs.echo_engine import EchoEngine


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
