"""Trees are compared without their places."""

from __future__ import annotations

import pytest

from adwright.agent.language.script import (
    BinaryTerm,
    ScriptParameter,
    SourcePosition,
    UnaryTerm,
    WholeLiteral,
)
from adwright.core.errors import ConfigError


def test_a_place_is_no_part_of_what_a_tree_says() -> None:
    assert WholeLiteral(1, at=SourcePosition(3, 4)) == WholeLiteral(1)
    assert hash(WholeLiteral(1, at=SourcePosition(3, 4))) == hash(WholeLiteral(1))


def test_operators_and_kinds_are_those_of_the_language() -> None:
    one = WholeLiteral(1)
    for wrong in (
        lambda: BinaryTerm("**", one, one),  # type: ignore[arg-type]
        lambda: UnaryTerm("~", one),  # type: ignore[arg-type]
        lambda: ScriptParameter("x", "object"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigError):
            wrong()
