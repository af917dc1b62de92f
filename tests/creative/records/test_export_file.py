"""What stands before and between the rows of an export is put right and said, or refused."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from adwright.core.errors import (
    AdwrightError,
    ConfigError,
    FileUnreadableError,
    SchemaError,
    ValueInvalidError,
)
from adwright.creative.records.delivery import DeliveryRecord, NoteTaker
from adwright.creative.records.export_file import ExportTable, read_export
from adwright.creative.records.export_rows import (
    DeliveryOptions,
    NamedExport,
    RowReader,
    is_zone,
    known_names,
    name_export,
    only_rows,
    read_day,
    read_id,
    status_cause,
)
from adwright.creative.records.import_delivery import import_delivery
from adwright.data.schema import Check, in_file, run_checks
from adwright.data.sources.bounds import ReadBounds
from tests.support.creative.exports import CLOCK, GOOD, HEAD

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


def load(path: Path, **settings: Any) -> DeliveryRecord:
    return import_delivery(path, options=DeliveryOptions(**settings), clock=CLOCK, tell=False)


def text(changed: str = "", *, head: str = HEAD, rows: str = GOOD, was: str = "") -> bytes:
    """The good file with one piece replaced."""
    assert was in head + rows
    return (head + rows).replace(was, changed, 1).encode()


@dataclass(frozen=True)
class Bad:
    """A file that is refused: what of it, the error, and parts of its words."""

    name: str
    data: bytes
    error: type[AdwrightError]
    parts: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    ending: str = ".csv"


FILE, SCHEMA, VALUE = FileUnreadableError, SchemaError, ValueInvalidError
ERRORS = {"file": FILE, "schema": SCHEMA, "value": VALUE}
# Name, what is replaced in the good file, by what, the error, and parts of its words.
CHANGED = """\
more than anybody counts | 900 | 99999999999999999999 | value | row 1
a column twice | clicks,spend | clicks,clicks,spend | schema | twice; clicks
columns that read alike | spend,currency | spend,Spend | schema | read alike; Spend
no day | day | dayparting | schema | day; down by day
a quote that is not closed | a1 | "a1 | file | quote
negative spend | 4.50 | -4.50 | value | row 1; spend; -4.5
negative in brackets | 4.50 | (4.50) | value | row 1; spend
a word | 900 | lots | value | row 1; impressions; lots
clicks above impressions | ,9,4 | ,901,4 | value | clicks; cap
thousands read as decimals | 1000 | 1.234 | value | mixed; row 0; impressions; 1.234
mixed decimal signs | 4.50 | "1.004,50" | value | mixed; row 1; spend
currency in mid-campaign | 4.50,EUR | 4.50,USD | value | currency changes; row 1; USD
no code of a currency | 4.50,EUR | 4.50,Euro | value | currency
double day | 2026-01-02 | 2026-01-01 | value | row 1; 2026-01-01 of ad a1; sum
future day | 2026-01-03 | 2026-03-03 | value | row 2; after 2026-03-02
no such day | 2026-01-03 | 2026-02-30 | value | row 2; 2026-02-30
no impressions | 900 | -- | value | row 1; must not be empty
"""


def changed(line: str) -> Bad:
    name, was, now, error, parts = line.split(" | ")
    return Bad(name, text(now, was=was), ERRORS[error], tuple(parts.split("; ")))


REFUSED = [
    *map(changed, CHANGED.splitlines()),
    Bad("totals alone", HEAD.encode() + b"Total,,,5,1,1,EUR\n", FILE, ("no rows of ads",)),
    Bad("no header", GOOD.encode(), SCHEMA, ("header is missing", "--columns")),
    Bad(
        "another column in place of one",
        text("impression_share", was="impressions"),
        SCHEMA,
        ("impressions", "=impression_share"),
    ),
    Bad("a spreadsheet", b"PK\x03\x04", SCHEMA, ("spreadsheet",), {}, ".xlsx"),
    Bad("two currencies in one row", text("£ 4.50 ", was="4.50"), VALUE, ("row 1", "EUR and GBP")),
    Bad(
        "missing day",
        text(was="2026-01-02,a1,c1,900,9,4.50,EUR\n"),
        VALUE,
        ("row 1", "missing", "zero"),
        {"gaps": "refuse"},
    ),
    Bad("an empty id", text(" ", was="a1"), VALUE, ("row 0", "ad_id must not be empty")),
    Bad(
        "a day outside of its flight",
        text(
            head=HEAD.replace("\n", ",starts,ends\n"),
            rows=GOOD.replace("EUR\n", "EUR,2026-01-01,2026-01-02\n"),
        ),
        VALUE,
        ("row 2", "flight"),
    ),
    Bad(
        "the sums of a month",
        b"Reporting starts,Reporting ends,Ad ID,Impressions,Amount spent (EUR)\n"
        b"2026-01-01,2026-01-31,1,5,1\n",
        VALUE,
        ("one day or seven", "31"),
    ),
    Bad(
        "an account with two time zones",
        text(
            head=HEAD.replace("\n", ",time zone\n"),
            rows=GOOD.replace("EUR\n", "EUR,Europe/Paris\n", 2).replace("EUR\n", "EUR,UTC\n"),
        ),
        VALUE,
        ("row 2", "two time zones", "UTC"),
    ),
    Bad("a total in a short row", text() + b"Total,2700\n", FILE, ("line 5 has 2 fields", "Total")),
]


@pytest.mark.parametrize("bad", REFUSED, ids=lambda bad: bad.name)
def test_a_bad_export_is_refused(tmp_path: Path, bad: Bad) -> None:
    path = tmp_path / f"export{bad.ending}"
    path.write_bytes(bad.data)
    with pytest.raises(bad.error) as caught:
        load(path, **bad.settings)
    words = str(caught.value)
    assert all(part in words for part in (str(path), "->", *bad.parts)), words
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_fine_needs_no_repair(tmp_path: Path) -> None:
    for name, data in (
        ("commas", text()),
        ("semicolons", text().replace(b",", b";").replace(b".", b",")),
        ("tabs", text().replace(b",", b"\t")),
        ("no last line end", text()[:-1]),
        ("windows", text().replace(b"\n", b"\r\n")),
    ):
        (tmp_path / f"{name}.csv").write_bytes(data)
        record = load(tmp_path / f"{name}.csv")
        assert record.notes.repairs == ()
        assert record.notes.warnings == ()
        assert record.days["spend"].to_list() == [5.5, 4.5, 4.25]
        assert record.days["impressions"].to_list() == [1000, 900, 800]


def test_a_line_break_inside_of_quotes_is_no_row(tmp_path: Path) -> None:
    head = HEAD.replace("\n", ",ad name\n")
    rows = GOOD.replace("EUR\n", 'EUR,"Bread\n\n,,,\nagain"\n')
    (tmp_path / "e.csv").write_text(head + rows)
    record = load(tmp_path / "e.csv")
    assert record.days["ad_name"].to_list() == ["Bread\n\n,,,\nagain"] * 3
    assert record.notes.repairs == ()


def test_rows_are_those_of_the_file_after_some_are_left_out(tmp_path: Path) -> None:
    rows = GOOD.replace("\n2026-01-03", "\nTotal,,,1900,19,10,EUR\n2026-01-03").replace(
        "4.25", "-1"
    )
    (tmp_path / "e.csv").write_text(HEAD + rows)
    with pytest.raises(ValueInvalidError) as caught:
        load(tmp_path / "e.csv")
    assert (caught.value.row, caught.value.column, caught.value.value) == (3, "spend", -1.0)


def test_a_total_that_is_another_sum_is_doubted(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(HEAD + GOOD + 'Total,,,"3,700",27,14.25,EUR\n')
    (warning,) = load(tmp_path / "e.csv").notes.warnings
    assert "3,700 impressions, the rows have 2,700" in warning


def export_rows_read(frame: pl.DataFrame, **settings: Any) -> tuple[pl.DataFrame, NoteTaker]:
    """A table in memory as rows of ours."""
    table = read_export(frame, len)
    named = name_export(frame.columns, "table")
    notes = NoteTaker()
    kept, _ = only_rows(table, named.columns)
    return RowReader(kept, named, DeliveryOptions(**settings), notes).read(), notes


BASE = pl.DataFrame(
    {"day": [datetime(2026, 1, 1).date()] * 2, "ad_id": [1, 2], "impressions": [10, 20]}
)


def test_tables_in_memory_keep_their_types() -> None:
    frame = BASE.with_columns(
        clicks=pl.Series([1.0, float("nan")]), spend=pl.Series([1, 2], dtype=pl.Decimal(10, 2))
    )
    rows, notes = export_rows_read(frame)
    assert rows["clicks"].to_list() == [1, None]
    assert rows["spend"].to_list() == [1.0, 2.0]
    assert rows["ad_id"].to_list() == ["1", "2"]
    assert [one.what for one in notes.repairs] == ["cells of clicks that are NaN kept as unknown"]


@pytest.mark.parametrize(
    ("columns", "error", "part"),
    [
        ({"clicks": [0.5, 1.0]}, ValueInvalidError, "whole number"),
        ({"clicks": [2**60, 1]}, ValueInvalidError, "whole number"),
        ({"spend": [1.0, float("inf")]}, ValueInvalidError, "finite"),
        ({"spend": [[1.0], [2.0]]}, SchemaError, "number or text"),
        ({"ad_id": [0.5, 1.0]}, ValueInvalidError, "float"),
        ({"ad_id": [1e17, 1.0]}, ValueInvalidError, "float"),
        ({"ad_name": [["a"], ["b"]]}, SchemaError, "text"),
    ],
)
def test_tables_of_other_types_are_refused(
    columns: dict[str, list[Any]], error: type[Exception], part: str
) -> None:
    with pytest.raises(error, match=part):
        export_rows_read(
            BASE.with_columns(pl.Series(name, cells) for name, cells in columns.items())
        )


@pytest.mark.parametrize(
    ("currency", "settings", "found"),
    [
        (["eur", " EUR"], {}, "EUR"),
        (None, {"currency": "SEK"}, "SEK"),
        (["EUR", None], {"currency": "EUR"}, "EUR"),
    ],
)
def test_currencies(currency: list[str] | None, settings: dict[str, str], found: str) -> None:
    frame = BASE.with_columns(spend=pl.lit("1.5"))
    if currency is not None:
        frame = frame.with_columns(currency=pl.Series(currency))
    rows, _ = export_rows_read(frame, **settings)
    assert rows["currency"].to_list() == [found] * 2


def test_a_sign_of_many_currencies_is_doubted_where_nothing_else_tells() -> None:
    frame = BASE.with_columns(spend=pl.lit("$1.5"))
    assert "$ is a sign of many currencies" in export_rows_read(frame)[1].odd[0]
    rows, notes = export_rows_read(frame, currency="CAD")
    assert rows["currency"].to_list() == ["CAD"] * 2
    assert rows["spend"].to_list() == [1.5] * 2
    assert notes.odd == []
    assert export_rows_read(frame.with_columns(currency=pl.lit("AUD")))[1].odd == []


def test_the_settings_are_checked() -> None:
    makers: list[Callable[[], object]] = [
        lambda: DeliveryOptions(currency="euro"),
        lambda: DeliveryOptions(time_zone="Mars/Olympus"),
        lambda: DeliveryOptions(decimal=";"),  # type: ignore[arg-type]
    ]
    for make in makers:
        with pytest.raises(ConfigError):
            make()
    assert is_zone("Europe/Paris")
    assert not is_zone("(GMT-05:00) Eastern Time")


def test_status_and_time_zone() -> None:
    rows, notes = export_rows_read(
        BASE.with_columns(status=pl.Series(["Paused", "Active"])), time_zone="UTC"
    )
    assert rows["stop_cause"].to_list() == ["operator", None]
    assert rows["time_zone"].to_list() == ["UTC", "UTC"]
    assert any("Active=no stop, Paused=operator" in one for one in notes.said)
