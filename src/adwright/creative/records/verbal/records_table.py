"""Records of ads as one table: kept in Parquet, shown in reports, read back as they were.

    save_records(Path("ads.parquet"), records)
    open_records(Path("ads.parquet")) == tuple(records)

A column a field, scenes as a list of structs. A table may have other columns beside them, such as
ids and scores: they are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from adwright.core.errors import ConfigError, SchemaError, ValueInvalidError
from adwright.creative.records.verbal.record import AdRecord, Scene
from adwright.data.checks import Locate, in_file
from adwright.data.columns import TableInMemory, as_polars, empty_table, from_arrow
from adwright.data.sources.bounds import USUAL_BOUNDS, ReadBounds, reading
from adwright.data.sources.frames import as_frame
from adwright.data.sources.tables import write_table

__all__ = ["RECORDS", "open_records", "records_of", "records_table", "save_records"]

_TYPES: dict[str, pa.DataType] = {
    "str": pa.string(),
    "int | None": pa.int64(),
    "float | None": pa.float64(),
    "tuple[str, ...]": pa.list_(pa.string()),
    "tuple[tuple[str, str], ...]": pa.list_(
        pa.struct([pa.field("part", pa.string()), pa.field("why", pa.string())])
    ),
}


def _columns(kind: type[AdRecord] | type[Scene]) -> list[pa.Field]:
    """A column a field; what is chosen among words (AdKind, Level, Orientation) is a text."""
    types = dict(_TYPES)
    if kind is AdRecord:
        types["tuple[Scene, ...]"] = pa.list_(pa.struct(_columns(Scene)))
    return [pa.field(each.name, types.get(str(each.type), pa.string())) for each in fields(kind)]


#: One row is one ad; null is an empty part.
RECORDS = pa.schema(_columns(AdRecord))


def records_table(records: Iterable[AdRecord]) -> pa.Table:
    """The records as an Arrow table of RECORDS, N rows in their order.

    Raises ValueInvalidError, naming the row, for a text that is no UTF-8 (half of a surrogate
    pair) and a number of faces beyond 64 bits.
    """
    rows = [_cells(record) for record in records]
    try:
        return pa.Table.from_pylist(rows, RECORDS)
    except (pa.ArrowException, UnicodeError, OverflowError):
        for row, cells in enumerate(rows):
            _check_row(row, cells)
        raise


def records_of(table: TableInMemory, *, file: str = "") -> tuple[AdRecord, ...]:
    """The records of a table of RECORDS, of Arrow, polars or another library, or of dicts.

    file: name shown in errors. A column that is absent and a cell that is null are an empty part.
    Raises SchemaError where no column is one of RECORDS, or one has another type;
    ValueInvalidError, naming the row, for what `AdRecord` refuses.
    """
    return _records(as_polars(table), in_file(file), file)


def save_records(path: Path, records: Iterable[AdRecord]) -> None:
    """Write records to a Parquet file, whole or not at all. Raises as `records_table`, SchemaError
    for another ending than .parquet or .pq, ResourceError where the disk is full."""
    write_table(path, from_arrow(records_table(records)))


def open_records(path: Path, *, bounds: ReadBounds = USUAL_BOUNDS) -> tuple[AdRecord, ...]:
    """The records of a file that `save_records` wrote, or of JSON lines in its columns. Raises as
    `records_of`, and FileUnreadableError."""
    table = as_frame(path, whole=True, bounds=bounds)
    return _records(reading(path, table.frame.collect), table.locate, table.name)


def _cells(record: AdRecord) -> dict[str, Any]:
    cells = {each.name: getattr(record, each.name) for each in fields(record)}
    cells["scenes"] = [
        {each.name: getattr(scene, each.name) for each in fields(scene)} for scene in record.scenes
    ]
    cells["absent"] = [{"part": part, "why": why} for part, why in record.absent]
    return cells


def _check_row(row: int, cells: Mapping[str, Any]) -> None:
    for name, value in cells.items():
        try:
            pa.array([value], RECORDS.field(name).type)
        except (pa.ArrowException, UnicodeError, OverflowError) as error:
            raise ValueInvalidError(
                f"this cannot be kept in a table: {error!s:.120}",
                row=row,
                column=name,
                value=value,
                hint="write texts in UTF-8, and numbers in 64 bits",
            ) from error


def _records(frame: pl.DataFrame, locate: Locate, file: str) -> tuple[AdRecord, ...]:
    wanted = empty_table(RECORDS).schema
    known = [name for name in frame.columns if name in wanted]
    if not known:
        raise SchemaError(
            "no column of the table is a part of a record",
            file=file,
            hint=f"these are {', '.join(RECORDS.names)}; read_ads reads tables of any form",
        )
    cast = {name: _cast(frame[name], wanted[name], file) for name in known}
    rows = pl.DataFrame(cast).iter_rows(named=True)
    return tuple(_record(cells, *locate(row)) for row, cells in enumerate(rows))


def _cast(cells: pl.Series, wanted: pl.DataType, file: str) -> pl.Series:
    try:
        return _with_all(cells, wanted).cast(wanted)
    except pl.exceptions.PolarsError as error:
        raise SchemaError(
            f"{cells.name} must be {wanted!s:.60}, not {cells.dtype!s:.60}",
            file=file,
            column=cells.name,
            hint="cast the column",
        ) from error


def _with_all(cells: pl.Series, wanted: pl.DataType) -> pl.Series:
    """A list of structs with all fields of `wanted`: null where it lacks them, as JSON lines do."""
    inner = wanted.inner if isinstance(wanted, pl.List) else None
    there = cells.dtype.inner if isinstance(cells.dtype, pl.List) else None
    if not isinstance(inner, pl.Struct) or not isinstance(there, pl.Struct):
        return cells
    known = {each.name for each in there.fields}
    whole = [
        (pl.element().struct.field(each.name) if each.name in known else pl.lit(None))
        .cast(each.dtype)
        .alias(each.name)
        for each in inner.fields
    ]
    return cells.list.eval(pl.struct(whole)) if known & {e.name for e in inner.fields} else cells


def _record(cells: dict[str, Any], file: str, row: int) -> AdRecord:
    try:
        scenes = tuple(Scene(**_filled(scene or {})) for scene in cells.pop("scenes", None) or ())
        absent = tuple((one["part"], one["why"]) for one in cells.pop("absent", None) or ())
        return AdRecord(scenes=scenes, absent=absent, **_filled(cells))
    except ValueInvalidError as error:
        raise ValueInvalidError(
            error.what,
            file=file,
            row=row,
            column=error.column,
            value=error.value,
            hint=error.hint,
        ) from error
    except ConfigError as error:
        column = error.where.rpartition(".")[2]
        raise ValueInvalidError(
            error.what, file=file, row=row, column=column, hint=error.hint
        ) from error


def _filled(cells: Mapping[str, Any]) -> dict[str, Any]:
    """What is not null, with tuples for lists."""
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in cells.items()
        if value is not None
    }
