"""Counts, weeks and groups of a table: read as they were meant, or refused with their place."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest

from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.creative.response.protocol.counted import (
    CountedTable,
    read_counts,
    read_groups,
    read_weeks,
)
from adwright.data.checks import in_file

NOW = datetime(2026, 12, 1, tzinfo=UTC)


def _table(decimal_comma: bool = False, **columns: list) -> CountedTable:
    return CountedTable(pl.DataFrame(columns), in_file("ads.csv"), "ads.csv", decimal_comma)


def _counts(shown: list, clicked: list) -> list[tuple[int, ...]]:
    return read_counts(_table(shown=shown, hits=clicked), "shown", "hits").rows()


def test_counts_are_read_from_numbers_floats_and_text() -> None:
    expected = [(1200, 3), (7, 0)]
    assert _counts([1200, 7], [3, 0]) == expected
    assert _counts([1200.0, 7.0], [3.0, 0.0]) == expected
    assert _counts(["1,200", "7"], ["3", "0"]) == expected
    assert _counts(["1.200", "7"], ["3", "0"]) == expected
    assert _counts([0], [0]) == [(0, 0)]


@pytest.mark.parametrize(
    ("shown", "clicked", "said"),
    [
        ([5, 5], [1, 6], r"hits must not be above shown.*ads.csv, row 1, column hits, value 6"),
        ([5, -5], [1, 0], r"shown must not be negative.*row 1, column shown, value -5"),
        ([5, 5], [-1, 0], r"hits must not be negative.*row 0"),
        ([5.0, 5.5], [1, 0], r"shown must be a whole number.*row 1, column shown, value 5.5"),
        ([5, None], [1, 0], r"shown must not be empty.*row 1"),
        ([5.0, float("nan")], [1, 0], r"shown must not be empty.*row 1"),
        ([5.0, float("inf")], [1, 0], r"shown must be finite.*row 1"),
        (["5", "--"], ["1", "0"], r"shown must not be empty.*row 1"),
        (["5", "many"], ["1", "0"], r"shown cannot be read as a number.*row 1.*many"),
        (["5", "5.51"], ["1", "0"], r"shown must be a whole number.*row 1"),
        ([1e300], [1], r"more than anybody counts.*row 0"),
    ],
)
def test_a_wrong_count_is_named_with_its_place(shown: list, clicked: list, said: str) -> None:
    with pytest.raises(ValueInvalidError, match=said):
        _counts(shown, clicked)


def test_counts_of_another_type_are_refused() -> None:
    with pytest.raises(SchemaError, match="column hits"):
        _counts([1], [date(2014, 1, 1)])
    with pytest.raises(ValueInvalidError, match="must not be empty"):
        _counts([None], [None])


def test_a_comma_parts_decimals_where_the_file_says_so() -> None:
    table = _table(decimal_comma=True, shown=["12,5"], hits=["1"])
    with pytest.raises(ValueInvalidError, match="whole number"):
        read_counts(table, "shown", "hits")


def test_weeks_are_numbers_or_the_iso_weeks_of_dates() -> None:
    assert read_weeks(_table(week=[201446, 201501]), "week", NOW).tolist() == [201446, 201501]
    assert read_weeks(_table(week=["201446 "]), "week", NOW).tolist() == [201446]
    assert read_weeks(_table(week=[date(2014, 12, 29)]), "week", NOW).tolist() == [201501]
    assert read_weeks(_table(week=[datetime(2014, 11, 14, 9)]), "week", NOW).tolist() == [201446]
    assert read_weeks(_table(week=["2014-11-14"]), "week", NOW).tolist() == [201446]


@pytest.mark.parametrize(
    ("weeks", "said"),
    [
        ([201446, None], "must not be empty.*row 1"),
        (["201446", ""], "must not be empty.*row 1"),
        ([1.5], "whole number.*row 0"),
        ([float("nan")], "whole number.*row 0"),
        (["soon"], "row 0"),
        (["2026-11-30", "2031-05-05"], "after now, 2026-12-01.*row 1"),
    ],
)
def test_a_wrong_week_is_named(weeks: list, said: str) -> None:
    with pytest.raises(ValueInvalidError, match=said):
        read_weeks(_table(week=weeks), "week", NOW)


def test_groups_are_names_and_empty_cells_are_none() -> None:
    assert read_groups(_table(test=["a ", "", None]), "test") == ("a", None, None)
    assert read_groups(_table(test=[7, None]), "test") == ("7", None)
    assert read_groups(_table(test=[None]), "test") == (None,)
    with pytest.raises(SchemaError, match="text or whole numbers"):
        read_groups(_table(test=[0.5]), "test")
