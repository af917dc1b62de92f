"""One reader for whatever holds a table: files of all kinds, and tables of other libraries.

    as_frame(Path("log.csv.gz"))        # also ; tab |, JSON lines, Parquet and folders of its parts
    as_frame(pandas_frame)              # whatever speaks Arrow's stream protocol
    as_frame([{"user": 1, "item": 2}])

Names and types are as they came; `adwright.data.sources.mapped` makes an EventLog of them.
"""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import polars as pl

from adwright.core.atomic import resource_error
from adwright.core.errors import FileUnreadableError, SchemaError
from adwright.data.schema import Locate, TableInMemory, as_polars, in_file
from adwright.data.sources.bounds import (
    PARQUET_ENDINGS,
    USUAL_BOUNDS,
    ReadBounds,
    check_memory,
    check_names,
    memory_left,
    named_as,
    read_json_lines,
    reading,
    scan_parquet,
    scan_parts,
)
from adwright.data.sources.csvfile import scan_csv, sniff_separator

_CSV_ENDINGS = (".csv", ".tsv", ".txt")
_JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_BLOCK = 1 << 20

#: What `as_frame` takes: a path, or a table in memory.
Tabular: TypeAlias = str | Path | pl.LazyFrame | TableInMemory


@dataclass(frozen=True)
class SourceTable:
    """A table as it came.

    frame: lazy. locate: the file and row of each of its rows. name: of the file; "the table" in
    memory. first_line: of a CSV file, where a header should be. decimal_comma: of its numbers.
    """

    frame: pl.LazyFrame
    locate: Locate
    name: str
    first_line: str = ""
    decimal_comma: bool = False


def as_frame(
    source: Tabular,
    *,
    text: Callable[[Sequence[str]], Sequence[str]] | None = None,
    whole: bool = False,
    bounds: ReadBounds = USUAL_BOUNDS,
) -> SourceTable:
    """The table of a file or of another library, with names and types as they are.

    text: which columns of a CSV file stay text, given all names; the types of the others follow
    from their values. None leaves all as text. whole: the table will lie in memory.
    A packed file is unpacked into memory. Of CSV, the separator (, ; tab |) is seen in the header;
    where it is a semicolon, numbers may have a decimal comma.

    Raises FileUnreadableError where a file is absent, empty, cut off, damaged, of another format or
    not UTF-8; SchemaError for columns that make no table; both, and ValueInvalidError, for what is
    beyond `bounds`.
    """
    if isinstance(source, str | Path):
        return _of_file(Path(source), text, bounds, whole=whole)
    frame = as_polars(source).lazy()
    names = frame.collect_schema().names()
    check_names(names, bounds, file="")
    return SourceTable(frame, in_file(""), "the table")


def name_of(source: Tabular) -> str:
    """The file's name without its endings; "log" for a table in memory."""
    return Path(source).name.partition(".")[0] if isinstance(source, str | Path) else "log"


def id_text(frame: pl.LazyFrame, name: str) -> pl.Expr:
    """The ids of a column: text without blanks around it; whole numbers that pandas made floats of
    are whole numbers again."""
    dtype, cell = frame.collect_schema()[name], pl.col(name)
    if dtype == pl.String:
        # An id of nothing but blanks stays one, so that the check can show it.
        bare = cell.str.strip_chars()
        return pl.when(bare == "").then(cell).otherwise(bare)
    if dtype.is_float():
        whole = cell.fill_nan(None).cast(pl.Int64, strict=False)
        same = frame.select((cell.is_null() | cell.is_nan() | (whole == cell)).all())
        if same.collect(engine="streaming").item():
            return whole
    return cell


def _of_file(
    path: Path,
    text: Callable[[Sequence[str]], Sequence[str]] | None,
    bounds: ReadBounds,
    *,
    whole: bool,
) -> SourceTable:
    _check_place(path)
    if path.is_dir():
        return SourceTable(*scan_parts(path, bounds, whole=whole), str(path))
    with path.open("rb") as stream:
        head = stream.read(4)
    if head.startswith(_GZIP):
        with _unpacked(path, bounds) as inside:
            found = _of_file(inside, text, bounds, whole=True)
            # The file goes with the block.
            table = reading(path, found.frame.collect)
        return SourceTable(
            table.lazy(), in_file(str(path)), str(path), found.first_line, found.decimal_comma
        )
    ending = path.suffix.lower()
    if ending in PARQUET_ENDINGS:
        return SourceTable(*scan_parquet(path, bounds, whole=whole), str(path))
    if head == _ZIP or ending in (".xlsx", ".xls", ".ods"):
        raise SchemaError(
            "this is a spreadsheet or a zip archive, which is not read",
            file=str(path),
            hint="save the sheet as CSV in UTF-8, or unpack the archive",
        )
    if ending in _JSON_ENDINGS:
        return SourceTable(read_json_lines(path, bounds).lazy(), in_file(str(path)), str(path))
    if ending in _CSV_ENDINGS:
        return _of_csv(path, text, bounds, whole=whole)
    raise SchemaError(
        f"tables end in {', '.join(PARQUET_ENDINGS + _CSV_ENDINGS + _JSON_ENDINGS)}, the texts "
        f"also in .gz, not in {ending or 'nothing'}",
        file=str(path),
        hint="rename or convert the file",
    )


def _of_csv(
    path: Path,
    text: Callable[[Sequence[str]], Sequence[str]] | None,
    bounds: ReadBounds,
    *,
    whole: bool,
) -> SourceTable:
    if whole:
        check_memory(path, None, bounds)
    separator, names = sniff_separator(path, bounds)
    frame = scan_csv(
        path,
        needed=(),
        text=None if text is None else text(names),
        separator=separator,
        quoted=separator != "\t",
        bounds=bounds,
    )
    line = separator.join(names)
    return SourceTable(frame, in_file(str(path)), str(path), line[:60], separator == ";")


def _check_place(path: Path) -> None:
    """Raise FileUnreadableError where there is nothing to read."""
    if not path.exists():
        raise FileUnreadableError(
            "there is no such file or folder", file=str(path), hint="check the path"
        )
    if not os.access(path, os.R_OK):
        raise FileUnreadableError(
            "no permission to read", file=str(path), hint="change the rights of the file"
        )
    if path.is_dir():
        return
    if not path.is_file():
        raise FileUnreadableError(
            "this is neither a file nor a folder", file=str(path), hint="check the path"
        )
    if path.stat().st_size == 0:
        raise FileUnreadableError(
            "the file is empty", file=str(path), hint="write at least a header or a schema"
        )


@contextmanager
def _unpacked(path: Path, bounds: ReadBounds) -> Iterator[Path]:
    """The file that a gzip file holds, for as long as the block lasts; errors name the packed one.

    What it holds is counted while it is unpacked: a few kilobytes can hold gigabytes.
    """
    name = path.name.removesuffix(".gz").removesuffix(".GZ")
    with tempfile.TemporaryDirectory(prefix="adwright-unpacked-") as folder:
        inside = Path(folder) / name
        _unpack(path, inside, bounds.memory or memory_left())
        with named_as(path, inside):
            yield inside


def _unpack(path: Path, target: Path, most: int) -> None:
    written = 0
    try:
        with gzip.open(path, "rb") as stream, target.open("wb") as out:
            while block := stream.read(_BLOCK):
                written += len(block)
                if written > most:
                    raise FileUnreadableError(
                        f"the file unpacks to more than {most / 1e9:,.2f} GB, the bound of memory",
                        file=str(path),
                        hint="unpack it and convert it to Parquet, which is read piece by piece",
                    )
                out.write(block)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FileUnreadableError(
            "the gzip file is damaged or cut off", file=str(path), hint="copy or pack it again"
        ) from error
    except OSError as error:
        raise resource_error(error, target.parent) or error from error
