"""Splits of a log: by time, by week, by share, and the last events of each user."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.data.tasks.split import SPLITS, split_by_time, split_last

START = datetime(2024, 1, 1, tzinfo=UTC)


@given(
    st.lists(st.integers(0, 20), max_size=30),
    st.integers(0, 20),
    st.integers(0, 20),
)
def test_time_equals_a_slow_reference(days: list[int], one: int, other: int) -> None:
    first, second = sorted((one, other))
    frame = pl.DataFrame({"day": days}, schema={"day": pl.Int64})
    found = frame.select(split_by_time(pl.col("day"), first, second))["split"]
    assert found.to_list() == [
        "train" if day < first else "valid" if day < second else "test" for day in days
    ]
    # The same days as instants are split alike, lazily too.
    instants = frame.lazy().select(time=pl.lit(START) + pl.duration(days=pl.col("day")))
    bounds = START + timedelta(first), START + timedelta(second)
    assert instants.select(split_by_time(pl.col("time"), *bounds)).collect()["split"].equals(found)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8))
def test_the_last_events_are_held_out(lengths: list[int]) -> None:
    left = [place for length in lengths for place in range(length - 1, -1, -1)]
    frame = pl.DataFrame({"left": left}, schema={"left": pl.UInt32})
    found = frame.select(split_last(pl.col("left")))["split"]
    assert found.to_list() == [("test", "valid", "train")[min(place, 2)] for place in left]
    assert found.to_list().count("test") == len(lengths)


@pytest.mark.parametrize("expression", [split_last(pl.col("x")), split_by_time(pl.col("x"), 1, 2)])
def test_the_column_is_named_and_knows_its_values(expression: pl.Expr) -> None:
    found = pl.DataFrame({"x": [0, 1, 2]}).select(expression)
    assert found.schema == {"split": pl.Enum(SPLITS)}
    assert sorted(found["split"].cast(pl.String)) == sorted(SPLITS)


def test_equal_bounds_leave_no_validation() -> None:
    found = pl.DataFrame({"x": [0, 1, 2]}).select(split_by_time(pl.col("x"), 1, 1))["split"]
    assert found.to_list() == ["train", "test", "test"]
