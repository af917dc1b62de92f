"""Which columns and types fit a schema, and that fitting ones are cast without loss."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
import pytest
from polars._typing import TimeUnit

from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.data.checks import in_file, run_checks
from adwright.data.columns import (
    TIME,
    ArrowStream,
    as_polars,
    check_columns,
    check_types,
    conform,
    empty_table,
    from_arrow,
    in_years,
    is_category,
    need_columns,
    present,
    text_checks,
)

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


def test_columns_needed_and_unknown() -> None:
    check_columns({"key_id": pl.String()}, SCHEMA, "")
    with pytest.raises(SchemaError, match=r"missing: key_id \[f, column key_id\] -> add them"):
        check_columns({"note": pl.String()}, SCHEMA, "f")
    with pytest.raises(SchemaError, match=r"unknown columns: wieght.* -> rename it to weight;"):
        check_columns({"key_id": pl.String(), "wieght": pl.Float64()}, SCHEMA, "")


@pytest.mark.parametrize(
    ("column", "dtype", "wanted"),
    [
        ("key_id", pl.Float64(), "text"),
        ("note", pl.List(pl.String()), "text"),
        ("at", pl.Date(), "a timestamp"),
        ("at", pl.Int64(), "a timestamp"),
        ("count", pl.Float32(), "an integer"),
        ("weight", pl.String(), "a number"),
        ("weight", pl.Boolean(), "a number"),
    ],
)
def test_types_that_do_not_fit(column: str, dtype: pl.DataType, wanted: str) -> None:
    with pytest.raises(SchemaError, match=f"{column} must be {wanted}, not .*cast the column"):
        check_types({column: dtype}, SCHEMA, "")


def test_fitting_types_are_cast_and_ordered() -> None:
    frame = pl.LazyFrame(
        {"weight": [1], "at": [datetime(2024, 1, 1)], "key_id": [5], "count": [None]}
    )
    types = dict(frame.collect_schema())
    check_types(types, SCHEMA, "")
    done = conform(frame, types, SCHEMA).collect()
    assert done.schema == empty_table(SCHEMA).schema
    assert done.row(0) == ("5", datetime(2024, 1, 1, tzinfo=UTC), None, 1.0, None, None)


def test_text_checks_spare_free_text_and_absent_optional_ids() -> None:
    frame = pl.LazyFrame(
        {"key_id": ["a"], "note": ["nan"], "other_id": [None]}, schema_overrides={"other_id": str}
    )
    checks = text_checks(dict(frame.collect_schema()), SCHEMA)
    assert [check.column for check in checks] == ["key_id", "note", "other_id"]
    run_checks(frame, checks, in_file(""))
    with pytest.raises(ValueInvalidError, match="other_id must not be empty or NaN"):
        run_checks(frame.with_columns(other_id=pl.lit(" ")), checks, in_file(""))


def test_present_category_and_arrow() -> None:
    with pytest.raises(ValueInvalidError, match=r"at must not be empty; 1 row .*row 1"):
        run_checks(pl.LazyFrame({"at": [1, None]}), [present("at")], in_file(""))
    assert is_category(pl.Categorical())
    assert is_category(pl.Enum(["a"]))
    assert not is_category(pl.String())
    assert from_arrow(pa.table({"a": [1]})).rows() == [(1,)]
    assert empty_table(SCHEMA).height == 0


def test_needed_columns_are_named_one_at_a_time() -> None:
    need_columns(["a", "b"], ["b"], "lost")
    need_columns([], [], "lost")
    with pytest.raises(SchemaError, match=r"lost \[f, column c\] -> the table has a, b"):
        need_columns(["a", "b"], ["a", "c", "d"], "lost", file="f")


@pytest.mark.parametrize("text", ["", "  ", "nan", "NaN", "None", "<NA>"])
def test_what_stringified_nothing_is_no_id(text: str) -> None:
    frame = pl.LazyFrame({"key_id": ["a", text]})
    checks = text_checks(dict(frame.collect_schema()), SCHEMA)
    with pytest.raises(ValueInvalidError, match=r"key_id must not be empty or NaN.*row 1"):
        run_checks(frame, checks, in_file(""))


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_an_id_of_numbers_must_be_a_number(missing: float | None) -> None:
    frame = pl.LazyFrame({"key_id": [1.0, missing]}, schema={"key_id": pl.Float64})
    checks = text_checks(dict(frame.collect_schema()), SCHEMA)
    with pytest.raises(ValueInvalidError, match=r"key_id must not be empty.*row 1"):
        run_checks(frame, checks, in_file(""))


def test_times_of_any_zone_and_unit_become_microseconds_in_utc() -> None:
    local = datetime(2024, 7, 1, 12)
    frame = pl.LazyFrame(
        {"key_id": ["a"], "at": pl.Series([local]).dt.replace_time_zone("America/New_York")}
    ).with_columns(pl.col("at").dt.cast_time_unit("ms"))
    types = dict(frame.collect_schema())
    check_types(types, SCHEMA, "")
    done = conform(frame, types, SCHEMA).collect()
    assert done.schema["at"] == pl.Datetime("us", "UTC")
    assert done["at"][0] == datetime(2024, 7, 1, 16, tzinfo=UTC)


def test_a_column_of_nulls_fits_every_type() -> None:
    frame = pl.LazyFrame({name: [None] for name in SCHEMA.names})
    types = dict(frame.collect_schema())
    check_types(types, SCHEMA, "")
    assert conform(frame, types, SCHEMA).collect().schema == empty_table(SCHEMA).schema


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


def test_capitals_are_guessed_at() -> None:
    with pytest.raises(SchemaError, match=r"missing: key_id.*rename 'KEY_ID'"):
        check_columns({"KEY_ID": pl.String(), "at": pl.Datetime()}, SCHEMA, "")
