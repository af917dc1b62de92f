from __future__ import annotations

from typing import Any

import pytest

from adwright.core.errors import ConfigError
from adwright.lm.compiling.bounds import ConstraintBounds, check_schema, schema_states

SMALL = ConstraintBounds(parts=5, depth=6, chain=2, literal=10, states=20)


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


def test_an_ordinary_one_passes() -> None:
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
def test_each_bound(schema: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_schema(schema, SMALL)


@pytest.mark.parametrize("links", [1_000, 100_000])
def test_chains_and_depth_cannot_harm(links: int) -> None:
    loose = ConstraintBounds(parts=10**7, chain=100, depth=64)
    for key in ("$defs", "definitions"):
        with pytest.raises(ConfigError, match="references in a row, at most 100"):
            check_schema(chained(links, key=key), loose)
    with pytest.raises(ConfigError, match="65 levels of nesting"):
        check_schema(nested(links), loose)


def test_data_are_no_parts() -> None:
    check_schema({"enum": [{} for _ in range(20)], "default": {"$ref": "#"}}, SMALL)
    check_schema({"$ref": "#", "examples": [{"pattern": "a{9}"}]}, SMALL)


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
