"""A user's own tables: Parquet (one file or a folder of parts) and CSV in UTF-8.

    events = read_events(Path("log.parquet"))     # checked, lazy
    items = read_items(Path("items.csv"))
    write_events(Path("copy.csv"), events)

A file that cannot be read is refused with its name, the line where there is one, and what to
do. In CSV a time is either ISO 8601, with or without a zone (then UTC), or seconds since 1970.
An empty field is an absent value. `bounds` says how large a table may be.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from adwright.core.atomic import resource_error
from adwright.core.errors import FileUnreadableError, ResourceError, SchemaError
from adwright.data.checks import Locate, in_file
from adwright.data.columns import TIME
from adwright.data.ids import warn_of_bad_ids
from adwright.data.schema import (
    CAMPAIGN_SCHEMA,
    CREATIVE_SCHEMA,
    EVENT_SCHEMA,
    check_events,
    check_items,
    validate_campaigns,
    validate_creatives,
    validate_events,
)
from adwright.data.sources.bounds import (
    USUAL_BOUNDS,
    ReadBounds,
    check_cells,
    check_footer,
    check_memory,
    reading,
)
from adwright.data.sources.csvfile import parse_columns, scan_csv

__all__ = [
    "read_campaigns",
    "read_creatives",
    "read_events",
    "read_items",
    "write_events",
    "write_table",
]

Types = Mapping[str, pl.DataType]

_PARQUET = (".parquet", ".pq")
_MAGIC = b"PAR1"


def read_events(
    path: Path, *, strict_time_order: bool = False, bounds: ReadBounds = USUAL_BOUNDS
) -> pl.LazyFrame:
    """An EventLog from a Parquet file, a folder of Parquet parts (in name order) or a CSV file.

    The file is streamed through once to check it; the result is lazy and streams again.

    strict_time_order: also refuse a row that is earlier than the row before it.
    Raises FileUnreadableError where the file is absent, empty, truncated, of another format or
    not UTF-8; SchemaError and ValueInvalidError as `adwright.data.schema.validate_events`; all
    three where it is beyond `bounds`.
    """
    frame, locate = _scan(path, EVENT_SCHEMA, bounds)
    return reading(path, lambda: check_events(frame, locate, strict_time_order=strict_time_order))


def read_items(
    path: Path, *, key: str = "item_id", bounds: ReadBounds = USUAL_BOUNDS
) -> pl.DataFrame:
    """The items of a catalogue; read and refused as `read_events`, checked as `validate_items`.

    key: the id column, for tables of the same form about something else, such as users.
    In CSV the id is text, and the type of each feature column follows from its values. Lists
    of text need Parquet.
    """
    frame, locate = _scan(path, None, bounds, key=key, whole=True)
    items = reading(path, lambda: check_items(frame, locate, key=key).collect())
    warn_of_bad_ids(items[key], str(path))
    return items


def read_creatives(path: Path, *, bounds: ReadBounds = USUAL_BOUNDS) -> pl.DataFrame:
    """The creatives of a catalogue; read as `read_events`, checked as `validate_creatives`."""
    frame, _ = _scan(path, CREATIVE_SCHEMA, bounds, whole=True)
    return reading(path, lambda: validate_creatives(frame.collect(), file=str(path)))


def read_campaigns(path: Path, *, bounds: ReadBounds = USUAL_BOUNDS) -> pl.DataFrame:
    """The campaigns of a catalogue; read as `read_events`, checked as `validate_campaigns`."""
    frame, _ = _scan(path, CAMPAIGN_SCHEMA, bounds, whole=True)
    return reading(path, lambda: validate_campaigns(frame.collect(), file=str(path)))


def write_events(path: Path, frame: pl.DataFrame | pl.LazyFrame) -> None:
    """Check an EventLog as `validate_events` does and write it, whole or not at all.

    path: ends in .parquet, .pq or .csv. A lazy frame is streamed, once to check it and once to
    write it.
    Raises SchemaError, ValueInvalidError, and ResourceError where the disk is full.
    """
    write_table(path, validate_events(frame.lazy()))


def write_table(path: Path, frame: pl.DataFrame | pl.LazyFrame) -> None:
    """Write any table to Parquet or CSV, by the ending of `path`, whole or not at all.

    Raises SchemaError for another ending or a list in CSV, ResourceError where the disk is
    full.
    """
    ending = _ending(path)
    lazy = frame.lazy()
    if ending == ".csv":
        lists = [n for n, t in lazy.collect_schema().items() if isinstance(t, pl.List | pl.Struct)]
        if lists:
            raise SchemaError(
                "CSV cannot hold lists",
                file=str(path),
                column=lists[0],
                hint="write Parquet instead",
            )
        with _atomic_file(path) as temporary:
            lazy.sink_csv(temporary, datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ")
    else:
        with _atomic_file(path) as temporary:
            lazy.sink_parquet(temporary, compression="zstd")


def _scan(
    path: Path,
    schema: pa.Schema | None,
    bounds: ReadBounds,
    *,
    key: str = "",
    whole: bool = False,
) -> tuple[pl.LazyFrame, Locate]:
    """The lazy table, and what maps its rows to files.

    schema: which columns of a CSV file are not text; None leaves that to their values, but
    for the text of `key`. whole: it will lie in memory.
    """
    if not path.exists():
        raise FileUnreadableError(
            "there is no such file or folder", file=str(path), hint="check the path"
        )
    if not os.access(path, os.R_OK):
        raise FileUnreadableError(
            "no permission to read", file=str(path), hint="change the rights of the file"
        )
    if path.is_dir():
        return _scan_parts(path, bounds, whole=whole)
    if not path.is_file():
        raise FileUnreadableError(
            "this is neither a file nor a folder", file=str(path), hint="check the path"
        )
    if path.stat().st_size == 0:
        raise FileUnreadableError(
            "the file is empty", file=str(path), hint="write at least a header or a schema"
        )
    locate = in_file(str(path))
    if _ending(path) == ".csv":
        if whole:
            check_memory(path, None, bounds)
        if schema is None:
            return scan_csv(path, needed=[key], text=[key], bounds=bounds), locate
        needed = [field.name for field in schema if not field.nullable]
        frame = scan_csv(path, needed=needed, text=None, bounds=bounds)
        times = [field.name for field in schema if field.type == TIME]
        numbers = {"position": pl.Int64(), "propensity": pl.Float64(), "value": pl.Float64()}
        return reading(path, lambda: parse_columns(frame, times, numbers, locate)), locate
    footer = _check_parquet(path, bounds, whole=whole)
    frame = _lazily(path)
    reading(path, lambda: check_cells(frame, [footer], bounds, locate))
    return frame, locate


def _scan_parts(folder: Path, bounds: ReadBounds, *, whole: bool) -> tuple[pl.LazyFrame, Locate]:
    parts = sorted(
        part
        for part in folder.rglob("*")
        if part.suffix in _PARQUET and part.is_file() and not part.name.startswith((".", "_"))
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
        footers.append(_check_parquet(part, bounds, whole=whole))
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


def _parts_differ(first: Path, wanted: Types, part: Path, found: Types) -> SchemaError:
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


def _check_parquet(path: Path, bounds: ReadBounds, *, whole: bool) -> pq.FileMetaData:
    """Look at both ends of the file, which tells a cut-off one from another format, and hold what
    its footer says against the bounds."""
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


def _ending(path: Path) -> str:
    ending = path.suffix.lower()
    if ending in _PARQUET or ending == ".csv":
        return ending
    raise SchemaError(
        f"tables end in .parquet, .pq or .csv, not in {ending or 'nothing'}",
        file=str(path),
        hint="rename or convert the file",
    )


@contextmanager
def _atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write; rename it into place when the block ends."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise _refusal(error, path) or error from error
    try:
        yield Path(name)
        with open(name, "rb") as written:
            os.fsync(written.fileno())
        mask = os.umask(0o077)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _refusal(error, path) or error from error
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)


def _refusal(error: Exception, path: Path) -> ResourceError | None:
    """What the operating system refused, where that is what `error` is about."""
    if isinstance(error, OSError) and error.errno is not None:
        return resource_error(error, path)
    # polars tells the number in its text alone.
    number = re.search(r"\(os error (\d+)\)", str(error))
    return resource_error(OSError(int(number[1]), str(error)), path) if number else None
