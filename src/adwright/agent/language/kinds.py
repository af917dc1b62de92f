"""Kinds of values, and the verbs: what each takes, gives and does.

    VERBS["set_text"].takes        # an element, then text, a number or a secret

The checker, the interpreter, the grammar and the help text all read this one table.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Literal, NoReturn, Protocol, TypeAlias, get_args

from adwright.agent.document.elements import Element
from adwright.agent.language.problems import ProblemCode, ScriptError, ScriptProblem, quoted
from adwright.agent.language.script import (
    DecimalLiteral,
    Expression,
    Operator,
    TextLiteral,
    WholeLiteral,
)
from adwright.core.config import check_literals, package_toml, settings
from adwright.core.errors import ConfigError

KindName = Literal[
    "text", "whole", "number", "truth", "list", "element", "elements", "secret", "nothing"
]
#: "tap" and its like change the screen; "look" only reads it; "plain" does not touch it.
VerbNature = Literal["act", "look", "plain"]
#: What an act may do to what the app stores: what its element does; no more than to fill a field,
#: which some element sends later; what the form does that has the focus; or nothing.
ActEffect = Literal["element", "draft", "form", "nothing"]


@settings
class ValueKind:
    """What is known of a value before the script runs.

    name: "number" has decimals, and "whole" is one too; "elements" are the items of a list on the
    screen. item: what a list holds; None for an empty one. names: the elements of the document that
    a handle may stand for. sources: the elements whose text or attributes went into the value: what
    has any is data from the page.
    """

    name: KindName
    item: ValueKind | None = None
    names: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()

    def __str__(self) -> str:
        if self.name == "list":
            return f"a list of {self.item.name}" if self.item else "an empty list"
        words = {
            "text": "a text",
            "whole": "a whole number",
            "number": "a number",
            "truth": "a truth value",
            "element": "an element",
            "elements": "a list of elements",
            "secret": "a secret",
        }
        return words.get(self.name, self.name)

    def accepts(self, other: ValueKind) -> bool:
        """Whether a value of kind `other` may stand where this one is asked for."""
        if self.name == "number":
            return other.name in ("number", "whole")
        if self.name != "list" or other.name != "list":
            return self.name == other.name
        return self.item is None or other.item is None or self.item.accepts(other.item)

    def joined(self, other: ValueKind) -> ValueKind | None:
        """The kind of what is one or the other; None where they do not go together."""
        item = self.item or other.item
        if self.accepts(other):
            name = self.name
        elif other.accepts(self):
            name = other.name
        else:
            return None
        if self.item and other.item:
            item = self.item.joined(other.item)
        names, sources = self.names | other.names, self.sources | other.sources
        return ValueKind(name, item, names, sources)


NOTHING = ValueKind("nothing")
#: What get_attributes can be asked for, and the kind of the answer.
ATTRIBUTES: Mapping[str, KindName] = {
    "checked": "truth",
    "enabled": "truth",
    "label": "text",
    "selected": "truth",
    "value": "text",
    "visible": "truth",
}
DIRECTIONS = ("up", "down", "left", "right")


@dataclass(frozen=True)
class Verb:
    """One verb. takes: for each argument the kinds it may have; gives: the kind of its value, of
    which the checker knows more; least: the fewest arguments, -1 where all are needed. effect: of
    an act. fills: the types of fields that it puts a value into.

    All are in verbs.toml. A new act on an element is a table there, and a row of
    `run.screen_world.TOUCHES`.
    """

    name: str
    takes: tuple[tuple[KindName, ...], ...]
    gives: KindName
    nature: VerbNature
    example: str
    help: str
    least: int = -1
    effect: ActEffect = "nothing"
    fills: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for kinds in self.takes:
            for one in kinds:
                if one not in get_args(KindName):
                    known = ", ".join(get_args(KindName))
                    raise ConfigError(f"{one!r} is no kind", where="Verb.takes", hint=known)
        check_literals(self)

    @property
    def fewest(self) -> int:
        """The fewest arguments it can do with."""
        return len(self.takes) if self.least < 0 else self.least


#: All verbs by their names.
VERBS: Mapping[str, Verb] = {
    name: Verb(
        **{"name": name, "fills": tuple(row.pop("fills", ())), **row}
        | {"takes": tuple(map(tuple, row["takes"]))}
    )
    for name, row in package_toml(__package__, "verbs.toml").items()
}
#: The verb that puts a value into a field of a type.
FILLING_VERBS: Mapping[str, str] = {kind: one.name for one in VERBS.values() for kind in one.fills}


# --------------------------------------------------------------------------------------------------
# Whether a field can take a value: its kind, its options, its bounds.
#
# What is known only when the script runs is checked again then, with the value.

_MOST_NUMBER_CHARACTERS = 40
_DECIMAL_COMMA = re.compile(r"[-+]?\d{1,15},\d{1,2}")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{2,3}){0,6},\d{3}(?:\.\d*)?")
_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]{0,15}(?:\.\d{1,9})?(?![\w.]*\d)")
_DURATION = re.compile(
    r"(?:(\d{1,4})\s*h(?:ours?|rs?)?\b)?\s*(?:(\d{1,4})\s*m(?:in(?:ute)?s?)?\b)?", re.I
)


def why_unfit(
    verb: str, element: Element, kind: KindName, term: Expression
) -> ScriptProblem | None:
    """Why a verb that fills cannot put `term`, of this kind, into `element`; None where it can, or
    where that shows only when the script runs."""
    name, takes = f"${element.name}", element.value_type
    if takes not in VERBS[verb].fills:
        right = FILLING_VERBS.get(takes)
        hint = f"use {right}" if right else "tap it, or read it"
        return ScriptProblem("wrong_type", f"{verb} does not fill {name}", hint=hint)
    if "switch" in VERBS[verb].fills and (kind == "truth") != (takes == "switch"):
        hint = "write true or false" if takes == "switch" else "write one of its options"
        return ScriptProblem("wrong_type", f"{name} is a {takes}", hint=hint)
    if kind == "secret":
        # SecretKeeper decides which field may receive it.
        if takes in ("secret", "text"):
            return None
        return ScriptProblem("wrong_type", f"{name} takes no secret", hint="write the value out")
    if takes == "secret":
        hint = 'write secret("name"), and let the user keep it'
        return ScriptProblem("wrong_type", f"{name} takes a secret alone", hint=hint)
    match term:
        case TextLiteral(text):
            return why_text_unfit(element, text)
        case WholeLiteral() | DecimalLiteral():
            return why_text_unfit(element, str(term.value))
    return None


def why_text_unfit(element: Element, text: str) -> ScriptProblem | None:
    """Why `element` cannot take this text; None where it can. Patterns are left to the page."""
    name, limits = f"${element.name}", element.constraints
    if element.value_type == "choice":
        if element.options and text not in element.options:
            hint = f"one of {', '.join(map(quoted, element.options[:10]))}"
            return ScriptProblem("wrong_option", f"{name} has no option {quoted(text)}", hint=hint)
        return None
    if limits.most_characters is not None and len(text) > limits.most_characters:
        what = f"{name} takes at most {limits.most_characters} characters, not {len(text)}"
        return ScriptProblem("constraint", what, hint="shorten it")
    if limits.required and not text:
        return ScriptProblem("constraint", f"{name} must not be empty", hint="write a value")
    if element.value_type == "number":
        return _why_no_number(element, text) if text else None
    if element.value_type == "date" and text:
        try:
            given = date.fromisoformat(text[:10])
        except ValueError:
            what = f"{name} takes a date, not {quoted(text)}"
            return ScriptProblem("constraint", what, hint="as in 2026-11-28")
        for limit, early in ((limits.lowest, True), (limits.highest, False)):
            bound = _date(limit)
            if bound is not None and (given < bound if early else given > bound):
                what = f"{name} takes a date {'from' if early else 'up to'} {bound.isoformat()}"
                return ScriptProblem("constraint", what, hint="change the date")
    return None


def read_decimal(text: str) -> Decimal | None:
    """The number that a text is, with blanks around it, commas of thousands, or a comma before one
    or two decimals; None for none."""
    plain = text.strip()
    if _DECIMAL_COMMA.fullmatch(plain):
        plain = plain.replace(",", ".")
    elif _THOUSANDS.fullmatch(plain):
        plain = plain.replace(",", "")
    if not plain.isascii() or len(plain) > _MOST_NUMBER_CHARACTERS:
        return None
    try:
        found = Decimal(plain)
    except InvalidOperation:
        return None
    # An exponent could make a number that takes a gigabyte to print.
    return found if found.is_finite() and "e" not in plain.lower() and "_" not in plain else None


def number_in(text: str) -> Decimal | None:
    """The one number in a text, with words or a currency around it; of a duration such as "3h 20m"
    the minutes. None where there is none, or several."""
    if (number := read_decimal(text)) is not None:
        return number
    plain = " ".join(text.split())[:200]
    whole = _DURATION.fullmatch(plain)
    if whole and (whole[1] or whole[2]):
        return Decimal(60 * int(whole[1] or 0) + int(whole[2] or 0))
    found = _NUMBER.findall(plain)
    return read_decimal(found[0]) if len(found) == 1 else None


def _why_no_number(element: Element, text: str) -> ScriptProblem | None:
    name, limits = f"${element.name}", element.constraints
    given = read_decimal(text)
    if given is None:
        what = f"{name} takes a number, not {quoted(text)}"
        return ScriptProblem("constraint", what, hint="as in 12 or 12.50")
    lowest, highest = (read_decimal(one or "") for one in (limits.lowest, limits.highest))
    if lowest is not None and given < lowest:
        return ScriptProblem("constraint", f"{name} is at least {lowest}", hint="raise it")
    if highest is not None and given > highest:
        return ScriptProblem("constraint", f"{name} is at most {highest}", hint="lower it")
    return None


def _date(text: str | None) -> date | None:
    try:
        return date.fromisoformat((text or "")[:10])
    except ValueError:
        return None


# --------------------------------------------------------------------------------------------------
# The values of a running script: plain data, each with the elements whose text went into it.

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
