from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from adwright.data.tasks.history import add_history, user_codes

START = datetime(2024, 1, 1)
ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 5)), max_size=15)


def frame(rows: list[tuple[int, int, int]], *, text: bool = False) -> pl.DataFrame:
    table = pl.DataFrame(
        [(user, item, START + timedelta(hours=hour)) for user, item, hour in rows],
        schema={"user_id": pl.Int64, "item_id": pl.Int64, "time": pl.Datetime("us")},
        orient="row",
    ).sort("user_id", "time", maintain_order=True)
    return table.with_columns(pl.col("user_id", "item_id").cast(pl.String)) if text else table


@given(ROWS, ROWS, st.booleans())
def test_counts_equal_a_brute_force_filter(
    rows: list[tuple[int, int, int]], events: list[tuple[int, int, int]], text: bool
) -> None:
    users = {user for user, _, _ in rows}
    asked = frame(rows, text=text)
    log = frame([event for event in events if event[0] in users], text=text)
    found = add_history(asked, log)
    assert found.drop("visible", "frequency").equals(asked)
    assert found.schema["visible"] == found.schema["frequency"] == pl.Int32
    for row in found.iter_rows(named=True):
        before = [
            event
            for event in log.iter_rows(named=True)
            if event["user_id"] == row["user_id"] and event["time"] < row["time"]
        ]
        assert row["visible"] == len(before)
        assert row["frequency"] == sum(event["item_id"] == row["item_id"] for event in before)


def test_units_of_time_may_differ() -> None:
    rows = frame([(0, 0, 2)]).with_columns(pl.col("time").cast(pl.Datetime("ns")))
    events = frame([(0, 0, 1), (0, 0, 2)])
    assert add_history(rows, events).select("visible", "frequency").row(0) == (1, 1)


def test_user_codes_rise_with_the_rows() -> None:
    rows, events = pl.Series(["a", "a", "c", "d"]), pl.Series(["a", "d", "d"])
    of_rows, of_events = user_codes(rows, events)
    assert of_rows.tolist() == [0, 0, 1, 2]
    assert of_events.tolist() == [0, 2, 2]
    assert of_rows.dtype == of_events.dtype == np.int64


def test_codes_of_items_are_shared_whatever_their_type() -> None:
    rows, events = frame([(0, 1, 9), (0, 7, 9)]), frame([(0, 1, 0), (0, 1, 1), (0, 2, 2)])
    expected = [(3, 2), (3, 0)]
    for cast in (pl.Int32, pl.UInt16, pl.String):
        of_rows, of_events = (
            one.with_columns(pl.col("item_id").cast(cast)) for one in (rows, events)
        )
        found = add_history(of_rows, of_events).select("visible", "frequency")
        assert found.rows() == expected


def test_nobody_and_a_user_without_events() -> None:
    events = frame([(1, 0, 0)])
    assert add_history(frame([]), frame([])).height == 0
    rows = frame([(0, 0, 5), (1, 0, 5), (2, 0, 5)])
    assert add_history(rows, events)["visible"].to_list() == [0, 1, 0]
    assert add_history(rows, frame([]))["frequency"].to_list() == [0, 0, 0]


def test_an_event_of_the_row_s_own_instant_is_not_seen() -> None:
    rows = frame([(0, 0, 3)])
    for hour, seen in ((2, 1), (3, 0), (4, 0)):
        found = add_history(rows, frame([(0, 0, hour)]))
        assert found.select("visible", "frequency").row(0) == (seen, seen)
