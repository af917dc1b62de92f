"""Days and months as people write them."""

from __future__ import annotations

from datetime import date

import pytest

from adwright.agent.drivers.calendar import month_in, read_day


@pytest.mark.parametrize(
    "text",
    ["2026-03-31", "3/31/2026", "31/3/2026", "31.3.2026", "31 March 2026", "March 31, 2026"],
)
def test_one_day_in_many_forms(text: str) -> None:
    assert read_day(text) == date(2026, 3, 31)


@pytest.mark.parametrize(
    "text", ["", "31", "2026", "30.2.2026", "March", "12/2026", "room 31 of 4"]
)
def test_what_is_no_day(text: str) -> None:
    assert read_day(text) is None


def test_the_month_of_a_heading() -> None:
    assert month_in("October 2027") == (2027, 10)
    assert month_in("October") is None
