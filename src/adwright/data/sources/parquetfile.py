"""Read Parquet strictly: one file or a folder of parts, by what its footer says, lazily.

What a footer announces is held against the bounds before a page is read, and both ends of a file
are looked at first, which tells a cut-off one from another format.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from adwright.core.errors import FileUnreadableError, SchemaError
from adwright.data.checks import Locate, in_file
from adwright.data.sources.bounds import (
    ReadBounds,
    check_cells,
    check_footer,
    check_memory,
    reading,
)

PARQUET_ENDINGS = (".parquet", ".pq")
_MAGIC = b"PAR1"


def scan_parquet(path: Path, bounds: ReadBounds, *, whole: bool) -> tuple[pl.LazyFrame, Locate]:
    """The lazy table of one file, and what names its rows. whole: it will lie in memory.

    Raises FileUnreadableError for a file that is empty, cut off, damaged, of another format or
    larger than `bounds`; SchemaError for columns beyond them, ValueInvalidError for long texts.
    """
    locate = in_file(str(path))
    footer = _checked_footer(path, bounds, whole=whole)
    frame = _lazily(path)
    reading(path, lambda: check_cells(frame, [footer], bounds, locate))
    return frame, locate


def scan_parts(folder: Path, bounds: ReadBounds, *, whole: bool) -> tuple[pl.LazyFrame, Locate]:
    """The parts below `folder`, in the order of their names, as one lazy table; as `scan_parquet`.

    Hidden files and those that begin with an underscore are passed over. Raises SchemaError too
    where two parts have other columns.
    """
    parts = sorted(
        part
        for part in folder.rglob("*")
        if part.suffix in PARQUET_ENDINGS
        and part.is_file()
        and not part.name.startswith((".", "_"))
    )
    if not parts:
        raise FileUnreadableError(
            "the folder holds no Parquet files",
            file=str(folder),
            hint="name a folder whose files end in .parquet, or a single file",
        )
    ends: list[int] = []
    footers: list[pq.FileMetaData] = []
    first = None
    for part in parts:
        footers.append(_checked_footer(part, bounds, whole=whole))
        ends.append(footers[-1].num_rows + (ends[-1] if ends else 0))
        schema = reading(part, partial(pl.read_parquet_schema, part))
        first = schema if first is None else first
        if schema != first:
            raise _parts_differ(parts[0], first, part, schema)

    def locate(row: int) -> tuple[str, int]:
        for part, end, start in zip(parts, ends, [0, *ends], strict=False):
            if row < end:
                return str(part), row - start
        return str(folder), row

    frame = _lazily(parts)
    reading(folder, lambda: check_cells(frame, footers, bounds, locate))
    return frame, locate


def _lazily(source: Path | list[Path]) -> pl.LazyFrame:
    # Statistics are believed without a look at the pages: what is damaged in them would come to
    # light, or not, in whatever is asked of the table later.
    return pl.scan_parquet(source, use_statistics=False)


def _parts_differ(
    first: Path, wanted: Mapping[str, pl.DataType], part: Path, found: Mapping[str, pl.DataType]
) -> SchemaError:
    """What a part has otherwise than the first one: the two types of a column, or its absence."""
    names = [*dict.fromkeys([*wanted, *found])]
    name = next((n for n in names if wanted.get(n) != found.get(n)), names[0])
    ours, theirs = (str(types.get(name, "absent")) for types in (found, wanted))
    other = "another order" if ours == theirs else f"{ours}, which is {theirs}"
    return SchemaError(
        f"the parts differ: {other} in {first.name}",
        file=str(part),
        column=name,
        hint="write all parts with one schema, in one column order",
    )


def _checked_footer(path: Path, bounds: ReadBounds, *, whole: bool) -> pq.FileMetaData:
    if path.stat().st_size == 0:
        raise FileUnreadableError("the file is empty", file=str(path), hint="write it again")
    with path.open("rb") as stream:
        head = stream.read(4)
        stream.seek(-min(4, path.stat().st_size), os.SEEK_END)
        tail = stream.read(4)
    if head != _MAGIC:
        raise FileUnreadableError(
            "not a Parquet file",
            file=str(path),
            hint="rename it to .csv if it is CSV, or convert it to Parquet",
        )
    if tail != _MAGIC:
        raise FileUnreadableError(
            "the Parquet file is truncated: its end is missing",
            file=str(path),
            hint="copy or write it again; the writer probably stopped half way",
        )
    footer: pq.FileMetaData = reading(path, lambda: pq.read_metadata(path))
    check_footer(path, footer, bounds)
    check_memory(path, footer, bounds, whole=whole)
    return footer
