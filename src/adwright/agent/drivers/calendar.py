"""Choose a day in the calendar that a page opens for a field that takes no typing.

    pick_day(driver, node, date(2026, 3, 31))

The field is tapped; the calendar is turned by what it calls "previous" and "next" until its heading
says the month; then the day is tapped. Each step looks at the screen anew, and where a step does
not lead nearer, it stops.
"""

from __future__ import annotations

import re
from datetime import date
from itertools import pairwise

from adwright.agent.drivers.protocol import DriverError, Screen, ScreenDriver, ScreenNode

# --------------------------------------------------------------------------------------------------
# Days as people write them, for tasks and for calendars of pages.
#
# read_day("3/31/2026"), read_day("31 March 2026")        # the same date
# month_in("March 2026")                                  # (2026, 3)

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = re.compile(
    r"\b(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sep(?:t(?:ember)?)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b",
    re.I,
)
_YEAR = re.compile(r"\b((?:19|20)\d\d)\b")


def read_day(text: str) -> date | None:
    """The day that a text is: 2026-03-31, 31.3.2026, 3/31/2026, 31 March 2026; None for none. With
    slashes the month comes first, unless it would be none."""
    plain = " ".join(text.split())
    numbers = [int(one) for one in re.findall(r"\d+", plain)]
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", plain):
            return date.fromisoformat(plain)
        if re.fullmatch(r"\d{1,2}/\d{1,2}/\d{4}", plain):
            first, second, year = numbers
            return date(year, first, second) if first <= 12 else date(year, second, first)
        if re.fullmatch(r"\d{1,2}\.\d{1,2}\.\d{4}", plain):
            return date(numbers[2], numbers[1], numbers[0])
        month = _MONTH.search(plain)
        if (
            month
            and len(numbers) == 2
            and re.fullmatch(r"[A-Za-z]+\W+\d+\W+\d+|\d+\W+\w+\W+\d+", plain)
        ):
            return date(numbers[1], _number(month[0]), numbers[0])
    except ValueError:
        return None
    return None


def month_in(text: str) -> tuple[int, int] | None:
    """The year and month that a heading such as "March 2026" names; None where it does not."""
    month, year = _MONTH.search(text), _YEAR.search(text)
    return (int(year[1]), _number(month[0])) if month and year else None


def _number(month: str) -> int:
    return _MONTHS.index(month[:3].lower()) + 1


#: So many months a calendar is turned: ten years.
_MOST_TURNS = 120
_BACK = re.compile(r"^\W*(?:prev(?:ious)?(?: month)?|back|\u2039|<)\W*$", re.I)
_ON = re.compile(r"^\W*(?:next(?: month)?|\u203a|>)\W*$", re.I)
_TAPPED = ("link", "button", "gridcell", "cell", "generic")
_LONGEST_HEADING = 40


def pick_day(driver: ScreenDriver, node: ScreenNode, day: date) -> None:
    """Make the calendar of a field show a day, and tap it. Raises DriverError where there is no
    calendar, or the day cannot be chosen in it."""
    driver.tap(node)
    screen = driver.observe()
    before: tuple[int, int] | None = None
    for _ in range(_MOST_TURNS):
        shown = _month(screen)
        if shown is None or shown == before:
            break
        if shown == (day.year, day.month):
            return driver.tap(_day(screen, day))
        before = shown
        pattern = _BACK if shown > (day.year, day.month) else _ON
        turns = [one for one in screen.nodes if one.visible and _is_called(one, pattern)]
        if not turns:
            break
        driver.tap(turns[-1])
        screen = driver.observe()
    raise DriverError(
        f"no calendar for {node.role} {node.name[:60]!r} shows {day.isoformat()}",
        hint="choose the day by taps",
    )


def _month(screen: Screen) -> tuple[int, int] | None:
    """The month of the calendar's heading: in one node, or in two beside each other."""
    texts = [one.text or one.name for one in screen.nodes if one.visible]
    short = [one for one in texts if len(one) <= _LONGEST_HEADING]
    for one in (*short, *(f"{a} {b}" for a, b in pairwise(short))):
        if re.fullmatch(r"[A-Za-z]+,? \d{4}", one.strip()) and (found := month_in(one)):
            return found
    return None


def _day(screen: Screen, day: date) -> ScreenNode:
    """The node of a day; days of the months beside it stand before the first and after the last."""
    parents = {one.parent for one in screen.nodes if one.role in ("link", "button")}
    found = [
        one
        for one in screen.nodes
        if one.visible
        and one.enabled
        and one.role in _TAPPED
        and one.key not in parents
        and (one.name or one.text).strip() == str(day.day)
    ]
    links = [one for one in found if one.role in ("link", "button")]
    found = links or found
    if not found:
        raise DriverError(f"the calendar has no day {day.day}", hint="it may not be on offer")
    return found[0] if day.day < 15 else found[-1]


def _is_called(node: ScreenNode, pattern: re.Pattern[str]) -> bool:
    clickable = node.role in ("link", "button") or "clickable" in node.facts
    return (
        clickable
        and pattern.match(node.name or node.text or node.facts.get("title", "")) is not None
    )
