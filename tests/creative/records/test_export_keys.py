"""Ids keep their digits or are refused; a day is one day or is refused."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import polars as pl
import pytest

from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.creative.records.export_keys import read_day, read_id
from adwright.data.checks import in_file

PLACE = in_file("e.csv")
DAY = date(2026, 1, 31)


def ids(*cells: Any) -> list[str | None]:
    frame = pl.DataFrame({"id": list(cells)})
    return frame.select(read_id(frame, "id", PLACE).value).to_series().to_list()


def days(*cells: Any, **settings: str) -> list[date | None]:
    frame = pl.DataFrame({"d": list(cells)})
    return frame.select(read_day(frame, "d", PLACE, **settings).value).to_series().to_list()


def test_ids_as_they_are() -> None:
    assert ids(" a1 ", "007", "120210987654321987") == ["a1", "007", "120210987654321987"]
    assert ids(7, 120210987654321987) == ["7", "120210987654321987"]
    assert ids(7.0, float("nan"), None) == ["7", None, None]
    assert ids('="120210987654321987"', "'42", "77.0", "--", "") == (
        ["120210987654321987", "42", "77", None, None]
    )
    assert ids("1e5x", "x1E+17", "act_12") == ["1e5x", "x1E+17", "act_12"]


def test_what_is_mended_is_counted() -> None:
    frame = pl.DataFrame({"id": ["a", '="1"', "'2", "3.0"]})
    quotes, floats = read_id(frame, "id", PLACE).repairs
    assert (quotes.count, floats.count) == (2, 1)
    assert "row 1" in quotes.first[0]
    assert "row 3: '3.0'" in floats.first[0]
    (repair,) = read_id(pl.DataFrame({"id": [1.0, 2.0]}), "id", PLACE).repairs
    assert repair.count == 2


@pytest.mark.parametrize(
    "cells",
    [
        ("a", "1.2021E+17"),
        ("a", "1,2E17"),
        ("a", "12E+15"),
        ("a", "120210987654321987.0"),
        (1.0, 1.5),
        (1.0, 2.0**53),
        ("a", "NaN"),
        ("a", "x\x07"),
        ("a", "x" * 501),
    ],
)
def test_lost_digits_are_refused(cells: tuple[Any, ...]) -> None:
    if cells == ("a", "12E+15"):
        # Not as a spreadsheet writes it: an id of letters and digits.
        assert ids(*cells) == list(cells)
        return
    with pytest.raises(ValueInvalidError) as caught:
        ids(*cells)
    assert (caught.value.row, caught.value.column) == (1, "id")


def test_zeros_from_the_16th_digit_on() -> None:
    start = 120210987654321987
    # One in a thousand by chance; of a thousand ids one is no sign.
    assert len(ids(*(str(start + 13 * n) for n in range(1000)))) == 1000
    with pytest.raises(ValueInvalidError, match="4 of 4 ids end in zeros"):
        ids(*(str((start + 1000 * n) // 1000 * 1000) for n in range(4)))
    with pytest.raises(ValueInvalidError, match="1 of 1 ids"):
        ids(str(start // 1000 * 1000))
    # Of 16 digits one in ten does.
    assert ids("1738373141733370") == ["1738373141733370"]
    frame = pl.DataFrame({"id": ["1738373141733370"]})
    assert "1 of 1" in read_id(frame, "id", PLACE).odd[0]
    with pytest.raises(ValueInvalidError, match="30 of 30"):
        ids(*(f"173837314173{n:03d}0" for n in range(100, 130)))


def test_other_types_are_no_ids() -> None:
    with pytest.raises(SchemaError, match="text or a whole number"):
        ids(True, False)
    assert ids(None) == [None]


@pytest.mark.parametrize(
    "cell",
    [
        "2026-01-31",
        " 2026-01-31\u00a0",
        "2026/01/31",
        "2026.01.31",
        "20260131",
        "2026-01-31 00:00:00",
        "2026-01-31T00:00:00Z",
        "Jan 31, 2026",
        "January 31, 2026",
        "Sat, Jan 31, 2026",
        "31 Jan 2026",
        "31-Jan-2026",
        "31-Jan-26",
        "31/01/2026",
        "01/31/2026",
        "31.01.2026",
        "31.01.26",
        DAY,
        datetime(2026, 1, 31),
        20260131,
    ],
)
def test_one_day_in_many_spellings(cell: Any) -> None:
    assert days(cell, cell) == [DAY, DAY]


def test_the_other_rows_tell_which_is_the_day() -> None:
    assert days("01/02/2026", "13/02/2026") == [date(2026, 2, 1), date(2026, 2, 13)]
    assert days("01/02/2026", "02/13/2026") == [date(2026, 1, 2), date(2026, 2, 13)]
    assert days("01/02/2026", date_format="%m/%d/%Y") == [date(2026, 1, 2)]
    assert days("2026-01-31", None, "--", "") == [DAY, None, None, None]
    found = read_day(pl.DataFrame({"d": ["31.01.2026"]}), "d", PLACE)
    assert found.said == ("d: dates are read as %d.%m.%Y",)


@pytest.mark.parametrize(
    ("cells", "settings", "row", "part"),
    [
        (("01/02/2026", "03/02/2026"), {}, 0, "'%d/%m/%Y' or '%m/%d/%Y'"),
        (("01.02.2026",), {}, 0, "'%d.%m.%Y' or '%m.%d.%Y'"),
        (("13/02/2026", "02/13/2026"), {}, 0, "date"),
        (("2026-01-31", "01/31/2026"), {}, 1, "%Y-%m-%d"),
        (("2026-01-31", "2026-01-32"), {}, 1, "date"),
        (("46053",), {}, 0, "spreadsheet"),
        (("2026-W05",), {}, 0, "date"),
        (("yesterday",), {}, 0, "date"),
        (("2026-01-31", "2026-01-31 07:00:00"), {}, 1, "by day"),
        ((datetime(2026, 1, 31, 7),), {}, 0, "by day"),
        (("31/01/2026",), {"date_format": "%m/%d/%Y"}, 0, "date"),
    ],
)
def test_what_could_be_two_days_or_none_is_refused(
    cells: tuple[Any, ...], settings: dict[str, str], row: int, part: str
) -> None:
    with pytest.raises(ValueInvalidError) as caught:
        days(*cells, **settings)
    assert caught.value.row == row
    assert part in str(caught.value)


def test_other_types_are_no_days() -> None:
    with pytest.raises(SchemaError, match="date or text"):
        days(1.5)
