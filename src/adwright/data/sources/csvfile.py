"""Read CSV strictly: UTF-8, a header, as many fields in each row as the header has.

polars reads a row with too few fields as if the last ones were empty, so a first streamed pass
looks for such rows; only a file that fails it is gone through line by line to name the place.
Lines that end as on a Mac, by a carriage return alone, are read as others are.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from adwright.core.config import closest_name
from adwright.core.errors import AdwrightError, FileUnreadableError, SchemaError
from adwright.data.schema import TIME, Check, Locate, in_years, run_checks
from adwright.data.sources.bounds import USUAL_BOUNDS, ReadBounds, check_names, named_as, reading
from adwright.data.time import MICROSECONDS_PER_SECOND

_BLOCK_BYTES = 1 << 22
#: In which the end of the first line is looked for.
_HEAD_BYTES = 1 << 16
#: The first of those that part the header into most names is taken.
_SEPARATORS = (",", ";", "\t", "|")


class _Form(NamedTuple):
    """What parts the fields, and whether double quotes enclose them."""

    separator: str
    quoted: bool


def scan_csv(
    path: Path,
    *,
    needed: Sequence[str],
    text: Sequence[str] | None,
    separator: str = ",",
    quoted: bool | None = None,
    bounds: ReadBounds = USUAL_BOUNDS,
) -> pl.LazyFrame:
    """The lazy table of a CSV file, after one pass that checks its form.

    needed: columns that the header must name. text: columns to leave as text while the other
    types follow from their values; None leaves all as text. Blank lines are passed over and are
    not counted as rows. quoted: whether double quotes enclose fields; None for where the
    separator is a comma. With a semicolon, numbers whose types follow from their values have a
    decimal comma.
    Raises FileUnreadableError naming the line (from 1, as editors count): not UTF-8, a row with
    more or fewer fields than the header, a quote that is never closed, a field or a header longer
    than `bounds`; SchemaError where the header lacks a needed column, names one twice, or has
    more columns than `bounds`.
    """
    with _unix_lines(path) as inside:
        if inside != path:
            frame = scan_csv(
                inside,
                needed=needed,
                text=text,
                separator=separator,
                quoted=quoted,
                bounds=bounds,
            )
            # The copy goes with the block.
            return reading(path, frame.collect).lazy()
    form = _Form(separator, separator == "," if quoted is None else quoted)
    header = _header(path, form, bounds)
    check_names(header, bounds, file=str(path))
    _check_header(path, header, needed, separator)
    reading(path, lambda: _check_form(path, header, form, bounds))
    quote = '"' if form.quoted else None
    if text is None:
        frame = pl.scan_csv(path, separator=separator, quote_char=quote, infer_schema=False)
    else:
        frame = pl.scan_csv(
            path,
            separator=separator,
            quote_char=quote,
            decimal_comma=separator == ";",
            infer_schema_length=None,
            schema_overrides={name: pl.String() for name in text},
        )
    # As a batch, not as a filter of the scan: the reader would evaluate a test of all columns once
    # for each of them, and take gigabytes for a header of a few thousand names.
    return frame.map_batches(
        _without_blank_lines,
        streamable=True,
        predicate_pushdown=False,
        projection_pushdown=False,
        validate_output_schema=False,
    )


def sniff_separator(path: Path, bounds: ReadBounds = USUAL_BOUNDS) -> tuple[str, list[str]]:
    """What separates the fields of the header, and its names: a comma, a semicolon, a tab or |.

    Raises FileUnreadableError for a file without text, or not in UTF-8.
    """
    with _unix_lines(path) as inside:
        with inside.open("rb") as stream:
            first = next(_lines(inside, stream, bounds), "")
        outside = re.sub('"[^"]*"', "", first)
        best = max(_SEPARATORS, key=outside.count)
        return best, _header(inside, _Form(best, best != "\t"), bounds)


@contextmanager
def _unix_lines(path: Path) -> Iterator[Path]:
    """The file; where a carriage return alone ends its first line, for as long as the block lasts
    a copy in which line feeds end lines. Errors of the block name the file."""
    with path.open("rb") as stream:
        first = stream.read(_HEAD_BYTES).partition(b"\n")[0].removesuffix(b"\r")
    if b"\r" not in re.sub(b'"[^"]*"?', b"", first):
        yield path
        return
    with TemporaryDirectory(prefix="adwright-lines-") as folder:
        inside = Path(folder) / path.name
        # Every byte is a character of Latin-1, so that all others stay what they are.
        with (
            path.open(encoding="latin-1") as text,
            inside.open("w", encoding="latin-1", newline="") as out,
        ):
            shutil.copyfileobj(text, out)
        with named_as(path, inside):
            yield inside


def parse_columns(
    frame: pl.LazyFrame,
    times: Sequence[str],
    numbers: Mapping[str, pl.DataType],
    locate: Locate,
) -> pl.LazyFrame:
    """Turn text columns into times and numbers; columns that `frame` lacks are passed over.

    Raises ValueInvalidError naming the first row whose text is neither empty nor readable.
    """
    names = frame.collect_schema().names()
    parsed = {name: parse_time(pl.col(name)) for name in times if name in names}
    for name, dtype in numbers.items():
        if name in names:
            parsed[name] = pl.col(name).str.strip_chars().cast(dtype, strict=False)
    checks = [
        Check(
            name,
            pl.col(name).is_not_null() & value.is_null(),
            f"{name} cannot be read as {'a time' if name in times else 'a number'}",
            "write times as 2017-01-31T18:30:00Z or as seconds since 1970"
            if name in times
            else "write numbers such as 3 or 0.25, or leave the field empty",
        )
        for name, value in parsed.items()
    ]
    run_checks(frame, checks, locate)
    return frame.with_columns(**parsed)


def parse_time(text: pl.Expr) -> pl.Expr:
    """Text to timestamp[us, UTC]: ISO 8601 (no zone means UTC), or seconds since 1970.

    Dates alone, minutes without seconds and fractions of seconds are understood. Numbers above
    1e11 are not: as seconds they lie beyond the year 5138, so they are milliseconds. What
    cannot be read is null.
    """
    text = text.str.strip_chars()
    seconds = text.cast(pl.Float64, strict=False)
    plausible = seconds.is_finite() & (seconds.abs() < 1e11)
    # Digit by digit, since a float of today's seconds does not hold every microsecond.
    exact = r"^-?(\d{1,11})(?:\.(\d{0,6})\d*)?$"
    whole = text.str.extract(exact, 1).cast(pl.Int64, strict=False) * MICROSECONDS_PER_SECOND
    part = text.str.extract(exact, 2).fill_null("").str.pad_end(6, "0").cast(pl.Int64, strict=False)
    micros = whole + part
    signed = pl.when(text.str.starts_with("-")).then(-micros).otherwise(micros)
    rounded = pl.when(plausible).then((seconds * 1e6).round()).cast(pl.Int64)
    unix = pl.when(plausible).then(pl.coalesce(signed, rounded))
    # Bring every accepted spelling to one, so that one format reads it.
    iso = (
        text.str.replace(r"(?: ?UTC|[Zz])$", "+00:00")
        .str.replace(r"^(\d{4}-\d\d-\d\d)$", "${1} 00:00:00")
        .str.replace(r"^(\d{4}-\d\d-\d\d)[Tt]", "${1} ")
        .str.replace(r"^(.{10} \d\d:\d\d)($|[+-])", "${1}:00${2}")
        .str.replace(r"^(.{10} \d\d:\d\d:\d\d(?:\.\d+)?)$", "${1}+00:00")
        .str.replace(r"([+-]\d\d)$", "${1}:00")
        .str.to_datetime("%Y-%m-%d %H:%M:%S%.f%z", time_unit="us", time_zone="UTC", strict=False)
    )
    return pl.coalesce(unix.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"), iso)


def _without_blank_lines(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows that are not null throughout, which is how polars reads a blank line."""
    return rows.filter(~pl.all_horizontal(pl.all().is_null()))


def _header(path: Path, form: _Form, bounds: ReadBounds) -> list[str]:
    for _, fields in _rows(path, form, bounds):
        if not any(field.strip() for field in fields):
            raise SchemaError(
                "the header is missing: the first line is blank",
                file=str(path),
                hint="put a line with the column names first",
            )
        return fields
    raise FileUnreadableError("the file is empty", file=str(path), hint="write a header line")


def _check_header(path: Path, header: Sequence[str], needed: Sequence[str], separator: str) -> None:
    """Raise SchemaError where none of the names is needed: there is no header, or another one."""
    if not needed or set(header) & set(needed):
        return
    if any(name[:1].isalpha() for name in header):
        alike = closest_name(needed[0].lower(), [n.lower() for n in header[:1000]])
        found = [name for name in header if name.lower() == alike]
        rename = f" (rename {found[0]!r}?)" if found else ""
        raise SchemaError(
            f"the header is missing, or names other columns: the first line is "
            f"{separator.join(header)[:60]!r}",
            file=str(path),
            column=needed[0],
            hint=f"the columns needed are {separator.join(needed)}{rename}",
        )
    raise SchemaError(
        f"the header is missing: the first line is {separator.join(header)[:60]!r}",
        file=str(path),
        hint=f"put a line with the column names first: {separator.join(needed)}{separator}...",
    )


def _check_form(path: Path, header: Sequence[str], form: _Form, bounds: ReadBounds) -> None:
    options = pacsv.ConvertOptions(column_types=dict.fromkeys(header, pa.string()))
    blocks = pacsv.ReadOptions(block_size=max(_BLOCK_BYTES, bounds.cell_bytes))
    parsing = pacsv.ParseOptions(
        delimiter=form.separator,
        quote_char='"' if form.quoted else False,
        newlines_in_values=form.quoted,
    )
    try:
        with pacsv.open_csv(path, blocks, parsing, options) as reader:
            for batch in reader:
                _check_cells(path, batch, bounds)
    except pa.ArrowInvalid as error:
        _diagnose(path, len(header), form, bounds)
        if "Empty CSV" in str(error):  # a header without a line end, and no rows
            return
        if "straddling" in str(error):  # a row that does not end within two blocks
            raise _too_long(path, "a line", bounds) from error
        raise FileUnreadableError(
            f"not a well-formed CSV file: {error}", file=str(path), hint="write it again"
        ) from error


def _check_cells(path: Path, batch: pa.RecordBatch, bounds: ReadBounds) -> None:
    """Raise FileUnreadableError for a text of the batch that is longer than the bound."""
    if batch.nbytes <= bounds.cell_bytes:
        return
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if (pc.max(pc.binary_length(column)).as_py() or 0) > bounds.cell_bytes:
            raise _too_long(path, "a field", bounds, column=name)


def _too_long(path: Path, what: str, bounds: ReadBounds, *, column: str = "") -> AdwrightError:
    return FileUnreadableError(
        f"{what} has more than {bounds.cell_bytes:,} bytes",
        file=str(path),
        column=column,
        hint="keep fields short, or raise ReadBounds.cell_bytes in Python; a double quote that is "
        "never closed makes one field of the rest of the file",
    )


def _diagnose(path: Path, width: int, form: _Form, bounds: ReadBounds) -> None:
    """Go through the file line by line and raise the error that names the first bad line."""
    separator = form.separator
    for line, fields in _rows(path, form, bounds):
        if fields and len(fields) != width:
            raise FileUnreadableError(
                f"line {line} has {len(fields)} fields where the header has {width}",
                file=str(path),
                value=separator.join(fields)[:60],
                hint='put fields that hold a comma into double quotes, and double a " inside'
                if separator == ","
                else f"put fields that hold a {separator!r} into double quotes"
                if form.quoted
                else f"separate fields by one {separator!r} each, and use it nowhere else",
            )


def _rows(path: Path, form: _Form, bounds: ReadBounds) -> Iterator[tuple[int, list[str]]]:
    """Each row and the line on which it ends, counted from 1."""
    with path.open("rb") as stream:
        lines = _lines(path, stream, bounds)
        if form.quoted:
            reader = csv.reader(lines, delimiter=form.separator, strict=True)
        else:
            reader = csv.reader(lines, delimiter=form.separator, quoting=csv.QUOTE_NONE)
        while True:
            # One limit for all readers of the process, in characters: ours is in force for as long
            # as a row takes.
            before = csv.field_size_limit(bounds.cell_bytes)
            try:
                fields = next(reader, None)
            except csv.Error as error:
                if "field limit" in str(error):
                    raise _too_long(path, f"line {reader.line_num}: a field", bounds) from error
                raise FileUnreadableError(
                    f"line {reader.line_num} is not CSV: {error}",
                    file=str(path),
                    hint='close every double quote, and double a " inside a quoted field',
                ) from error
            finally:
                csv.field_size_limit(before)
            if fields is None:
                return
            yield reader.line_num, fields


def _lines(path: Path, stream: io.BufferedReader, bounds: ReadBounds) -> Iterator[str]:
    # A row of nothing but fields of the bound is not one that anybody writes.
    limit = 2 * bounds.cell_bytes
    for number, line in enumerate(iter(lambda: stream.readline(limit + 1), b""), start=1):
        if len(line) > limit:
            raise _too_long(path, f"line {number}: one of its fields, or the line,", bounds)
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise FileUnreadableError(
                f"line {number} is not UTF-8",
                file=str(path),
                value=line[max(0, error.start - 20) : error.end + 20],
                hint=f"convert the file, for example: iconv -f {_looks_like(line)} -t utf-8",
            ) from error


def _looks_like(line: bytes) -> str:
    """The encoding of a line that is not UTF-8: one that begins with a mark, as Excel writes its
    Unicode text, or the usual one."""
    return "utf-16" if line.startswith((b"\xff\xfe", b"\xfe\xff")) else "latin1"


# --------------------------------------------------------------------------------------------------
# Read the times of a log as its writer meant them, and refuse what could mean two days.
#
# A column of times is a timestamp, a date, ISO 8601 text, or a number since 1970: seconds, or
# milliseconds and finer where the numbers leave no doubt (as seconds they would lie beyond the year
# 5138). Anything else needs a format. 03/04/2024 is never guessed at.

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
