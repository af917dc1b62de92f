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

from adwright.agent.drivers.days import month_in
from adwright.agent.drivers.protocol import DriverError, Screen, ScreenDriver, ScreenNode

__all__ = ["pick_day"]

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
