"""Read the ids and the days of an export, and refuse those that a spreadsheet has changed.

An id of a platform has 15 to 19 digits. A spreadsheet keeps 15 of them, and shows 1.20E+17: then
the others are lost, and no repair brings them back. 03/04/2026 is two days; which one is said by
the other rows, or by a person.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from adwright.core.errors import SchemaError
from adwright.creative.records.cells import bare, by_distinct, check_rows, is_absent
from adwright.creative.records.delivery import Repair, repair_of
from adwright.data.checks import Check, Locate, raise_at
from adwright.data.columns import NOT_IDS
from adwright.data.ids import LONGEST_ID, PRINTABLE
from adwright.data.sources.times import format_of

__all__ = ["DayColumn", "IdColumn", "read_day", "read_id"]

#: Digits that a spreadsheet, and whole numbers that a float keeps.
_KEPT, _WHOLE = 15, 2**53
#: So rarely would so many ids end in zeros by chance.
_CHANCE = 0.01
_ERA = 1900
_MADE = "__made"
_LOST = "export again and open the file without a spreadsheet, or format the column as text first"
#: Dates that name their month or begin with the year; as the platforms write them.
_FORMATS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%b %d, %Y", "%B %d, %Y"),
    *("%a, %b %d, %Y", "%A, %B %d, %Y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y"),
)
_HOURS = r"\d[ T]\d?\d:\d\d"
_MIDNIGHT = r"[ T]00:00(?::00(?:\.0+)?)?(?:Z|[+-]\d\d:?\d\d)?$"


class IdColumn(NamedTuple):
    """value: the id as text, null where there is none. repairs: what was changed. odd: what may be
    wrong."""

    value: pl.Expr
    repairs: tuple[Repair, ...] = ()
    odd: tuple[str, ...] = ()


class DayColumn(NamedTuple):
    """value: the date, null where there is none. said: how it was read."""

    value: pl.Expr
    said: tuple[str, ...] = ()


def read_id(frame: pl.DataFrame, column: str, locate: Locate) -> IdColumn:
    """How to read the ids of `column`: text without blanks, quotes of a spreadsheet and ".0".

    Raises ValueInvalidError for an id whose digits are lost: one with an exponent, one beyond what
    a float holds, and ids that all end in zeros where a spreadsheet cuts them off. SchemaError
    for a column of another type.
    """
    dtype = frame.schema[column]
    if dtype.is_float():
        return _of_floats(frame, column, locate)
    if not (dtype == pl.String or dtype.is_integer() or dtype in (pl.Categorical, pl.Null)):
        raise SchemaError(
            f"{column} must be text or a whole number, not {dtype}",
            file=locate(0)[0],
            column=column,
            hint="cast the column to text",
        )
    texts = frame[column].cast(pl.String)
    text = by_distinct(texts, bare)
    unwrapped = by_distinct(
        text,
        lambda one: one.str.replace(r'^="([^"]*)"$', "${1}").str.replace(r"^'(\d+)$", "${1}"),
    )
    whole = by_distinct(unwrapped, lambda one: one.str.replace(r"^(\d{1,15})\.0+$", "${1}"))
    shown = frame.select(column).with_columns(whole.alias(_MADE))
    exponent = Check(
        column,
        pl.col(_MADE).str.contains(r"^\d([.,]\d+)?[eE]\+?\d+$"),
        f"{column} was shortened by a spreadsheet, its last digits are lost",
        _LOST,
    )
    cut = Check(
        column,
        pl.col(_MADE).str.contains(r"^\d{16,}[.,]0+$"),
        f"{column} went through a float, which does not hold its last digits",
        _LOST,
    )
    check_rows(shown, [exponent, cut], locate)
    value = by_distinct(whole, lambda one: pl.when(~is_absent(one)).then(one))
    shown = frame.select(column).with_columns(value.alias(_MADE))
    _check_ids(shown, column, locate)
    odd = _check_zeros(shown, column, locate)
    repairs = []
    for what, after, before in (
        (f"cells of {column} freed of a spreadsheet's quotes", unwrapped, text),
        (f"ids of {column} freed of the .0 of a float", whole, unwrapped),
    ):
        at = (after != before).fill_null(value=False).arg_true().to_list()
        if at:
            first = [frame.item(row, column) for row in at[:3]]
            repairs.append(repair_of(what, [locate(row)[1] for row in at], first))
    return IdColumn(pl.lit(value), tuple(repairs), odd)


def read_day(
    frame: pl.DataFrame, column: str, locate: Locate, *, date_format: str = ""
) -> DayColumn:
    """How to read the dates of `column`: dates, timestamps at midnight or text.

    date_format: of text, as strftime has it ("%d/%m/%Y"); empty for what the cells leave no doubt
    about. Raises ValueInvalidError for the first cell that is no date, or could be two.
    """
    dtype, cell = frame.schema[column], pl.col(column)
    if dtype in (pl.Date, pl.Null):
        return DayColumn(cell.cast(pl.Date))
    if isinstance(dtype, pl.Datetime):
        _check_midnight(frame, column, cell.dt.time() != pl.time(0, 0, 0), locate)
        return DayColumn(cell.dt.date())
    if dtype != pl.String and not dtype.is_integer():
        raise SchemaError(
            f"{column} must be a date or text, not {dtype}",
            file=locate(0)[0],
            column=column,
            hint="write dates as 2026-01-31",
        )
    cells = frame[column].cast(pl.String)
    given = by_distinct(cells, lambda one: pl.when(~is_absent(one)).then(bare(one)))
    known = given.unique().drop_nulls()
    if not date_format:
        if known.str.contains(_HOURS).any():
            hours = pl.lit(given.str.contains(_HOURS) & ~given.str.contains(_MIDNIGHT))
            _check_midnight(frame, column, hours, locate)
        known = known.str.replace(_MIDNIGHT, "").unique()
    chosen = date_format or _format_of(known)

    def read(one: pl.Expr) -> pl.Expr:
        plain = one if date_format else one.str.replace(_MIDNIGHT, "")
        return _date(plain, chosen) if chosen else pl.lit(None, pl.Date)

    value = by_distinct(given, read)
    bad = given.is_not_null() & value.is_null()
    at = bad.arg_true()
    if len(at):
        what = f"{column} cannot be read as a date"
        what += f" of the format {chosen!r}, as others are" if chosen and not date_format else ""
        check = Check(column, pl.lit(bad), what, _hint(given[int(at[0])], known.to_list()))
        raise_at(frame.lazy(), check, int(at[0]), len(at), locate)
    plainly = chosen in ("", "%Y-%m-%d") or bool(date_format)
    return DayColumn(pl.lit(value), () if plainly else (f"{column}: dates are read as {chosen}",))


def _of_floats(frame: pl.DataFrame, column: str, locate: Locate) -> IdColumn:
    cell = pl.col(column).fill_nan(None)
    check = Check(
        column,
        (cell.abs() >= _WHOLE) | (cell != cell.floor()),
        f"{column} went through a float, which does not hold its last digits",
        _LOST,
    )
    check_rows(frame, [check], locate)
    count = int(frame[column].is_not_nan().sum())
    repair = Repair(f"ids of {column} freed of the .0 of a float", count)
    return IdColumn(cell.cast(pl.Int64).cast(pl.String), (repair,) if count else ())


def _check_ids(frame: pl.DataFrame, column: str, locate: Locate) -> None:
    """Refuse what the rule of `adwright.data.ids` refuses. frame: `column` and its ids, _MADE."""
    value = pl.col(_MADE)
    long = value.str.len_chars() > LONGEST_ID
    bad = long | ~value.str.contains(PRINTABLE) | value.is_in(NOT_IDS)
    what = f"{column} has a control character, more than {LONGEST_ID} characters or a word for none"
    check_rows(frame, [Check(column, bad, what, "correct the id")], locate)


def _check_zeros(frame: pl.DataFrame, column: str, locate: Locate) -> tuple[str, ...]:
    """Refuse ids that end in zeros from the 16th digit on, where that is no chance.

    Of n ids, of which one of d digits does so with a chance of 10**(15 - d), `expected` do; that
    `found` or more do has a chance of at most (e * expected / found) ** found (Chernoff's bound).
    """
    value, ids = pl.col(_MADE), frame[_MADE].unique().drop_nulls()
    long = ids.filter(ids.str.contains(rf"^\d{{{_KEPT + 1},}}$"))
    if not len(long):
        return ()
    zeros = long.str.contains(rf"^\d{{{_KEPT}}}0+$")
    found = int(zeros.sum())
    if not found:
        return ()
    expected = float((10.0 ** -(long.str.len_chars().cast(pl.Float64) - _KEPT)).sum())
    if expected < found and found * math.log(math.e * expected / found) < math.log(_CHANCE):
        check = Check(
            column,
            value.str.contains(rf"^\d{{{_KEPT + 1},}}$")
            & value.str.contains(rf"^\d{{{_KEPT}}}0+$"),
            f"{found:,} of {len(long):,} ids end in zeros from the 16th digit on: a spreadsheet "
            "has cut off what it does not hold",
            _LOST,
        )
        check_rows(frame, [check], locate)
    return (f"{column}: {found:,} of {len(long):,} ids end in zeros from the 16th digit on",)


def _check_midnight(frame: pl.DataFrame, column: str, hours: pl.Expr, locate: Locate) -> None:
    check = Check(
        column,
        hours,
        f"{column} has hours, where a day is needed",
        "export by day, not by hour",
    )
    check_rows(frame, [check], locate)


def _format_of(known: pl.Series) -> str:
    """The format that all these dates have, or the most of them; empty where two are possible."""
    if not len(known):
        return _FORMATS[0]
    cell = pl.col(known.name)
    tried = known.to_frame().select(_date(cell, one).count().alias(one) for one in _FORMATS)
    counts = tried.row(0, named=True)
    best = max(counts, key=lambda one: counts[one])
    if counts[best]:
        return best
    formats = format_of(known.to_list())
    return formats[0] if len(formats) == 1 else ""


def _date(text: pl.Expr, date_format: str) -> pl.Expr:
    """The date, where it is of this era: %Y reads the year 26, too."""
    found = text.str.to_date(date_format, strict=False)
    return pl.when(found.dt.year() >= _ERA).then(found)


def _hint(wrong: str, known: Sequence[str]) -> str:
    formats = format_of([one for one in known if format_of([one])] or [wrong])
    if len(formats) > 1:
        return f"say which is the day: date_format={' or '.join(repr(one) for one in formats)}"
    if wrong.isdigit() and len(wrong) == 5:
        return "a spreadsheet's number of a day: format the column as a date, and export again"
    return "write dates as 2026-01-31, or name their format: date_format='%d.%m.%Y'"
