"""?"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest

from adwright.core.errors import ConfigError
from adwright.lm.compiling.bounds import (
    ConstraintBounds,
    check_gbnf,
    check_schema,
    longest_chain,
    require_at_most,
    schema_states,
)


def test_a_bound_is_named_with_what_was_found() -> None:
    require_at_most("rules", 5, 5)
    with pytest.raises(ConfigError, match="has 6 rules, at most 5 are taken"):
        require_at_most("rules", 6, 5)


def test_ordinary_ones_are_far_from_the_bounds() -> None:
    bounds = ConstraintBounds()
    assert bounds.text_bytes >= 100_000
    assert bounds.parts >= 500
    assert bounds.depth >= 64


@pytest.mark.parametrize(
    ("leads_to", "length"),
    [
        ({}, 1),
        ({"a": ["b"], "b": ["c"]}, 3),
        ({"a": ["c", "b"], "b": ["c"], "c": ["d"]}, 4),
        ({"a": ["a"]}, 1),
        ({"a": ["b"], "b": ["a", "c"]}, 3),
        ({"b": ["c"]}, 1),
    ],
)
def test_the_longest_way(leads_to: dict[str, list[str]], length: int) -> None:
    assert longest_chain(leads_to, "a") == length


def test_a_way_may_be_longer_than_python_recurses() -> None:
    assert longest_chain({str(at): [str(at + 1)] for at in range(50_000)}, "0") == 50_001


SMALL = ConstraintBounds(
    parts=3, depth=3, chain=2, literal=10, repetition=20, expanded=100, states=30
)
ORDINARY = r"""
# an advertisement
root ::= "{" ws "\"text\":" ws string "}" ws
string ::= "\"" ([^"\\] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4})){1,90} "\""
ws ::= [ \t\n]*
"""


def test_an_ordinary_one_passes() -> None:
    check_gbnf(ORDINARY, ConstraintBounds())


@pytest.mark.parametrize(
    ("grammar", "told"),
    [
        ("", "the grammar is empty"),
        (" \n", "the grammar is empty"),
        ("a ::= [a]\na ::= [b]", r"a rule stands twice in the grammar \[rule a\]"),
        ("".join(f"r{at} ::= [a]\n" for at in range(4)), "has 4 rules, at most 3"),
        ("root ::= ((([a])))", "has 4 levels of nesting, at most 3"),
        ("root ::= a\na ::= b\nb ::= [b]", "has 3 rules in a row, at most 2"),
        ('root ::= "' + "a" * 9 + '"', "has 11 characters in one string"),
        ("root ::= [" + "a" * 9 + "]", "has 11 characters in one string"),
        ("root ::= [a]{3,21}", "has 21 repetitions of one item, at most 20"),
        ("root ::= [a]{ 1 , " + "9" * 6000 + "}", "has 999999999 repetitions"),
        ('root ::= ("abc"{20}){2}', "has 101 symbols with all repetitions, at most 100"),
        ("root ::= ([a]{2}[b]){11}", "has 33 counted characters, at most 30"),
        ("root ::= ([a]{10}){4}", "has 40 counted characters"),
    ],
)
def test_each_bound(grammar: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_gbnf(grammar, SMALL)


def test_what_is_quoted_or_a_comment_counts_once() -> None:
    check_gbnf('root ::= "((((" [(((] # (((( {999}\n', SMALL)
    check_gbnf('root ::= "\\"{99}" | "a"', SMALL)


@pytest.mark.parametrize("text", ['"\\"', "[\\[", "{ ", ") ", "a ", "# ", '"a" '])
def test_broken_ones_take_no_time(text: str) -> None:
    """What does not end would be read again from each of its characters."""
    began = time.monotonic()
    with suppress(ConfigError):
        check_gbnf("root ::= " + text * 60_000, ConstraintBounds())
    assert time.monotonic() - began < 20


SCHEMA_BOUNDS_SMALL = ConstraintBounds(parts=5, depth=6, chain=2, literal=10, states=20)


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


def chained(links: int, *, key: str = "$defs") -> dict[str, Any]:
    found: dict[str, Any] = {
        f"d{at}": {"$ref": f"#/{key}/d{at + 1}"} if at < links else {} for at in range(links + 1)
    }
    return {key: found, "$ref": f"#/{key}/d0"}


def test_schema_bounds_an_ordinary_one_passes() -> None:
    schema = {
        "type": "object",
        "properties": {"headline": {"type": "string", "maxLength": 90}, "price": {"minimum": 0}},
        "required": ["headline"],
    }
    check_schema(schema, ConstraintBounds(states=200))


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"a": [{}, {}, {}, {}, {}]}, "has 6 objects, at most 5"),
        ({"properties": {"a": {}, "b": {}, "c": {}, "d": {}}}, "has 6 objects"),
        ({"const": "a" * 11}, "has 11 characters in one string, at most 10"),
        ({"a" * 11: {}}, "has 11 characters in one string"),
        ({"enum": [[[[[[]]]]]]}, "has 7 levels of nesting, at most 6"),
        ({"maxLength": 21}, "has 21 counted characters, at most 20"),
        ({"items": {"pattern": "a{6}"}}, "has 24 counted characters"),
    ],
)
def test_schema_bounds_each_bound(schema: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_schema(schema, SCHEMA_BOUNDS_SMALL)


@pytest.mark.parametrize("links", [1_000, 100_000])
def test_chains_and_depth_cannot_harm(links: int) -> None:
    loose = ConstraintBounds(parts=10**7, chain=100, depth=64)
    for key in ("$defs", "definitions"):
        with pytest.raises(ConfigError, match="references in a row, at most 100"):
            check_schema(chained(links, key=key), loose)
    with pytest.raises(ConfigError, match="65 levels of nesting"):
        check_schema(nested(links), loose)


def test_data_are_no_parts() -> None:
    check_schema({"enum": [{} for _ in range(20)], "default": {"$ref": "#"}}, SCHEMA_BOUNDS_SMALL)
    check_schema({"$ref": "#", "examples": [{"pattern": "a{9}"}]}, SCHEMA_BOUNDS_SMALL)


@pytest.mark.parametrize(
    ("part", "states"),
    [
        ({}, 0),
        ({"maxLength": 90}, 90),
        ({"minLength": 10**30}, 128),
        ({"maxLength": "many", "pattern": 7}, 0),
        ({"minItems": 2}, 10),
        ({"maxItems": 10**9, "minItems": 1}, 10),
        ({"pattern": "^[a-z].*\\d$"}, 3),
        ({"pattern": "a{2,10}b{3}"}, 52),
        ({"patternProperties": {"^.": {}}}, 1),
        ({"patternProperties": ["^."]}, 0),
    ],
)
def test_states(part: dict[str, Any], states: int) -> None:
    assert schema_states(part) == states
