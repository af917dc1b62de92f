"""The values of a running script: plain data, each with the elements whose text went into it."""

from __future__ import annotations

import decimal
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import NoReturn, Protocol, TypeAlias

from adwright.agent.language.problems import ProblemCode, ScriptError, ScriptProblem
from adwright.agent.language.script import Operator

#: What a parameter of a script is given.
ArgumentValue: TypeAlias = str | int | Decimal | bool


@dataclass(frozen=True)
class ElementHandle:
    """An element of the document on the screen; where it stands is found anew for each act.

    place: which item of a list, None of what is no item. seen: the text that the item had when the
    list was read, by which it is known again. within: the item in which it stands.
    """

    name: str
    place: int | None = None
    seen: str = ""
    within: ElementHandle | None = None


@dataclass(frozen=True)
class SecretName:
    """A secret that the user keeps; its value is no value of a script."""

    name: str


PlainValue: TypeAlias = (
    "str | int | Decimal | bool | ElementHandle | SecretName | tuple[ScriptValue, ...] | None"
)


@dataclass(frozen=True)
class ScriptValue:
    """A value. sources: names of elements; empty for what no page had a part in."""

    data: PlainValue
    sources: frozenset[str] = frozenset()


def joined_sources(values: Iterable[ScriptValue]) -> frozenset[str]:
    """All sources of several values."""
    return frozenset[str]().union(*(one.sources for one in values))


def matching_handles(handles: Iterable[ElementHandle], wanted: str) -> tuple[ElementHandle, ...]:
    """The items whose text has `wanted` in it, in capitals or not; where some have it as whole
    words, as "offer-1" is no part of "offer-10", these alone."""
    folded = " ".join(wanted.split()).casefold()
    found = [one for one in handles if folded in " ".join(one.seen.split()).casefold()]
    whole = re.compile(rf"(?<![\w-]){re.escape(folded)}(?![\w-])")
    exact = [one for one in found if whole.search(" ".join(one.seen.split()).casefold())]
    return tuple(exact or found)


class ScriptWorld(Protocol):
    """What a script acts on: a screen behind a policy, or something in memory.

    All methods raise ScriptError, with line 0, where that cannot be done.
    """

    def act(
        self, verb: str, target: ElementHandle | None, value: str | bool | SecretName | None
    ) -> bool:
        """Do what an acting verb says. Of scroll the answer is whether the end is reached."""
        ...

    def text(self, target: ElementHandle) -> str:
        """The text of an element, or what stands in a field."""
        ...

    def attribute(self, target: ElementHandle, name: str) -> str | bool:
        """One of `kinds.ATTRIBUTES`, of the kind that is said there."""
        ...

    def items(self, name: str) -> tuple[ElementHandle, ...]:
        """The items that an element stands for, in the order of the screen."""
        ...

    def find(self, name: str, wanted: str) -> ElementHandle:
        """The one item of `name` with this text, on the page or where its search leads."""
        ...

    def answer(self, text: str, sources: frozenset[str]) -> None:
        """Something for the user."""
        ...


# --------------------------------------------------------------------------------------------------
# Operators on plain values: exact numbers of bounded size, texts of bounded length.

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
