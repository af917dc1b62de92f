"""A delivery record is checked row by row and as a whole, and opens as it was saved."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pyarrow as pa
import pytest

from adwright.core.errors import (
    ConfigError,
    FileUnreadableError,
    ResourceError,
    SchemaError,
    ValueInvalidError,
)
from adwright.creative.records.delivery import (
    DELIVERY,
    KEY,
    SEGMENTS,
    DeliveryNotes,
    DeliveryRecord,
    Repair,
    StopCause,
    check_delivery,
    open_delivery,
    save_delivery,
)
from adwright.data.creatives import CREATIVES, Creative, creatives_table


def day(number: int) -> date:
    return date(2026, 1, number)


GOOD: dict[str, Any] = {
    "creative_id": ["x", "x", "y"],
    "ad_id": ["a", "a", "b"],
    "campaign_id": ["c", "c", "d"],
    "account_id": ["m", "m", "n"],
    "day": [day(1), day(2), day(1)],
    "period_days": [1, 1, 1],
    "time_zone": ["UTC", "UTC", "Asia/Tokyo"],
    "impressions": [100, 50, 10],
    "clicks": [3, 50, None],
    "spend": [1.5, 0.0, None],
    "currency": ["EUR", None, "JPY"],
    "conversions": [0.5, None, 2],
    "conversion_value": [-3.0, None, 0.0],
    "reach": [90, None, 10],
    "frequency": [1.1, None, 1.0],
    "device": ["phone", "phone", None],
    "starts": [day(1), None, day(1)],
    "ends": [day(2), None, None],
    "status": ["on", "off", None],
    "stop_cause": [None, "operator", None],
}


def table(**changed: Any) -> pl.DataFrame:
    given = {name: cells for name, cells in (GOOD | changed).items() if cells is not None}
    return pl.DataFrame(given, strict=False)


def test_all_columns_come_in_order_and_type() -> None:
    found = check_delivery(table())
    assert found.columns == DELIVERY.names
    assert found.schema["day"] == pl.Date
    assert found.schema["currency"] == pl.Categorical
    assert found["placement"].null_count() == 3
    assert found["impressions"].to_list() == [100, 50, 10]
    record = DeliveryRecord.checked(table())
    assert record.to_arrow().schema == DELIVERY
    assert check_delivery(record.to_arrow()).equals(found)
    assert repr(record) == "<DeliveryRecord of 3 rows>"
    assert set(SEGMENTS) < set(KEY) < set(DELIVERY.names)


def test_few_columns_are_enough() -> None:
    needed = [one.name for one in DELIVERY if not one.nullable]
    assert needed == ["creative_id", "ad_id", "day", "period_days", "impressions"]
    found = check_delivery(table().select(needed).with_columns(ad_id=pl.Series([7, 7, 8])))
    assert found["ad_id"].to_list() == ["7", "7", "8"]


@pytest.mark.parametrize(
    ("changed", "error", "part"),
    [
        ({"impressions": None}, SchemaError, "impressions"),
        ({"shown": [1, 2, 3]}, SchemaError, "shown"),
        ({"day": ["2026-01-01"] * 3}, SchemaError, "Date"),
        ({"day": [datetime(2026, 1, 1)] * 3}, SchemaError, "Date"),
        ({"clicks": [1.0, 1.0, 1.0]}, SchemaError, "Int64"),
        ({"spend": ["1", "2", "3"]}, SchemaError, "Float64"),
        ({"device": [1.5, 2.5, 3.5]}, SchemaError, "Categorical"),
        ({"creative_id": ["x", " ", "y"]}, ValueInvalidError, "row 1, column creative_id"),
        ({"ad_id": ["a", "a", None]}, ValueInvalidError, "row 2, column ad_id"),
        ({"day": [day(1), None, day(1)]}, ValueInvalidError, "row 1, column day"),
        ({"period_days": [1, 1, 30]}, ValueInvalidError, "row 2, column period_days, value 30"),
        ({"impressions": [100, None, 10]}, ValueInvalidError, "row 1, column impressions"),
        ({"impressions": [2**60, 50, 10]}, ValueInvalidError, "row 0, column impressions"),
        ({"period_days": [1, 2**40, 1]}, ValueInvalidError, "row 1, column period_days"),
        ({"impressions": [-1, 50, 10]}, ValueInvalidError, "row 0, column impressions"),
        ({"clicks": [-1, 50, 0]}, ValueInvalidError, "row 0, column clicks"),
        ({"clicks": [3, 51, 0]}, ValueInvalidError, "row 1, column clicks, value 51"),
        ({"spend": [1.5, 0.0, -0.01]}, ValueInvalidError, "row 2, column spend"),
        ({"spend": [float("nan"), 0.0, 1.0]}, ValueInvalidError, "row 0, column spend"),
        ({"spend": [1.5, float("inf"), 1.0]}, ValueInvalidError, "row 1, column spend"),
        ({"conversions": [-1, 0, 0]}, ValueInvalidError, "conversions"),
        ({"conversion_value": [0, float("inf"), 0]}, ValueInvalidError, "conversion_value"),
        ({"reach": [-1, 0, 0]}, ValueInvalidError, "reach"),
        ({"frequency": [-1.0, 0.0, 0.0]}, ValueInvalidError, "frequency"),
        ({"currency": ["EUR", "euro", "JPY"]}, ValueInvalidError, "row 1, column currency"),
        ({"currency": ["EUR", "USD", "JPY"]}, ValueInvalidError, "within a campaign"),
        ({"time_zone": ["UTC", "CET", "UTC"]}, ValueInvalidError, "two time zones"),
        ({"stop_cause": [None, "bored", None]}, ValueInvalidError, "operator, automatic"),
        ({"ends": [day(1), day(1), None]}, ValueInvalidError, "row 1, column day"),
        ({"starts": [day(2), None, None]}, ValueInvalidError, "flight"),
        ({"day": [day(1), day(1), day(1)]}, ValueInvalidError, "2026-01-01 of ad a"),
        ({"period_days": [7, 1, 1], "ends": None}, ValueInvalidError, "row 1, column day"),
    ],
)
def test_rules(changed: dict[str, Any], error: type[Exception], part: str) -> None:
    with pytest.raises(error) as caught:
        check_delivery(table(**changed), file="d.parquet")
    assert all(one in str(caught.value) for one in (part, "d.parquet", "->")), str(caught.value)


def test_what_is_no_breach() -> None:
    # Another segment, creative, ad group or account is another row of the day.
    for name, cells in (
        ("device", ["phone", "tv", None]),
        ("creative_id", ["x", "y", "y"]),
        ("ad_group_id", ["g", "h", None]),
    ):
        assert check_delivery(table(day=[day(1)] * 3, **{name: cells})).height == 3
    # Conversions come late, also after the end.
    late = table(ends=[day(1)] * 3, impressions=[100, 0, 10], clicks=[1, 0, 0])
    assert check_delivery(late).height == 3
    # A campaign each may have its currency; weeks may follow each other.
    assert check_delivery(table(currency=["EUR", "EUR", "USD"])).height == 3
    weeks = table(day=[day(1), day(8), day(1)], period_days=[7] * 3, ends=None)
    assert check_delivery(weeks).height == 3
    assert check_delivery(table(), today=day(2)).height == 3
    with pytest.raises(ValueInvalidError, match="after 2026-01-01"):
        check_delivery(table(), today=day(1))
    for cause in get_args(StopCause):
        assert check_delivery(table(stop_cause=[cause] * 3))["stop_cause"].to_list() == [cause] * 3


def test_the_place_of_a_row_may_be_another() -> None:
    with pytest.raises(ValueInvalidError) as caught:
        check_delivery(table(clicks=[3, 51, 0]), locate=lambda row: ("e.csv", row + 5))
    assert (caught.value.file, caught.value.row) == ("e.csv", 6)


def test_a_record_has_links_and_creatives() -> None:
    record = DeliveryRecord.checked(table())
    assert record.links.rows() == [("x", "a", day(1), day(2)), ("y", "b", day(1), day(1))]
    assert record.creatives.columns == CREATIVES.names
    assert record.creatives["creative_id"].to_list() == ["x", "y"]
    assert record.creatives["checks_passed"].to_list() == [[], []]
    known = creatives_table([Creative(creative_id="y", headline="Bread"), Creative(body="new")])
    links = record.links.head(1)
    record = DeliveryRecord.checked(table(), links=links, creatives=known)
    assert record.links.equals(links)
    assert record.creatives.height == 3
    assert record.creatives["headline"].to_list() == ["Bread", None, None]
    assert record.summary().spend == {"": 0.0, "EUR": 1.5}
    with pytest.raises(ValueInvalidError, match=r"e\.csv"):
        DeliveryRecord.checked(table(clicks=[3, 51, 0]), file="e.csv")
    with pytest.raises(ValueInvalidError, match="after"):
        DeliveryRecord.checked(table(), today=day(1))


def test_a_folder_gives_back_the_record(tmp_path: Path) -> None:
    notes = DeliveryNotes("meta", "e.csv", ("a",), (Repair("b", 2, ("row 1",)),), ("c",), ("d",))
    known = creatives_table([Creative(creative_id="y", checks_passed=("claims",))])
    record = DeliveryRecord.checked(table(), creatives=known, notes=notes)
    save_delivery(tmp_path / "r", record)
    names = ["creatives.parquet", "days.parquet", "links.parquet", "summary.json"]
    assert sorted(one.name for one in (tmp_path / "r").iterdir()) == names
    again = open_delivery(tmp_path / "r")
    assert again.days.equals(record.days)
    assert again.links.equals(record.links)
    assert again.creatives.equals(record.creatives)
    assert again.notes == notes
    with pytest.raises(ResourceError, match="exists"):
        save_delivery(tmp_path / "r", record)
    save_delivery(tmp_path / "r", DeliveryRecord.checked(table().head(1)), overwrite=True)
    assert open_delivery(tmp_path / "r").days.height == 1
    assert pa.parquet.read_table(tmp_path / "r" / "days.parquet").num_rows == 1


def test_a_folder_that_is_none_or_was_changed(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match="no delivery record"):
        open_delivery(tmp_path)
    save_delivery(tmp_path / "r", DeliveryRecord.checked(table()))
    days = pl.read_parquet(tmp_path / "r" / "days.parquet")
    days.with_columns(clicks=pl.lit(1000)).write_parquet(tmp_path / "r" / "days.parquet")
    with pytest.raises(ValueInvalidError, match="clicks"):
        open_delivery(tmp_path / "r")
    days.write_parquet(tmp_path / "r" / "days.parquet")
    (tmp_path / "r" / "summary.json").write_text("{")
    with pytest.raises(FileUnreadableError, match="notes"):
        open_delivery(tmp_path / "r")
    (tmp_path / "r" / "summary.json").write_text('{"colour": 1}')
    with pytest.raises(ConfigError, match="colour"):
        open_delivery(tmp_path / "r")
    (tmp_path / "r" / "summary.json").unlink()
    assert open_delivery(tmp_path / "r").notes == DeliveryNotes()
    (tmp_path / "r" / "links.parquet").unlink()
    with pytest.raises(FileUnreadableError, match="links"):
        open_delivery(tmp_path / "r")
