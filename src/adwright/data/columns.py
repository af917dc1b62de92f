"""Fit a table to an Arrow schema: which columns it must have, which types fit, the casts."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, overload, runtime_checkable

import polars as pl
import pyarrow as pa

from adwright.core.errors import SchemaError
from adwright.data.checks import Check
from adwright.data.time import FIRST, LAST

TIME = pa.timestamp("us", tz="UTC")

#: Units of a timestamp: its name, and microseconds in it. Nanoseconds end in the year 2262 anyway.
_UNITS = {"us": ("microseconds", 1), "ms": ("milliseconds", 1000)}
#: Names that an error lists at most.
_LISTED = 20

#: How programs that stringify their missing values spell them.
NOT_IDS = ("nan", "NaN", "None", "<NA>")
#: Columns that pandas makes of the labels of its rows.
_LABELS = "__index_level_"


@runtime_checkable
class ArrowStream(Protocol):
    """A table of pandas, DuckDB, Arrow or another library that hands out Arrow's C stream."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The PyCapsule of the stream."""


#: A table of polars, pandas, Arrow or the like, or rows as dicts.
TableInMemory: TypeAlias = pl.DataFrame | ArrowStream | Sequence[Mapping[str, Any]]


@overload
def as_polars(table: pl.LazyFrame) -> pl.LazyFrame:
    """What is lazy stays so."""


@overload
def as_polars(table: TableInMemory) -> pl.DataFrame:
    """What is in memory stays there."""


def as_polars(table: pl.LazyFrame | TableInMemory) -> pl.LazyFrame | pl.DataFrame:
    """The table of another library as one of polars; its row labels are no columns.

    Raises SchemaError for what is no table, or has a column of several types.
    """
    if isinstance(table, pl.DataFrame | pl.LazyFrame):
        return table
    kind = type(table).__name__
    try:
        if isinstance(table, ArrowStream):
            frame = from_arrow(pa.RecordBatchReader.from_stream(table).read_all())
            return frame.drop(name for name in frame.columns if name.startswith(_LABELS))
        if isinstance(table, Sequence) and all(isinstance(row, Mapping) for row in table):
            return pl.DataFrame(table, infer_schema_length=None)
    except (pa.ArrowException, pl.exceptions.PolarsError, TypeError, ValueError) as error:
        said = str(error).strip().splitlines()
        raise SchemaError(
            f"the {kind} makes no table: {said[0][:200] if said else type(error).__name__}",
            hint="give each column one type",
        ) from error
    raise SchemaError(
        f"{kind} is no table",
        hint="pass a table of polars, pandas or Arrow, or a list of dicts",
    )


def need_columns(
    columns: Sequence[str], names: Sequence[str], what: str, *, file: str = ""
) -> None:
    """Raise SchemaError, which says `what`, for the first of `names` that is not in `columns`."""
    for name in names:
        if name not in columns:
            hint = f"the table has {_listed(columns)}"
            raise SchemaError(what, file=file, column=name, hint=hint)


def check_columns(types: Mapping[str, pl.DataType], schema: pa.Schema, file: str) -> None:
    """Raise SchemaError where a needed column of `schema` is absent or one is not in it.

    types: the columns of the table; file: name shown in the error.
    """
    known = set(schema.names)
    missing = [f.name for f in schema if not f.nullable and f.name not in types]
    unknown = [name for name in types if name not in known]
    if missing:
        plain = {name.strip().lower(): name for name in unknown[:1000]}
        alike = difflib.get_close_matches(missing[0], plain, n=1)
        rename = f" (rename {plain[alike[0]]!r}?)" if alike else ""
        raise SchemaError(
            f"needed columns are missing: {', '.join(missing)}",
            file=file,
            column=missing[0],
            hint=f"add them{rename}; the columns are {', '.join(schema.names)}",
        )
    if unknown:
        alike = difflib.get_close_matches(unknown[0], schema.names, n=1)
        rename = f"rename it to {alike[0]}" if alike else "drop it"
        more = ", or put it into the context as JSON" if "context" in schema.names else ""
        raise SchemaError(
            f"unknown columns: {_listed(unknown)}",
            file=file,
            column=unknown[0],
            hint=f"{rename}{more}; the columns are {', '.join(schema.names)}",
        )


def check_types(types: Mapping[str, pl.DataType], schema: pa.Schema, file: str) -> None:
    """Raise SchemaError where a column cannot be cast to its type in `schema` without loss.

    Integers and categories fit text, any timestamp fits time, any number fits a float. A
    column without a type holds only nulls, if anything; other checks refuse these.
    """
    for field in schema:
        dtype = types.get(field.name)
        if dtype is None or dtype == pl.Null:
            continue
        if field.type == pa.string():
            fits = dtype == pl.String or dtype.is_integer() or is_category(dtype)
            wanted = "text"
        elif field.type == TIME:
            fits, wanted = isinstance(dtype, pl.Datetime), "a timestamp"
        elif field.type == pa.int32():
            fits, wanted = dtype.is_integer(), "an integer"
        else:
            fits, wanted = dtype.is_numeric(), "a number"
        if not fits:
            raise SchemaError(
                f"{field.name} must be {wanted}, not {dtype}",
                file=file,
                column=field.name,
                hint=f"cast the column to {field.type}",
            )


def conform(
    frame: pl.LazyFrame, types: Mapping[str, pl.DataType], schema: pa.Schema
) -> pl.LazyFrame:
    """Cast and order the columns; types were checked, so no cast can fail."""
    columns = []
    for field, (name, target) in zip(schema, _polars_types(schema).items(), strict=True):
        if name not in types:
            columns.append(pl.lit(None, dtype=target).alias(name))
            continue
        column, dtype = pl.col(name), types[name]
        if field.type == TIME and isinstance(dtype, pl.Datetime):
            zone = column.dt.replace_time_zone("UTC") if dtype.time_zone is None else column
            column = zone.dt.convert_time_zone("UTC")
        columns.append(column.cast(target))
    return frame.select(columns)


def text_checks(types: Mapping[str, pl.DataType], schema: pa.Schema) -> list[Check]:
    """Ids that are needed must be there; an id that is given must not be blank."""
    checks = []
    for field in schema:
        if field.type != pa.string() or field.name not in types:
            continue
        name, dtype = field.name, types[field.name]
        needed = pl.col(name).is_null() if not field.nullable else pl.lit(value=False)
        if dtype.is_float():
            bad = needed | pl.col(name).is_nan()
        elif dtype == pl.String and (not field.nullable or name.endswith("_id")):
            blank = pl.col(name).str.strip_chars() == ""
            bad = needed | blank | pl.col(name).is_in(list(NOT_IDS))
        else:
            bad = needed
        checks.append(
            Check(
                name,
                bad,
                f"{name} must not be empty or NaN",
                "fill in the id, or drop the row (--drop-incomplete)",
            )
        )
    return checks


def present(column: str) -> Check:
    """The check that `column` holds no null."""
    return Check(
        column,
        pl.col(column).is_null(),
        f"{column} must not be empty",
        "fill it in, or drop the row (--drop-incomplete)",
    )


def in_years(types: Mapping[str, pl.DataType], schema: pa.Schema) -> list[Check]:
    """Checks that the timestamps of `schema` lie in the years 1 to 9999 of UTC.

    Outside of them no store keeps a time and no datetime is one, though a timestamp of 64 bits
    reaches further. The error shows the number, since there is no date to show.
    """
    checks = []
    for field in schema:
        dtype = types.get(field.name)
        if field.type != TIME or not isinstance(dtype, pl.Datetime) or dtype.time_unit == "ns":
            continue
        (name, unit), number = _UNITS[dtype.time_unit], pl.col(field.name).to_physical()
        checks.append(
            Check(
                field.name,
                ~number.is_between(-(-FIRST // unit), LAST // unit),
                f"{field.name} must lie in the years 1 to 9999 of UTC",
                f"correct the time; the value counts {name} since 1970",
                shown=number,
            )
        )
    return checks


def is_category(dtype: pl.DataType) -> bool:
    """Whether a column of this type holds text by reference."""
    return dtype == pl.Categorical or isinstance(dtype, pl.Enum)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(name[:60] for name in names[:_LISTED]) + more


def _polars_types(schema: pa.Schema) -> dict[str, pl.DataType]:
    return dict(from_arrow(schema.empty_table()).schema)


def empty_table(schema: pa.Schema) -> pl.DataFrame:
    """A table of `schema` without rows."""
    return from_arrow(schema.empty_table())


def from_arrow(table: pa.Table) -> pl.DataFrame:
    """The Arrow table as a polars table; raises SchemaError where it has no columns."""
    frame = pl.from_arrow(table)
    if not isinstance(frame, pl.DataFrame):
        raise SchemaError("the Arrow table has no columns", hint="pass a table of events")
    return frame
