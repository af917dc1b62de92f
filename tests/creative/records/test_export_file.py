"""What stands before and between the rows of an export is put right and said, or refused."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from adwright.core.errors import AdwrightError, FileUnreadableError, SchemaError, ValueInvalidError
from adwright.creative.records.export_file import ExportTable, read_export
from adwright.creative.records.export_rows import (
    NamedExport,
    known_names,
    name_export,
    read_day,
    read_id,
    status_cause,
)
from adwright.data.schema import Check, in_file, run_checks
from adwright.data.sources.bounds import ReadBounds

PLAIN = "Day,Ad ID,Cost\n2026-01-01,1,2.5\n2026-01-02,1,3.5\n"
TITLE = 'Ad report\n"January 1, 2026 - January 2, 2026"\n'


def known(names: Sequence[str]) -> int:
    return len({"Day", "Ad ID", "Cost"} & set(names))


def read(path: Path, data: bytes, **bounds: int) -> ExportTable:
    path.write_bytes(data)
    return read_export(path, known, bounds=ReadBounds(**bounds))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("before", "encoding", "repairs"),
    [
        ("", "utf-8", []),
        ("", "utf-8-sig", ["byte-order mark at the beginning passed over"]),
        ("", "utf-16", ["file read as UTF-16"]),
        (TITLE, "utf-8", ["lines before the header passed over"]),
        (TITLE, "utf-16", ["file read as UTF-16", "lines before the header passed over"]),
        (
            TITLE,
            "utf-8-sig",
            ["byte-order mark at the beginning passed over", "lines before the header passed over"],
        ),
    ],
)
@pytest.mark.parametrize(("separator", "end"), [(",", "\n"), ("\t", "\n"), (",", "\r")])
def test_the_header_is_found(
    tmp_path: Path,
    before: str,
    encoding: str,
    repairs: list[str],
    separator: str,
    end: str,
    *,
    packed: bool,
) -> None:
    data = (before + PLAIN.replace(",", separator)).replace("\n", end).encode(encoding)
    path = tmp_path / ("e.csv.gz" if packed else "e.csv")
    table = read(path, gzip.compress(data, mtime=0) if packed else data)
    assert table.frame.rows() == [("2026-01-01", "1", "2.5"), ("2026-01-02", "1", "3.5")]
    assert table.frame.columns == ["Day", "Ad ID", "Cost"]
    assert [one.what for one in table.repairs] == repairs
    assert (table.name, table.locate(1)) == (str(path), (str(path), 1))


def test_the_lines_of_errors_are_those_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match="line 5 has 2 fields") as caught:
        read(tmp_path / "e.csv", (TITLE + PLAIN[:-5]).encode())
    assert caught.value.file == str(tmp_path / "e.csv")
    with pytest.raises(FileUnreadableError, match="line 4 is not UTF-8"):
        read(tmp_path / "e.csv", (TITLE + PLAIN.replace("2.5", "\xe9")).encode("latin1"))


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "empty"),
        (b"Day,Ad ID,Cost\n", "no rows"),
        (b"Day,Ad ID,Cost\n,,\n", "no rows"),
        (TITLE.encode() + b"Day,Ad ID,Cost\n", "no rows"),
        (PLAIN.encode("utf-16-le"), "zero bytes"),
        (PLAIN.encode("utf-16")[:-1], "UTF-16"),
        (gzip.compress((TITLE + PLAIN).encode(), mtime=0)[:-9], "damaged or cut off"),
    ],
)
def test_what_holds_no_rows_is_refused(tmp_path: Path, data: bytes, part: str) -> None:
    with pytest.raises(FileUnreadableError, match=part):
        read(tmp_path / "e.csv", data)


def test_what_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    data = gzip.compress((TITLE + PLAIN + "2026-01-03,1,4\n" * 10_000).encode(), mtime=0)
    with pytest.raises(FileUnreadableError, match="bound of memory"):
        read(tmp_path / "e.csv.gz", data, memory=10_000)


def test_blank_rows_are_counted_but_not_inside_of_quotes(tmp_path: Path) -> None:
    data = TITLE + 'Day,Ad ID,Cost\n\n2026-01-01,"1\n\n,,",2\n,,\n \u00a0,,\n2026-01-02,1,3\n'
    table = read(tmp_path / "e.csv", data.encode())
    assert table.frame["Ad ID"].to_list() == ["1\n\n,,", "1"]
    blank = table.repairs[-1]
    assert (blank.what, blank.count) == ("blank rows passed over", 3)
    assert blank.first == ("line 4", "line 8", "line 9")


def test_blank_rows_of_other_tables() -> None:
    frame = pl.DataFrame({"a": ["x", " ", None], "n": [1, None, None]})
    table = read_export(frame, known)
    assert table.frame.rows() == [("x", 1)]
    (repair,) = table.repairs
    assert (repair.count, repair.first) == (2, ("row 1", "row 2"))


def test_rows_that_are_left_out_do_not_move_the_others() -> None:
    table = read_export(pl.DataFrame({"n": [1, 2, 3, 4]}), known)
    odd = table.without(table.frame["n"] % 2 == 0, "even ones left out", table.frame["n"])
    assert odd.frame["n"].to_list() == [1, 3]
    assert odd.repairs[0].first == ("row 1: 2", "row 3: 4")
    again = odd.without(pl.Series([True, None]), "the first left out")
    with pytest.raises(ValueInvalidError) as caught:
        run_checks(again.frame.lazy(), [Check("n", pl.col("n") > 0, "none", "none")], again.locate)
    assert caught.value.row == 2
    assert again.without(pl.Series([False]), "nothing") is again


def test_semicolons_suggest_a_decimal_comma(tmp_path: Path) -> None:
    assert read(tmp_path / "e.csv", PLAIN.replace(",", ";").encode()).decimal_comma
    assert not read(tmp_path / "e.csv", PLAIN.encode()).decimal_comma


PLACE = in_file("e.csv")
DAY = date(2026, 1, 31)


def ids(*cells: Any) -> list[str | None]:
    frame = pl.DataFrame({"id": list(cells)})
    return frame.select(read_id(frame, "id", PLACE).value).to_series().to_list()


def days(*cells: Any, **settings: str) -> list[date | None]:
    frame = pl.DataFrame({"d": list(cells)})
    return frame.select(read_day(frame, "d", PLACE, **settings).value).to_series().to_list()


def test_ids_as_they_are() -> None:
    assert ids(" a1 ", "007", "120210987654321987") == ["a1", "007", "120210987654321987"]
    assert ids(7, 120210987654321987) == ["7", "120210987654321987"]
    assert ids(7.0, float("nan"), None) == ["7", None, None]
    assert ids('="120210987654321987"', "'42", "77.0", "--", "") == (
        ["120210987654321987", "42", "77", None, None]
    )
    # Not as a spreadsheet writes it: ids of letters and digits.
    plain = ["1e5x", "x1E+17", "act_12", "12E+15"]
    assert ids(*plain) == plain


def test_what_is_mended_is_counted() -> None:
    frame = pl.DataFrame({"id": ["a", '="1"', "'2", "3.0"]})
    quotes, floats = read_id(frame, "id", PLACE).repairs
    assert (quotes.count, floats.count) == (2, 1)
    assert "row 1" in quotes.first[0]
    assert "row 3: '3.0'" in floats.first[0]
    (repair,) = read_id(pl.DataFrame({"id": [1.0, 2.0]}), "id", PLACE).repairs
    assert repair.count == 2


@pytest.mark.parametrize(
    "cells",
    [
        ("a", "1.2021E+17"),
        ("a", "1,2E17"),
        ("a", "120210987654321987.0"),
        (1.0, 1.5),
        (1.0, 2.0**53),
        ("a", "NaN"),
        ("a", "x\x07"),
        ("a", "x" * 501),
    ],
)
def test_lost_digits_are_refused(cells: tuple[Any, ...]) -> None:
    with pytest.raises(ValueInvalidError) as caught:
        ids(*cells)
    assert (caught.value.row, caught.value.column) == (1, "id")


def test_zeros_from_the_16th_digit_on() -> None:
    start = 120210987654321987
    # One in a thousand by chance; of a thousand ids one is no sign.
    assert len(ids(*(str(start + 13 * n) for n in range(1000)))) == 1000
    with pytest.raises(ValueInvalidError, match="4 of 4 ids end in zeros"):
        ids(*(str((start + 1000 * n) // 1000 * 1000) for n in range(4)))
    with pytest.raises(ValueInvalidError, match="1 of 1 ids"):
        ids(str(start // 1000 * 1000))
    # Of 16 digits one in ten does.
    assert ids("1738373141733370") == ["1738373141733370"]
    frame = pl.DataFrame({"id": ["1738373141733370"]})
    assert "1 of 1" in read_id(frame, "id", PLACE).odd[0]
    with pytest.raises(ValueInvalidError, match="30 of 30"):
        ids(*(f"173837314173{n:03d}0" for n in range(100, 130)))


def test_other_types_are_no_ids() -> None:
    with pytest.raises(SchemaError, match="text or a whole number"):
        ids(True, False)
    assert ids(None) == [None]


DAYS = (
    "2026-01-31; 2026-01-31\u00a0;2026/01/31;2026.01.31;20260131;2026-01-31 00:00:00;Jan 31, 2026;"
    "2026-01-31T00:00:00Z;January 31, 2026;Sat, Jan 31, 2026;31 Jan 2026;31-Jan-2026;31-Jan-26;"
    "31/01/2026;01/31/2026;31.01.2026;31.01.26"
)


@pytest.mark.parametrize("cell", [*DAYS.split(";"), DAY, datetime(2026, 1, 31), 20260131])
def test_one_day_in_many_spellings(cell: Any) -> None:
    assert days(cell, cell) == [DAY, DAY]


def test_the_other_rows_tell_which_is_the_day() -> None:
    assert days("01/02/2026", "13/02/2026") == [date(2026, 2, 1), date(2026, 2, 13)]
    assert days("01/02/2026", "02/13/2026") == [date(2026, 1, 2), date(2026, 2, 13)]
    assert days("01/02/2026", date_format="%m/%d/%Y") == [date(2026, 1, 2)]
    assert days("2026-01-31", None, "--", "") == [DAY, None, None, None]
    found = read_day(pl.DataFrame({"d": ["31.01.2026"]}), "d", PLACE)
    assert found.said == ("d: dates are read as %d.%m.%Y",)


@pytest.mark.parametrize(
    ("cells", "settings", "row", "part"),
    [
        (("01/02/2026", "03/02/2026"), {}, 0, "'%d/%m/%Y' or '%m/%d/%Y'"),
        (("01.02.2026",), {}, 0, "'%d.%m.%Y' or '%m.%d.%Y'"),
        (("13/02/2026", "02/13/2026"), {}, 0, "date"),
        (("2026-01-31", "01/31/2026"), {}, 1, "%Y-%m-%d"),
        (("2026-01-31", "2026-01-32"), {}, 1, "date"),
        (("46053",), {}, 0, "spreadsheet"),
        (("2026-W05",), {}, 0, "date"),
        (("yesterday",), {}, 0, "date"),
        (("2026-01-31", "2026-01-31 07:00:00"), {}, 1, "by day"),
        ((datetime(2026, 1, 31, 7),), {}, 0, "by day"),
        (("31/01/2026",), {"date_format": "%m/%d/%Y"}, 0, "date"),
    ],
)
def test_what_could_be_two_days_or_none_is_refused(
    cells: tuple[Any, ...], settings: dict[str, str], row: int, part: str
) -> None:
    with pytest.raises(ValueInvalidError) as caught:
        days(*cells, **settings)
    assert caught.value.row == row
    assert part in str(caught.value)


def test_other_types_are_no_days() -> None:
    with pytest.raises(SchemaError, match="date or text"):
        days(1.5)


META = (
    "Reporting starts,Reporting ends,Ad ID,Impressions,Link clicks,Clicks (all),Amount spent (EUR)"
)
API = "date_start,date_stop,ad_id,impressions,clicks,spend,account_currency"
GOOGLE = "Day,Ad ID,Impr.,Clicks,Cost,Currency code,Conversions"
GAQL = "segments.date,ad_group_ad.ad.id,metrics.impressions,metrics.cost_micros"
CAMEL = "segments.date,adGroupAd.ad.id,metrics.impressions,metrics.costMicros"
TIKTOK = "By Day,Ad ID,Cost,Impressions,Clicks (destination),Conversions"
TIKTOK_API = "ad_id,stat_time_day,spend,impressions,clicks,conversion"
OURS = "ad_id,day,impressions,spend"


def named(header: str, **settings: object) -> NamedExport:
    return name_export(header.split(","), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("header", "source", "columns"),
    [
        (
            META,
            "meta",
            {"day": "Reporting starts", "clicks": "Link clicks", "spend": "Amount spent (EUR)"},
        ),
        (
            API,
            "meta",
            {"day": "date_start", "period_end": "date_stop", "currency": "account_currency"},
        ),
        (GOOGLE, "google", {"day": "Day", "impressions": "Impr.", "spend": "Cost"}),
        (GAQL, "google", {"ad_id": "ad_group_ad.ad.id", "micros": "metrics.cost_micros"}),
        (CAMEL, "google", {"ad_id": "adGroupAd.ad.id", "micros": "metrics.costMicros"}),
        (TIKTOK, "tiktok", {"day": "By Day", "clicks": "Clicks (destination)", "spend": "Cost"}),
        (TIKTOK_API, "tiktok", {"day": "stat_time_day", "conversions": "conversion"}),
        (OURS, "table", {"day": "day", "spend": "spend"}),
    ],
)
def test_platforms_and_columns(header: str, source: str, columns: dict[str, str]) -> None:
    found = named(header)
    assert found.source == source
    assert columns.items() <= found.columns.items()
    assert known_names(header.split(",")) >= 3
    # What is asked for wins over what is seen.
    assert named(header, source=source).columns == found.columns


def test_what_is_taken_and_what_is_left_is_said() -> None:
    found = named(META + ",Colour")
    assert found.currency == "EUR"
    assert found.left == ("Clicks (all)", "Colour")
    assert "Link clicks is taken as clicks (and not Clicks (all))" in found.said
    assert not any("Impressions" in one for one in found.said)


def test_a_day_wins_over_the_dates_of_the_report() -> None:
    found = named("Day," + META)
    assert found.columns["day"] == "Day"
    assert "period_end" not in found.columns
    assert {"Reporting starts", "Reporting ends"} <= set(found.left)
    assert "week" not in named("Day,Week," + META).columns
    assert named("Week,Ad ID,Impr.").columns["week"] == "Week"


def test_what_is_given_wins() -> None:
    found = named(META, given={"clicks": "clicks (ALL)", "audience": "Reporting ends"})
    assert found.columns["clicks"] == "Clicks (all)"
    assert found.columns["audience"] == "Reporting ends"
    assert "period_end" not in found.columns
    assert named("a,b,c", given={"ad_id": "a", "day": "b", "impressions": "c"}).source == "table"
    # Spend that is given is not in millionths.
    assert "micros" not in named(GAQL + ",x", given={"spend": "x"}).columns


@pytest.mark.parametrize(
    ("header", "settings", "parts"),
    [
        ("a,b,c", {}, ("platform",)),
        ("a,b,c", {"first_line": "a,b,c"}, ("header is missing", "'a,b,c'")),
        ("Ad ID,Impressions,Amount spent (USD)", {}, ("day", "by day")),
        ("Day,Ad name,Impressions,Amount spent (USD)", {}, ("ad_id", "Ad name")),
        ("Day,Ad ID,Impresions,Amount spent (USD)", {}, ("impressions=Impresions",)),
        ("Day,Ad ID,Impressions,Amount spent,Amount Spent (USD)", {}, ("read alike",)),
        (META, {"given": {"clics": "Link clicks"}}, ("'clics'", "clicks")),
        (META, {"given": {"clicks": "Link click"}}, ("'Link click'", "'Link clicks'")),
    ],
)
def test_what_cannot_be_told_is_refused(
    header: str, settings: dict[str, object], parts: tuple[str, ...]
) -> None:
    with pytest.raises(AdwrightError) as caught:
        named(header, file="e.csv", **settings)
    assert all(part in str(caught.value) for part in ("->", *parts)), str(caught.value)


def test_as_many_signs_of_two_platforms_are_none() -> None:
    assert named(META + ",Currency code,Impr.,By Day,Primary status").source == "meta"
    with pytest.raises(SchemaError, match="which platform"):
        named("Day,Ad ID,Impressions,Amount spent,Currency code")


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("", "active,Enabled,STATUS_DELIVERY_OK,Eligible"),
        ("operator", "Paused,CAMPAIGN_PAUSED,adset_off,Removed,AD_STATUS_DISABLE"),
        ("flight", "completed,Campaign ended,ADGROUP_STATUS_TIME_DONE"),
        ("budget", "CAMPAIGN_STATUS_BUDGET_EXCEED"),
        ("account", "Account suspended"),
        ("refused", "Disapproved,Ad rejected"),
        ("automatic", "Paused by rule"),
    ],
)
def test_words_of_a_status(cause: str, words: str) -> None:
    assert {status_cause(one) for one in words.split(",")} == {cause}


def test_the_names_are_ours() -> None:
    assert known_names(["Ad ID", "Day", "Headline", "stop_cause"]) == 3
    assert known_names(["Kosten"], ["kosten"]) == 1
    assert known_names(["Kosten"]) == 0
