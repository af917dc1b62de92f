"""Limits: their values are checked, and tokens are counted at their worst."""

from __future__ import annotations

import pytest

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.graph import (
    ProgramLimits,
    about_tokens,
    build_graph,
    check_tokens,
    prompt_tokens,
    require_within,
)
from adwright.programs.program import NativeStep, Program, SemanticCall
from adwright.programs.steps import Join

PROGRAM = Program(
    calls=(
        SemanticCall(
            "a",
            "12345678{{given}}{{x:output}}1234{{later}}{{joined}}{{y:output}}",
            settings={"x": GenerationConfig(max_tokens=10), "y": GenerationConfig(max_tokens=20)},
        ),
    ),
    steps=(NativeStep("s", Join(), ("x", "given"), ("joined",)),),
    values={"given": "123456"},
    awaited=("later",),
)


def test_each_chain_reads_what_those_before_it_may_have_written() -> None:
    limits = ProgramLimits(awaited_tokens=1000)
    found = prompt_tokens(build_graph(PROGRAM), limits)
    first = 2 + 2
    assert found == {"a.x": first, "a.y": first + 10 + 1 + 1000 + (10 + 1 + 2 + 1)}


def test_tokens_are_bounded_one_by_one_and_together() -> None:
    graph = build_graph(PROGRAM)
    check_tokens(graph, ProgramLimits(awaited_tokens=10))
    with pytest.raises(ConfigError, match=r"59 tokens.*chain a.y"):
        check_tokens(graph, ProgramLimits(awaited_tokens=10, context_tokens=58))
    with pytest.raises(ConfigError, match=r"73 tokens.*program"):
        check_tokens(graph, ProgramLimits(awaited_tokens=10, total_tokens=72))


def test_what_doubles_with_each_step_is_only_a_large_number() -> None:
    steps = [NativeStep("s0", Join(), ("x", "x"), ("y0",))]
    steps += [
        NativeStep(f"s{at}", Join(), (f"y{at - 1}", f"y{at - 1}"), (f"y{at}",))
        for at in range(1, 150)
    ]
    program = Program(
        calls=(SemanticCall("a", "{{y149}} {{z:output}}"),),
        steps=tuple(steps),
        values={"x": "text"},
    )
    with pytest.raises(ConfigError, match="tokens to read and write"):
        build_graph(program)


@pytest.mark.parametrize("name", ["calls", "depth", "total_tokens"])
def test_a_limit_of_nothing_is_none(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be at least 1"):
        ProgramLimits(**{name: 0})


def test_what_is_within_passes() -> None:
    require_within("calls", 3, 3)
    with pytest.raises(ConfigError, match=r"it has 4 calls, at most 3 are taken \[program\]"):
        require_within("calls", 4, 3)


def test_a_token_is_about_four_characters() -> None:
    assert [about_tokens("x" * n) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]
