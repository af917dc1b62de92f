"""Native steps: what each does, what it refuses, and that all are pure and bounded."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.programs.program import (
    LATENCY,
    THROUGHPUT,
    NativeStep,
    Objective,
    Program,
    SemanticCall,
    WantedOutput,
    strictest,
)
from adwright.programs.steps import (
    ConstantText,
    DistinctLines,
    FirstThat,
    Join,
    JsonField,
    JsonItems,
    Majority,
    Numbered,
    OutputSchema,
    Slot,
    StepFunction,
    Template,
    TextLines,
    Trim,
    check_arity,
    read_json,
    run_step,
)
from tests.support.programs.random_programs import Drawn, drawn_programs

SHORT = FirstThat({"type": "string", "maxLength": 5})
OBJECT = FirstThat({"type": "object", "required": ["a"]}, parse=True)


@pytest.mark.parametrize(
    ("function", "texts", "expected"),
    [
        (JsonField(("a",)), ['{"a": "x y"}'], ["x y"]),
        (JsonField(("a", 1)), ['{"a": [1, {"b": "é"}]}'], ['{"b":"é"}']),
        (JsonField(("a",)), ['{"a": null}'], ["null"]),
        (JsonItems(), ['["a", 2, ["b"]]'], ["a", "2"]),
        (TextLines(), [" 1. one \n\n- two\nthree"], ["one", "two"]),
        (TextLines(unmarked=False), ["1. one\n* two"], ["1. one", "* two"]),
        (TextLines(), ["100% wool\n-5 degrees"], ["100% wool", "-5 degrees"]),
        (Join(), ["a", "b", "c"], ["a\nb\nc"]),
        (Join(" / "), ["a"], ["a"]),
        (SHORT, ["too long", "short", "tiny"], ["short"]),
        (OBJECT, ["{}", "no", '{"a": 1}'], ['{"a": 1}']),
        (DistinctLines(), ["Red tea\nblue", "red  TEA \n\ngreen"], ["Red tea\nblue\ngreen"]),
        (Numbered(), ["x", "y"], ["1. x\n2. y"]),
        (Numbered("; "), ["x", "y"], ["1. x; 2. y"]),
        (Majority(), ["Yes.", "no", "no ", "yes."], ["Yes."]),
        (Majority(), ["a", "B b", "b  B"], ["B b"]),
        (Trim(), ['  "Tea!" '], ["Tea!"]),
        (Trim(), ["„Tee“"], ["Tee"]),
        (Trim(quoted=False), [' "Tea!" '], ['"Tea!"']),
        (Trim(characters=8), ["fresh green tea"], ["fresh"]),
        (Trim(characters=11), ["fresh green tea"], ["fresh green"]),
        (Trim(characters=12), ["fresh green tea"], ["fresh green"]),
        (Trim(characters=3), ["unbroken"], ["unb"]),
        (Trim(characters=0), [" "], [""]),
    ],
)
def test_what_a_step_does(function: StepFunction, texts: list[str], expected: list[str]) -> None:
    check_arity(function, len(texts), len(expected), where="step s")
    assert run_step(function, texts, len(expected)) == tuple(expected)


@pytest.mark.parametrize(
    ("function", "text", "outputs", "what"),
    [
        (JsonField(("a",)), "no", 1, "it is no JSON.*in 'no'"),
        (JsonField(("a", "b")), '{"a": {"c": 1}}', 1, r"nothing at \['a'\]\['b'\]"),
        (JsonField(("a", 2)), '{"a": [1]}', 1, r"nothing at \['a'\]\[2\]"),
        (JsonField(("a", -1)), '{"a": [1]}', 1, "nothing at"),
        (JsonField(("a",)), '{"a": "\\ud800"}', 1, "half a character"),
        (JsonItems(), "{}", 1, "no JSON list"),
        (JsonItems(), "[1]", 2, "there are 1 items, and 2 outputs"),
        (TextLines(), "a\n\n", 2, "there are 1 lines with text, and 2 outputs"),
        (SHORT, "much too long", 1, "none of 1 texts fits; the last"),
    ],
)
def test_texts_that_do_not_fit_are_an_error(
    function: StepFunction, text: str, outputs: int, what: str
) -> None:
    with pytest.raises(ValueInvalidError, match=what):
        run_step(function, [text], outputs)


@pytest.mark.parametrize(
    ("function", "inputs", "outputs", "what"),
    [
        (Trim(), 2, 1, "takes one input, not 2"),
        (Join(), 0, 1, "takes at least one input, not 0"),
        (Join(), 2, 2, "gives one output, not 2"),
        (JsonItems(), 1, 0, "gives at least one output, not 0"),
        (FirstThat({"type": "strin"}), 1, 1, "the schema cannot be used"),
    ],
)
def test_numbers_of_texts_are_checked(
    function: StepFunction, inputs: int, outputs: int, what: str
) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        check_arity(function, inputs, outputs, where="step s")
    assert caught.value.where == "step s"


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="more than 1000"):
        Join("x" * 1001)


@dataclass(frozen=True)
class Held:
    """A config with a step in it."""

    function: StepFunction


ALL: list[Any] = [
    JsonField(("a", 1)),
    JsonItems(),
    TextLines(),
    Join(),
    SHORT,
    DistinctLines(),
    Numbered(),
    Majority(),
    Trim(),
]


def test_every_step_goes_through_json() -> None:
    assert {type(one) for one in ALL} == set(get_args(get_args(StepFunction)[0]))
    for function in ALL:
        told = json.loads(json.dumps(to_jsonable(Held(function))))
        assert from_jsonable(Held, told) == Held(function)


@pytest.mark.parametrize(
    "told",
    [
        {"kind": "python", "code": "4wAAAA=="},
        {"kind": "join", "code": "4wAAAA=="},
        {"kind": "eval"},
        {},
    ],
)
def test_parrot_fault_7_nothing_but_what_is_listed_can_be_asked_for(told: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"tag|unknown key|discriminator") as caught:
        from_jsonable(Held, {"function": told})
    assert "function" in caught.value.where  # there, clients' byte code was run in the server


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5), st.integers(1, 3))
def test_a_step_is_pure_and_makes_little_more_than_it_is_given(
    texts: list[str], outputs: int
) -> None:
    for function in ALL:
        is_many = isinstance(function, JsonItems | TextLines)
        takes_one = isinstance(function, JsonField | JsonItems | TextLines | Trim)
        given = texts[:1] if takes_one else texts
        try:
            found = run_step(function, given, outputs if is_many else 1)
        except ValueInvalidError:
            continue
        assert found == run_step(function, given, len(found))
        assert sum(map(len, found)) <= sum(map(len, given)) + 5 * len(given)


@given(st.lists(st.sampled_from(["a", "A ", "b", "b b", ""]), min_size=1, max_size=9))
def test_majority_counts_as_one_counts_by_hand(texts: list[str]) -> None:
    said = [" ".join(one.lower().split()) for one in texts]
    most = max(Counter(said).values())
    expected = next(text for text, one in zip(texts, said, strict=True) if said.count(one) == most)
    assert run_step(Majority(), texts, 1) == (expected,)


def test_a_template_is_read_piece_by_piece() -> None:
    found = Template.parse("An ad for {{ product }}: {{head:output}}\nBody {{body:output}} end")
    assert found.pieces == (
        ConstantText("An ad for "),
        Slot("product"),
        ConstantText(": "),
        Slot("head", is_output=True),
        ConstantText("\nBody "),
        Slot("body", is_output=True),
        ConstantText(" end"),
    )
    assert (found.inputs, found.outputs) == (("product",), ("head", "body"))


def test_braces_stand_for_themselves_where_they_open_no_placeholder() -> None:
    found = Template.parse('{"a": {"b": 1}} {{{{x}} {{{x}}} {{y:output}}')
    assert found.pieces == (
        ConstantText('{"a": {"b": 1}} {{x}} {'),
        Slot("x"),
        ConstantText("} "),
        Slot("y", is_output=True),
    )


def test_an_output_that_is_repeated_later_is_no_input() -> None:
    assert Template.parse("{{a:output}} again {{a}} {{b:output}}").inputs == ()
    assert Template.parse("{{a}} then {{a:output}}").inputs == ("a",)


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("fine\nsee {{1x}} {{y:output}}", "'{{1x}} {{y:output}}' is no placeholder", "line 2"),
        ("{{x:out}}", "'{{x:out}}' is no placeholder", "line 1"),
        ("{{x", "'{{x' is no placeholder", "line 1"),
        ("{{}}", "'{{}}' is no placeholder", "line 1"),
        (f"{{{{{'x' * 65}}}}}", "is no placeholder", "line 1"),
        ("{{x:output}} {{x:output}}", "the output x stands twice", "template"),
        ("{{x}}", "the template has no output", "template"),
        ("", "the template has no output", "template"),
    ],
)
def test_what_is_no_template_is_refused_with_its_line(text: str, what: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Template.parse(text)
    assert what in caught.value.what
    assert line in caught.value.where
    assert caught.value.hint


@given(st.text(alphabet="{}ab:output \n", max_size=60))
def test_any_text_is_read_whole_or_refused(text: str) -> None:
    try:
        found = Template.parse(text + "{{last:output}}")
    except ConfigError:
        return
    written = "".join(
        one.text.replace("{{", "{{{{")
        if isinstance(one, ConstantText)
        else "{{" + one.name + (":output" if one.is_output else "") + "}}"
        for one in found.pieces
    )
    assert Template.parse(written) == found


def test_changing_text_before_constant_text_is_reported() -> None:
    rules = "Follow the rules of the house. " * 10
    text = f"Now: {{{{current_time}}}}\n{rules}{{{{product}}}} {{{{ad:output}}}}"
    (found,) = Template.parse(text).misplaced()
    assert (found.what, found.line) == ("{{current_time}}", 1)
    assert found.characters == len("\n" + rules + " ")
    assert "move it behind" in str(found)
    behind = f"{rules}{{{{product}}}} {{{{current_time}}}} {{{{ad:output}}}}"
    assert Template.parse(behind).misplaced() == ()


def test_the_caller_says_what_else_changes() -> None:
    template = Template.parse("{{shopper}}" + "x" * 100 + "{{ad:output}}")
    assert template.misplaced() == ()
    (found,) = template.misplaced(frozenset({"shopper"}))
    assert found.characters == 100


@pytest.mark.parametrize("name", ["now", "requestId", "order-id", "session_uuid", "TIMESTAMP"])
def test_names_that_say_that_they_change(name: str) -> None:
    assert Template.parse(f"{{{{{name}}}}}{'x' * 100}{{{{y:output}}}}").misplaced()


@pytest.mark.parametrize("name", ["idea", "timeless", "updated", "video"])
def test_names_that_only_look_so(name: str) -> None:
    assert not Template.parse(f"{{{{{name}}}}}{'x' * 100}{{{{y:output}}}}").misplaced()


@pytest.mark.parametrize(
    "written", ["2026-11-27", "21:35:26", "0f8fad5b-d9cb-469f-a165-70867728950e"]
)
def test_what_was_formatted_into_the_constant_text_is_reported(written: str) -> None:
    (found,) = Template.parse(f"a\nToday is {written}. {'x' * 100}{{{{y:output}}}}").misplaced()
    assert (found.what, found.line) == (repr(written), 2)


def test_text_that_no_output_follows_is_not_worth_a_word() -> None:
    assert not Template.parse(f"{{{{y:output}}}}{{{{now}}}}{'x' * 100}").misplaced()
    assert not Template.parse(f"{{{{now}}}}{{{{y:output}}}}{'x' * 100}").misplaced()


def test_a_long_template_is_read_in_linear_time() -> None:
    found = Template.parse("{{now}} x " * 20_000 + "{{y:output}}")
    assert len(found.misplaced()) > 19_000


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


STRICTEST_FIRST = [
    Objective("deadline", 1.0),
    Objective("deadline", 2.0),
    Objective("ttft", 0.5),
    Objective("tpot", 0.1),
    LATENCY,
    THROUGHPUT,
]


def test_the_strictest_wins_whichever_comes_first() -> None:
    for one, other in combinations(STRICTEST_FIRST, 2):
        assert strictest([one, other]) == strictest([other, one]) == one


def test_parrot_fault_2_every_kind_is_real_and_goes_through_json() -> None:
    """The code of Parrot parses times to and between tokens, and raises on them later."""
    for one in STRICTEST_FIRST:
        assert from_jsonable(Objective, to_jsonable(one)) == one
        assert isinstance(one.of_producers(0.5), Objective)


@pytest.mark.parametrize("kind", ["deadline", "ttft", "tpot"])
@pytest.mark.parametrize("seconds", [None, 0.0, -1.0, float("inf"), float("nan")])
def test_times_are_times(kind: str, seconds: float | None) -> None:
    with pytest.raises(ConfigError, match="needs seconds above 0"):
        Objective(kind, seconds)  # type: ignore[arg-type]


def test_what_has_no_time_is_given_none() -> None:
    with pytest.raises(ConfigError, match="has no seconds"):
        Objective("latency", 1.0)
    with pytest.raises(ConfigError, match="'fast'"):
        Objective("fast")  # type: ignore[arg-type]


def test_what_feeds_an_output_is_asked_for_in_its_own_words() -> None:
    assert Objective("deadline", 8.0).of_producers(0.25) == Objective("deadline", 2.0)
    assert Objective("ttft", 1.0).of_producers(0.5) == Objective("deadline", 0.5)
    assert Objective("tpot", 0.1).of_producers(0.5) == LATENCY
    assert LATENCY.of_producers(0.1) == LATENCY
    assert THROUGHPUT.of_producers(0.1) == THROUGHPUT


def test_an_objective_in_words() -> None:
    assert [str(one) for one in (Objective("ttft", 0.5), LATENCY)] == ["ttft 0.5 s", "latency"]


AD = {
    "type": "object",
    "properties": {
        "headline": {"type": "string", "maxLength": 30},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
    },
    "required": ["headline"],
    "$defs": {"tag": {"enum": ["tea", "coffee"]}},
}


def test_a_text_is_checked() -> None:
    schema = OutputSchema(AD)
    assert schema.problem_of_text('{"headline": "Tea", "tags": ["tea"]}') == ""
    assert "headline" in schema.problem_of_text("{}")
    assert "['tags'][1]" in schema.problem_of_text('{"headline": "T", "tags": ["tea", "milk"]}')
    assert "it is no JSON" in schema.problem_of_text("Tea!")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"a": 1, "a": 2}', "the name 'a' stands twice"),
        ("NaN", "NaN is no number"),
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
        ("1" * 5000, "no JSON"),
        ("{} {}", "Extra data"),
        ("", "no JSON"),
    ],
)
def test_what_is_no_json_is_said(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        read_json(text)


def doubling(levels: int) -> dict[str, Any]:
    parts = {
        f"a{level}": {"allOf": [{"$ref": f"#/$defs/a{level + 1}"}] * 2} for level in range(levels)
    }
    return {"$ref": "#/$defs/a0", "$defs": parts | {f"a{levels}": {"type": "string"}}}


@pytest.mark.parametrize(
    ("schema", "what"),
    [
        ({"type": "strin"}, "not valid under any"),
        ({"$ref": "#/$defs/none"}, "refers to nothing"),
        ({"$ref": "http://127.0.0.1/x"}, "not inside the schema"),
        ({"$ref": "file:///etc/passwd"}, "not inside the schema"),
        ({"pattern": "(?=a)b"}, "regex"),
        ({"pattern": r"(a)\1"}, "regex"),
        ({"$defs": {"n": {"items": {"$ref": "#/$defs/n"}}}, "$ref": "#/$defs/n"}, "to itself"),
        ({"properties": {"definitions": {"$ref": "#"}}}, "to itself"),
        ({"$defs": {"a": {"$dynamicRef": "#x"}}}, "not taken"),
        ({"$id": "x:y", "type": "string"}, "not taken"),
        (doubling(12), "more than 2000 objects"),
        ({"minimum": float("nan")}, "JSON"),
        ({"enum": ["x" * 9000]}, "characters in one string"),
        ({"const": {1}}, "JSON"),
    ],
)
def test_what_cannot_be_checked_in_bounded_time_is_refused(
    schema: dict[str, Any], what: str
) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        OutputSchema(schema, where="call writer, output ad")
    assert caught.value.where == "call writer, output ad"


def test_a_pattern_that_backtracks_elsewhere_is_matched_in_linear_time() -> None:
    schema = OutputSchema({"type": "string", "pattern": "^(a+)+$"})
    assert schema.problem("a" * 200_000 + "b") != ""
    assert schema.problem("a" * 200_000) == ""


def test_the_last_line_of_what_is_admitted() -> None:
    assert OutputSchema(doubling(7)).problem("x") == ""
    assert OutputSchema({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "null"}}}).problem(1)
