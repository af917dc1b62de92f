from __future__ import annotations

import pytest

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.frontend.explain import explain
from adwright.programs.frontend.predicted import predict_placement
from adwright.programs.program import LATENCY, NativeStep, Program, SemanticCall, WantedOutput
from adwright.programs.steps import Join


def team(variants: int, rules: str = "") -> Program:
    """Several writers whose texts are joined, an editor who reads them, and one nobody needs."""
    settings = {"ad": GenerationConfig(max_tokens=200)}
    names = tuple(f"ad{n}" for n in range(variants))
    writers = tuple(
        SemanticCall(one, f"{rules}{one}: {{{{ad:output}}}}", {"ad": one}, settings)
        for one in names
    )
    editor = SemanticCall("editor", "{{all}} {{word}} {{best:output}}")
    idle = SemanticCall("idle", "a{{b:output}}")
    return Program(
        calls=(*writers, editor, idle),
        steps=(NativeStep("join", Join(), names, ("all",)),),
        awaited=("word",),
        outputs=(WantedOutput("best", LATENCY),),
    )


def test_each_chain_that_is_needed_has_an_engine() -> None:
    program = team(3)
    found = predict_placement(program)
    assert found == dict.fromkeys(["ad0.ad", "ad1.ad", "ad2.ad", "editor.best"], "e0")
    lines = {one.node_id: one.predicted for one in explain(program, predicted=found).nodes}
    assert lines == {**found, "join": "", "idle.b": ""}


def test_a_large_group_is_spread_and_the_same_each_time() -> None:
    program = team(24)
    found = predict_placement(program, engines=3)
    assert {*found.values()} == {"e0", "e1", "e2"}
    assert predict_placement(program, engines=3) == found


def test_bounds() -> None:
    assert predict_placement(Program(calls=(SemanticCall("a", "b{{c:output}}"),))) == {}
    with pytest.raises(ConfigError):
        predict_placement(team(1), engines=0)
    empty = Program(
        values={"e": ""},
        calls=(SemanticCall("a", "{{e}}{{c:output}}"),),
        outputs=(WantedOutput("c"),),
    )
    assert predict_placement(empty) == {"a.c": "e0"}
