"""Cells of exports: numbers as people write them, links of creatives, checks of days, notes."""

from __future__ import annotations

import logging
from datetime import date
from typing import Any

import polars as pl
import pytest

from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.creative.records.cells import (
    LARGEST_COUNT,
    LINKS,
    DecimalSign,
    assign_creatives,
    bare,
    by_distinct,
    check_links,
    check_rows,
    find_decimal,
    is_absent,
    links_of,
    read_number,
)
from adwright.creative.records.delivery import (
    DeliveryNotes,
    NoteTaker,
    Repair,
    check_delivery,
    repair_of,
    say,
    summarise_days,
)
from adwright.data.schema import Check, in_file

PLACE = in_file("e.csv")


def read(cell: str, decimal: DecimalSign = ".", *, whole: bool = False) -> float | None:
    frame = pl.DataFrame({"n": [cell]})
    found: float | None = read_number(frame, "n", decimal, PLACE, whole=whole).value.item()
    return found


SPELLINGS = {
    ".": (
        "1234.56=1234.56 1,234.56=1234.56 1'234.56=1234.56 1’234.56=1234.56 12,34,567.5=1234567.5 "
        "1,234,567=1234567 .5=0.5 -3.5=-3.5 \u22123.5=-3.5 (3.50)=-3.5 +3.5=3.5 12.5%=0.125 "
        "1.5E+03=1500 $1,234.50=1234.5 -$3.20=-3.2 $-3.20=-3.2 _7_=7 USD_5=5 5_zł=5"
    ),
    ",": (
        "1.234,56=1234.56 1_234,56=1234.56 1\u00a0234,56=1234.56 1\u202f234,56=1234.56 "
        "1.234.567=1234567 12,5_%=0.125 3,20_€=3.2 R$_1.234,50=1234.5"
    ),
}


@pytest.mark.parametrize("decimal", SPELLINGS)
def test_spellings(decimal: DecimalSign) -> None:
    for one in SPELLINGS[decimal].split(" "):
        cell, value = one.split("=")
        assert read(cell.replace("_", " "), decimal) == pytest.approx(float(value), rel=1e-15), one


@pytest.mark.parametrize("cell", ["", " ", "-", "--", " -- ", "—", "N/A", "null", "(not set)"])
def test_nothing_is_no_zero(cell: str) -> None:
    found = read_number(pl.DataFrame({"n": [cell, "1"]}), "n", ".", PLACE)
    assert found.value.to_list() == [None, 1.0]
    assert found.empty == 1
    assert not found.below.any()
    assert pl.select(is_absent(pl.lit(cell))).item()


@pytest.mark.parametrize("cell", ["< 10", "<10%", "> 90 %", "<0.1"])
def test_less_than_is_no_number(cell: str) -> None:
    found = read_number(pl.DataFrame({"n": [cell]}), "n", ".", PLACE)
    assert found.value.to_list() == [None]
    assert found.below.to_list() == [True]
    assert found.empty == 0


NO_NUMBERS = "1.2.3|1,23.4|12,3456|1,2|lots|1-2|0x10|inf|nan|5 gold|1e999|%"


@pytest.mark.parametrize("cell", NO_NUMBERS.split("|"))
def test_what_is_no_number_is_refused(cell: str) -> None:
    with pytest.raises(ValueInvalidError) as caught:
        read_number(pl.DataFrame({"n": ["1", cell]}), "n", ".", PLACE)
    assert (caught.value.row, caught.value.column, caught.value.value) == (1, "n", cell)
    assert caught.value.hint


def test_counts_are_whole() -> None:
    assert read("1,234", whole=True) == 1234.0
    assert read("12.0", whole=True) == 12.0
    with pytest.raises(ValueInvalidError, match="whole number"):
        read("12.5", whole=True)
    with pytest.raises(ValueInvalidError, match="anybody counts"):
        read("9" * 20, whole=True)
    assert read(str(LARGEST_COUNT), whole=True) == 2.0**53


@pytest.mark.parametrize(
    ("cells", "codes", "vague"),
    [
        (["3 €", "3 EUR", "eur 3", "3"], ["EUR", "EUR", "EUR", None], ()),
        (["US$3", "A$ 3", "£3", "3 Kč"], ["USD", "AUD", "GBP", "CZK"], ()),
        (["$3", "3 kr", "¥3"], [None] * 3, ("$", "kr", "¥")),
    ],
)
def test_currencies_of_cells(
    cells: list[str], codes: list[str | None], vague: tuple[str, ...]
) -> None:
    found = read_number(pl.DataFrame({"n": cells}), "n", ".", PLACE)
    assert found.value.to_list() == [3.0] * len(cells)
    assert found.currency.to_list() == codes
    assert found.vague == vague


def sign(amounts: list[str], counts: list[str] | None = None, *, semicolons: bool = False) -> str:
    counts = counts or ["1"] * len(amounts)
    frame = pl.DataFrame({"spend": amounts, "impressions": counts})
    columns = ["spend", "impressions"]
    return find_decimal(frame, columns, ["impressions"], PLACE, separator_comma=semicolons)[0]


POINTS = "1.5 1,234.5 1,234,567 0.123 1.234 1,234 7 -- 1.5E+03"


@pytest.mark.parametrize("amount", POINTS.split())
def test_a_point_is_before_the_decimals(amount: str) -> None:
    assert sign([amount]) == "."


@pytest.mark.parametrize("amount", ["1,5", "1.234,5", "1.234.567", "0,123", "1234,567"])
def test_a_comma_is_before_the_decimals(amount: str) -> None:
    assert sign([amount]) == ","


def test_three_digits_behind_one_sign_leave_it_open_and_a_count_has_no_decimals() -> None:
    assert sign(["1.234"], ["5.678"]) == ","
    assert sign(["1,234"], ["5,678"]) == "."


def test_semicolons_suggest_a_comma_where_the_cells_say_nothing() -> None:
    assert sign(["1,234"], semicolons=True) == ","
    assert sign(["1.5"], semicolons=True) == "."


def test_mixed_signs_name_the_first_of_the_fewer() -> None:
    with pytest.raises(ValueInvalidError, match="2 different cells can only") as caught:
        sign(["1.5", "2.5", "3,5"])
    assert (caught.value.row, caught.value.column, caught.value.value) == (2, "spend", "3,5")
    with pytest.raises(ValueInvalidError, match="thousands") as caught:
        sign(["1.50", "2.50"], ["1.234", "7"])
    assert (caught.value.row, caught.value.column) == (0, "impressions")


def test_a_cell_that_comes_often_is_read_once() -> None:
    seen = []

    def read(cell: pl.Expr) -> pl.Expr:
        return cell.map_batches(lambda cells: seen.append(len(cells)) or cells.str.len_chars())

    cells = pl.Series("__made", ["aa", None, "b", "aa"])
    assert by_distinct(cells, read).to_list() == [2, None, 1, 2]
    assert by_distinct(cells, read).name == "__made"
    assert max(seen) == 3


def test_blanks_of_all_kinds() -> None:
    cells = pl.Series("c", ["\u00a0a b\u2009", "\ufeffa\u200b b", " a\u00a0b "])
    assert cells.to_frame().select(bare(pl.col("c"))).to_series().to_list() == ["a b"] * 3


def test_rows_are_checked_as_elsewhere() -> None:
    frame = pl.DataFrame({"n": [1, 2, 3]})
    check_rows(frame, [Check("n", pl.col("n") > 3, "too large", "less")], PLACE)
    with pytest.raises(ValueInvalidError, match=r"too large; 2 rows.*row 1.*value 2"):
        check_rows(frame, [Check("n", pl.col("n") > 1, "too large", "less")], PLACE)


def day(number: int) -> date:
    return date(2026, 1, number)


def rows(*cells: tuple[str, str, int, int]) -> pl.DataFrame:
    """Rows of creative_id, ad_id, day of January, days."""
    frame = pl.DataFrame(cells, ["creative_id", "ad_id", "day", "period_days"], orient="row")
    return frame.with_columns(day=pl.date(2026, 1, pl.col("day")))


def test_links_follow_from_the_days() -> None:
    found = links_of(rows(("x", "a", 3, 1), ("y", "a", 3, 1), ("x", "b", 1, 7), ("x", "a", 1, 1)))
    assert found.rows() == [
        ("x", "a", day(1), day(3)),
        ("y", "a", day(3), day(3)),
        ("x", "b", day(1), day(7)),
    ]
    assert found.columns == LINKS.names
    assert check_links(found).equals(found)


def test_days_take_the_creative_that_was_there() -> None:
    links = check_links(
        pl.DataFrame(
            {
                "creative_id": ["x", "y", "z"],
                "ad_id": ["a", "a", "b"],
                "first_day": [day(1), day(4), day(2)],
                "last_day": [day(3), None, day(2)],
            }
        )
    )
    days = rows(
        *(("own", "a", n, 1) for n in (1, 3, 4, 9)), *(("own", "b", n, 1) for n in (1, 2, 3))
    )
    days = days.with_columns(impressions=pl.int_range(pl.len()))
    found = assign_creatives(days, links)
    assert found["creative_id"].to_list() == ["x", "x", "y", "y", "own", "z", "own"]
    assert found.drop("creative_id").equals(days.drop("creative_id"))
    # A week in which both were there is of neither.
    with pytest.raises(ValueInvalidError, match="several creatives") as caught:
        assign_creatives(rows(("own", "a", 5, 1), ("own", "a", 2, 7)), links, in_file("e.csv"))
    assert (caught.value.row, caught.value.file) == (1, "e.csv")


@pytest.mark.parametrize(
    ("changed", "error", "part"),
    [
        ({"first_day": None}, SchemaError, "first_day"),
        ({"from": [day(1)]}, SchemaError, "from"),
        ({"creative_id": [1.5]}, SchemaError, "text"),
        ({"last_day": ["2026-01-02"]}, SchemaError, "a date"),
        ({"ad_id": [" "]}, ValueInvalidError, "ad_id"),
        ({"first_day": [None]}, ValueInvalidError, "first_day"),
        ({"last_day": [date(2025, 1, 1)]}, ValueInvalidError, "before the first"),
    ],
)
def test_other_links_are_refused(
    changed: dict[str, Any], error: type[Exception], part: str
) -> None:
    good = {"creative_id": ["x"], "ad_id": ["a"], "first_day": [day(1)]}
    table = {name: cells for name, cells in (good | changed).items() if cells is not None}
    schema = {"first_day": pl.Date} if table.get("first_day") == [None] else None
    with pytest.raises(error, match=part):
        check_links(pl.DataFrame(table, schema_overrides=schema))
    assert check_links(pl.DataFrame(good)).row(0) == ("x", "a", day(1), None)


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
