"""Days as people write them, for tasks and for calendars of pages.

read_day("3/31/2026"), read_day("31 March 2026")        # the same date
month_in("March 2026")                                  # (2026, 3)
"""

from __future__ import annotations

import re
from datetime import date

__all__ = ["month_in", "read_day"]

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
