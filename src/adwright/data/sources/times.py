"""Read the times of a log as its writer meant them, and refuse what could mean two days.

A column of times is a timestamp, a date, ISO 8601 text, or a number since 1970: seconds, or
milliseconds and finer where the numbers leave no doubt (as seconds they would lie beyond the year
5138). Anything else needs a format. 03/04/2024 is never guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from adwright.core.errors import SchemaError
from adwright.data.checks import Check, Locate, run_checks
from adwright.data.columns import TIME, in_years
from adwright.data.sources.csvfile import parse_time

#: Where numbers since 1970 lie, microseconds in one, and what they are called. Between these lie
#: none of the years 2001 to 2286, but dates written as one number.
_UNITS = (
    (0.0, 1e11, 1e6, "seconds"),
    (1e12, 1e13, 1e3, "milliseconds"),
    (1e15, 1e16, 1.0, "microseconds"),
    (1e18, 1e19, 1e-3, "nanoseconds"),
)
_FINER = r"^(?:\d{13}|\d{16}|\d{19})$"
_COMPACT = "%Y%m%d"
#: What a format has that says the hour, and the minute.
_CLOCK, _MINUTE = r"%[-.]?[HIMTRXcsf+]", r"%-?[MTRXcs+]"
_ZONED = r"(?:[Zz]|UTC|[+-]\d\d:?\d\d|:\d\d(?:\.\d+)?[+-]\d\d)$"
_DATE = re.compile(
    r"^\s*(\d{1,2})([/.-])(\d{1,2})\2(\d{4}|\d{2})(?:([ T])(\d{1,2}:\d{2})(:\d{2})?)?"
)
_ISO = "write times as 2017-01-31T18:30:00Z or as seconds since 1970"


class TimeColumn(NamedTuple):
    """value: timestamp[us, UTC]. said: how it was read; odd: warnings about it."""

    value: pl.Expr
    said: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()


def time_column(
    frame: pl.LazyFrame,
    column: str,
    locate: Locate,
    *,
    time_format: str = "",
    time_zone: str = "",
) -> TimeColumn:
    """How to read `column` of `frame`; see `LogMapping` for the two settings.

    Raises ValueInvalidError naming the first cell that cannot be read, SchemaError for a column
    that holds no times.
    """
    dtype = frame.collect_schema()[column]
    cell = pl.col(column)
    if isinstance(dtype, pl.Datetime):
        # First of all: what lies outside of the calendar cannot be converted either.
        schema = pa.schema([pa.field(column, TIME)])
        run_checks(frame, in_years({column: dtype}, schema), locate)
        if dtype.time_zone is not None:
            return TimeColumn(cell.dt.convert_time_zone("UTC"))
        return TimeColumn(_in_zone(cell, time_zone), (_zone_in_words(column, time_zone),))
    if dtype == pl.Date:
        return TimeColumn(_in_zone(cell.cast(pl.Datetime("us")), time_zone))
    if dtype.is_numeric() and time_format in ("", "s", "ms"):
        _check_dates(frame, column, locate, time_format)
        return _of_numbers(frame, column, cell, locate, time_format)
    if dtype.is_numeric():
        cell = cell.cast(pl.Int64, strict=False).cast(pl.String)
    if dtype != pl.String and not dtype.is_numeric():
        if dtype == pl.Null:
            return TimeColumn(pl.lit(None, pl.Datetime("us", "UTC")))
        raise SchemaError(
            f"{column} must be a timestamp, text or a number, not {dtype}",
            file=locate(0)[0],
            column=column,
            hint=_ISO,
        )
    if time_format in ("s", "ms"):
        number = cell.str.strip_chars().cast(pl.Float64, strict=False)
        _check(frame, column, number, locate)
        return _of_numbers(frame, column, number, locate, time_format)
    if time_format:
        value = _formatted(cell.str.strip_chars(), time_format, time_zone)
        _check(frame, column, value, locate, time_format)
        said = () if "%z" in time_format else (_zone_in_words(column, time_zone),)
        return TimeColumn(value, said)
    return _of_text(frame, cell, column, locate, time_zone)


def is_format(text: str) -> bool:
    """Whether `text` is a format that times can be read by.

    >>> is_format("%d/%m/%Y %H"), is_format("%Q")
    (True, False)
    """
    if "%" not in text:
        return False
    try:
        pl.select(pl.lit(datetime(2024, 1, 31, tzinfo=UTC)).dt.strftime(text))
        pl.select(_formatted(pl.lit("x"), text, ""))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return False
    return True


def format_of(texts: Sequence[str]) -> tuple[str, ...]:
    """The formats that such dates may have: one where a part is beyond 12, else both.

    >>> format_of(["03/04/2024", "31/04/2024"]), len(format_of(["03/04/2024 10:00"]))
    (('%d/%m/%Y',), 2)
    """
    found = [match for text in texts if (match := _DATE.match(text))]
    if not found:
        return ()
    first, sign = found[0], found[0][2]
    year = "%Y" if len(first[4]) == 4 else "%y"
    clock = "" if first[6] is None else f"{first[5]}%H:%M" + ("" if first[7] is None else ":%S")
    formats = []
    for day, month, order in ((1, 3, "dm"), (3, 1, "md")):
        if all(int(m[day]) <= 31 and int(m[month]) <= 12 for m in found):
            formats.append(sign.join(f"%{part}" for part in order) + sign + year + clock)
    return tuple(formats)


def _of_text(
    frame: pl.LazyFrame, cell: pl.Expr, column: str, locate: Locate, time_zone: str
) -> TimeColumn:
    bare = cell.str.strip_chars()
    number = bare.cast(pl.Float64, strict=False).is_not_null()
    zoned = bare.str.contains(_ZONED) & ~number
    naive = ~zoned & ~number & (bare != "")
    filled, fine, with_zone, without = (
        frame.select(
            filled=cell.is_not_null().sum(),
            fine=bare.str.contains(_FINER).sum(),
            zoned=zoned.sum(),
            naive=naive.sum(),
        )
        .collect(engine="streaming")
        .row(0)
    )
    if fine and fine == filled:
        return _of_numbers(frame, column, bare.cast(pl.Int64, strict=False), locate, "")
    _check_dates(frame, column, locate, "")
    parsed = parse_time(cell)
    _check(frame, column, parsed, locate)
    if time_zone and without:
        local = _in_zone(parsed.dt.replace_time_zone(None), time_zone)
        parsed = pl.when(naive).then(local).otherwise(parsed)
    odd: tuple[str, ...] = ()
    if with_zone and without:
        odd = (
            f"{column}: {without:,} times name no zone and are read as {time_zone or 'UTC'}, "
            f"{with_zone:,} name theirs: are both right?",
        )
    said = (_zone_in_words(column, time_zone),) if without and not with_zone else ()
    return TimeColumn(parsed, said, odd)


def _of_numbers(
    frame: pl.LazyFrame, column: str, number: pl.Expr, locate: Locate, time_format: str
) -> TimeColumn:
    """Numbers since 1970: in the unit that `time_format` says, else in that of the middle one."""
    size = number.cast(pl.Float64).abs()
    middle = frame.select(size.median()).collect(engine="streaming").item() or 0.0
    match time_format:
        case "s":
            micros, unit = 1e6, ""
        case "ms":
            micros, unit = 1e3, ""
        case _:
            found = [(m, name) for low, high, m, name in _UNITS if low <= middle < high]
            micros, unit = found[0] if found else (0.0, "")
    # A product beyond 64 bits would come out as another time.
    fits = size * micros < 2**63 if micros else pl.lit(value=False)
    exact = number * int(micros) if micros >= 1 else number // 1000
    value = pl.when(fits).then(exact).cast(pl.Int64, strict=False)
    bad = pl.col(column).is_not_null() & value.is_null()
    what = f"{column} cannot be read as a time"
    run_checks(frame, [Check(column, bad, what, f"{_ISO}, or say --time-format")], locate)
    time = value.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    words = f"{column}: the numbers are read as {unit} since 1970"
    return TimeColumn(time, (words,) if unit not in ("", "seconds") else ())


def _check_dates(frame: pl.LazyFrame, column: str, locate: Locate, time_format: str) -> None:
    """Raise ValueInvalidError where all numbers are dates such as 20240131, which as seconds would
    lie in 1970."""
    if time_format:
        return
    cell = pl.col(column).cast(pl.String).str.strip_chars()
    date = (
        cell.str.contains(r"^(?:19|20)\d{6}$")
        & cell.str.to_date(_COMPACT, strict=False).is_not_null()
    )
    looks = frame.select((date | cell.is_null()).all() & cell.is_not_null().any())
    if looks.collect(engine="streaming").item():
        what = f"{column} holds dates as one number, or seconds of August 1970"
        check = Check(column, date, what, f'say which: --time-format "{_COMPACT}" or s')
        run_checks(frame, [check], locate)


def _formatted(text: pl.Expr, time_format: str, time_zone: str) -> pl.Expr:
    if not re.search(_CLOCK, time_format):
        return _in_zone(text.str.to_date(time_format, strict=False).cast(pl.Datetime), time_zone)
    if not re.search(_MINUTE, time_format):
        # An hour alone is no time to the library.
        text, time_format = text + ":00", f"{time_format}:%M"
    if "%z" in time_format:
        return text.str.to_datetime(time_format, time_unit="us", time_zone="UTC", strict=False)
    naive = text.str.to_datetime(time_format, time_unit="us", strict=False)
    return _in_zone(naive, time_zone)


def _in_zone(naive: pl.Expr, time_zone: str) -> pl.Expr:
    """Moments without a zone as instants in UTC. An hour that comes twice a year is the first of
    the two; one that does not come at all is an hour later."""
    naive = naive.cast(pl.Datetime("us"))
    if not time_zone or time_zone == "UTC":
        return naive.dt.replace_time_zone("UTC")
    there = naive.dt.replace_time_zone(time_zone, ambiguous="earliest", non_existent="null")
    later = naive.dt.offset_by("1h").dt.replace_time_zone(
        time_zone, ambiguous="earliest", non_existent="null"
    )
    return pl.coalesce(there, later).dt.convert_time_zone("UTC")


def _zone_in_words(column: str, time_zone: str) -> str:
    return f"{column}: times name no zone and are read as {time_zone or 'UTC'}"


def _check(
    frame: pl.LazyFrame, column: str, value: pl.Expr, locate: Locate, time_format: str = ""
) -> None:
    """Raise ValueInvalidError for the first cell that `value` cannot be read from."""
    bad = pl.col(column).is_not_null() & value.is_null()
    wrong = frame.filter(bad).select(pl.col(column).head(1000)).collect()[column].to_list()
    if wrong:
        what = f"{column} cannot be read as a time"
        what += f" of the format {time_format!r}" if time_format else ""
        run_checks(frame, [Check(column, bad, what, _hint(wrong))], locate)


def _hint(wrong: Sequence[str]) -> str:
    formats = [f'"{one}"' for one in format_of(wrong)]
    if formats:
        return f"say which is the day: --time-format {' or '.join(formats)}"
    if re.fullmatch(r"\d{12,14}(\.\d+)?", wrong[0].strip()):
        return "it looks like milliseconds since 1970: --time-format ms, for all rows"
    return f'{_ISO}, or name their format: --time-format "%d.%m.%Y %H:%M"'
