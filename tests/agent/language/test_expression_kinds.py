"""Kinds of expressions, and what is said of those that have none."""

from __future__ import annotations

import pytest

from adwright.agent.language.expression_kinds import ExpressionKinds, nearest_elements
from adwright.agent.language.kinds import ValueKind
from adwright.agent.language.script import Assignment, read_script
from tests.support.agent.shop_document import shop_document

NAMES = {
    "t": ValueKind("text"),
    "dirty": ValueKind("text", sources=frozenset({"mail__text"})),
    "n": ValueKind("whole"),
    "row": ValueKind("element", names=frozenset({"offers__rows"})),
}


def kind(source: str) -> tuple[ValueKind | None, list[str], list[str]]:
    """The kind, the codes of problems, and the elements that are looked at."""
    (statement,) = read_script(f"x = {source}").body
    assert isinstance(statement, Assignment)
    problems: list[str] = []
    visited: list[str] = []
    kinds = ExpressionKinds(
        shop_document(),
        lambda code, what, at, hint: problems.append(code),
        lambda names, at: visited.extend(names),
    )
    return kinds.kind(statement.value, NAMES), problems, visited


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("1 + 2", "whole"),
        ("1 + 2.5", "number"),
        ("1 / 2", "number"),
        ("-n", "whole"),
        ("t + 'x'", "text"),
        ("1 < 2.5", "truth"),
        ("t == 'x'", "truth"),
        ("'x' in t", "truth"),
        ("1 in [1, 2.5]", "truth"),
        ("1 in []", "truth"),
        ("not true or false", "truth"),
        ("[1, 2.5][0]", "number"),
        ("$offers__rows", "elements"),
        ("$offers__rows[0]", "element"),
        ("match($offers__rows, 'a')", "elements"),
        ("inside(row, $offers__edit)", "element"),
        ("len($offers__rows)", "whole"),
        ("range(3)[0]", "whole"),
        ("get_text(row)", "text"),
        ("get_attributes($offer_edit__active, 'checked')", "truth"),
        ("get_attributes($offer_edit__name, 'value')", "text"),
        ("scroll('down')", "truth"),
        ("scroll($offers__home, 'down')", "truth"),
        ("number(t)", "number"),
        ("secret('a')", "secret"),
    ],
)
def test_kinds_follow_from_parts(source: str, name: str) -> None:
    found, problems, _ = kind(source)
    assert problems == []
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("u", "unknown_name"),
        ("offers__rows", "unknown_name"),
        ("$offers__row", "unknown_element"),
        ("frobnicate()", "unknown_verb"),
        ("tap()", "arguments"),
        ("len(t, t)", "arguments"),
        ("1 + t", "wrong_type"),
        ("t < t", "wrong_type"),
        ("1 and true", "wrong_type"),
        ("row == row", "wrong_type"),
        ("1 == t", "wrong_type"),
        ("-t", "wrong_type"),
        ("not 1", "wrong_type"),
        ("[1, t]", "wrong_type"),
        ("[row]", "wrong_type"),
        ("[[1]]", "wrong_type"),
        ("[secret('a')]", "wrong_type"),
        ("t[0]", "wrong_type"),
        ("$offers__rows[t]", "wrong_type"),
        ("get_text($offers__rows)", "wrong_type"),
        ("match(row, 'a')", "wrong_type"),
        ("inside(row, row)", "arguments"),
        ("range(n)", "loop"),
        ("range(0)", "loop"),
        ("range(1001)", "loop"),
        ("get_attributes(row, '__class__')", "arguments"),
        ("get_attributes(row, t)", "arguments"),
        ("scroll('inwards')", "arguments"),
        ("scroll(row)", "arguments"),
        ("scroll('down', 'down')", "arguments"),
        ("secret(t)", "arguments"),
    ],
)
def test_what_has_no_kind_is_said_once(source: str, code: str) -> None:
    found, problems, _ = kind(source)
    assert found is None
    assert problems == [code]


def test_data_of_a_page_keeps_its_sources() -> None:
    for source in ("get_text($mail__text)", "dirty + 'x'", "lower(dirty)", "['a', dirty][0]"):
        found, _, _ = kind(source)
        assert found is not None
        assert found.sources == {"mail__text"}
    found, _, _ = kind("match($offers__rows, dirty)")
    assert found is not None
    assert not found.sources  # only compared


def test_what_is_looked_at_is_told() -> None:
    assert kind("get_text($mail__text)")[2] == ["mail__text"]
    assert kind("match($offers__rows, 'a')")[2] == ["offers__rows"]
    assert kind("$offers__rows[0]")[2] == ["offers__rows"]
    assert kind("get_text(row)")[2] == ["offers__rows"]
    assert kind("row")[2] == []


def test_nearest_elements_are_those_alike_and_of_the_state() -> None:
    names = ["offer__save", "offer__name", "mail__send"]
    assert nearest_elements("offer__sav", names) == "did you mean $offer__save, $offer__name?"
    assert "none like it" in nearest_elements("zzz", [])
