"""Every way in which a log or a catalogue can be wrong is refused in words that locate it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars._typing import TimeUnit

from adwright.core.errors import DataError, SchemaError, ValueInvalidError
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
from adwright.data.schema import (
    CAMPAIGN_SCHEMA,
    CREATIVE_SCHEMA,
    EVENT_SCHEMA,
    KINDS,
    TIME,
    ArrowStream,
    Catalogue,
    Check,
    as_events,
    as_polars,
    check_columns,
    check_items_known,
    check_unique,
    empty_events,
    in_file,
    in_years,
    need_columns,
    run_checks,
    text_checks,
    validate_campaigns,
    validate_creatives,
    validate_events,
    validate_items,
)

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


NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def log(**columns: object) -> pl.DataFrame:
    """Three good events, with some columns replaced; None drops a column."""
    base: dict[str, object] = {
        "event_id": ["e1", "e2", "e3"],
        "time": [NOON, NOON, NOON + timedelta(seconds=1)],
        "request_id": ["r1", "r1", "r2"],
        "user_id": ["u1", "u1", "u2"],
        "kind": ["impression", "click", "stop"],
        "item_id": ["i1", "i1", "i2"],
        "position": [0, 1, None],
        "propensity": [0.5, 1.0, None],
        "value": [None, 2.5, -1.0],
        "context": ['{"store": 1}', None, "{}"],
    }
    base.update(columns)
    return pl.DataFrame({name: values for name, values in base.items() if values is not None})


# column, its values, type of the error, row, and words of the message.
BROKEN: Mapping[str, tuple[str, object, type[DataError], int | None, str]] = {
    "null id": ("event_id", ["e1", None, "e3"], ValueInvalidError, 1, "must not be empty or NaN"),
    "blank id": ("user_id", ["u1", "u1", "  "], ValueInvalidError, 2, "must not be empty or NaN"),
    "empty id": ("item_id", ["", "i1", "i2"], ValueInvalidError, 0, "must not be empty or NaN"),
    "NaN id": ("item_id", [1.0, math.nan, 2.0], ValueInvalidError, 1, "must not be empty or NaN"),
    "NaN text": ("user_id", ["u1", "nan", "u2"], ValueInvalidError, 1, "must not be empty or NaN"),
    "float id": ("user_id", [1.0, 2.0, 3.0], SchemaError, None, "must be text, not Float64"),
    "repeated event": ("event_id", ["e1", "e2", "e1"], ValueInvalidError, 2, "must be unique"),
    "no kind": ("kind", ["click", None, "stop"], ValueInvalidError, 1, "must not be empty"),
    "no times": ("time", [None] * 3, ValueInvalidError, 0, "must not be empty; 3 rows"),
    "no users": ("user_id", [None] * 3, ValueInvalidError, 0, "must not be empty or NaN; 3 rows"),
    "odd kind": ("kind", ["click", "klick", "klick"], ValueInvalidError, 1, "2 rows break this"),
    "no time": ("time", [NOON, None, NOON], ValueInvalidError, 1, "must not be empty"),
    "text time": ("time", ["12:00", "12:01", "12:02"], SchemaError, None, "must be a timestamp"),
    "day time": ("time", [date(2024, 5, 1)] * 3, SchemaError, None, "must be a timestamp"),
    "negative position": ("position", [0, -1, -2], ValueInvalidError, 1, "must be between 0"),
    "huge position": ("position", [0, 1, 2**31], ValueInvalidError, 2, "must be between 0"),
    "float position": ("position", [0.0, 1.0, None], SchemaError, None, "must be an integer"),
    "propensity 0": ("propensity", [0.5, 0.0, None], ValueInvalidError, 1, "above 0 and at most 1"),
    "propensity > 1": ("propensity", [1.5, 1.0, 2.0], ValueInvalidError, 0, "above 0 and at most"),
    "NaN propensity": ("propensity", [0.5, 0.1, math.nan], ValueInvalidError, 2, "above 0 and at"),
    "text propensity": ("propensity", ["a", "b", "c"], SchemaError, None, "must be a number"),
    "infinite value": ("value", [0.0, -math.inf, 1.0], ValueInvalidError, 1, "a finite number"),
    "NaN value": ("value", [math.nan, 0.0, 1.0], ValueInvalidError, 0, "a finite number"),
    "list context": ("context", ["{}", "[1]", "{}"], ValueInvalidError, 1, "a JSON object"),
    "cut context": ("context", ["{}", '{"a": 1', "{}"], ValueInvalidError, 1, "a JSON object"),
    "text context": ("context", ["{}", "store 3", "{}"], ValueInvalidError, 1, "a JSON object"),
    "quoted context": ("context", ["{}", '"{}"', "{}"], ValueInvalidError, 1, "a JSON object"),
    "NaN in context": ("context", ["{}", '{"a": NaN}', "{}"], ValueInvalidError, 1, "a JSON obj"),
    "blank campaign": ("campaign_id", ["c", "", None], ValueInvalidError, 1, "must not be empty"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_log_is_refused_in_words(name: str) -> None:
    column, values, kind, row, words = BROKEN[name]
    for frame in (log(**{column: values}), log(**{column: values}).lazy()):
        with pytest.raises(kind) as caught:
            validate_events(frame, file="log.parquet")
        error = caught.value
        message = str(error)
        assert words in message
        assert error.file == "log.parquet"
        assert error.column == column
        assert error.row == row
        assert error.hint
        assert "[log.parquet, " in message
        if row is not None:
            assert f"row {row}, column {column}" in message
            assert "rows count from 0" in message
            expected = values[row]  # type: ignore[index]
            assert error.value == expected or expected != expected  # noqa: PLR0124 NaN


def test_missing_and_unknown_columns_are_named_with_a_guess() -> None:
    with pytest.raises(SchemaError, match=r"missing: user_id, kind .*column user_id"):
        validate_events(log(user_id=None, kind=None))
    renamed = log().rename({"user_id": "userid"})
    with pytest.raises(SchemaError, match=r"rename 'userid'"):
        validate_events(renamed)
    with pytest.raises(SchemaError, match=r"unknown columns: propensty.*rename it to propensity"):
        validate_events(log().rename({"propensity": "propensty"}))
    with pytest.raises(SchemaError, match=r"unknown columns: zzz.*into the context"):
        validate_events(log(zzz=[1, 2, 3]))


def test_the_first_bad_row_is_reported_whatever_its_column() -> None:
    frame = log(propensity=[0.5, 1.0, 7.0], position=[0, -1, 0], kind=["x", "click", "stop"])
    with pytest.raises(ValueInvalidError, match=r"row 0, column kind, value 'x'"):
        validate_events(frame)


def test_time_may_run_backwards_unless_asked() -> None:
    times = [NOON, NOON - timedelta(microseconds=1), NOON]
    assert validate_events(log(time=times)).height == 3
    for frame in (log(time=times), log(time=times).lazy()):
        with pytest.raises(ValueInvalidError, match=r"run backwards; 1 row .*row 1, column time"):
            validate_events(frame, strict_time_order=True)
    assert validate_events(log(), strict_time_order=True).height == 3


def test_repeated_events_may_be_left_to_the_caller() -> None:
    twice = log(event_id=["e1", "e2", "e1"])
    assert validate_events(twice, unique=False)["event_id"].to_list() == ["e1", "e2", "e1"]
    with pytest.raises(ValueInvalidError, match=r"row 1, column event_id"):
        validate_events(log(event_id=["e1", "", "e1"]), unique=False)


def test_a_good_log_is_conformed() -> None:
    events = validate_events(log())
    assert events.columns == EVENT_SCHEMA.names
    assert events.schema == empty_events().schema
    assert events["policy_id"].null_count() == 3
    assert events["context"].to_list() == ['{"store": 1}', None, "{}"]
    assert validate_events(events).equals(events)
    assert as_events(log().lazy()).collect().equals(events)
    lazy = validate_events(log().lazy())
    assert isinstance(lazy, pl.LazyFrame)
    assert lazy.collect().equals(events)


def test_other_types_of_the_same_meaning_are_cast() -> None:
    east = timezone(timedelta(hours=2))
    naive = [NOON.replace(tzinfo=None)] * 3
    frame = log(user_id=[1, 2, 3], propensity=[1, None, 1], time=naive).with_columns(
        pl.col("kind").cast(pl.Categorical),
        pl.col("position").cast(pl.UInt8),
        pl.col("time").dt.cast_time_unit("ns"),
        creative_id=pl.lit(None),
    )
    events = validate_events(frame)
    assert events.schema == empty_events().schema
    assert events["user_id"].to_list() == ["1", "2", "3"]
    assert events["time"][0] == NOON
    assert events["creative_id"].null_count() == 3
    moved = validate_events(log(time=[NOON.astimezone(east)] * 3))
    assert moved["time"].to_list() == [NOON] * 3


def test_arrow_tables_are_taken() -> None:
    table = log().to_arrow()
    assert validate_events(table).equals(validate_events(log()))
    assert validate_events(EVENT_SCHEMA.empty_table()).height == 0
    untyped = pl.DataFrame({name: [] for name in log().columns})
    assert validate_events(untyped).schema == empty_events().schema
    with pytest.raises(SchemaError, match="missing: event_id"):
        validate_events(pa.table({"time": [NOON]}))


CELLS: Mapping[str, st.SearchStrategy[Any]] = {
    "kind": st.sampled_from(KINDS),
    "position": st.one_of(st.none(), st.integers(0, 2**31 - 1)),
    "propensity": st.one_of(st.none(), st.floats(0, 1, exclude_min=True)),
    "value": st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
    "item_id": st.text(st.characters(categories=["L", "N"]), min_size=1).filter(
        lambda text: text not in ("nan", "NaN", "None")
    ),
    "time": st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
}


@given(st.lists(st.fixed_dictionaries(dict(CELLS)), min_size=1, max_size=8))
def test_whatever_is_valid_passes_unchanged(rows: list[dict[str, object]]) -> None:
    frame = pl.DataFrame(
        [{"event_id": f"e{i}", "request_id": "r", "user_id": "u", **r} for i, r in enumerate(rows)],
        schema_overrides={"position": pl.Int32, "propensity": pl.Float64, "value": pl.Float64},
    )
    events = validate_events(frame)
    assert events.select(frame.columns).rows() == frame.rows()
    with pytest.raises(ValueInvalidError, match=f"row {len(rows)}, column event_id"):
        validate_events(pl.concat([events, events.tail(1)]))


def test_items_keep_their_features() -> None:
    items = validate_items(
        pl.DataFrame(
            {
                "price": [1.5, math.nan],
                "item_id": [7, 8],
                "tags": [["a", "b"], []],
                "brand": pl.Series(["x", None], dtype=pl.Categorical),
                "cost": pl.Series(["1.20", None]).cast(pl.Decimal(10, 2)),
                "new": [True, None],
            }
        )
    )
    assert items.columns == ["item_id", "price", "tags", "brand", "cost", "new"]
    assert items["item_id"].to_list() == ["7", "8"]
    assert items["price"].to_list() == [1.5, None]
    assert items.schema["brand"] == pl.String
    assert items["cost"].to_list() == [1.2, None]
    assert items["tags"].to_list() == [["a", "b"], []]


def test_broken_items_are_refused() -> None:
    with pytest.raises(SchemaError, match=r"missing: item_id \[items.csv, column item_id\]"):
        validate_items(pl.DataFrame({"item": ["a"]}), file="items.csv")
    with pytest.raises(ValueInvalidError, match=r"unique; 2 rows .*row 1, .*value 'a'"):
        validate_items(pl.DataFrame({"item_id": ["a", "a", "b", "a"]}))
    with pytest.raises(ValueInvalidError, match=r"must not be empty or NaN; 1 row .*row 1"):
        validate_items(pl.DataFrame({"item_id": ["a", None]}))
    with pytest.raises(ValueInvalidError, match=r"null inside a list.*row 1, column tags"):
        validate_items(pl.DataFrame({"item_id": ["a", "b"], "tags": [["x"], ["y", None]]}))
    with pytest.raises(SchemaError, match=r"cannot be of type .*column when"):
        validate_items(pl.DataFrame({"item_id": ["a"], "when": [timedelta(1)]}))
    with pytest.raises(SchemaError, match=r"cannot be of type List\(Boolean\) .*column flags"):
        validate_items(pl.DataFrame({"item_id": ["a"], "flags": [[True]]}))


def test_creatives() -> None:
    creatives = validate_creatives(pl.DataFrame({"creative_id": [1, 2], "item_id": ["a", "b"]}))
    assert creatives.columns == CREATIVE_SCHEMA.names
    assert creatives["creative_id"].to_list() == ["1", "2"]
    with pytest.raises(ValueInvalidError, match=r"creative_id must be unique"):
        validate_creatives(pl.DataFrame({"creative_id": [1, 1], "item_id": ["a", "b"]}))
    with pytest.raises(SchemaError, match=r"unknown columns: headline .*c\.csv"):
        validate_creatives(
            pl.DataFrame({"creative_id": [1], "item_id": ["a"], "headline": ["x"]}), file="c.csv"
        )


def test_campaigns() -> None:
    good = pl.DataFrame(
        {"campaign_id": ["a", "b"], "start": [NOON, NOON], "end": [NOON + timedelta(1), None]}
    )
    campaigns = validate_campaigns(good)
    assert campaigns.columns == CAMPAIGN_SCHEMA.names
    assert validate_campaigns(good.drop("end"))["end"].null_count() == 2
    early = good.with_columns(end=pl.Series([NOON, NOON - timedelta(1)]))
    with pytest.raises(
        ValueInvalidError, match=r"end must not be before start; .*row 1, column end"
    ):
        validate_campaigns(early)
    with pytest.raises(ValueInvalidError, match=r"start must not be empty"):
        validate_campaigns(good.with_columns(start=pl.Series([NOON, None])))
    with pytest.raises(ValueInvalidError, match=r"campaign_id must be unique"):
        validate_campaigns(pl.concat([good, good]))


def test_unknown_items_are_named_and_redemptions_passed_over() -> None:
    items = validate_items(pl.DataFrame({"item_id": ["i1"]}))
    with pytest.raises(ValueInvalidError, match=r"not in the items table; 1 row .*row 2.*'i2'"):
        check_items_known(log(), items)
    with pytest.raises(ValueInvalidError, match=r"log\.csv, row 2"):
        check_items_known(log().lazy(), items, file="log.csv")
    check_items_known(log(kind=["click", "click", "redemption"]), items)
    with pytest.raises(ValueInvalidError, match="not in the items table"):
        check_items_known(log(), items.clear())


def test_a_catalogue_checks_its_tables_together() -> None:
    items = pl.DataFrame({"item_id": ["a"]})
    catalogue = Catalogue.checked(items)
    assert catalogue.creatives.columns == CREATIVE_SCHEMA.names
    assert catalogue.campaigns.columns == CAMPAIGN_SCHEMA.names
    creatives = pl.DataFrame({"creative_id": ["c"], "item_id": ["b"]})
    with pytest.raises(ValueInvalidError, match=r"not in the items table"):
        Catalogue.checked(items, creatives)
    with pytest.raises(SchemaError, match="missing: campaign_id, start"):
        Catalogue.checked(items, campaigns=pl.DataFrame({"type": ["x"]}))


SCHEMA = pa.schema(
    [
        pa.field("key_id", pa.string(), nullable=False),
        pa.field("at", TIME),
        pa.field("count", pa.int32()),
        pa.field("weight", pa.float64()),
        pa.field("note", pa.string()),
        pa.field("other_id", pa.string()),
    ]
)


def test_text_checks_spare_free_text_and_absent_optional_ids() -> None:
    frame = pl.LazyFrame(
        {"key_id": ["a"], "note": ["nan"], "other_id": [None]}, schema_overrides={"other_id": str}
    )
    checks = text_checks(dict(frame.collect_schema()), SCHEMA)
    assert [check.column for check in checks] == ["key_id", "note", "other_id"]
    run_checks(frame, checks, in_file(""))
    with pytest.raises(ValueInvalidError, match="other_id must not be empty or NaN"):
        run_checks(frame.with_columns(other_id=pl.lit(" ")), checks, in_file(""))


def test_needed_columns_are_named_one_at_a_time() -> None:
    need_columns(["a", "b"], ["b"], "lost")
    need_columns([], [], "lost")
    with pytest.raises(SchemaError, match=r"lost \[f, column c\] -> the table has a, b"):
        need_columns(["a", "b"], ["a", "c", "d"], "lost", file="f")


def test_a_hundred_thousand_unknown_columns_are_counted_not_listed() -> None:
    types = {f"c{number}": pl.Int64() for number in range(100_000)} | {"key_id": pl.String()}
    with pytest.raises(SchemaError, match=r"c0, c1, .*, c19 and 99,980 more") as error:
        check_columns(types, SCHEMA, "")
    assert len(str(error.value)) < 500
    with pytest.raises(SchemaError, match=r"the table has c0, .* and 99,981 more"):
        need_columns(list(types), ["none"], "lacks")


@pytest.mark.parametrize(("unit", "checks"), [("us", 1), ("ms", 1), ("ns", 0)])
def test_times_that_no_datetime_is_are_shown_as_numbers(unit: TimeUnit, checks: int) -> None:
    frame = pl.select(at=pl.lit(-(2**62), pl.Int64).cast(pl.Datetime(unit))).lazy()
    found = in_years({"at": pl.Datetime(unit)}, SCHEMA)
    assert len(found) == checks
    if checks:
        with pytest.raises(ValueInvalidError, match=rf"1 to 9999 .*value {-(2**62)}\] .*seconds"):
            run_checks(frame, found, in_file(""))
    assert in_years({"at": pl.Null()}, SCHEMA) == []


class Stream:
    """A table of another library: no more than Arrow's stream."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        table = pa.table({"a": [1], "__index_level_0__": ["x"]})
        return table.__arrow_c_stream__(requested_schema)


def test_tables_of_other_libraries_are_read() -> None:
    lazy = pl.LazyFrame({"a": [1]})
    assert as_polars(lazy) is lazy
    for table in (Stream(), pa.table({"a": [1]}), [{"a": 1}], pl.DataFrame({"a": [1]})):
        found = as_polars(table)
        assert (found.columns, found.rows()) == (["a"], [(1,)])
    assert isinstance(Stream(), ArrowStream)
    with pytest.raises(SchemaError, match=r"int is no table.*pandas"):
        as_polars(3)  # type: ignore[call-overload]
    with pytest.raises(SchemaError, match="list makes no table"):
        as_polars([{"a": 1}, {"a": object()}])


def _above(column: str, most: int) -> Check:
    return Check(column, pl.col(column) > most, f"{column} is above {most}", "lower it")


@given(st.lists(st.one_of(st.none(), st.integers(0, 12)), max_size=15))
def test_unique_finds_what_a_set_finds(values: list[int | None]) -> None:
    seen: set[int | None] = set()
    repeats = [i for i, value in enumerate(values) if value in seen or seen.add(value)]
    frame = pl.LazyFrame({"a": values}, schema={"a": pl.Int64})
    if not repeats:
        check_unique(frame, "a", "not unique", "", in_file(""))
        return
    with pytest.raises(ValueInvalidError, match="not unique") as caught:
        check_unique(frame, "a", "not unique", "", in_file(""))
    assert caught.value.row == repeats[0]
    assert caught.value.value == values[repeats[0]]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_the_error_is_the_earliest_of_a_slow_search(
    rows: list[tuple[int, int]], most_a: int, most_b: int
) -> None:
    frame = pl.LazyFrame(rows, schema=["a", "b"], orient="row")
    checks = [_above("a", most_a), _above("b", most_b)]
    broken = [
        (row, column)
        for row, values in enumerate(rows)
        for column, value, most in zip("ab", values, (most_a, most_b), strict=True)
        if value > most
    ]
    if not broken:
        run_checks(frame, checks, in_file(""))
        return
    with pytest.raises(ValueInvalidError) as caught:
        run_checks(frame, checks, in_file(""))
    assert (caught.value.row, caught.value.column) == broken[0]
