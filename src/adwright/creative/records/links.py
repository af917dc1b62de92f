"""Which creative was in which ad, and when: one creative in many ads, many creatives in one ad."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pyarrow as pa

from adwright.core.errors import SchemaError
from adwright.creative.records.cells import check_rows
from adwright.data.checks import Check, Locate, in_file
from adwright.data.columns import TableInMemory, as_polars, check_columns, text_checks

__all__ = ["LINKS", "assign_creatives", "check_links", "links_of"]

LINKS = pa.schema(
    [
        pa.field("creative_id", pa.string(), nullable=False),
        pa.field("ad_id", pa.string(), nullable=False),
        pa.field("first_day", pa.date32(), nullable=False),
        pa.field("last_day", pa.date32()),  # inclusive; null while it runs
    ]
)
_ROW, _FOUND = "__row", "__found"


def links_of(days: pl.DataFrame) -> pl.DataFrame:
    """The links that follow from a table of DELIVERY: from the first to the last day of a creative
    in an ad with a row, in the columns of LINKS."""
    last = pl.col("day") + pl.duration(days=pl.col("period_days") - 1)
    return (
        days.group_by("creative_id", "ad_id", maintain_order=True)
        .agg(first_day=pl.col("day").min(), last_day=last.max().cast(pl.Date))
        .select(LINKS.names)
    )


def check_links(table: TableInMemory, *, file: str = "") -> pl.DataFrame:
    """The table in the columns of LINKS, after checking every row; last_day may be absent.

    Raises SchemaError for a missing, unknown or wrongly typed column, ValueInvalidError for an
    absent id or first day, and a last day before the first.
    """
    frame, locate = as_polars(table), in_file(file)
    types = dict(frame.schema)
    check_columns(types, LINKS, file)
    ids = pa.schema([LINKS.field("creative_id"), LINKS.field("ad_id")])
    hint = "fill in the id, or leave out the row"
    check_rows(frame, [replace(one, hint=hint) for one in text_checks(types, ids)], locate)
    for name, dtype in types.items():
        is_id = name in ids.names
        fits = dtype == pl.String or dtype.is_integer() if is_id else dtype in (pl.Date, pl.Null)
        if not fits:
            raise SchemaError(
                f"{name} must be {'text' if is_id else 'a date'}, not {dtype}",
                file=file,
                column=name,
                hint=f"cast the column to {LINKS.field(name).type}",
            )
    if "last_day" not in types:
        frame = frame.with_columns(last_day=pl.lit(None, pl.Date))
    kept = frame.select(
        pl.col(*ids.names).cast(pl.String), pl.col("first_day", "last_day").cast(pl.Date)
    )
    begins = Check(
        "first_day", pl.col("first_day").is_null(), "first_day must not be empty", "fill it in"
    )
    ends_early = Check(
        "last_day",
        pl.col("last_day") < pl.col("first_day"),
        "the last day is before the first",
        "correct one of the two; leave the last empty while the creative runs",
    )
    check_rows(kept, [begins, ends_early], locate)
    return kept


def assign_creatives(
    days: pl.DataFrame, links: pl.DataFrame, locate: Locate | None = None
) -> pl.DataFrame:
    """Rows of ads with the creative that `links` says was in the ad on that day.

    days: creative_id, ad_id, day, period_days and any other columns; an ad that `links` does not
    know on that day keeps its creative. links: the columns of LINKS, checked.
    Raises ValueInvalidError for a row of an ad in which several creatives took turns: what each of
    them did is not known.
    """
    last = pl.col("day") + pl.duration(days=pl.col("period_days") - 1)
    there = (pl.col("first_day") <= last) & (
        pl.col("last_day").is_null() | (pl.col("last_day") >= pl.col("day"))
    )
    found = (
        days.select("ad_id", "day", "period_days")
        .with_row_index(_ROW)
        .join(links.rename({"creative_id": _FOUND}), on="ad_id")
        .filter(there)
        .group_by(_ROW)
        .agg(pl.col(_FOUND).unique())
    )
    several = found.filter(pl.col(_FOUND).list.len() > 1)[_ROW]
    bad = pl.int_range(pl.len()).is_in(several.implode())
    check = Check(
        "ad_id",
        bad,
        "several creatives were in the ad on this day, so what each did is not known",
        "export by creative as well, and name its column: columns={'creative_id': ...}",
    )
    check_rows(days, [check], locate or in_file(""))
    one = found.select(_ROW, pl.col(_FOUND).list.first())
    joined = days.with_row_index(_ROW).join(one, on=_ROW, how="left", maintain_order="left")
    return joined.with_columns(creative_id=pl.coalesce(_FOUND, "creative_id")).drop(_ROW, _FOUND)
