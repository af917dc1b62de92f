"""How large a table from outside may be, and how it is refused where it is larger.

    read_items(path, bounds=ReadBounds(columns=20_000))

What is read may come from anybody: 40 kB of header can name 5,000 columns, and a footer of a few
hundred bytes can announce a billion rows. Each bound is looked at before memory is taken for what
it bounds, and an error names the bound, the file, and where there is one the column.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from adwright.core.errors import DataError, FileUnreadableError, SchemaError
from adwright.data.checks import Check, Locate, run_checks

Found = TypeVar("Found")
#: Bytes that a value takes in memory at least: a text is a view of 16 bytes, a number of 8.
_VIEW, _NUMBER = 16, 8
#: Cells of a sparse table, full or empty: so many for each full one, beside some for small tables.
_FOR_ONE, _SOME = 64, 1_000_000
#: Bytes of a row that is streamed: a hash, its number, and whether there are two of it.
_KEPT = 17
#: What the memory of other programs is called, in /proc/meminfo.
_AVAILABLE = "MemAvailable:"


@dataclass(frozen=True)
class ReadBounds:
    """Bounds of one table.

    columns: the widest public tables of ads and baskets have a few hundred, one-hot ones two
        thousand. name_bytes: of a column's name in UTF-8. cell_bytes: of one text. depth: lists
        and structs inside each other. memory: bytes that a table may take that is read whole; 0
        for what the machine has left.
    """

    columns: int = 4_000
    name_bytes: int = 1_000
    cell_bytes: int = 1 << 22
    depth: int = 8
    memory: int = 0


USUAL_BOUNDS = ReadBounds()


def reading(path: Path, read: Callable[[], Found]) -> Found:
    """Run `read`; what the libraries say of a damaged file becomes an error that names it.

    Raises FileUnreadableError, and what `read` raises on purpose.
    """
    try:
        return read()
    # polars panics on some files: a BaseException, which would pass by every handler.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException) as error:
        raise _damaged(path, error) from error
    except (OSError, OverflowError) as error:
        raise _damaged(path, error) from error
    except MemoryError as error:
        raise FileUnreadableError(
            "there is not enough memory to read the file",
            file=str(path),
            hint="divide it into parts, or use a machine with more",
        ) from error


@contextmanager
def named_as(path: Path, inside: Path) -> Iterator[None]:
    """Let errors of the block name `path` where they name `inside`, which was made of it."""
    try:
        yield
    except DataError as error:
        error.where = error.where.replace(str(inside), str(path))
        error.file = error.file.replace(str(inside), str(path))
        raise


def check_names(names: list[str], bounds: ReadBounds, *, file: str) -> None:
    """Raise SchemaError for too many columns, too long a name, or a name that stands twice."""
    if len(names) > bounds.columns:
        raise SchemaError(
            f"the table has {len(names):,} columns, the bound is {bounds.columns:,}",
            file=file,
            column=names[bounds.columns][:60],
            hint="keep what is needed, put one-hot columns into one list, or raise "
            "ReadBounds.columns in Python",
        )
    seen = set[str]()
    for name in names:
        # No character has more than four bytes, or less than one.
        if len(name) * 4 > bounds.name_bytes and len(name.encode()) > bounds.name_bytes:
            raise SchemaError(
                f"the name of a column has more than {bounds.name_bytes:,} bytes",
                file=file,
                column=f"{name[:60]}...",
                hint="see whether the header is one, or raise ReadBounds.name_bytes in Python",
            )
        if name in seen:
            raise SchemaError(
                "the header names a column twice", file=file, column=name, hint="rename one"
            )
        seen.add(name)


def check_sparse(cells: int, full: int, bounds: ReadBounds, *, file: str) -> None:
    """Raise SchemaError where rows that name their own fields make a table that is nearly empty, or
    too large for memory: a short line can name a field that all the others then lack."""
    there = bounds.memory or memory_left()
    if cells > _SOME + _FOR_ONE * full or cells * _VIEW > there:
        raise SchemaError(
            f"the rows make a table of {cells:,} cells, of which {full:,} are full",
            file=file,
            hint="keep the fields that most rows have, put others into one list, or give the "
            "file in parts",
        )


def check_footer(path: Path, footer: pq.FileMetaData, bounds: ReadBounds) -> None:
    """Raise SchemaError for columns, names, depth or a time zone that a Parquet file's footer
    describes and that cannot be read. Nothing but the footer is looked at."""
    file = str(path)
    if footer.num_columns > bounds.columns:
        names = [footer.schema.column(number).path for number in range(bounds.columns + 1)]
        check_names([*names, *[""] * (footer.num_columns - len(names))], bounds, file=file)
    schema = reading(path, footer.schema.to_arrow_schema)
    check_names(schema.names, bounds, file=file)
    for field in schema:
        if _depth(field.type) > bounds.depth:
            raise SchemaError(
                f"lists and structs lie {_depth(field.type)} deep, the bound is {bounds.depth}",
                file=file,
                column=field.name,
                hint="flatten the column, or raise ReadBounds.depth in Python",
            )
        if (zone := _unknown_zone(field.type)) is not None:
            raise SchemaError(
                f"the time zone {zone[:60]!r} is unknown",
                file=file,
                column=field.name,
                hint="write the times in UTC",
            )


def check_memory(
    path: Path, footer: pq.FileMetaData | None, bounds: ReadBounds, *, whole: bool = True
) -> None:
    """Raise FileUnreadableError where what is kept of the table cannot lie in memory.

    footer: of a Parquet file, whose rows count as they say even where they pack to nothing; None
    for CSV, which takes at least its own size. whole: False for a log that is streamed, of which
    a hash of each id is kept.
    """
    if footer is None:
        needed = path.stat().st_size
    elif not whole:
        needed = footer.num_rows * _KEPT
    else:
        types = [footer.schema.column(number).physical_type for number in range(footer.num_columns)]
        row = sum(_VIEW if kind == "BYTE_ARRAY" else _NUMBER for kind in types)
        parts = (footer.row_group(number) for number in range(footer.num_row_groups))
        needed = max(footer.num_rows * row, sum(part.total_byte_size for part in parts))
    there = bounds.memory or memory_left()
    if needed > there:
        raise FileUnreadableError(
            f"the table takes {needed / 1e9:,.2f} GB of memory or more, the bound is "
            f"{there / 1e9:,.2f} GB",
            file=str(path),
            hint="keep fewer rows or columns, or use a machine with more memory"
            if not bounds.memory
            else "keep fewer rows or columns, or raise ReadBounds.memory in Python",
        )


def check_cells(
    frame: pl.LazyFrame, footers: list[pq.FileMetaData], bounds: ReadBounds, locate: Locate
) -> None:
    """Raise ValueInvalidError for the first text of a Parquet table that is longer than the bound.

    footers: of its files. A column of which all packed texts together are shorter has none.
    """
    large = {
        column.path_in_schema.partition(".")[0]
        for footer in footers
        for number in range(footer.num_row_groups)
        for part in (footer.row_group(number),)
        for column in (part.column(at) for at in range(part.num_columns))
        if column.physical_type == "BYTE_ARRAY"
        and column.total_uncompressed_size > bounds.cell_bytes
    }
    names = [n for n, t in frame.collect_schema().items() if n in large and t == pl.String]
    checks = [
        Check(
            name,
            pl.col(name).str.len_bytes() > bounds.cell_bytes,
            f"a text has more than {bounds.cell_bytes:,} bytes",
            "keep texts short, or raise ReadBounds.cell_bytes in Python",
            shown=pl.col(name).str.head(60),
        )
        for name in names
    ]
    run_checks(frame, checks, locate)


def _depth(kind: pa.DataType) -> int:
    """How many lists and structs lie inside each other; 0 for a plain type."""
    inner = [kind.field(number).type for number in range(kind.num_fields)]
    return 1 + max(map(_depth, inner)) if inner else 0


def _unknown_zone(kind: pa.DataType) -> str | None:
    """The time zone that polars does not know, of this type or of one inside it."""
    for number in range(kind.num_fields):
        if (found := _unknown_zone(kind.field(number).type)) is not None:
            return found
    if not pa.types.is_timestamp(kind) or not kind.tz:
        return None
    try:
        pl.Series([], dtype=pl.Datetime("us", kind.tz))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return str(kind.tz)
    return None


def memory_left() -> int:
    """Bytes of memory that are left; where the system does not tell, all that it has."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            left = next(line for line in lines if line.startswith(_AVAILABLE))
        return int(left.split()[1]) * 1024
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _damaged(path: Path, error: BaseException) -> FileUnreadableError:
    said = str(error).strip().splitlines()
    return FileUnreadableError(
        f"the file is damaged: {said[0][:300] if said else type(error).__name__}",
        file=str(path),
        hint="copy or write it again",
    )
