"""Whether a field can take a value: its kind, its options, its bounds.

What is known only when the script runs is checked again then, with the value.
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal, InvalidOperation

from adwright.agent.document.elements import Element
from adwright.agent.language.kinds import FILLING_VERBS, VERBS, KindName
from adwright.agent.language.problems import ScriptProblem, quoted
from adwright.agent.language.tree import (
    DecimalLiteral,
    Expression,
    TextLiteral,
    WholeLiteral,
)

__all__ = ["number_in", "read_decimal", "why_text_unfit", "why_unfit"]

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
