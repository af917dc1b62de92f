"""Numbers are exact and bounded, texts are bounded."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.agent.language.problems import ScriptError
from adwright.agent.language.values import (
    LARGEST_NUMBER,
    LONGEST_TEXT,
    PlainValue,
    ScriptValue,
    apply_operator,
    bounded_text,
    negated,
)

WHOLES = st.integers(-LARGEST_NUMBER, LARGEST_NUMBER)
DECIMALS = st.decimals(-(10**9), 10**9, places=4, allow_nan=False, allow_infinity=False)


def compute(operator: str, left: PlainValue, right: PlainValue) -> PlainValue:
    value = apply_operator(operator, ScriptValue(left), ScriptValue(right))  # type: ignore[arg-type]
    return value.data


@given(st.sampled_from("+-*"), WHOLES, WHOLES)
def test_whole_numbers_are_exact_or_refused(operator: str, left: int, right: int) -> None:
    true = {"+": left + right, "-": left - right, "*": left * right}[operator]
    if abs(true) <= LARGEST_NUMBER:
        assert compute(operator, left, right) == true
        assert isinstance(compute(operator, left, right), int)
    else:
        with pytest.raises(ScriptError):
            compute(operator, left, right)


@given(st.sampled_from("+-"), DECIMALS, DECIMALS)
def test_decimals_are_exact(operator: str, left: Decimal, right: Decimal) -> None:
    one, other = Fraction(left), Fraction(right)
    found = compute(operator, left, right)
    assert isinstance(found, Decimal)
    assert Fraction(found) == (one + other if operator == "+" else one - other)


@given(WHOLES, WHOLES)
def test_numbers_are_ordered(left: int, right: int) -> None:
    assert compute("<", left, right) == (left < right)
    assert compute(">=", left, Decimal(right)) == (left >= right)
    assert compute("<=", left, right) == (left <= right)
    assert compute(">", left, right) == (left > right)


def test_a_quotient_is_decimal() -> None:
    assert compute("/", 1, 4) == Decimal("0.25")
    with pytest.raises(ScriptError, match="divided by 0"):
        compute("/", 1, 0)


def test_equality_knows_kinds() -> None:
    assert compute("==", 1, Decimal("1.0")) is True
    assert compute("==", 1, True) is False
    assert compute("!=", "1", 1) is True


def test_in_looks_into_texts_and_lists() -> None:
    assert compute("in", "b", "abc") is True
    items = (ScriptValue(1, frozenset("x")), ScriptValue(2))
    assert compute("in", 2, items) is True
    assert compute("in", True, items) is False
    found = apply_operator("in", ScriptValue(2), ScriptValue(items))
    assert found.sources == {"x"}
    with pytest.raises(ScriptError):
        compute("in", 1, 2)


def test_sources_go_on() -> None:
    left, right = ScriptValue("a", frozenset("x")), ScriptValue("b", frozenset("y"))
    for operator in ("+", "==", "in"):
        assert apply_operator(operator, left, right).sources == {"x", "y"}  # type: ignore[arg-type]
    assert negated(ScriptValue(1, frozenset("x"))) == ScriptValue(-1, frozenset("x"))


@pytest.mark.parametrize("wrong", ["a", True, None])
def test_only_numbers_are_computed_with(wrong: PlainValue) -> None:
    with pytest.raises(ScriptError):
        compute("-", wrong, 1)
    with pytest.raises(ScriptError):
        negated(ScriptValue(wrong))


def test_a_text_is_bounded() -> None:
    assert bounded_text("a" * LONGEST_TEXT)
    with pytest.raises(ScriptError, match="at most"):
        compute("+", "a" * LONGEST_TEXT, "a")
