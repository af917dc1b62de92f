"""How large a table from outside may be, and how it is refused where it is larger.

    read_items(path, bounds=ReadBounds(columns=20_000))

What is read may come from anybody: 40 kB of header can name 5,000 columns, and a footer of a few
hundred bytes can announce a billion rows. Each bound is looked at before memory is taken for what
it bounds, and an error names the bound, the file, and where there is one the column.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import from_json

from adwright.core.errors import DataError, FileUnreadableError, SchemaError
from adwright.data.schema import Check, Locate, in_file, run_checks

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


# --------------------------------------------------------------------------------------------------
# Read JSON lines strictly: UTF-8, one object a line, no deeper and no longer than the bounds.
#
# A first streamed pass over the bytes looks for what no table can hold; polars then reads the file.
# Only a file that it refuses is gone through object by object, to name the line.

_HINT = "write one JSON object a line; `jq -c '.[]' FILE` makes that of a list"


def read_json_lines(path: Path, bounds: ReadBounds) -> pl.DataFrame:
    """The table of a file of JSON objects, one a line; a key that an object lacks is null.

    Numbers, texts, truth values, lists and objects keep their types; a column of numbers and texts
    becomes text. Blank lines are passed over and are not counted as rows.
    Raises FileUnreadableError naming the line (from 1): not UTF-8, no JSON object, longer or deeper
    than `bounds`; SchemaError for columns beyond them or of types that do not go together.
    """
    check_memory(path, None, bounds)
    _check_lines(path, bounds)
    try:
        frame = pl.read_ndjson(path, infer_schema_length=None)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        _diagnose(path, bounds)
        raise FileUnreadableError(
            "the lines cannot be read as one table", file=str(path), hint=_HINT
        ) from error
    check_names(frame.columns, bounds, file=str(path))
    return reading(path, lambda: frame)


def _check_lines(path: Path, bounds: ReadBounds) -> None:
    """Raise FileUnreadableError for a line that is too long, or that may be too deep and is;
    SchemaError for more names than a table may have, or names that too few lines have."""
    # Names of one column, and of the lists that hold other rows than the table: how many those are.
    names, inner, rows = set[str](), set[tuple[str, str]](), Counter[str]()
    full = 0
    for number, line in _lines(path, bounds):
        objects = line.count(b"{")
        if objects + line.count(b"[") > bounds.depth:
            _check_object(path, number, line, bounds)
        elif not line.lstrip().startswith(b"{"):
            raise _no_object(path, number, line)
        try:
            value = from_json(line)
        except ValueError:
            value = _check_object(path, number, line, bounds)
        rows[""] += 1
        full += len(value)
        names.update(value)
        if len(names) > bounds.columns:
            check_names(sorted(names), bounds, file=str(path))
        if objects > 1:
            full += _note_inner(value, inner, rows)
        if len(inner) > bounds.columns:
            raise SchemaError(
                f"line {number}: objects inside rows have more than {bounds.columns:,} names",
                file=str(path),
                hint="keep what is needed, put one-hot columns into one list, or raise "
                "ReadBounds.columns in Python",
            )
    if not rows:
        raise FileUnreadableError("the file is empty", file=str(path), hint=_HINT)
    cells = rows[""] * len(names) + sum(rows[table] for table, _ in inner)
    check_sparse(cells, full, bounds, file=str(path))


def _note_inner(value: dict[str, object], inner: set[tuple[str, str]], rows: Counter[str]) -> int:
    """Note the names of objects inside a row, and the rows that lists of them make; return how many
    values they have."""
    full, left = 0, [("", "", value)]
    while left:
        table, path, one = left.pop()
        for name, part in one.items():
            own = f"{path}\x1f{name}"
            if path:
                inner.add((table, own))
            if isinstance(part, dict):
                full += len(part)
                left.append((table, own, part))
            elif isinstance(part, list):
                elements = list(_elements(part))
                rows[own] += len(elements)
                found = [each for each in elements if isinstance(each, dict)]
                full += sum(map(len, found))
                left.extend((own, own, each) for each in found)
    return full


def _elements(part: list[object]) -> Iterator[object]:
    """What the lists inside each other hold."""
    for one in part:
        yield from _elements(one) if isinstance(one, list) else (one,)


def _diagnose(path: Path, bounds: ReadBounds) -> None:
    """Go through the file object by object and raise the error that names the first bad line."""
    types: dict[str, tuple[str, int]] = {}
    for number, line in _lines(path, bounds):
        for name, value in _check_object(path, number, line, bounds).items():
            kind = "a list" if isinstance(value, list) else "an object"
            kind = kind if isinstance(value, list | dict) else "a single value"
            known, before = types.setdefault(name, (kind, number))
            if value is not None and known != kind:
                raise SchemaError(
                    f"line {number} has {kind} where line {before} has {known}",
                    file=str(path),
                    column=name,
                    hint="write one kind of value a key",
                )


def _check_object(path: Path, number: int, line: bytes, bounds: ReadBounds) -> dict[str, object]:
    try:
        value = json.loads(line)
    except RecursionError:
        value = {"": _too_deep(bounds)}
    except ValueError as error:
        raise _no_object(path, number, line) from error
    if not isinstance(value, dict):
        raise _no_object(path, number, line)
    # The object itself is the row.
    if _jsonlines_depth(value) > bounds.depth + 1:
        raise SchemaError(
            f"line {number}: lists and objects lie more than {bounds.depth} deep",
            file=str(path),
            hint="flatten them, or raise ReadBounds.depth in Python",
        )
    return value


def _too_deep(bounds: ReadBounds) -> object:
    value: object = None
    for _ in range(bounds.depth + 2):
        value = [value]
    return value


def _jsonlines_depth(value: object) -> int:
    """How many lists and objects lie inside each other, level by level: recursion has an end."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, list | dict)]:
        depth += 1
        level = [
            inner for one in level for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return depth


def _no_object(path: Path, number: int, line: bytes) -> FileUnreadableError:
    return FileUnreadableError(
        f"line {number} is no JSON object", file=str(path), value=line[:60], hint=_HINT
    )


def _lines(path: Path, bounds: ReadBounds) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, counted from 1."""
    limit = 2 * bounds.cell_bytes
    with path.open("rb") as stream:
        for number, line in enumerate(iter(lambda: stream.readline(limit + 1), b""), start=1):
            if len(line) > limit:
                raise FileUnreadableError(
                    f"line {number} has more than {limit:,} bytes",
                    file=str(path),
                    hint="keep objects short, or raise ReadBounds.cell_bytes in Python",
                )
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise FileUnreadableError(
                    f"line {number} is not UTF-8",
                    file=str(path),
                    value=line[max(0, error.start - 20) : error.end + 20],
                    hint="convert the file, for example: iconv -f latin1 -t utf-8",
                ) from error
            if line.strip():
                yield number, line


# --------------------------------------------------------------------------------------------------
# Read Parquet strictly: one file or a folder of parts, by what its footer says, lazily.
#
# What a footer announces is held against the bounds before a page is read, and both ends of a file
# are looked at first, which tells a cut-off one from another format.

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
