"""A calendar in memory, turned month by month."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

import pytest

from adwright.agent.drivers.calendar import pick_day
from adwright.agent.drivers.protocol import DriverError, Screen, ScreenNode
from tests.support.agent.site.screens import node, screen


@dataclass
class Almanac:
    """Only what `pick_day` asks of a driver. last: the latest month that it turns to."""

    year: int = 2026
    month: int = 5
    last: tuple[int, int] = (2026, 12)
    is_open: bool = False
    taps: list[str] = field(default_factory=list)

    def tap(self, one: ScreenNode) -> None:
        self.taps.append(one.name)
        self.is_open = True
        step = {"Previous month": -1, "Next month": 1}.get(one.name, 0)
        place = min(self.year * 12 + self.month - 1 + step, self.last[0] * 12 + self.last[1] - 1)
        self.year, self.month = divmod(place, 12)
        self.month += 1

    def observe(self) -> Screen:
        day = date(self.year, self.month, 1)
        shown = [
            node("h", "generic", day.strftime("%B %Y")),
            node("p", "button", "Previous month"),
            node("n", "button", "Next month"),
            *(node(f"d{n}", "gridcell", str(n)) for n in (29, 30, *range(1, 29), 1, 2)),
        ]
        return screen(node("f", "textbox", "Arrival"), *(shown if self.is_open else ()))


def pick(almanac: Almanac, day: date) -> None:
    pick_day(almanac, node("f", "textbox", "Arrival"), day)  # type: ignore[arg-type]


def test_it_is_turned_to_the_month_and_the_day_is_tapped() -> None:
    almanac = Almanac()
    pick(almanac, date(2026, 3, 2))
    assert almanac.taps == ["Arrival", "Previous month", "Previous month", "2"]


def test_it_stops_where_it_cannot_be_turned_further() -> None:
    with pytest.raises(DriverError, match="2027-02-01"):
        pick(Almanac(), date(2027, 2, 1))


def test_without_a_calendar_nothing_is_tapped_but_the_field() -> None:
    almanac = Almanac()
    almanac.observe = lambda: screen(node("f", "textbox", "Arrival"))  # type: ignore[method-assign]
    with pytest.raises(DriverError, match="no calendar"):
        pick(almanac, date(2026, 5, 1))
    assert almanac.taps == ["Arrival"]
