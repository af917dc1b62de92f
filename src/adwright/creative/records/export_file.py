"""Open an export as a table of rows: what stands before its header and between its rows is noted.

The tables of ads that people have are rarely a clean CSV file: Google writes the title of a report
and its dates before the header, Excel writes UTF-16, and hands leave blank rows. All this is put
right here and reported; then the one reader of the house, `as_frame`, reads the file.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import os
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, NamedTuple, cast

import polars as pl

from adwright.core.atomic import resource_error
from adwright.core.errors import DataError, FileUnreadableError
from adwright.creative.records.cells import bare
from adwright.creative.records.delivery import Repair, repair_of
from adwright.data.schema import Locate, in_file
from adwright.data.sources.bounds import USUAL_BOUNDS, ReadBounds, memory_left, named_as, reading
from adwright.data.sources.frames import Tabular, as_frame

_TEXTS = (".csv", ".tsv", ".txt")
_SEPARATORS = (",", ";", "\t", "|")
_GZIP = b"\x1f\x8b"
#: Bytes, and lines of them, in which a header is looked for.
_HEAD, _LINES = 1 << 16, 30
#: Known names that make a line the header.
_NAMES = 2
#: What a line of nothing but separators is made of.
_BLANK = b' \t\r\n,;|"\xc2\xa0'


@dataclass(frozen=True)
class ExportTable:
    """frame: the rows that are not blank, cells as they came (text, of CSV). locate: the file and
    row of each. name: of the file. first_line: of a CSV file, its header. decimal_comma: whether
    its separator is a semicolon. repairs: what was changed so far."""

    frame: pl.DataFrame
    locate: Locate
    name: str
    first_line: str
    decimal_comma: bool
    repairs: tuple[Repair, ...]

    def without(self, which: pl.Series, what: str, values: pl.Series | None = None) -> ExportTable:
        """The table without these rows, which `what` reports; errors still name rows of the file.

        values: what of each row the report shows.
        """
        at = which.fill_null(value=False).arg_true()
        if not len(at):
            return self
        shown = None if values is None else values[at[:3]].to_list()
        rows = [self.locate(row)[1] for row in at.to_list()]
        kept = (~which.fill_null(value=False)).arg_true()
        locate = self.locate
        return replace(
            self,
            frame=self.frame.filter(~which.fill_null(value=False)),
            locate=lambda row: locate(int(kept[row]) if row < len(kept) else row),
            repairs=(*self.repairs, repair_of(what, rows, shown)),
        )


class _Head(NamedTuple):
    """How a text file begins: its encoding, the lines before its header, its first bytes' mark."""

    encoding: str
    skipped: tuple[str, ...]
    marked: bool
    separator: str = ","


def read_export(
    source: Tabular, known: Callable[[Sequence[str]], int], *, bounds: ReadBounds = USUAL_BOUNDS
) -> ExportTable:
    """The table of an export: a file that `as_frame` reads, or a table in memory.

    known: how many of some names are those of columns; the first line that has two of them is the
    header, and what is before it is passed over.
    Raises FileUnreadableError, SchemaError and ValueInvalidError as `as_frame`; also where the
    table has no rows.
    """
    head = _Head("utf-8", (), marked=False)
    repairs: list[Repair] = []
    path = Path(source) if isinstance(source, str | Path) else None
    text = False
    if path is not None and path.is_file() and os.access(path, os.R_OK):
        text = path.name.lower().removesuffix(".gz").endswith(_TEXTS)
    if path is not None and text:
        head = _head_of(path, known)
        with _prepared(path, head, bounds) as inside:
            table = as_frame(inside, whole=True, bounds=bounds)
            frame = reading(path, table.frame.collect)
            repairs = [*_said_of(head), *_blank_lines(inside, head)]
        table, locate = replace(table, name=str(path)), in_file(str(path))
    else:
        table = as_frame(source, whole=True, bounds=bounds)
        frame, locate = reading(Path(table.name), table.frame.collect), table.locate
    found = ExportTable(
        frame, locate, table.name, table.first_line, table.decimal_comma, tuple(repairs)
    )
    found = _without_blank(found, said=text)
    if not found.frame.height:
        raise FileUnreadableError(
            "the table has a header and no rows",
            file=table.name,
            hint="see whether the dates of the report hold any delivery, and export again",
        )
    return found


def _head_of(path: Path, known: Callable[[Sequence[str]], int]) -> _Head:
    with _opened(path) as stream:
        data = _read(path, lambda: stream.read(_HEAD))
    encoding, marked = "utf-8", data.startswith(codecs.BOM_UTF8)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding, marked = "utf-16", True
    elif b"\x00" in data:
        raise FileUnreadableError(
            "the file holds zero bytes, which no text in UTF-8 does",
            file=str(path),
            hint="where it is UTF-16, convert it: iconv -f utf-16le -t utf-8",
        )
    # Only complete lines are looked at, and only for names: what cannot be decoded comes later.
    text = data.decode(encoding, errors="replace").removeprefix("\ufeff")
    lines = text.splitlines()[:_LINES]
    for number, line in enumerate(lines):
        counts = {one: known(_fields(line, one)) for one in _SEPARATORS}
        best = max(counts, key=lambda one: counts[one])
        if counts[best] >= _NAMES:
            return _Head(encoding, tuple(lines[:number]), marked, best)
    return _Head(encoding, (), marked)


def _fields(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []


@contextmanager
def _prepared(path: Path, head: _Head, bounds: ReadBounds) -> Iterator[Path]:
    """A file that the reader takes: this one, or for as long as the block lasts a copy in UTF-8
    that begins with the header. Errors name this file and its lines."""
    if head.encoding == "utf-8" and not head.skipped:
        yield path
        return
    name = path.name.removesuffix(".gz").removesuffix(".GZ")
    with tempfile.TemporaryDirectory(prefix="adwright-export-") as folder:
        inside = Path(folder) / name
        _copy(path, inside, head, bounds.memory or memory_left())
        try:
            with named_as(path, inside):
                yield inside
        except DataError as error:
            lines = len(head.skipped)
            error.what = re.sub(
                r"\bline (\d+)", lambda found: f"line {int(found[1]) + lines}", error.what
            )
            raise


def _copy(path: Path, target: Path, head: _Head, most: int) -> None:
    def write() -> bytes:
        # What is no UTF-8 goes through as it is: the reader names its line.
        lax = "surrogateescape"
        encoding, errors = ("utf-8-sig", lax) if head.encoding == "utf-8" else ("utf-16", "strict")
        with (
            io.TextIOWrapper(_opened(path), encoding=encoding, errors=errors, newline="") as text,
            target.open("w", encoding="utf-8", errors=lax, newline="") as out,
        ):
            for _ in head.skipped:
                text.readline()
            written = 0
            while block := text.read(1 << 20):
                written += len(block)
                if written > most:
                    raise FileUnreadableError(
                        f"the file unpacks to more than {most / 1e9:,.2f} GB, the bound of memory",
                        file=str(path),
                        hint="export fewer days at a time",
                    )
                out.write(block)
        return b""

    try:
        _read(path, write)
    except UnicodeError as error:
        raise FileUnreadableError(
            f"the file begins as UTF-16 and is not: {error}",
            file=str(path),
            hint="it may be cut off: export it again",
        ) from error


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as stream:
        packed = stream.read(2) == _GZIP
    return cast(IO[bytes], gzip.open(path, "rb")) if packed else path.open("rb")


def _read(path: Path, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FileUnreadableError(
            "the gzip file is damaged or cut off", file=str(path), hint="copy or pack it again"
        ) from error
    except OSError as error:
        raise resource_error(error, path) or error from error


def _said_of(head: _Head) -> list[Repair]:
    said = []
    if head.encoding != "utf-8":
        said.append(Repair("file read as UTF-16", 1))
    elif head.marked:
        said.append(Repair("byte-order mark at the beginning passed over", 1))
    if head.skipped:
        shown = tuple(f"line {n + 1}: {line!r:.60}" for n, line in enumerate(head.skipped[:3]))
        said.append(Repair("lines before the header passed over", len(head.skipped), shown))
    return said


def _blank_lines(inside: Path, head: _Head) -> list[Repair]:
    """The blank rows of a file in UTF-8, which its reader passes over without a word."""
    with _opened(inside) as raw:
        if all(line.strip(_BLANK) for line in raw):
            return []
    blank = []
    with io.TextIOWrapper(_opened(inside), encoding="utf-8", newline="") as text:
        reader = csv.reader(text, delimiter=head.separator)
        try:
            while (fields := next(reader, None)) is not None:
                if not any(field.strip(_BLANK.decode()) for field in fields):
                    blank.append(reader.line_num + len(head.skipped))
        except csv.Error as error:
            raise FileUnreadableError(
                f"line {reader.line_num} is not CSV: {error}",
                file=str(inside),
                hint="shorten the field, or take the blank rows out of the file",
            ) from error
    shown = tuple(f"line {line}" for line in blank[:3])
    return [Repair("blank rows passed over", len(blank), shown)] if blank else []


def _without_blank(table: ExportTable, *, said: bool) -> ExportTable:
    """The table without rows of blank cells. said: they are reported already."""
    text = [name for name, dtype in table.frame.schema.items() if dtype == pl.String]
    others = [name for name in table.frame.columns if name not in text]
    tests = [bare(pl.col(name)).fill_null("") == "" for name in text]
    tests += [pl.col(name).is_null() for name in others]
    blank = table.frame.select(blank=pl.all_horizontal(tests))["blank"]
    found = table.without(blank, "blank rows passed over")
    return replace(found, repairs=table.repairs) if said else found
