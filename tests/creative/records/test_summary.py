"""What a record holds, and what became of its export, in words."""

from __future__ import annotations

import logging
from datetime import date

import polars as pl
import pytest

from adwright.creative.records.delivery import check_delivery
from adwright.creative.records.summary import (
    DeliveryNotes,
    NoteTaker,
    Repair,
    repair_of,
    say,
    summarise_days,
)
from adwright.data.checks import in_file

DAYS = check_delivery(
    pl.DataFrame(
        {
            "creative_id": ["x", "x", "y"],
            "ad_id": ["a", "b", "b"],
            "day": [date(2026, 1, 1), date(2026, 1, 5), date(2026, 1, 2)],
            "period_days": [1, 7, 1],
            "impressions": [1000, 200, 30],
            "clicks": [4, None, 3],
            "spend": [1.5, 2.25, 3.0],
            "currency": ["EUR", "USD", None],
        }
    )
)
NOTES = DeliveryNotes(
    "meta",
    "e.csv",
    ("Cost is taken as spend",),
    (Repair("rows of totals left out", 4, ("row 9: '5'",)),),
    ("rows may be missing",),
    ("CPM",),
)


def test_counts() -> None:
    found = summarise_days(DAYS, NOTES)
    assert (found.rows, found.weeks, found.ads, found.creatives) == (3, 1, 2, 2)
    assert (found.accounts, found.campaigns) == (0, 0)
    assert (found.first, found.last) == (date(2026, 1, 1), date(2026, 1, 11))
    assert (found.impressions, found.clicks, found.conversions) == (1230, 7, None)
    assert found.spend == {"": 3.0, "EUR": 1.5, "USD": 2.25}
    assert found.conversion_value == {}


def test_all_of_it_is_printed() -> None:
    lines = summarise_days(DAYS, NOTES).text().splitlines()
    plain = [" ".join(line.split()) for line in lines]
    assert "source meta" in plain
    assert "rows 3, 1 of them weeks" in plain
    assert "days 2026-01-01 to 2026-01-11" in plain
    assert "spend 3.00 of no currency, 1.50 EUR, 2.25 USD" in plain
    assert "conversions unknown" in plain
    assert "columns left out CPM" in plain
    assert plain[-3:] == [
        "Cost is taken as spend",
        "Repaired: 4 rows of totals left out (row 9: '5'; ...)",
        "Warning: rows may be missing",
    ]
    empty = summarise_days(DAYS.clear(), DeliveryNotes())
    assert (empty.first, empty.spend) == (None, {})
    assert "days              none" in empty.text()


def test_a_repair_names_the_first_places() -> None:
    assert str(repair_of("rows", [3, 4], ["x", None])) == "2 rows (row 3: 'x'; row 4: None)"
    assert str(repair_of("rows", list(range(9)))) == "9 rows (row 0; row 1; row 2; ...)"
    assert str(Repair("files", 1)) == "1 files"
    assert len(repair_of("rows", [1], ["x" * 500]).first[0]) < 100


def test_notes_are_taken() -> None:
    notes = NoteTaker(["a"], [Repair("b", 1)])
    notes.repair("none", in_file("e"), pl.Series([False, None]))
    notes.repair("some", lambda row: ("e", row + 10), pl.Series([None, True]), pl.Series([1, 2]))
    notes.odd.append("c")
    assert notes.taken("meta", "e", ["d"]) == DeliveryNotes(
        "meta", "e", ("a",), (Repair("b", 1), Repair("some", 1, ("row 11: 2",))), ("c",), ("d",)
    )


def test_repairs_and_doubts_are_warnings(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "adwright"):
        say(NOTES)
    levels = [(one.levelname, one.getMessage()) for one in caplog.records]
    assert levels == [
        ("INFO", "Cost is taken as spend"),
        ("INFO", "left out: the columns CPM"),
        ("WARNING", "repaired: 4 rows of totals left out (row 9: '5'; ...)"),
        ("WARNING", "rows may be missing"),
    ]
