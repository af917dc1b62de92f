"""A number is read as its writer meant it, in any locale, or refused."""

from __future__ import annotations

import polars as pl
import pytest

from adwright.core.errors import ValueInvalidError
from adwright.creative.records.cells import (
    LARGEST_COUNT,
    DecimalSign,
    bare,
    by_distinct,
    check_rows,
    find_decimal,
    is_absent,
    read_number,
)
from adwright.data.checks import Check, in_file

PLACE = in_file("e.csv")


def read(cell: str, decimal: DecimalSign = ".", *, whole: bool = False) -> float | None:
    frame = pl.DataFrame({"n": [cell]})
    found: float | None = read_number(frame, "n", decimal, PLACE, whole=whole).value.item()
    return found


@pytest.mark.parametrize(
    ("cell", "decimal", "value"),
    [
        ("1234.56", ".", 1234.56),
        ("1,234.56", ".", 1234.56),
        ("1.234,56", ",", 1234.56),
        ("1 234,56", ",", 1234.56),
        ("1\u00a0234,56", ",", 1234.56),
        ("1\u202f234,56", ",", 1234.56),
        ("1'234.56", ".", 1234.56),
        ("1’234.56", ".", 1234.56),
        ("12,34,567.5", ".", 1234567.5),
        ("1,234,567", ".", 1234567.0),
        ("1.234.567", ",", 1234567.0),
        (".5", ".", 0.5),
        (" 7 ", ".", 7.0),
        ("-3.5", ".", -3.5),
        ("\u22123.5", ".", -3.5),
        ("(3.50)", ".", -3.5),
        ("+3.5", ".", 3.5),
        ("12.5%", ".", 0.125),
        ("12,5 %", ",", 0.125),
        ("1.5E+03", ".", 1500.0),
        ("$1,234.50", ".", 1234.5),
        ("-$3.20", ".", -3.2),
        ("$-3.20", ".", -3.2),
        ("3,20 €", ",", 3.2),
        ("USD 5", ".", 5.0),
        ("5 zł", ".", 5.0),
        ("R$ 1.234,50", ",", 1234.5),
    ],
)
def test_spellings(cell: str, decimal: DecimalSign, value: float) -> None:
    assert read(cell, decimal) == pytest.approx(value, rel=1e-15)


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


@pytest.mark.parametrize(
    "cell",
    [
        "1.2.3",
        "1,23.4",
        "12,3456",
        "1,2",
        "lots",
        "1-2",
        "0x10",
        "inf",
        "nan",
        "5 gold",
        "1e999",
        "%",
    ],
)
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


@pytest.mark.parametrize(
    ("amounts", "counts", "expected"),
    [
        (["1.5"], None, "."),
        (["1,5"], None, ","),
        (["1,234.5"], None, "."),
        (["1.234,5"], None, ","),
        (["1,234,567"], None, "."),
        (["1.234.567"], None, ","),
        (["0.123"], None, "."),
        (["0,123"], None, ","),
        (["1234,567"], None, ","),
        # Three digits behind one sign leave it open; a count cannot have decimals.
        (["1.234"], ["5.678"], ","),
        (["1,234"], ["5,678"], "."),
        (["1.234"], None, "."),
        (["1,234"], None, "."),
        (["7"], None, "."),
        (["--"], None, "."),
        (["1.5E+03"], None, "."),
    ],
)
def test_which_sign_is_before_the_decimals(
    amounts: list[str], counts: list[str] | None, expected: str
) -> None:
    assert sign(amounts, counts) == expected


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
