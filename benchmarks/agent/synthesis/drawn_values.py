"""Values for the fields of tasks, drawn by a seed: what a field takes, and not what stands there.

    draw_value(field, "10", random.Random(7))          # Decimal("37") of a field from 0 to 90

They follow the field's kind, options, bounds and pattern; of a text field also the shape of what
stands in it, so that a field of text that holds a date gets a date.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TypeAlias

from adwright.agent.document.elements import Element
from adwright.agent.language.kinds import read_decimal, why_text_unfit

#: A text, date or option; a number; on or off.
FieldValue: TypeAlias = str | Decimal | bool

_FIRST = (
    *(
        "Amber",
        "Autumn",
        "Blue",
        "Bright",
        "Cedar",
        "Copper",
        "Coral",
        "Early",
        "Evening",
        "Golden",
    ),
    *(
        "Grand",
        "Green",
        "Harbour",
        "Indigo",
        "Ivory",
        "Jade",
        "Lunar",
        "Maple",
        "Misty",
        "Northern",
    ),
    *("Olive", "Orchid", "Pearl", "Quiet", "River", "Royal", "Silver", "Solar", "Spring", "Velvet"),
)
_SECOND = (
    *(
        "Basket",
        "Breeze",
        "Bundle",
        "Choice",
        "Corner",
        "Deal",
        "Field",
        "Garden",
        "Harvest",
        "Hill",
    ),
    *(
        "Lane",
        "Lantern",
        "Market",
        "Meadow",
        "Morning",
        "Offer",
        "Orchard",
        "Path",
        "Picks",
        "Point",
    ),
    *("Select", "Shelf", "Shore", "Special", "Stock", "Street", "Summit", "Valley", "Week", "Yard"),
)
_SAID = (
    *("Back in stock on Monday", "Checked by the night shift", "For members only"),
    *("Good until the end of the month", "Keep refrigerated", "Made for the summer"),
    *("Not for resale", "Please call before delivery", "While stocks last", "With free delivery"),
)
_NO_OPTION = re.compile(r"^\W*$|^(?:select|choose|please|none|any|all)\b", re.I)
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d([ T])\d\d:\d\d(:\d\d)?")
_CODE = re.compile(r"(?=.*\d)[A-Z0-9][A-Z0-9_-]{2,20}")
_TRIES = 12


def draw_value(field: Element, now: str | None, source: random.Random) -> FieldValue | None:
    """A value that the field takes and that is not `now`; None where none is found.

    now: what stands in the field; None where nobody looked.
    """
    if field.value_type == "switch":
        return source.random() < 0.5 if now is None else now != "true"
    if field.value_type == "choice":
        known = [one for one in field.options if one != now and not _NO_OPTION.match(one)]
        return source.choice(known) if known else None
    for _ in range(_TRIES):
        value = _drawn(field, now, source)
        text = said_value(value)
        if text != now and _fits(field, text):
            return value
    return None


def said_value(value: FieldValue) -> str:
    """A value as it is written in a task."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return format(value, "f") if isinstance(value, Decimal) else value


def _fits(field: Element, text: str) -> bool:
    if why_text_unfit(field, text) is not None:
        return False
    try:
        pattern = re.compile(field.constraints.pattern)
    except re.error:
        return False
    return not field.constraints.pattern or pattern.fullmatch(text) is not None


def _drawn(field: Element, now: str | None, source: random.Random) -> FieldValue:
    match field.value_type:
        case "number":
            return _number(field, now or "", source)
        case "date":
            return _date(field, source)
        case _:
            return _text(field, now or "", source)


def _number(field: Element, now: str, source: random.Random) -> Decimal:
    limits = field.constraints
    low = read_decimal(limits.lowest or "") or Decimal(1)
    high = read_decimal(limits.highest or "")
    high = min(low + 98, high) if high is not None else low + 98
    whole = Decimal(source.randint(int(low), max(int(high), int(low))))
    if "." in now and whole < high:
        return whole + Decimal(source.choice((25, 49, 50, 75, 95, 99))) / 100
    return whole


def _date(field: Element, source: random.Random) -> str:
    first = _day(field.constraints.lowest) or date(2027, 1, 4)
    last = _day(field.constraints.highest) or first + timedelta(days=600)
    days = max((last - first).days, 0)
    return (first + timedelta(days=source.randint(0, days))).isoformat()


def _text(field: Element, now: str, source: random.Random) -> str:
    if moment := _DATE_TIME.fullmatch(now):
        shift = timedelta(days=source.randint(1, 90))
        seconds = ":00" if moment[2] else ""
        later = datetime.fromisoformat(now[:16].replace("T", " ")) + shift
        return later.strftime(f"%Y-%m-%d{moment[1]}%H:%M") + seconds
    if _day(now) is not None and len(now) == len("2027-01-04"):
        return _date(field, source)
    if now and read_decimal(now) is not None:
        return str(_number(field, now, source))
    label = f"{field.label} {field.name}".lower()
    for words, made in _BY_LABEL:
        if any(one in label for one in words):
            return made(source)
    if _CODE.fullmatch(now):
        return _code(source)
    name = f"{source.choice(_FIRST)} {source.choice(_SECOND)}"
    most = field.constraints.most_characters
    return name if most is None or len(name) <= most else name[:most].rstrip()


def _code(source: random.Random) -> str:
    return f"{source.choice(_SECOND).upper()}{source.randint(10, 99)}"


def _mail(source: random.Random) -> str:
    return f"{source.choice(_FIRST).lower()}.{source.choice(_SECOND).lower()}@example.com"


def _sentence(source: random.Random) -> str:
    return source.choice(_SAID)


_BY_LABEL: Sequence[tuple[tuple[str, ...], Callable[[random.Random], str]]] = (
    (("email", "e-mail"), _mail),
    (("code", "sku", "upc"), _code),
    (("description", "comment", "note", "message", "body", "help text"), _sentence),
)


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat((text or "")[:10])
    except ValueError:
        return None
