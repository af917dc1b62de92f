"""Splits are partitions, hold their bounds, and never let file order or ids decide a tie."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, SchemaError, ValueInvalidError
from adwright.data.hashing import hash_order
from adwright.data.tasks.split import leave_one_out, time_split, week_split

START = datetime(2024, 1, 1, tzinfo=UTC)


def _log(pairs: list[tuple[int, int]]) -> pl.DataFrame:
    """One event a (user, hour)."""
    return pl.DataFrame(
        {
            "event_id": [f"e{i:03}" for i in range(len(pairs))],
            "user_id": [f"u{user}" for user, _ in pairs],
            "time": [START + timedelta(hours=hour) for _, hour in pairs],
        },
        schema={"event_id": pl.String, "user_id": pl.String, "time": pl.Datetime("us", "UTC")},
    )


pairs_ = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), max_size=30)


@given(pairs_, st.integers(0, 6), st.integers(0, 6))
def test_time_split_is_a_partition_that_holds_its_bounds(
    pairs: list[tuple[int, int]], one: int, other: int
) -> None:
    frame = _log(pairs)
    valid_from, test_from = (START + timedelta(hours=h) for h in sorted((one, other)))
    parts = time_split(frame, "time", valid_from, test_from)
    assert pl.concat(parts).sort("event_id").equals(frame)
    assert parts.train.filter(pl.col("time") >= valid_from).height == 0
    assert parts.valid.filter(~pl.col("time").is_between(valid_from, test_from, "left")).height == 0
    assert parts.test.filter(pl.col("time") < test_from).height == 0
    lazy = time_split(frame.lazy(), "time", valid_from, test_from)
    assert all(a.collect().equals(b) for a, b in zip(lazy, parts, strict=True))


@given(st.lists(st.integers(1, 53)), st.integers(0, 54), st.integers(0, 54))
def test_week_split_includes_its_bounds(weeks: list[int], one: int, other: int) -> None:
    first, second = sorted((one, other))
    frame = pl.DataFrame({"week": weeks}, schema={"week": pl.Int64})
    parts = week_split(frame, "week", train_until=first, valid_until=second)
    assert parts.train["week"].to_list() == [w for w in weeks if w <= first]
    assert parts.valid["week"].to_list() == [w for w in weeks if first < w <= second]
    assert parts.test["week"].to_list() == [w for w in weeks if w > second]


def test_wrong_bounds_and_columns_are_refused() -> None:
    frame = _log([(0, 0)]).with_columns(week=pl.lit(1), naive=pl.lit(datetime(2024, 1, 1)))
    with pytest.raises(ConfigError, match="need a time zone"):
        time_split(frame, "time", datetime(2024, 1, 1), START)
    with pytest.raises(ConfigError, match="validation must begin before test"):
        time_split(frame, "time", START + timedelta(1), START)
    with pytest.raises(SchemaError, match=r"no column when .*choose among event_id"):
        time_split(frame, "when", START, START)
    with pytest.raises(SchemaError, match="naive must be a timestamp with a time zone"):
        time_split(frame, "naive", START, START)
    with pytest.raises(SchemaError, match="week must be an integer, not String"):
        week_split(frame.cast({"week": pl.String}), "week", train_until=1, valid_until=2)
    with pytest.raises(ConfigError, match="validation must end after training"):
        week_split(frame, "week", train_until=2, valid_until=1)
    empty_week = frame.with_columns(week=pl.lit(None, dtype=pl.Int64))
    with pytest.raises(ValueInvalidError, match=r"week must not be empty; 1 row"):
        week_split(empty_week, "week", train_until=1, valid_until=2)


@given(pairs_, st.integers(0, 3))
def test_leave_one_out_equals_a_slow_reference(pairs: list[tuple[int, int]], seed: int) -> None:
    frame = _log(pairs)
    parts = leave_one_out(frame, seed=seed)
    hashes = dict(zip(frame["event_id"], hash_order(frame, ["event_id"], seed), strict=True))
    expected: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    tied_rows = tied_targets = 0
    for user in sorted(set(frame["user_id"])):
        rows = [r for r in frame.iter_rows() if r[1] == user]
        rows.sort(key=lambda r: (r[2], hashes[r[0]]))
        times = [r[2] for r in rows]
        tied_rows += sum(times.count(time) > 1 for time in times)
        ids = [r[0] for r in rows]
        if len(rows) < 3:
            expected["train"] += ids
            continue
        expected["train"] += ids[:-2]
        expected["valid"] += ids[-2:-1]
        expected["test"] += ids[-1:]
        tied_targets += times.count(times[-1]) > 1
    for name, ids in expected.items():
        assert getattr(parts, name)["event_id"].to_list() == ids
        assert getattr(parts, name).columns == frame.columns
    assert parts.tied_rows == pytest.approx(tied_rows / max(len(pairs), 1))
    assert parts.tied_targets == pytest.approx(tied_targets / max(len(expected["test"]), 1))


@given(st.permutations(range(12)))
def test_file_order_never_decides(order: list[int]) -> None:
    frame = _log([(i % 3, 0) for i in range(12)])
    expected = leave_one_out(frame, seed=5)
    assert all(
        a.equals(b)
        for a, b in zip(leave_one_out(frame[order], seed=5)[:3], expected[:3], strict=True)
    )


def test_the_seed_decides_ties_and_only_ties() -> None:
    tied = _log([(user, 0) for user in range(200) for _ in range(4)])
    one, two = leave_one_out(tied, seed=1), leave_one_out(tied, seed=2)
    assert (one.tied_rows, one.tied_targets) == (1.0, 1.0)
    same = (one.test["event_id"] == two.test["event_id"]).sum()
    assert 25 <= same <= 75  # a quarter of 200, within four standard deviations
    # Neither the last nor the first id of a user is preferred.
    place = one.test["event_id"].str.tail(3).str.to_integer() % 4
    assert place.value_counts()["count"].min() > 25
    clear = _log([(user, hour) for user in range(20) for hour in range(4)])
    assert leave_one_out(clear, seed=1).test.equals(leave_one_out(clear, seed=2).test)
    assert leave_one_out(clear).tied_rows == 0


def test_ties_can_be_refused_and_columns_named() -> None:
    frame = _log([(0, 0), (0, 1), (0, 1)])
    with pytest.raises(ValueInvalidError, match=r"share one time; 2 rows .*row 1, .*ties=\"hash\""):
        leave_one_out(frame, ties="refuse")
    renamed = frame.rename({"user_id": "who", "time": "when", "event_id": "id"})
    parts = leave_one_out(renamed, "who", "when", event_id="id")
    assert parts.test.height == 1
    with pytest.raises(ConfigError, match="ties cannot be 'file'"):
        leave_one_out(frame, ties="file")  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="no column user_id"):
        leave_one_out(renamed)
    with pytest.raises(ValueInvalidError, match="event_id must be unique"):
        leave_one_out(pl.concat([frame, frame]))
