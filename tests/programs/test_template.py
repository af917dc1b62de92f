"""Templates: what is read, what is refused, and where changing text stands badly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError
from adwright.programs.steps import ConstantText, Slot, Template


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
