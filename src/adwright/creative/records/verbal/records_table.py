"""Records of ads as one table, a column a field, scenes as a list of structs.

records_table(records)      # an Arrow table of RECORDS
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import pyarrow as pa

from adwright.core.errors import ValueInvalidError
from adwright.creative.records.verbal.record import AdRecord, Scene

__all__ = ["RECORDS", "records_table"]

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
