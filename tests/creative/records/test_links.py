"""One creative in many ads, and many creatives in one ad."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest

from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.creative.records.links import LINKS, assign_creatives, check_links, links_of
from adwright.data.checks import in_file


def day(number: int) -> date:
    return date(2026, 1, number)


def rows(*cells: tuple[str, str, int, int]) -> pl.DataFrame:
    """Rows of creative_id, ad_id, day of January, days."""
    frame = pl.DataFrame(cells, ["creative_id", "ad_id", "day", "period_days"], orient="row")
    return frame.with_columns(day=pl.date(2026, 1, pl.col("day")))


def test_links_follow_from_the_days() -> None:
    found = links_of(rows(("x", "a", 3, 1), ("y", "a", 3, 1), ("x", "b", 1, 7), ("x", "a", 1, 1)))
    assert found.rows() == [
        ("x", "a", day(1), day(3)),
        ("y", "a", day(3), day(3)),
        ("x", "b", day(1), day(7)),
    ]
    assert found.columns == LINKS.names
    assert check_links(found).equals(found)


def test_days_take_the_creative_that_was_there() -> None:
    links = check_links(
        pl.DataFrame(
            {
                "creative_id": ["x", "y", "z"],
                "ad_id": ["a", "a", "b"],
                "first_day": [day(1), day(4), day(2)],
                "last_day": [day(3), None, day(2)],
            }
        )
    )
    days = rows(
        *(("own", "a", n, 1) for n in (1, 3, 4, 9)), *(("own", "b", n, 1) for n in (1, 2, 3))
    )
    days = days.with_columns(impressions=pl.int_range(pl.len()))
    found = assign_creatives(days, links)
    assert found["creative_id"].to_list() == ["x", "x", "y", "y", "own", "z", "own"]
    assert found.drop("creative_id").equals(days.drop("creative_id"))
    # A week in which both were there is of neither.
    with pytest.raises(ValueInvalidError, match="several creatives") as caught:
        assign_creatives(rows(("own", "a", 5, 1), ("own", "a", 2, 7)), links, in_file("e.csv"))
    assert (caught.value.row, caught.value.file) == (1, "e.csv")


@pytest.mark.parametrize(
    ("changed", "error", "part"),
    [
        ({"first_day": None}, SchemaError, "first_day"),
        ({"from": [day(1)]}, SchemaError, "from"),
        ({"creative_id": [1.5]}, SchemaError, "text"),
        ({"last_day": ["2026-01-02"]}, SchemaError, "a date"),
        ({"ad_id": [" "]}, ValueInvalidError, "ad_id"),
        ({"first_day": [None]}, ValueInvalidError, "first_day"),
        ({"last_day": [date(2025, 1, 1)]}, ValueInvalidError, "before the first"),
    ],
)
def test_other_links_are_refused(
    changed: dict[str, Any], error: type[Exception], part: str
) -> None:
    good = {"creative_id": ["x"], "ad_id": ["a"], "first_day": [day(1)]}
    table = {name: cells for name, cells in (good | changed).items() if cells is not None}
    schema = {"first_day": pl.Date} if table.get("first_day") == [None] else None
    with pytest.raises(error, match=part):
        check_links(pl.DataFrame(table, schema_overrides=schema))
    assert check_links(pl.DataFrame(good)).row(0) == ("x", "a", day(1), None)
