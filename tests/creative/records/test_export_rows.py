"""Bad exports: each is refused with its file, row, column, value and what to do, or repaired so
that the notes say it. Nothing is dropped in silence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from adwright.core.clock import FixedClock
from adwright.core.errors import (
    AdwrightError,
    ConfigError,
    FileUnreadableError,
    SchemaError,
    ValueInvalidError,
)
from adwright.creative.records.delivery import DeliveryRecord, NoteTaker
from adwright.creative.records.export_file import read_export
from adwright.creative.records.export_rows import (
    DeliveryOptions,
    RowReader,
    is_zone,
    name_export,
    only_rows,
)
from adwright.creative.records.import_delivery import import_delivery

CLOCK = FixedClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
HEAD = "day,ad_id,campaign_id,impressions,clicks,spend,currency\n"
GOOD = (
    "2026-01-01,a1,c1,1000,10,5.50,EUR\n"
    "2026-01-02,a1,c1,900,9,4.50,EUR\n"
    "2026-01-03,a1,c1,800,8,4.25,EUR\n"
)


def load(path: Path, **settings: Any) -> DeliveryRecord:
    return import_delivery(path, options=DeliveryOptions(**settings), clock=CLOCK, tell=False)


def text(changed: str = "", *, head: str = HEAD, rows: str = GOOD, was: str = "") -> bytes:
    """The good file with one piece replaced."""
    assert was in head + rows
    return (head + rows).replace(was, changed, 1).encode()


def meta(*ids: str) -> bytes:
    rows = "".join(f"2026-01-0{n + 1},{one},10,1,2.5\n" for n, one in enumerate(ids))
    return ("Day,Ad ID,Impressions,Link clicks,Amount spent (USD)\n" + rows).encode()


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
    Bad("header alone", HEAD.encode(), FILE, ("header and no rows",)),
    Bad("totals alone", HEAD.encode() + b"Total,,,5,1,1,EUR\n", FILE, ("no rows of ads",)),
    Bad("no header", GOOD.encode(), SCHEMA, ("header is missing", "--columns")),
    Bad(
        "another column in place of one",
        text("impression_share", was="impressions"),
        SCHEMA,
        ("impressions", "=impression_share"),
    ),
    Bad("latin-1", text("a\xe9", was="a1").decode().encode("latin1"), FILE, ("line 2", "latin1")),
    Bad("last row cut off", text()[:-10], FILE, ("line 4 has 5 fields",)),
    Bad("a spreadsheet", b"PK\x03\x04", SCHEMA, ("spreadsheet",), {}, ".xlsx"),
    Bad("two currencies in one row", text("£ 4.50 ", was="4.50"), VALUE, ("row 1", "EUR and GBP")),
    Bad(
        "missing day",
        text(was="2026-01-02,a1,c1,900,9,4.50,EUR\n"),
        VALUE,
        ("row 1", "missing", "zero"),
        {"gaps": "refuse"},
    ),
    Bad(
        "ids cut off at 15 digits",
        meta("120210987654321000", "120210987654322000"),
        VALUE,
        ("row 0", "2 of 2 ids", "16th digit"),
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


def read(frame: pl.DataFrame, **settings: Any) -> tuple[pl.DataFrame, NoteTaker]:
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
    rows, notes = read(frame)
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
        read(BASE.with_columns(pl.Series(name, cells) for name, cells in columns.items()))


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
    rows, _ = read(frame, **settings)
    assert rows["currency"].to_list() == [found] * 2


def test_a_sign_of_many_currencies_is_doubted_where_nothing_else_tells() -> None:
    frame = BASE.with_columns(spend=pl.lit("$1.5"))
    assert "$ is a sign of many currencies" in read(frame)[1].odd[0]
    rows, notes = read(frame, currency="CAD")
    assert rows["currency"].to_list() == ["CAD"] * 2
    assert rows["spend"].to_list() == [1.5] * 2
    assert notes.odd == []
    assert read(frame.with_columns(currency=pl.lit("AUD")))[1].odd == []


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
    rows, notes = read(BASE.with_columns(status=pl.Series(["Paused", "Active"])), time_zone="UTC")
    assert rows["stop_cause"].to_list() == ["operator", None]
    assert rows["time_zone"].to_list() == ["UTC", "UTC"]
    assert any("Active=no stop, Paused=operator" in one for one in notes.said)
