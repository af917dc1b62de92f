"""What is promised of these, and what is refused."""

from __future__ import annotations

import logging
import math
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import SchemaError
from adwright.data import time as units
from adwright.data.hashing import hash_expr, hash_order
from adwright.data.ids import LONGEST_ID, first_bad_id, warn_of_bad_ids, why_no_id
from adwright.data.popularity import (
    RECENT_DAYS,
    PairCounts,
    Personal,
    personal,
    popularity_by_day,
    with_popularity,
)
from adwright.data.ranges import distinct, ranges, run_starts

BAD = {
    **dict.fromkeys(("", " ", "\u2003", "nan", "None", "<NA>"), "blank, or a word for nothing"),
    "x" * (LONGEST_ID + 1): "501 characters, an id at most 500",
    **dict.fromkeys(("a\0b", "a\nb", "end\n", "\x7f", "\ud800"), "control character, or half"),
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_id(text: str) -> None:
    assert BAD[text] in why_no_id(text)
    assert first_bad_id(["a", text, ""]) == (text, why_no_id(text))


def test_a_warning_names_the_first(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "adwright"):
        warn_of_bad_ids(["a", "b"], "items.csv")
        assert caplog.text == ""
        warn_of_bad_ids(["a", "x" * 600, "nan"], "items.csv")
    assert "items.csv: 'xxx" in caplog.text
    assert "600 characters" in caplog.text
    assert len(caplog.records) == 1


RANGES = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=8)


@given(RANGES)
def test_ranges_equal_a_loop(pairs: list[tuple[int, int]]) -> None:
    starts = np.array([start for start, _ in pairs], dtype=np.int64)
    lengths = np.array([length for _, length in pairs], dtype=np.int64)
    positions, offsets = ranges(starts, lengths)
    assert positions.tolist() == [p for s, n in pairs for p in range(s, s + n)]
    assert offsets.tolist() == [sum(n for _, n in pairs[:r]) for r in range(len(pairs) + 1)]


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), max_size=12))
def test_runs_equal_a_loop(rows: list[tuple[int, int]]) -> None:
    left, right = (np.array([row[i] for row in rows], dtype=np.int64) for i in (0, 1))
    expected = [i for i, row in enumerate(rows) if i == 0 or row != rows[i - 1]]
    assert run_starts(left, right).tolist() == [*expected, len(rows)]


@given(st.lists(st.lists(st.integers(0, 4), max_size=6), max_size=5), st.integers(5, 9))
def test_distinct_values_of_each_list(lists: list[list[int]], width: int) -> None:
    values = np.array([value for one in lists for value in one], np.int64)
    found, bounds = distinct(values, np.cumsum([0, *map(len, lists)]), width)
    assert bounds.dtype == np.int64
    pairs = zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    assert [found[a:b].tolist() for a, b in pairs] == [sorted(set(one)) for one in lists]


def test_units_are_those_of_timedelta() -> None:
    microsecond, second = timedelta(microseconds=1), timedelta(seconds=1)
    assert second // microsecond == units.MICROSECONDS_PER_SECOND
    assert timedelta(hours=1) // microsecond == units.MICROSECONDS_PER_HOUR
    assert timedelta(days=1) // microsecond == units.MICROSECONDS_PER_DAY
    assert timedelta(days=1) // second == units.SECONDS_PER_DAY
    assert timedelta(weeks=1) // second == units.SECONDS_PER_WEEK


EVENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 9)), max_size=30)


def columns(rows: list[tuple[int, int, int]]) -> tuple[np.ndarray, ...]:
    return tuple(np.array([row[n] for row in rows], np.int64) for n in range(3))


@given(EVENTS)
def test_things_of_a_user(rows: list[tuple[int, int, int]]) -> None:
    counts = PairCounts(*columns(rows), things=5)
    first, end = counts.things_of(np.arange(4))
    for user in range(4):
        found = counts.things[first[user] : end[user]]
        assert found.tolist() == sorted({x for u, x, _ in rows if u == user})


def test_moments_outside_the_events_and_users_without_any() -> None:
    counts = PairCounts(*columns([(1, 2, 100), (1, 2, 200)]), things=5)
    asked = columns([(1, 2, -(10**15)), (1, 2, 100), (1, 2, 10**15), (0, 2, 300), (7, 0, 300)])
    count, last = counts.before(*asked)
    assert count.tolist() == [0, 0, 2, 0, 0]
    assert last.tolist() == [0, 0, 200, 0, 0]
    first, end = counts.things_of(np.array([0, 1, 7]))
    assert (end - first).tolist() == [0, 1, 0]


DAY = 86_400_000_000


def by_hand(
    events: list[list[tuple[int, int]]], pairs: list[tuple[int, int, int, int]]
) -> Personal:
    """events: (item, day) a person. pairs: person, item, number of events seen, day."""
    rows = []
    for person, item, end, day in pairs:
        days = [d for i, d in events[person][:end] if i == item]
        recent = [d for d in days if day - d <= RECENT_DAYS]
        rows.append((len(days), len(recent), float(day - days[-1]) if days else np.nan))
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    return Personal(*(np.array(column) for column in columns))


@given(st.data())
def test_equals_counting_by_hand(data: st.DataObject) -> None:
    event = st.tuples(st.integers(0, 4), st.integers(0, 200))
    people = data.draw(st.lists(st.lists(event, max_size=8), min_size=1, max_size=4))
    events = [sorted(one, key=lambda e: e[1]) for one in people]
    pairs = []
    for _ in range(data.draw(st.integers(0, 8))):
        person = data.draw(st.integers(0, len(events) - 1))
        end = data.draw(st.integers(0, len(events[person])))
        last = events[person][end - 1][1] if end else 0
        day = last + data.draw(st.integers(0, 100))
        pairs.append((person, data.draw(st.integers(0, 5)), end, day))
    offsets = np.cumsum([0, *map(len, events)])
    flat = [e for one in events for e in one]
    columns = np.array(pairs, dtype=np.int64).reshape(-1, 4).T
    found = personal(
        np.array([i for i, _ in flat], np.int64),
        np.array([d for _, d in flat], np.int64) * DAY,
        offsets,
        owner=columns[0],
        asked=columns[1],
        end=offsets[columns[0]] + columns[2],
        at=columns[3] * DAY,
    )
    for got, wanted in zip(found, by_hand(events, pairs), strict=True):
        np.testing.assert_allclose(got, wanted)


def test_what_comes_after_the_place_is_not_seen() -> None:
    time = np.array([1, 2, 3]) * DAY
    ask = {"owner": np.array([0]), "asked": np.array([7]), "at": np.array([3 * DAY])}
    item, offsets = np.array([7, 8, 7]), np.array([0, 3])
    before = personal(item, time, offsets, end=np.array([2]), **ask)
    assert before.frequency.tolist() == [1]
    assert before.recency.tolist() == [2.0]
    assert personal(item, time, offsets, end=np.array([3]), **ask).recency.tolist() == [0.0]


def test_a_recent_event_is_one_of_the_last_weeks() -> None:
    time = np.array([0, 1]) * DAY
    found = personal(
        np.array([7, 7]),
        time,
        np.array([0, 2]),
        owner=np.array([0]),
        asked=np.array([7]),
        end=np.array([2]),
        at=np.array([(RECENT_DAYS + 1) * DAY]),
    )
    assert found.frequency.tolist() == [2]
    assert found.recent.tolist() == [1]


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


def test_rows_without_a_time_know_everything() -> None:
    events = taken()
    rows = pl.DataFrame({"item_id": ["i0", "i1", "x"]})
    found = with_popularity(rows, popularity_by_day(events.lazy()))["popularity"].to_list()
    counts = dict(events.group_by("item_id").len().iter_rows())
    assert found == [counts["i0"], counts["i1"], 0]


_U64 = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def _mix(x: int) -> int:
    x ^= x >> 30
    x = x * 0xBF58476D1CE4E5B9 & _U64
    x ^= x >> 27
    x = x * 0x94D049BB133111EB & _U64
    return x ^ (x >> 31)


def _slow_hash(keys: tuple[int | str | None, ...], seed: int) -> int:
    """The documented recurrence, in Python integers."""
    state = _mix(seed & _U64)
    for key in keys:
        if key is None:
            word = 0x6E756C6C20726F77
        elif isinstance(key, int):
            word = key & _U64
        else:
            word = 0xCBF29CE484222325
            data = key.encode()
            for byte in data:
                word = (word ^ byte) * 0x100000001B3 & _U64
            word = _mix(word ^ len(data))
        state = _mix((state + _GOLDEN & _U64) ^ word)
    return state


def test_the_hash_is_pinned_forever() -> None:
    # Orders and splits of published results hang on these values: a change here breaks them.
    frame = pl.DataFrame({"event_id": ["a", "b", "c"], "n": [1, 2, None]})
    assert hash_order(frame, ["event_id"], 7).to_list() == [
        17545369242282715455,
        3469077134080914404,
        3072157459561237575,
    ]
    assert hash_order(frame, ["n"], 0)[2] == _slow_hash((None,), 0)


@given(
    rows=st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
            st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=20)),
        ),
        max_size=20,
    ),
    seed=st.integers(-(2**70), 2**70),
)
def test_equals_a_slow_reference(rows: list[tuple[int | None, str | None]], seed: int) -> None:
    schema = {"n": pl.Int64, "text": pl.String}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    expected = [_slow_hash(row, seed) for row in rows]
    assert hash_order(frame, ["n", "text"], seed).to_list() == expected
    assert frame.lazy().select(hash_expr(["n", "text"], seed)).collect()["hash"].to_list() == (
        expected
    )


def test_numbers_hash_by_value_and_other_types_by_their_bits() -> None:
    small = pl.DataFrame({"x": pl.Series([1, -2], dtype=pl.Int8)})
    wide = pl.DataFrame({"x": pl.Series([1, -2], dtype=pl.Int64)})
    assert hash_order(small, ["x"], 0).equals(hash_order(wide, ["x"], 0))
    zeros = pl.DataFrame({"x": [0.0, -0.0, math.nan, -math.nan]})
    hashes = hash_order(zeros, ["x"], 0).to_list()
    assert hashes[0] == hashes[1]
    assert hashes[2] == hashes[3] != hashes[0]
    big = pl.DataFrame({"x": pl.Series([2**64 - 1], dtype=pl.UInt64)})
    assert hash_order(big, ["x"], 0)[0] == _slow_hash((2**64 - 1,), 0)


def test_times_hash_as_microseconds_since_1970() -> None:
    moment = datetime(2017, 1, 1, 12, tzinfo=UTC)
    frame = pl.DataFrame({"x": [moment]})
    micros = int(moment.timestamp() * 1_000_000)
    for unit in ("ms", "us", "ns"):
        cast = frame.with_columns(pl.col("x").dt.cast_time_unit(unit))
        assert hash_order(cast, ["x"], 0)[0] == _slow_hash((micros,), 0)
    days = pl.DataFrame({"x": [date(1970, 1, 11)]})
    assert hash_order(days, ["x"], 0)[0] == _slow_hash((10,), 0)


def test_categories_hash_as_their_text() -> None:
    text = pl.DataFrame({"x": ["a", "b", None]})
    expected = hash_order(text, ["x"], 0)
    assert hash_order(text.cast(pl.Categorical), ["x"], 0).equals(expected)
    assert hash_order(text.cast(pl.Enum(["b", "a"])), ["x"], 0).equals(expected)
    assert hash_order(text.cast(pl.Binary), ["x"], 0).equals(expected)


def test_seed_and_key_order_change_the_hash_and_bits_are_balanced() -> None:
    frame = pl.DataFrame({"a": np.arange(20_000), "b": np.arange(20_000)[::-1]})
    one, two = hash_order(frame, ["a", "b"], 1), hash_order(frame, ["a", "b"], 2)
    assert (one == two).sum() == 0
    assert not one.equals(hash_order(frame, ["b", "a"], 1))
    bits = np.unpackbits(one.to_numpy().view(np.uint8)).reshape(-1, 64).mean(axis=0)
    assert np.abs(bits - 0.5).max() < 0.02  # five standard errors of 0.0035
    assert one.n_unique() == frame.height


def test_null_and_boolean_columns_and_no_rows() -> None:
    assert hash_order(pl.DataFrame({"x": [None]}), ["x"], 0)[0] == _slow_hash((None,), 0)
    assert hash_order(pl.DataFrame({"x": [True]}), ["x"], 0)[0] == _slow_hash((1,), 0)
    empty = pl.DataFrame(schema={"x": pl.String, "n": pl.Int64})
    assert hash_order(empty, ["x", "n"], 0).len() == 0


def test_refusals_name_the_column() -> None:
    frame = pl.DataFrame({"id": ["a"], "tags": [["x"]]})
    with pytest.raises(SchemaError, match=r"not in the table \[column other\] -> .*id, tags"):
        hash_order(frame, ["other"], 0)
    with pytest.raises(SchemaError, match=r"List.*cannot be hashed \[column tags\]"):
        hash_order(frame, ["tags"], 0)
    with pytest.raises(SchemaError, match="at least one"):
        hash_order(frame, [], 0)
    with pytest.raises(SchemaError, match="at least one"):
        hash_expr([], 0)
