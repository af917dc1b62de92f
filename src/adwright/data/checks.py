"""Run many checks over a table in one streamed pass and name the first row that fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from adwright.core.errors import ValueInvalidError

# Maps a row of the whole table to the file that holds it and its row there: a table may be a
# folder of parts.
Locate = Callable[[int], tuple[str, int]]

_ROW = "__row"
_HASH = "__hash"


@dataclass(frozen=True)
class Check:
    """One rule about one column.

    bad: a boolean expression, true where the rule is broken; null counts as kept.
    what: the rule, one sentence without a full stop: "event_id must not be empty".
    hint: what to do where it is broken.
    shown: the value that an error shows; None for the column itself.
    """

    column: str
    bad: pl.Expr
    what: str
    hint: str
    shown: pl.Expr | None = None


def in_file(file: str) -> Locate:
    """Locate for a table that is one file, or none (an empty name)."""
    return lambda row: (file, row)


def run_checks(frame: pl.LazyFrame, checks: Sequence[Check], locate: Locate) -> None:
    """Raise ValueInvalidError for the broken check whose first bad row comes earliest.

    All checks run in one streamed pass over `frame`; where several break in the same row, the
    first in the list is reported. The message gives the number of rows that break it.
    """
    if not checks:
        return
    numbered = frame.with_row_index(_ROW)
    found = numbered.select(
        expression
        for i, check in enumerate(checks)
        for expression in (
            check.bad.fill_null(value=False).sum().cast(pl.Int64).alias(f"count{i}"),
            pl.col(_ROW).filter(check.bad.fill_null(value=False)).min().alias(f"row{i}"),
        )
    ).collect(engine="streaming")
    broken = [
        (int(found.item(0, f"row{i}")), i)
        for i in range(len(checks))
        if found.item(0, f"count{i}") > 0
    ]
    if broken:
        row, i = min(broken)
        raise_at(frame, checks[i], row, int(found.item(0, f"count{i}")), locate)


def check_unique(frame: pl.LazyFrame, column: str, what: str, hint: str, locate: Locate) -> None:
    """Raise ValueInvalidError where two rows share a value of `column`; names the second one.

    Keeps eight bytes per row: only rows whose hashes collide are compared in full.
    """
    hashes = frame.select(pl.col(column).hash().alias(_HASH)).collect(engine="streaming")
    suspects = hashes.with_row_index(_ROW).filter(pl.col(_HASH).is_duplicated())
    if suspects.height == 0:
        return
    rows = (
        frame.select(column)
        .with_row_index(_ROW)
        .join(suspects.lazy().select(_ROW), on=_ROW, how="semi")
        .collect()
        .sort(_ROW)
        .filter(~pl.col(column).is_first_distinct())
    )
    if rows.height:
        check = Check(column, pl.lit(value=True), what, hint)
        raise_at(frame, check, int(rows.item(0, _ROW)), rows.height, locate)


def raise_at(frame: pl.LazyFrame, check: Check, row: int, count: int, locate: Locate) -> None:
    """Raise ValueInvalidError for `check`, first broken at `row` of `frame` and `count` times."""
    shown = pl.col(check.column) if check.shown is None else check.shown
    value = frame.slice(row, 1).select(shown).collect().item()
    file, row_there = locate(row)
    rows = "1 row breaks this" if count == 1 else f"{count:,} rows break this, the first is named"
    raise ValueInvalidError(
        f"{check.what}; {rows} (rows count from 0, without a header)",
        file=file,
        row=row_there,
        column=check.column,
        value=value,
        hint=check.hint,
    )
