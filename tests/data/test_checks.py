"""Checks run together, report the earliest row, and say where it lies in a folder of parts."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ValueInvalidError
from adwright.data.checks import Check, check_unique, in_file, raise_at, run_checks


def _above(column: str, most: int) -> Check:
    return Check(column, pl.col(column) > most, f"{column} is above {most}", "lower it")


def test_the_earliest_row_wins_and_the_list_breaks_ties() -> None:
    frame = pl.LazyFrame({"a": [0, 0, 9, 9], "b": [0, 9, 9, 9]})
    checks = [_above("a", 1), _above("b", 1)]
    with pytest.raises(ValueInvalidError, match=r"b is above 1; 3 rows .*\[f, row 1, column b"):
        run_checks(frame, checks, in_file("f"))
    frame = pl.LazyFrame({"a": [9], "b": [9]})
    with pytest.raises(ValueInvalidError, match=r"a is above 1; 1 row breaks this \(rows count"):
        run_checks(frame, checks, in_file(""))


def test_null_keeps_a_rule_and_no_checks_pass() -> None:
    run_checks(pl.LazyFrame({"a": [None, 0]}), [_above("a", 1)], in_file(""))
    run_checks(pl.LazyFrame({"a": [1]}), [], in_file(""))
    with pytest.raises(ValueInvalidError, match="1 row breaks this"):
        run_checks(pl.LazyFrame({"a": [None, 2]}), [_above("a", 1)], in_file(""))


def test_rows_are_located_by_the_caller() -> None:
    frame = pl.LazyFrame({"a": [0, 0, 5]})
    with pytest.raises(ValueInvalidError) as caught:
        run_checks(frame, [_above("a", 1)], lambda row: ("part-1", row - 2))
    error = caught.value
    assert (error.file, error.row, error.column, error.value) == ("part-1", 0, "a", 5)
    assert error.hint == "lower it"


def test_raise_at_shows_the_value_and_the_count() -> None:
    frame = pl.LazyFrame({"a": ["x", "y"]})
    with pytest.raises(ValueInvalidError, match=r"no; 1,234 rows .*row 1, column a, value 'y'"):
        raise_at(frame, Check("a", pl.lit(value=True), "no", ""), 1, 1234, in_file(""))


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


def test_unique_texts_are_compared_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pl.Expr, "hash", lambda column: column.str.len_chars().cast(pl.UInt64))
    # All hashes are equal, the values are not.
    check_unique(pl.LazyFrame({"a": ["x", "y"]}), "a", "not unique", "", in_file(""))
    frame = pl.LazyFrame({"a": ["x", "y", "x", "y"]})
    with pytest.raises(ValueInvalidError, match="2 rows break this") as caught:
        check_unique(frame, "a", "not unique", "rename", in_file("f"))
    assert (caught.value.row, caught.value.value, caught.value.file) == (2, "x", "f")


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
