"""Read the counts, weeks and groups of a table of creatives, each cell checked.

    counts = read_counts(table, ("impressions", "clicks"))     # Int64, none missing
    read_weeks(table, "test_week", now)                        # 201446, or 2014-11-14

Counts may be whole numbers, floats that are whole (as pandas makes of them) or text of any locale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.errors import SchemaError
from adwright.creative.records.cells import LARGEST_COUNT, check_rows, find_decimal, read_number
from adwright.data.checks import Check, Locate
from adwright.data.columns import is_category
from adwright.data.sources.times import time_column

__all__ = ["CountedTable", "read_counts", "read_groups", "read_weeks"]


@dataclass(frozen=True)
class CountedTable:
    """A table in memory, and how its rows are named in errors. decimal_comma: of its text."""

    frame: pl.DataFrame
    locate: Locate
    file: str = ""
    decimal_comma: bool = False


def read_counts(table: CountedTable, impressions: str, clicks: str) -> pl.DataFrame:
    """Columns `impressions` and `clicks`, Int64 [N]: 0 <= clicks <= impressions.

    Raises ValueInvalidError naming the file, row, column and value of the first cell that is
    missing, no number, not whole, negative, or of clicks above impressions; SchemaError for a
    column of another type.
    """
    names = {"impressions": impressions, "clicks": clicks}
    text = [name for name in names.values() if table.frame.schema[name] == pl.String]
    sign, _ = find_decimal(
        table.frame, text, text, table.locate, separator_comma=table.decimal_comma
    )
    found = {}
    for ours, name in names.items():
        dtype = table.frame.schema[name]
        if dtype == pl.String:
            value = read_number(table.frame, name, sign, table.locate, whole=True).value
        elif dtype.is_numeric():
            value = table.frame[name].cast(pl.Float64).fill_nan(None)
        elif dtype == pl.Null:
            value = table.frame[name].cast(pl.Float64)
        else:
            raise SchemaError(
                f"{name} must be whole numbers, not {dtype}",
                file=table.file,
                column=name,
                hint="write how often the creative was shown, and how often it was clicked",
            )
        found[ours] = value
    read = table.frame.select(*names.values()).with_columns(
        value.alias(f"__{ours}") for ours, value in found.items()
    )
    check_rows(read, _count_checks(names), table.locate)
    return read.select(pl.col(f"__{ours}").cast(pl.Int64).alias(ours) for ours in names)


def read_weeks(table: CountedTable, column: str, now: datetime) -> NDArray[np.int64]:
    """int64 [N] that grows with time: whole numbers as they are, a date as its ISO year and week,
    2014-11-14 as 201446.

    Raises ValueInvalidError for the first cell that is missing or cannot be read, or is a date
    more than a day after `now`.
    """
    frame, dtype = table.frame, table.frame.schema[column]
    cell = pl.col(column)
    empty = cell.is_null() | (cell == "" if dtype == pl.String else pl.lit(value=False))
    hint = "fill it in, or name no column of weeks"
    check_rows(frame, [Check(column, empty, f"{column} must not be empty", hint)], table.locate)
    if dtype == pl.Null:  # nothing else can be in it, so there are no rows
        return np.empty(0, np.int64)
    number = cell.str.strip_chars().cast(pl.Int64, strict=False) if dtype == pl.String else cell
    if dtype == pl.String and not frame.select(number.is_null().any()).item():
        return np.asarray(frame.select(number).to_series().to_numpy(), np.int64)
    if dtype.is_numeric():
        what = f"{column} must be a whole number, such as 201446"
        value = cell.cast(pl.Float64)
        bad = (value != value.round()) | ~value.is_finite()
        hint = "number the weeks so that later ones are larger"
        check_rows(frame, [Check(column, bad, what, hint)], table.locate)
        return np.asarray(frame[column].cast(pl.Int64).to_numpy(), np.int64)
    moment = time_column(frame.lazy(), column, table.locate).value
    late = moment > now + timedelta(days=1)
    hint = "correct it, or leave out what has not happened"
    what = f"{column} is after now, {now:%Y-%m-%d}"
    check_rows(frame, [Check(column, late, what, hint)], table.locate)
    week = moment.dt.iso_year().cast(pl.Int64) * 100 + moment.dt.week().cast(pl.Int64)
    return np.asarray(frame.select(week).to_series().to_numpy(), np.int64)


def read_groups(table: CountedTable, column: str) -> tuple[str | None, ...]:
    """The name of each row's group as text, None where it has none."""
    dtype = table.frame.schema[column]
    if not (dtype == pl.String or dtype.is_integer() or is_category(dtype) or dtype == pl.Null):
        raise SchemaError(
            f"{column} must be text or whole numbers, not {dtype}",
            file=table.file,
            column=column,
            hint="name each group, and leave the cell of a creative of none empty",
        )
    texts = table.frame[column].cast(pl.String).str.strip_chars()
    return tuple(text or None for text in texts.to_list())


def _count_checks(names: dict[str, str]) -> Sequence[Check]:
    checks = []
    for ours, name in names.items():
        value = pl.col(f"__{ours}")
        checks += [
            Check(
                name,
                value.is_null(),
                f"{name} must not be empty",
                "fill it in, or leave the row out; what was not counted is no zero",
            ),
            Check(name, value.is_infinite(), f"{name} must be finite", "correct the cell"),
            Check(
                name,
                value != value.floor(),
                f"{name} must be a whole number",
                "write counts, not rates or averages; a creative's rows of several days are summed",
            ),
            Check(name, value < 0, f"{name} must not be negative", "correct the cell"),
            Check(name, value > LARGEST_COUNT, f"{name} is more than anybody counts", "correct it"),
        ]
    above = pl.col("__clicks") > pl.col("__impressions")
    checks.append(
        Check(
            names["clicks"],
            above,
            f"{names['clicks']} must not be above {names['impressions']}",
            "see whether the two columns were exchanged, or clicks counted on other days",
        )
    )
    return checks
