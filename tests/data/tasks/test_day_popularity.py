"""Popularity of earlier days, against a loop."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from adwright.data.tasks.day_popularity import (
    daily_counts,
    popularity_by_day,
    popularity_of_days,
    with_popularity,
)

START = datetime(2024, 1, 1, 20, tzinfo=UTC)


def taken(seed: int = 0, rows: int = 300) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in rng.integers(0, 6, rows)],
            "time": [START + timedelta(hours=int(n)) for n in rng.integers(0, 240, rows)],
        }
    )


def test_a_row_knows_the_days_before_its_own() -> None:
    events = taken()
    rows = taken(seed=1, rows=80).with_columns(number=pl.int_range(pl.len()))
    rows = pl.concat([rows, rows.head(1).with_columns(item_id=pl.lit("nobody's"))])
    found = with_popularity(rows, popularity_by_day(events.lazy()))
    assert found.drop("popularity").equals(rows)
    for item, time, popularity in found.select("item_id", "time", "popularity").iter_rows():
        days = [
            one for one, when in events.iter_rows() if one == item and when.date() < time.date()
        ]
        assert popularity == len(days)


def test_parts_of_a_log_add_up() -> None:
    events = taken()
    parts = [daily_counts(part.lazy()).collect() for part in (events.head(120), events.tail(180))]
    assert popularity_of_days(pl.concat(parts)).equals(popularity_by_day(events.lazy()))


def test_rows_without_a_time_know_everything() -> None:
    events = taken()
    rows = pl.DataFrame({"item_id": ["i0", "i1", "x"]})
    found = with_popularity(rows, popularity_by_day(events.lazy()))["popularity"].to_list()
    counts = dict(events.group_by("item_id").len().iter_rows())
    assert found == [counts["i0"], counts["i1"], 0]


def test_a_log_without_events() -> None:
    empty = popularity_by_day(taken().clear().lazy())
    assert empty.schema == {"item_id": pl.String, "day": pl.Date, "popularity": pl.Float32}
    rows = pl.DataFrame({"item_id": ["i0"], "time": [START]})
    assert with_popularity(rows, empty)["popularity"].to_list() == [0]
