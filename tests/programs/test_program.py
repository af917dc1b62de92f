"""Programs as plain data: to and from JSON, and joined."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError
from adwright.programs.program import THROUGHPUT, NativeStep, Program, SemanticCall, WantedOutput
from adwright.programs.steps import Join
from tests.support.programs.random_programs import Drawn, drawn_programs


@settings(max_examples=40)
@given(drawn_programs())
def test_a_program_goes_through_json(drawn: Drawn) -> None:
    told = json.loads(json.dumps(to_jsonable(drawn.program)))
    assert from_jsonable(Program, told) == drawn.program


def test_what_has_a_default_may_be_left_out() -> None:
    told = {"calls": [{"name": "a", "template": "x {{y:output}}"}], "outputs": [{"variable": "y"}]}
    found = from_jsonable(Program, told)
    assert found == Program((SemanticCall("a", "x {{y:output}}"),), outputs=(WantedOutput("y"),))


@pytest.mark.parametrize(
    ("told", "where"),
    [
        ({"calls": [{"name": "a", "templat": "x"}]}, "calls.0.template"),
        ({"steps": [{"name": "s", "function": {"kind": "pyton"}}]}, "steps.0"),
        ({"values": {"a": 1}}, "values.a"),
        ({"outputs": [{"variable": "a", "objective": {"kind": "fast"}}]}, "objective.kind"),
        ({"calls": [{"name": "a", "template": "x", "settings": {"o": {"seed": "1"}}}]}, "o.seed"),
        ({"bytecode": "4wAAAA=="}, "bytecode"),
        ({"calls": [{"name": "a", "template": "x", "code": "4wAAAA=="}]}, "calls.0.code"),
        ({"calls": [7]}, "calls.0"),
    ],
)
def test_what_is_none_is_refused_with_its_place(told: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_jsonable(Program, told)
    assert where in str(caught.value)


def test_two_programs_are_joined() -> None:
    one = Program(
        calls=(SemanticCall("a", "x {{y:output}}"),),
        values={"k": "v"},
        outputs=(WantedOutput("y"),),
    )
    other = Program(
        steps=(NativeStep("s", Join(), ("y",), ("z",)),),
        awaited=("w",),
        outputs=(WantedOutput("y", THROUGHPUT), WantedOutput("z")),
    )
    assert one.joined(other) == Program(
        one.calls,
        other.steps,
        {"k": "v"},
        ("w",),
        (WantedOutput("y", THROUGHPUT), WantedOutput("z")),
    )
    assert one.joined(Program()) == Program().joined(one) == one


def test_a_placeholder_stands_for_the_variable_of_its_name_unless_bound() -> None:
    call = SemanticCall("a", "{{x}} {{y:output}}", {"y": "ad"})
    assert (call.variable("x"), call.variable("y")) == ("x", "ad")
