"""Operators on plain values: exact numbers of bounded size, texts of bounded length."""

from __future__ import annotations

import decimal
from decimal import Decimal
from typing import NoReturn

from adwright.agent.language.problems import ProblemCode, ScriptError, ScriptProblem
from adwright.agent.language.tree import Operator
from adwright.agent.language.values import PlainValue, ScriptValue, joined_sources

__all__ = ["LARGEST_NUMBER", "LONGEST_TEXT", "apply_operator", "bounded_text", "negated"]

LARGEST_NUMBER, LONGEST_TEXT = 10**18, 20_000
_CONTEXT = decimal.Context(
    prec=28, traps=[decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow]
)


def apply_operator(operator: Operator, left: ScriptValue, right: ScriptValue) -> ScriptValue:
    """The value of `left operator right`; "and" and "or" are for the caller, who may need only one.

    Raises ScriptError, without a line, where it has none.
    """
    sources = left.sources | right.sources
    one, other = left.data, right.data
    match operator:
        case "==":
            return ScriptValue(_same(left, right), sources)
        case "!=":
            return ScriptValue(not _same(left, right), sources)
        case "in":
            return ScriptValue(_within(left, right), sources | _inner(right))
        case "+" if isinstance(one, str) and isinstance(other, str):
            return ScriptValue(bounded_text(one + other), sources)
    first, second = _number(one), _number(other)
    match operator:
        case "<":
            return ScriptValue(first < second, sources)
        case "<=":
            return ScriptValue(first <= second, sources)
        case ">":
            return ScriptValue(first > second, sources)
        case ">=":
            return ScriptValue(first >= second, sources)
    return ScriptValue(_computed(operator, first, second), sources)


def negated(value: ScriptValue) -> ScriptValue:
    """Minus a number."""
    return ScriptValue(-_number(value.data), value.sources)


def bounded_text(text: str) -> str:
    """The text itself. Raises ScriptError where it is too long."""
    if len(text) > LONGEST_TEXT:
        _refuse("value", f"a text has at most {LONGEST_TEXT:,} characters", "use less of it")
    return text


def _computed(operator: Operator, first: int | Decimal, second: int | Decimal) -> int | Decimal:
    try:
        whole = isinstance(first, int) and isinstance(second, int)
        if operator == "/":
            found = _CONTEXT.divide(Decimal(first), Decimal(second))
            return _bounded(found)
        with decimal.localcontext(_CONTEXT):
            match operator:
                case "+":
                    result = Decimal(first) + Decimal(second)
                case "-":
                    result = Decimal(first) - Decimal(second)
                case _:
                    result = Decimal(first) * Decimal(second)
        # Whole numbers are exact: a product of two bounded ones may need more than 28 digits, and
        # is above the bound then.
        return int(_bounded(result)) if whole else _bounded(result)
    except decimal.DivisionByZero:
        _refuse("value", "a number is divided by 0", "test it before")
    except decimal.DecimalException:
        _refuse("value", f"{operator} has no value here", "use smaller numbers")


def _bounded(number: Decimal) -> Decimal:
    if abs(number) > LARGEST_NUMBER:
        _refuse("value", f"numbers go up to {LARGEST_NUMBER:.0e}", "use smaller numbers")
    return number


def _number(value: PlainValue) -> int | Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        _refuse("wrong_type", f"a number is needed, not a {type(value).__name__}", "")
    return value


def _same(left: ScriptValue, right: ScriptValue) -> bool:
    one, other = left.data, right.data
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _within(left: ScriptValue, right: ScriptValue) -> bool:
    match left.data, right.data:
        case str(part), str(text):
            return part in text
        case _, tuple(items):
            return any(_same(left, one) for one in items)
    _refuse("wrong_type", "in looks into a text or a list", "")


def _inner(value: ScriptValue) -> frozenset[str]:
    return joined_sources(value.data) if isinstance(value.data, tuple) else frozenset()


def _refuse(code: ProblemCode, what: str, hint: str) -> NoReturn:
    raise ScriptError([ScriptProblem(code, what, hint=hint)])
