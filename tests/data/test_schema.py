"""Every way in which a log or a catalogue can be wrong is refused in words that locate it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars._typing import TimeUnit

from adwright.core.errors import DataError, SchemaError, ValueInvalidError
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
