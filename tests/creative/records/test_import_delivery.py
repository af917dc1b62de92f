"""Exports of three platforms become one record, and what is repaired on the way is reported."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
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
from adwright.creative.records.export_rows import DeliveryOptions
from adwright.creative.records.import_delivery import import_delivery
from adwright.data.creatives import CREATIVES, Creative, creatives_table
from tests.support.creative.exports import CLOCK, GOOD, HEAD


def load(source: Any, **settings: Any) -> DeliveryRecord:
    return import_delivery(source, options=DeliveryOptions(**settings), clock=CLOCK, tell=False)


def text(changed: str = "", *, was: str = "") -> bytes:
    """The good file with one piece replaced."""
    assert was in HEAD + GOOD
    return (HEAD + GOOD).replace(was, changed, 1).encode()


META = """\
Day,Campaign ID,Campaign name,Ad set ID,Ad ID,Ad name,Ad delivery,Reach,Impressions,Frequency,\
Link clicks,Clicks (all),Amount spent (USD),Purchases,Purchases conversion value,\
Reporting starts,Reporting ends,Headline,Body,Starts,Ends
,,,,,,,1600,"1,900",1.19,,31,15.25,3,60,2026-01-01,2026-01-02,,,,
2026-01-01,11,Bread,21,120210987654321987,Morning,active,900,"1,000",1.11,10,20,10.25,2,40,\
2026-01-01,2026-01-02,Fresh,Now,2026-01-01,Ongoing
2026-01-02,11,Bread,21,120210987654321987,Morning,active,700,800,1.14,,9,4.00,1,20,\
2026-01-01,2026-01-02,Fresh,Now,2026-01-01,Ongoing
2026-01-02,11,Bread,21,120210987654321991,Evening,inactive,90,100,1.11,1,2,1.00,,,\
2026-01-01,2026-01-02,Fresh,Now,2026-01-01,Ongoing
"""
META_API = [
    {
        "date_start": "2026-01-05",
        "date_stop": "2026-01-11",
        "account_id": "77",
        "campaign_id": "11",
        "adset_id": "21",
        "ad_id": "120210987654321987",
        "ad_name": "Morning",
        "impressions": "1000",
        "clicks": "20",
        "spend": "10.255",
        "account_currency": "USD",
        "publisher_platform": "instagram",
    }
]
GOOGLE = """\
Ad report
"January 1, 2026 - January 2, 2026"
Day,Campaign,Campaign ID,Ad group ID,Ad ID,Ad status,Currency code,Impr.,Clicks,Cost,\
Conversions,Conv. value,Device
"Thu, Jan 1, 2026",Bread,11,21,31,Enabled,EUR,"1,234",12,"1,003.50",1.50,20.00,Mobile phones
"Thu, Jan 1, 2026",Bread,11,21,31,Enabled,EUR,10,0,0.00, --,0.00,Computers
"Fri, Jan 2, 2026",Bread,11,21,31,Paused,EUR,100,1,3.50,0.25,0.00,Computers
Total: Account, --, --, --, --, --, --,"1,344",13,"1,007.00",1.75,20.00, --
"""
GAQL = """\
segments.date,customer.id,customer.currency_code,customer.time_zone,campaign.id,\
ad_group.id,ad_group_ad.ad.id,ad_group_ad.status,metrics.impressions,metrics.clicks,\
metrics.cost_micros,metrics.conversions,metrics.conversions_value
2026-01-01,4455667788,EUR,Europe/Berlin,11,21,31,ENABLED,1234,12,1003500000,1.5,20.0
"""
TIKTOK = """\
By Day;Ad ID;Ad name;Campaign name;Primary status;Cost;Impressions;Clicks (destination);\
Conversions;Currency;Placement
2026-01-01;1738373141733378;Bread;Spring;Active;1.234,56;12.345;67;8;BRL;TikTok
2026-01-02;1738373141733378;Bread;Spring;Not delivering;0,00;0;0;0;BRL;TikTok
Total of 1 results;-;-;-;-;1.234,56;12.345;67;8;BRL;-
"""


def test_meta(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(META, encoding="utf-8-sig")
    record = load(tmp_path / "m.csv")
    assert record.notes.source == "meta"
    days = record.days
    assert days["ad_id"].to_list() == ["120210987654321987"] * 2 + ["120210987654321991"]
    assert days["day"].to_list() == [date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 2)]
    assert days["period_days"].to_list() == [1, 1, 1]
    assert days["impressions"].to_list() == [1000, 800, 100]
    assert days["clicks"].to_list() == [10, None, 1]
    assert days["spend"].to_list() == [10.25, 4.0, 1.0]
    assert days["currency"].to_list() == ["USD"] * 3
    assert days["conversions"].to_list() == [2.0, 1.0, None]
    assert days["stop_cause"].to_list() == [None, None, "operator"]
    assert days["starts"].to_list() == [date(2026, 1, 1)] * 3
    assert days["ends"].to_list() == [None] * 3
    # Two ads of one text are one creative.
    assert days["creative_id"].n_unique() == 1
    (creative,) = record.creatives.iter_rows(named=True)
    assert (creative["headline"], creative["body"]) == ("Fresh", "Now")
    assert record.links["ad_id"].to_list() == ["120210987654321987", "120210987654321991"]
    assert [one.count for one in record.notes.repairs if "totals" in one.what] == [1]
    assert record.notes.warnings == ()


def test_metas_interface_by_week(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in META_API))
    for source in (path, META_API, pl.DataFrame(META_API)):
        (row,) = load(source).days.iter_rows(named=True)
        assert (row["day"], row["period_days"]) == (date(2026, 1, 5), 7)
        assert (row["clicks"], row["spend"], row["currency"]) == (20, 10.255, "USD")
        assert (row["account_id"], row["platform"]) == ("77", "instagram")


def test_google(tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text(GOOGLE)
    record = load(tmp_path / "g.csv")
    days = record.days
    assert record.notes.source == "google"
    assert days["day"].to_list() == [date(2026, 1, 1)] * 2 + [date(2026, 1, 2)]
    assert days["impressions"].to_list() == [1234, 10, 100]
    assert days["spend"].to_list() == [1003.5, 0.0, 3.5]
    assert days["conversions"].to_list() == [1.5, None, 0.25]
    assert days["device"].to_list() == ["Mobile phones", "Computers", "Computers"]
    assert days["stop_cause"].to_list() == [None, None, "operator"]
    assert record.notes.warnings == ()


def test_googles_interface(tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text(GAQL)
    (tmp_path / "camel.csv").write_text(
        GAQL.replace("ad_group_ad", "adGroupAd").replace("cost_m", "costM")
    )
    for name in ("g", "camel"):
        (row,) = load(tmp_path / f"{name}.csv").days.iter_rows(named=True)
        assert (row["ad_id"], row["spend"], row["currency"]) == ("31", 1003.5, "EUR")
        assert (row["time_zone"], row["account_id"]) == ("Europe/Berlin", "4455667788")
        assert (row["conversion_value"], row["status"]) == (20.0, "ENABLED")


def test_tiktok(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(TIKTOK)
    record = load(tmp_path / "t.csv")
    assert record.notes.source == "tiktok"
    assert record.days["spend"].to_list() == [1234.56, 0.0]
    assert record.days["impressions"].to_list() == [12345, 0]
    assert record.days["placement"].to_list() == ["TikTok"] * 2
    assert record.summary().spend == {"BRL": 1234.56}
    assert record.notes.said[0] == "the fields are parted by semicolons"
    assert "the numbers have a decimal comma" in record.notes.said
    assert record.notes.warnings == ()


def test_a_table_of_other_names(tmp_path: Path) -> None:
    frame = pl.DataFrame({"Tag": ["01.02.2026"], "Anzeige": ["a"], "Sichtkontakte": ["1 234"]})
    frame.write_parquet(tmp_path / "t.parquet")
    columns = {"day": "Tag", "ad_id": "anzeige", "impressions": "Sichtkontakte"}
    with pytest.raises(ValueInvalidError, match="date_format"):
        load(tmp_path / "t.parquet", columns=columns)
    record = load(tmp_path / "t.parquet", columns=columns, date_format="%d.%m.%Y")
    assert record.notes.source == "table"
    assert record.days.select("day", "impressions").row(0) == (date(2026, 2, 1), 1234)
    named = import_delivery(
        tmp_path / "t.parquet",
        source="google",
        options=DeliveryOptions(columns=columns, date_format="%d.%m.%Y"),
        clock=CLOCK,
    )
    assert named.notes.source == "google"


def test_options_say_what_the_file_does_not() -> None:
    rows = [{"ad_id": "a", "day": "2026-01-01", "impressions": "10", "spend": "1,234"}]
    assert load(rows).days["spend"].to_list() == [1234.0]
    assert load(rows, decimal=",").days["spend"].to_list() == [1.234]
    record = load(rows, currency="EUR", time_zone="Europe/Paris")
    assert record.days.select("currency", "time_zone").row(0) == ("EUR", "Europe/Paris")
    assert record.notes.warnings == ()
    assert any("no currency" in one for one in load(rows).notes.warnings)


def test_creatives_of_ads_that_take_turns(tmp_path: Path) -> None:
    links = "creative_id,ad_id,first_day,last_day\nx,a1,2025-12-01,2026-01-01\ny,a1,2026-01-02,\n"
    (tmp_path / "links.csv").write_text(links)
    (tmp_path / "e.csv").write_bytes(text())
    record = import_delivery(tmp_path / "e.csv", links=tmp_path / "links.csv", clock=CLOCK)
    assert record.days["creative_id"].to_list() == ["x", "y", "y"]
    assert record.creatives["creative_id"].to_list() == ["x", "y"]
    (tmp_path / "links.csv").write_text(links.replace("2026-01-02", "2026-01-01"))
    with pytest.raises(ValueInvalidError, match="several creatives") as caught:
        import_delivery(tmp_path / "e.csv", links=tmp_path / "links.csv", clock=CLOCK)
    assert caught.value.row == 0


def test_creatives_by_their_own_id() -> None:
    rows = [
        {"ad_id": "a", "creative_id": one, "day": "2026-01-01", "impressions": 10, "body": body}
        for one, body in (("x", "Now"), ("y", "Soon"), ("z", ""))
    ]
    record = load(rows)
    assert record.creatives["creative_id"].to_list() == ["x", "y", "z"]
    assert record.creatives["body"].to_list() == ["Now", "Soon", None]
    again = [*rows, rows[0] | {"body": "Later", "day": "2026-01-02"}]
    record = load(again)
    assert record.creatives["body"].to_list() == ["Now", "Soon", None]
    assert any("several texts" in one for one in record.notes.warnings)


def test_holes_and_zones_are_doubted() -> None:
    rows = [
        {"ad_id": ad, "day": f"2026-01-0{n}", "impressions": 10, "account_id": ad, "timezone": zone}
        for ad, n, zone in (("a", 1, "UTC"), ("b", 4, "Europe/Paris"), ("b", 5, "Europe/Paris"))
    ]
    holes, zones = load(rows).notes.warnings
    assert "2 days have no row of any ad, the first is 2026-01-02" in holes
    assert "Europe/Paris, UTC" in zones
    rows[0]["timezone"] = "(GMT-05:00) Eastern Time"
    assert any("not known" in one for one in load(rows).notes.warnings)


def test_numbers_that_are_below_zero_or_cost_nothing_shown_are_told() -> None:
    day = {"day": "2026-01-01", "currency": "EUR", "impressions": 0, "spend": 1.5}
    worth = {"a": -2.0, "b": 1}
    rows = [{**day, "ad_id": ad, "conversion_value": worth[ad]} for ad in worth]
    below, shown = load(rows).notes.warnings
    assert below.startswith("1 rows have a conversion value below 0")
    assert shown == "2 rows cost something and have no impression"
    assert load(rows).days["conversion_value"].to_list() == [-2.0, 1.0]
    correction = {"ad_id": "a", "day": "2026-01-01", "currency": "EUR", "impressions": -3}
    with pytest.raises(ValueInvalidError, match="--repeats sum"):
        load([correction])
    assert load([{**correction, "impressions": 9}, correction], repeats="sum").days.height == 1


def test_a_day_ahead_of_utc_is_no_future() -> None:
    rows = [{"ad_id": "a", "day": "2026-03-02", "impressions": 1}]
    assert load(rows).days.height == 1
    with pytest.raises(ValueInvalidError, match="after 2026-03-02"):
        load([rows[0] | {"day": "2026-03-03"}])


def test_it_is_said_unless_it_shall_not_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "e.csv").write_bytes(text() + b"Total,,,2700,27,14.25,EUR\n")
    with caplog.at_level(logging.INFO, "adwright"):
        load(tmp_path / "e.csv")
        assert not caplog.records
        import_delivery(tmp_path / "e.csv", clock=CLOCK)
    assert any("rows of totals" in one.getMessage() for one in caplog.records)


@dataclass(frozen=True)
class Mended:
    """A file that is repaired: the repair's words and count, and the rows that are left."""

    name: str
    data: bytes
    what: str
    count: int
    rows: int = 3
    settings: dict[str, Any] = field(default_factory=dict)
    first: str = ""


REPAIRED = [
    Mended(
        "a total at the end",
        text() + b"Total,,,2700,27,14.25,EUR\n",
        "rows of totals",
        1,
        first="row 3: '2700'",
    ),
    Mended(
        "a total at the beginning",
        text("\n,,,2700,27,14.25,\n", was="\n"),
        "rows of totals",
        1,
        first="row 0: '2700'",
    ),
    Mended(
        "files behind each other",
        text() + HEAD.encode() + GOOD.replace("2026-01", "2026-02").encode(),
        "headers within",
        1,
        6,
    ),
    Mended(
        "the same rows twice", text() + GOOD.encode(), "equal to an earlier one", 3, first="row 3"
    ),
    Mended(
        "hidden blanks",
        text("\u00a0a1\u200b", was="a1"),
        "cells of ad_id freed of hidden blanks",
        1,
        first="row 0",
    ),
    Mended("hidden blanks in a name", text("\u00a0spend", was="spend"), "names of columns", 1),
    Mended(
        "quotes of a spreadsheet", text('"=""77"""', was="a1"), "freed of a spreadsheet's quotes", 1
    ),
    Mended("the .0 of a float", text("77.0", was="a1"), "freed of the .0", 1),
    Mended(
        "less than ten", text(",< 10,", was=",9,"), "say less or more", 1, first="row 1: '< 10'"
    ),
    Mended(
        "missing day",
        text(was="2026-01-02,a1,c1,900,9,4.50,EUR\n"),
        "days missing",
        1,
        2,
        first="ad a1: 1 from 2026-01-02 on",
    ),
    Mended(
        "clicks above impressions",
        text(",901,4", was=",9,4"),
        "clicks above impressions",
        1,
        settings={"excess_clicks": "cap"},
        first="row 1: 901",
    ),
    Mended(
        "parts of a day",
        text("2026-01-01", was="2026-01-02"),
        "rows added",
        1,
        2,
        {"repeats": "sum"},
        "row 1",
    ),
]


@pytest.mark.parametrize("one", REPAIRED, ids=lambda one: one.name)
def test_what_is_repaired_is_reported(tmp_path: Path, one: Mended) -> None:
    path = tmp_path / "export.csv"
    path.write_bytes(one.data)
    record = load(path, **one.settings)
    (repair,) = (each for each in record.notes.repairs if one.what in each.what)
    assert repair.count == one.count
    assert one.first in "; ".join(repair.first)
    assert record.days.height == one.rows
    assert str(repair) in record.summary().text()
    assert list(tmp_path.iterdir()) == [path]


def day(number: int) -> date:
    return date(2026, 1, number)


DELIVERY_GOOD: dict[str, Any] = {
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
    given = {name: cells for name, cells in (DELIVERY_GOOD | changed).items() if cells is not None}
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
