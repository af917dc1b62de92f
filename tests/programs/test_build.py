"""What is no graph is refused, with its place and what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.graph import ProgramLimits, build_graph, check_text
from adwright.programs.program import NativeStep, Program, SemanticCall, WantedOutput
from adwright.programs.steps import Join, Trim

WRITER = SemanticCall("writer", "Ad for {{product}}: {{ad:output}}")
GIVEN = {"product": "tea"}


def call(template: str, **further: Any) -> Program:
    return Program(calls=(SemanticCall("writer", template, **further),), values=GIVEN)


def schema(**parts: Any) -> dict[str, GenerationConfig]:
    return {"ad": GenerationConfig(json_schema=parts)}


@pytest.mark.parametrize(
    ("program", "what", "where", "hint"),
    [
        (
            Program(calls=(WRITER,)),
            "nobody sets product",
            "call writer, variable product",
            "give it in values",
        ),
        (
            Program(calls=(replace(WRITER, bindings={"product": "prodct"}),), values=GIVEN),
            "nobody sets prodct",
            "call writer",
            "did you mean product?",
        ),
        (
            Program(calls=(WRITER, replace(WRITER, name="other")), values=GIVEN),
            "it is set twice: writer.ad makes it, and other.ad makes it",
            "variable ad",
            "set once",
        ),
        (
            Program(calls=(WRITER,), values=GIVEN | {"ad": "x"}),
            "it is set twice: it is given, and writer.ad makes it",
            "variable ad",
            "set once",
        ),
        (
            Program(values=GIVEN, awaited=("product",)),
            "it is set twice: it is given, and it is awaited",
            "variable product",
            "set once",
        ),
        (Program(awaited=("a", "a")), "two have the name a", "variable a", "rename"),
        (
            Program(calls=(WRITER, WRITER), values=GIVEN),
            "two have the name writer",
            "call or step writer",
            "rename",
        ),
        (
            Program(calls=(replace(WRITER, name="a b"),), values=GIVEN),
            "'a b' cannot be the name",
            "call or step a b",
            "take a letter",
        ),
        (Program(values={"1": "x"}), "'1' cannot be the name", "variable 1", "take a letter"),
        (Program(values={"a": "\ud800"}), "half a character", "variable a", "UTF-8"),
        (call("{{x"), "is no placeholder", "call writer, template, line 1", "write {{name}}"),
        (call("{{ad:output}}"), "nothing stands before", "call writer", "begin the template"),
        (
            call("a {{product}} {{ad:output}}", bindings={"produkt": "x"}),
            "a binding for 'produkt'",
            "call writer",
            "did you mean product?",
        ),
        (
            call("a {{product}} {{ad:output}}", settings={"product": GenerationConfig()}),
            "a setting for 'product'",
            "call writer",
            "it has ad",
        ),
        (
            call("a {{ad:output}}", settings=schema(type="strin")),
            "the schema cannot be used",
            "call writer, output ad",
            "correct it",
        ),
        (
            call("a {{ad:output}}", settings={"ad": GenerationConfig(regex="a" * 200_000)}),
            "200000 bytes",
            "call writer, output ad",
            "smaller",
        ),
        (
            Program(steps=(NativeStep("s", Trim(), ("a", "b"), ("c",)),)),
            "takes one input, not 2",
            "step s",
            "change inputs",
        ),
        (
            Program(values=GIVEN, outputs=(WantedOutput("produkt"),)),
            "nobody sets produkt",
            "outputs.0",
            "did you mean product?",
        ),
        (
            call("a {{ad}} {{ad:output}}"),
            "they wait for each other: writer.ad -> writer.ad",
            "call writer",
            "break the ring",
        ),
    ],
)
def test_a_refusal_names_the_place_and_what_to_do(
    program: Program, what: str, where: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        build_graph(program)
    assert what in caught.value.what
    assert where in caught.value.where
    assert hint in caught.value.hint


def test_a_cycle_is_named_from_end_to_end() -> None:
    program = Program(
        calls=(
            SemanticCall("free", "x {{y:output}}"),
            SemanticCall("a", "{{c}} {{a:output}}"),
            SemanticCall("b", "{{a}} {{b:output}}"),
        ),
        steps=(
            NativeStep("s", Join(), ("b", "y"), ("c",)),
            NativeStep("e", Join(), ("c",), ("d",)),
        ),
    )
    with pytest.raises(ConfigError, match=r"a.a -> b.b -> s -> a.a|b.b -> s -> a.a -> b.b|s -> a"):
        build_graph(program)


LONG = Program(
    calls=tuple(
        SemanticCall(f"c{at}", f"{{{{x{at}}}}} {{{{x{at + 1}:output}}}}") for at in range(5)
    ),
    steps=tuple(NativeStep(f"s{at}", Join(), ("x0",), (f"y{at}",)) for at in range(5)),
    values={"x0": "t" * 400},
    awaited=("later",),
)


@pytest.mark.parametrize(
    ("name", "most", "where"),
    [
        ("calls", 5, "program"),
        ("steps", 5, "program"),
        ("nodes", 10, "program"),
        ("variables", 2, "program"),
        ("edges", 10, "program"),
        ("fan_out", 6, "variable x0"),
        ("depth", 5, "node c4.x5"),
        ("template_characters", 20, "call c0, template"),
        ("text_characters", 400, "variable x0"),
        ("context_tokens", 128 + 1 + 128, "chain c1.x2"),
        ("total_tokens", 101 + 4 * 129 + 5 * 128, "program"),
    ],
)
def test_every_limit_holds_and_no_more_than_that(name: str, most: int, where: str) -> None:
    assert build_graph(LONG, ProgramLimits(**{name: most}))
    with pytest.raises(ConfigError, match=rf"at most {most - 1:,} are taken") as caught:
        build_graph(LONG, ProgramLimits(**{name: most - 1}))
    assert caught.value.where == where


def test_a_text_is_checked_by_itself() -> None:
    check_text("a", "fine", ProgramLimits(text_characters=4))
    with pytest.raises(ConfigError, match="5 characters"):
        check_text("a", "wrong", ProgramLimits(text_characters=4))


def test_a_large_graph_is_built_in_a_moment() -> None:
    """Also one in which the last call has a thousand outputs, each behind the one before."""
    many = "".join(f" {{{{x{at}}}}} {{{{y{at}:output}}}}" for at in range(150))
    program = Program(
        calls=(
            SemanticCall("last", f"read{many}"),
            *(SemanticCall(f"c{at}", f"a {{{{x{at}:output}}}}") for at in range(900)),
        )
    )
    assert len(build_graph(program).nodes) == 1050
