"""Values and their sources."""

from __future__ import annotations

from adwright.agent.language.values import ElementHandle, ScriptValue, joined_sources


def test_sources_are_joined() -> None:
    values = [ScriptValue("a", frozenset("x")), ScriptValue(1), ScriptValue("b", frozenset("y"))]
    assert joined_sources(values) == {"x", "y"}
    assert joined_sources([]) == frozenset()


def test_an_item_is_known_by_what_was_seen() -> None:
    assert ElementHandle("a", 0, "Spring") != ElementHandle("a", 0, "Autumn")
