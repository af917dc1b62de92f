"""Popularity as a row knows it: how often an item was taken on earlier days (UTC), by anyone.

What happens on a day is known from the next one on, so that nothing of a row's own request, and no
order of the events within a day, is in it.
"""

from __future__ import annotations

import polars as pl


def popularity_by_day(taken: pl.LazyFrame) -> pl.DataFrame:
    """Per item, the events of all days before `day`; only days on which that changes.

    taken: item_id and time (UTC timestamps), an event a row. Returns item_id, day, popularity
    (Float32), sorted by day and item.

    >>> from datetime import datetime
    >>> taken = pl.DataFrame({"item_id": ["a", "a"], "time": [datetime(2024, 1, 1)] * 2})
    >>> popularity_by_day(taken.lazy())["popularity"].to_list()
    [2.0]
    """
    return popularity_of_days(daily_counts(taken).collect(engine="streaming"))


def daily_counts(taken: pl.LazyFrame) -> pl.LazyFrame:
    """item_id, day and number, the events of the item on that day."""
    day = pl.col("time").dt.date()
    return taken.group_by("item_id", day=day).agg(number=pl.len().cast(pl.Int64))


def popularity_of_days(counts: pl.DataFrame) -> pl.DataFrame:
    """As `popularity_by_day`, of `daily_counts`, which may hold several parts of a log."""
    return (
        counts.group_by("item_id", "day")
        .agg(popularity=pl.col("number").sum())
        .sort("day", "item_id")
        .select(
            "item_id",
            # What happened on a day is known from the next one on.
            pl.col("day").dt.offset_by("1d"),
            pl.col("popularity").cum_sum().over("item_id").cast(pl.Float32),
        )
    )


def with_popularity(rows: pl.DataFrame, popularity: pl.DataFrame) -> pl.DataFrame:
    """The rows, in their order, with the column `popularity`, 0 for an item without events.

    rows: item_id of the type in `popularity`, and time; without a time every event counts.
    """
    place, day = "__place", "__day"
    latest = popularity["day"].max()
    when = pl.col("time").dt.date() if "time" in rows.columns else pl.lit(latest, pl.Date)
    joined = (
        rows.with_row_index(place)
        .with_columns(when.alias(day))
        .sort(day, maintain_order=True)
        .join_asof(popularity.rename({"day": day}), on=day, by="item_id", check_sortedness=False)
        .sort(place)
    )
    return joined.drop(place, day).with_columns(pl.col("popularity").fill_null(0))
