"""Values and their sources."""

from __future__ import annotations

from adwright.agent.language.values import (
    ElementHandle,
    ScriptValue,
    joined_sources,
    matching_handles,
)


def test_sources_are_joined() -> None:
    values = [ScriptValue("a", frozenset("x")), ScriptValue(1), ScriptValue("b", frozenset("y"))]
    assert joined_sources(values) == {"x", "y"}
    assert joined_sources([]) == frozenset()


def test_an_item_is_known_by_what_was_seen() -> None:
    assert ElementHandle("a", 0, "Spring") != ElementHandle("a", 0, "Autumn")


def test_whole_words_are_matched_before_parts() -> None:
    items = [ElementHandle("a", n, text) for n, text in enumerate(("offer-10 Tea", "offer-1 Tea"))]
    assert [one.place for one in matching_handles(items, "OFFER-1")] == [1]
    assert [one.place for one in matching_handles(items, "tea")] == [0, 1]
    assert [one.place for one in matching_handles(items, "off")] == [0, 1]
    assert matching_handles(items, "milk") == ()
