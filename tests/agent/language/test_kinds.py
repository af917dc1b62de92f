"""Kinds of values: what stands for what, and the table of verbs."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from adwright.agent.language.kinds import NOTHING, VERBS, ValueKind
from adwright.agent.language.script import Act, Assignment, read_script
from adwright.core.errors import ConfigError

TEXT, WHOLE, NUMBER = ValueKind("text"), ValueKind("whole"), ValueKind("number")
LISTS = [ValueKind("list"), ValueKind("list", TEXT), ValueKind("list", WHOLE)]
ALL = [TEXT, WHOLE, NUMBER, ValueKind("truth"), ValueKind("element"), NOTHING, *LISTS]


def test_a_whole_number_is_a_number() -> None:
    assert NUMBER.accepts(WHOLE)
    assert not WHOLE.accepts(NUMBER)
    assert WHOLE.joined(NUMBER) == NUMBER


@pytest.mark.parametrize(("one", "other"), list(product(ALL, ALL)))
def test_joining_does_not_depend_on_the_order(one: ValueKind, other: ValueKind) -> None:
    joined = one.joined(other)
    assert joined == other.joined(one)
    assert joined is None or (joined.accepts(one) and joined.accepts(other))


def test_joining_keeps_all_sources_and_elements() -> None:
    one = ValueKind("text", names=frozenset("a"), sources=frozenset("x"))
    other = ValueKind("text", names=frozenset("b"), sources=frozenset("y"))
    assert one.joined(other) == ValueKind("text", names=frozenset("ab"), sources=frozenset("xy"))


def test_a_verb_takes_known_kinds() -> None:
    with pytest.raises(ConfigError, match="no kind"):
        replace(VERBS["tap"], takes=(("object",),))  # type: ignore[arg-type]
    assert VERBS["tap"].fewest == 1
    assert VERBS["scroll"].fewest == 1


@pytest.mark.parametrize("name", VERBS)
def test_each_verb_has_an_example_that_is_read(name: str) -> None:
    verb = VERBS[name]
    source = verb.example if verb.gives == "nothing" else f"x = {verb.example}"
    (statement,) = read_script(source).body
    call = statement.call if isinstance(statement, Act) else statement.value  # type: ignore[union-attr]
    assert isinstance(statement, Act | Assignment)
    assert verb.fewest <= len(call.arguments) <= len(verb.takes)  # type: ignore[union-attr]
    assert call.verb == name  # type: ignore[union-attr]
