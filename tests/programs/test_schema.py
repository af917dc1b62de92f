"""Schemas of outputs: what fits, what is refused, and that checking has a bound."""

from __future__ import annotations

from typing import Any

import pytest

from adwright.core.errors import ConfigError
from adwright.programs.steps import OutputSchema, read_json

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
