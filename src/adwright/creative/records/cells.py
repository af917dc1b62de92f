"""Read the numbers of an export as their writer meant them, of any locale.

    1,234.56   1.234,56   1 234,56   1'234.56   (12.50)   12,5 %   $ 3.20   3,20 €   USD 5

Which sign stands before the decimals is decided once for all columns of a file, by cells that
leave no doubt; where two say otherwise, both are named. A cell of "--" holds nothing, and one of
"< 10" holds less than is told: neither becomes a zero.

Which creative was in which ad, and when: one creative in many ads, many creatives in one ad.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import polars as pl
import pyarrow as pa

from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.data.schema import (
    Check,
    Locate,
    TableInMemory,
    as_polars,
    check_columns,
    in_file,
    run_checks,
    text_checks,
)

DecimalSign = Literal[".", ","]

#: Blanks that do not look like what they are, and signs that take no room.
_WIDE, _NARROW = r"[\u00a0\u2007\u2009\u202f]", "[\u200b\u200e\u200f\u2060\ufeff]"
#: What stands for nothing, in lower case.
_ABSENT = ("", "-", "--", "---", "\u2013", "\u2014", "n/a", "na", "null", "none", "(not set)")
_BELOW = r"^[<>\u2264\u2265]\s*[\d.,]+\s*%?$"
#: Sign, currency, sign, number, percent, currency, closing bracket.
_PARTS = (
    r"^(\(?[+\-\u2212]?)([^\d.,()+\-\u2212%<>]*)([+\-\u2212]?)"
    r"(\.?\d[\d.,]*(?:[eE][+\-]?\d+)?)(%?)([^\d.,()+\-\u2212%<>]*)(\)?)$"
)
#: Groups of three digits; of two before the last, as India writes them.
_DOT = r"^(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d{2})+,\d{3}|\d*)(?:\.\d+)?(?:[eE][+\-]?\d+)?$"
_COMMA = r"^(?:\d{1,3}(?:\.\d{3})+|\d*)(?:,\d+)?(?:[eE][+\-]?\d+)?$"
#: Signs that name one currency; "$", "¥" and "kr" are of many.
_SIGNS: Mapping[str, str] = {
    **{"€": "EUR", "£": "GBP", "₹": "INR", "₩": "KRW", "₽": "RUB", "₺": "TRY", "฿": "THB"},
    **{"₫": "VND", "₪": "ILS", "₴": "UAH", "₱": "PHP", "zł": "PLN", "Kč": "CZK", "Ft": "HUF"},
    **{"US$": "USD", "A$": "AUD", "AU$": "AUD", "C$": "CAD", "CA$": "CAD", "R$": "BRL"},
    **{"MX$": "MXN", "HK$": "HKD", "NZ$": "NZD", "S$": "SGD", "NT$": "TWD", "Fr": "CHF"},
    **{"CN¥": "CNY", "JP¥": "JPY", "Rp": "IDR", "RM": "MYR"},
}
_MANY = ("$", "¥", "kr")
#: Whole numbers up to it are exact in a float.
LARGEST_COUNT = 2**53
_CELL, _MADE = "__cell", "__made"


class NumberColumn(NamedTuple):
    """value: Float64, null where a cell holds nothing, or less than is told. currency: the code
    that a cell names, or null. below: whether it is of the latter. empty: how many are of the
    former. vague: signs of currencies that many countries have."""

    value: pl.Series
    currency: pl.Series
    below: pl.Series
    empty: int
    vague: tuple[str, ...]


def bare(cell: pl.Expr) -> pl.Expr:
    """Text without blanks around it, however they are made."""
    return cell.str.replace_all(_NARROW, "").str.replace_all(_WIDE, " ").str.strip_chars()


def is_absent(cell: pl.Expr) -> pl.Expr:
    """Whether a cell of text holds nothing: null, blank, a dash or a word for nothing."""
    return cell.is_null() | bare(cell).str.to_lowercase().is_in(_ABSENT)


def by_distinct(cells: pl.Series, read: Callable[[pl.Expr], pl.Expr]) -> pl.Series:
    """What `read` makes of each cell, which is read once where it comes often."""
    every = pl.DataFrame({_CELL: cells})
    made = every.unique().with_columns(read(pl.col(_CELL)).alias(_MADE))
    joined = every.join(made, on=_CELL, how="left", nulls_equal=True, maintain_order="left")
    return joined[_MADE].alias(cells.name)


def find_decimal(
    frame: pl.DataFrame,
    columns: Sequence[str],
    whole: Sequence[str],
    locate: Locate,
    *,
    separator_comma: bool = False,
) -> tuple[DecimalSign, str]:
    """The sign before the decimals in these columns of text, and why.

    whole: those of them that hold whole numbers, where one sign before three digits can only part
    thousands. separator_comma: whether the file itself suggests a decimal comma.
    Raises ValueInvalidError where one cell says a point and another a comma; it names the first of
    the fewer.
    """
    votes: dict[str, pl.DataFrame] = {}
    for name in columns:
        cells = frame[name].unique().drop_nulls()
        signed = cells.filter(cells.str.contains("[.,]")).to_frame()
        votes[name] = signed.with_columns(_says_comma(pl.col(name), name in whole).alias(_MADE))
    counts = {
        sign: sum(int((one[_MADE] == said).sum()) for one in votes.values())
        for sign, said in ((",", True), (".", False))
    }
    if counts[","] and counts["."]:
        _refuse_mixed(frame, votes, counts, locate)
    if counts[","]:
        return ",", "the numbers have a decimal comma"
    if counts["."] or not separator_comma:
        return ".", ""
    return ",", "the fields are parted by semicolons, so numbers are read with a decimal comma"


def read_number(
    frame: pl.DataFrame, column: str, decimal: DecimalSign, locate: Locate, *, whole: bool = False
) -> NumberColumn:
    """`column` of `frame`, text, as numbers with this decimal sign; percent is divided by 100.

    Raises ValueInvalidError for the first cell that is no number; with `whole`, for one that is
    not whole.
    """
    cell = pl.col(column)
    below = bare(cell).str.contains(_BELOW).fill_null(value=False)
    parts = _parts(cell)
    names = ("minus", "front", "sign", "number", "percent", "behind")
    fields = (parts.struct.field(f"{n}").alias(name) for n, name in enumerate(names, 1))
    known = frame.select(cell.unique())
    cells = known.with_columns(*fields, below=below, absent=is_absent(cell) | below)
    number = pl.col("number")
    grouped, sign = (_DOT, ",") if decimal == "." else (_COMMA, ".")
    plain = number.str.replace_all(sign, "", literal=True).str.replace(",", ".", literal=True)
    read = pl.when(number.str.contains(grouped)).then(plain.cast(pl.Float64, strict=False))
    minus = pl.col("minus").str.contains(r"[(\-\u2212]") | (pl.col("sign").is_in(["-", "\u2212"]))
    signed = pl.when(minus).then(-read).otherwise(read)
    shared = pl.when(pl.col("percent") == "%").then(signed / 100).otherwise(signed)
    code = pl.when(pl.col("front") != "").then("front").otherwise("behind")
    cells = cells.with_columns(read=pl.when(~pl.col("absent")).then(shared), code=code)
    value, other = pl.col("read"), "," if decimal == "." else "."
    signs = cells["code"].unique().drop_nulls().to_list()
    codes = {
        one: _SIGNS.get(one) or (one.upper() if len(one) == 3 and one.isalpha() else "")
        for one in signs
        if one and one not in _MANY
    }
    checks = [
        Check(
            column,
            ~pl.col("absent") & value.is_null(),
            f"{column} cannot be read as a number with {decimal!r} before the decimals",
            f"correct the cell; where the whole file is written so, say decimal={other!r}",
        ),
        Check(column, value.is_infinite(), f"{column} must be finite", "correct the cell"),
        Check(
            column,
            pl.col("code").is_in([one for one, known in codes.items() if not known]),
            f"{column} has a sign that is no currency",
            "correct the cell, or write the currency as a code such as EUR",
        ),
    ]
    if whole:
        hint = "correct it; a spreadsheet may have read the sign of thousands as that of decimals"
        what = f"{column} must be a whole number"
        checks.append(Check(column, value.is_finite() & (value != value.floor()), what, hint))
        what = f"{column} is more than anybody counts"
        checks.append(Check(column, value.abs() > LARGEST_COUNT, what, "correct the cell"))
    of_codes = {one: name for one, name in codes.items() if name}
    currency = cells["code"].replace_strict(of_codes, default=None, return_dtype=pl.String)
    kept = cells.select(column, "read", "code", "below", "absent", currency=currency)
    cells = frame.select(cell).join(
        kept, on=column, how="left", nulls_equal=True, maintain_order="left"
    )
    check_rows(cells, checks, locate)
    vague = tuple(sorted(one for one in signs if one in _MANY))
    empty = int(cells["absent"].sum()) - int(cells["below"].sum())
    return NumberColumn(cells["read"], cells["currency"], cells["below"], empty, vague)


def check_rows(frame: pl.DataFrame, checks: Sequence[Check], locate: Locate) -> None:
    """As `run_checks`, of a table in memory: quick where nothing is wrong."""
    tests = (check.bad.any().alias(f"{n}") for n, check in enumerate(checks))
    if any(frame.select(tests).row(0)):
        run_checks(frame.lazy(), checks, locate)


def _parts(cell: pl.Expr) -> pl.Expr:
    return bare(cell).str.replace_all(r"[\s'’]", "").str.extract_groups(_PARTS)


def _says_comma(cell: pl.Expr, whole: bool) -> pl.Expr:
    """Whether a cell can only have a comma before its decimals; null where it leaves that open."""
    # The digits and signs of a cell, without its exponent.
    number = _parts(cell).struct.field("4").str.replace(r"[eE].*$", "")
    points = number.str.count_matches(".", literal=True)
    commas = number.str.count_matches(",", literal=True)
    one, several = (points + commas) == 1, (points + commas) > 1
    # One sign before three digits may part thousands, and does so in a whole number.
    open_ = one & number.str.contains(r"^[1-9]\d{0,2}[.,]\d{3}$")
    thousands = several | open_ if whole else several
    return (
        pl.when((points > 0) & (commas > 0))
        .then(number.str.contains(r",[^.]*$"))
        .when(thousands)
        .then(points > 0)
        .when(one & ~open_)
        .then(commas > 0)
    )


def _refuse_mixed(
    frame: pl.DataFrame,
    votes: Mapping[str, pl.DataFrame],
    counts: Mapping[str, int],
    locate: Locate,
) -> None:
    fewer = "," if counts[","] <= counts["."] else "."
    rows = []
    for name, vote in votes.items():
        some = vote.filter(pl.col(_MADE) == (fewer == ","))[name]
        at = frame[name].is_in(some.implode()).fill_null(value=False).arg_true()
        rows += [(int(at[0]), name)] if len(at) else []
    row, name = min(rows)
    file, there = locate(row)
    raise ValueInvalidError(
        f"decimal signs are mixed: {counts['.']:,} different cells can only have a point before "
        f"the decimals and {counts[',']:,} only a comma; the first of the fewer is named",
        file=file,
        row=there,
        column=name,
        value=frame.item(row, name),
        hint="export again in one locale; a spreadsheet may have read the sign of thousands as "
        "that of decimals",
    )


LINKS = pa.schema(
    [
        pa.field("creative_id", pa.string(), nullable=False),
        pa.field("ad_id", pa.string(), nullable=False),
        pa.field("first_day", pa.date32(), nullable=False),
        pa.field("last_day", pa.date32()),  # inclusive; null while it runs
    ]
)
_ROW, _FOUND = "__row", "__found"


def links_of(days: pl.DataFrame) -> pl.DataFrame:
    """The links that follow from a table of DELIVERY: from the first to the last day of a creative
    in an ad with a row, in the columns of LINKS."""
    last = pl.col("day") + pl.duration(days=pl.col("period_days") - 1)
    return (
        days.group_by("creative_id", "ad_id", maintain_order=True)
        .agg(first_day=pl.col("day").min(), last_day=last.max().cast(pl.Date))
        .select(LINKS.names)
    )


def check_links(table: TableInMemory, *, file: str = "") -> pl.DataFrame:
    """The table in the columns of LINKS, after checking every row; last_day may be absent.

    Raises SchemaError for a missing, unknown or wrongly typed column, ValueInvalidError for an
    absent id or first day, and a last day before the first.
    """
    frame, locate = as_polars(table), in_file(file)
    types = dict(frame.schema)
    check_columns(types, LINKS, file)
    ids = pa.schema([LINKS.field("creative_id"), LINKS.field("ad_id")])
    hint = "fill in the id, or leave out the row"
    check_rows(frame, [replace(one, hint=hint) for one in text_checks(types, ids)], locate)
    for name, dtype in types.items():
        is_id = name in ids.names
        fits = dtype == pl.String or dtype.is_integer() if is_id else dtype in (pl.Date, pl.Null)
        if not fits:
            raise SchemaError(
                f"{name} must be {'text' if is_id else 'a date'}, not {dtype}",
                file=file,
                column=name,
                hint=f"cast the column to {LINKS.field(name).type}",
            )
    if "last_day" not in types:
        frame = frame.with_columns(last_day=pl.lit(None, pl.Date))
    kept = frame.select(
        pl.col(*ids.names).cast(pl.String), pl.col("first_day", "last_day").cast(pl.Date)
    )
    begins = Check(
        "first_day", pl.col("first_day").is_null(), "first_day must not be empty", "fill it in"
    )
    ends_early = Check(
        "last_day",
        pl.col("last_day") < pl.col("first_day"),
        "the last day is before the first",
        "correct one of the two; leave the last empty while the creative runs",
    )
    check_rows(kept, [begins, ends_early], locate)
    return kept


def assign_creatives(
    days: pl.DataFrame, links: pl.DataFrame, locate: Locate | None = None
) -> pl.DataFrame:
    """Rows of ads with the creative that `links` says was in the ad on that day.

    days: creative_id, ad_id, day, period_days and any other columns; an ad that `links` does not
    know on that day keeps its creative. links: the columns of LINKS, checked.
    Raises ValueInvalidError for a row of an ad in which several creatives took turns: what each of
    them did is not known.
    """
    last = pl.col("day") + pl.duration(days=pl.col("period_days") - 1)
    there = (pl.col("first_day") <= last) & (
        pl.col("last_day").is_null() | (pl.col("last_day") >= pl.col("day"))
    )
    found = (
        days.select("ad_id", "day", "period_days")
        .with_row_index(_ROW)
        .join(links.rename({"creative_id": _FOUND}), on="ad_id")
        .filter(there)
        .group_by(_ROW)
        .agg(pl.col(_FOUND).unique())
    )
    several = found.filter(pl.col(_FOUND).list.len() > 1)[_ROW]
    bad = pl.int_range(pl.len()).is_in(several.implode())
    check = Check(
        "ad_id",
        bad,
        "several creatives were in the ad on this day, so what each did is not known",
        "export by creative as well, and name its column: columns={'creative_id': ...}",
    )
    check_rows(days, [check], locate or in_file(""))
    one = found.select(_ROW, pl.col(_FOUND).list.first())
    joined = days.with_row_index(_ROW).join(one, on=_ROW, how="left", maintain_order="left")
    return joined.with_columns(creative_id=pl.coalesce(_FOUND, "creative_id")).drop(_ROW, _FOUND)
