"""A time is read as its writer meant it, or refused; two days are never guessed between."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.data.checks import in_file
from adwright.data.sources.times import TimeColumn, format_of, is_format, time_column

NOON = datetime(2024, 3, 4, 12, tzinfo=UTC)
SECONDS = int(NOON.timestamp())


def read(values: list[Any], **settings: str) -> TimeColumn:
    return time_column(pl.LazyFrame({"t": values}), "t", in_file("f"), **settings)


def moments(values: list[Any], **settings: str) -> list[datetime | None]:
    frame = pl.LazyFrame({"t": values})
    found = frame.select(t=time_column(frame, "t", in_file("f"), **settings).value).collect()
    assert found.schema == {"t": pl.Datetime("us", "UTC")}
    return found["t"].to_list()


@pytest.mark.parametrize(
    ("value", "settings"),
    [
        (NOON, {}),
        (NOON.replace(tzinfo=None), {}),
        (NOON.astimezone(timezone(timedelta(hours=5.5))), {}),
        (SECONDS, {}),
        (float(SECONDS), {}),
        (SECONDS * 1000, {}),
        (SECONDS * 10**6, {}),
        (SECONDS * 10**9, {}),
        (SECONDS, {"time_format": "s"}),
        (SECONDS * 1000, {"time_format": "ms"}),
        (str(SECONDS), {}),
        (str(SECONDS * 1000), {}),
        (str(SECONDS * 10**9), {}),
        (str(SECONDS), {"time_format": "s"}),
        (f"{SECONDS * 1000}", {"time_format": "ms"}),
        ("2024-03-04T12:00:00Z", {}),
        (" 2024-03-04 12:00:00 UTC", {}),
        ("2024-03-04T17:30:00+05:30", {"time_zone": "Europe/Paris"}),
        ("2024-03-04 13:00", {"time_zone": "Europe/Paris"}),
        ("04/03/2024 12:00", {"time_format": "%d/%m/%Y %H:%M"}),
        ("04/03/2024 13:00", {"time_format": "%d/%m/%Y %H:%M", "time_zone": "Europe/Paris"}),
        ("4 Mar 2024, 17:30 +0530", {"time_format": "%d %b %Y, %H:%M %z"}),
        (20240304120000, {"time_format": "%Y%m%d%H%M%S"}),
        ("24030412", {"time_format": "%y%m%d%H"}),
    ],
)
def test_one_instant_in_many_spellings(value: object, settings: dict[str, str]) -> None:
    assert moments([value, None, value], **settings) == [NOON, None, NOON]


@pytest.mark.parametrize("value", [date(2024, 3, 4), "2024-03-04", 20240304, "20240304"])
def test_days(value: object) -> None:
    settings = {} if value in (date(2024, 3, 4), "2024-03-04") else {"time_format": "%Y%m%d"}
    assert moments([value], **settings) == [datetime(2024, 3, 4, tzinfo=UTC)]


def test_hours_that_come_twice_or_never() -> None:
    texts = ["2024-10-27 02:30", "2024-03-31 02:30", "2024-03-31 03:30"]
    found = moments(texts, time_zone="Europe/Paris")
    paris = ZoneInfo("Europe/Paris")
    assert found == [
        datetime(2024, 10, 27, 2, 30, tzinfo=paris, fold=0).astimezone(UTC),
        datetime(2024, 3, 31, 3, 30, tzinfo=paris).astimezone(UTC),
        datetime(2024, 3, 31, 3, 30, tzinfo=paris).astimezone(UTC),
    ]


def test_how_it_was_read_is_said() -> None:
    assert read([NOON]).said == ()
    assert read([NOON.replace(tzinfo=None)]).said == ("t: times name no zone and are read as UTC",)
    assert read(["2024-03-04"], time_zone="Asia/Tokyo").said == (
        "t: times name no zone and are read as Asia/Tokyo",
    )
    assert read([SECONDS]).said == ()
    assert read([SECONDS * 1000]).said == ("t: the numbers are read as milliseconds since 1970",)
    mixed = read(["2024-03-04T12:00:00", "2024-03-04T12:00:00", "2024-03-04T12:00:00+05:30"])
    assert mixed.odd == (
        "t: 2 times name no zone and are read as UTC, 1 name theirs: are both right?",
    )


@pytest.mark.parametrize(
    ("values", "settings", "words"),
    [
        (["03/04/2024"], {}, r'row 0.*"%d/%m/%Y" or "%m/%d/%Y"'),
        (["03/04/2024", "14/04/2024"], {}, r'say which is the day: --time-format "%d/%m/%Y"$'),
        (["3.4.24 10:00:00"], {}, r"%d\.%m\.%y %H:%M:%S"),
        (["2024-03-04", "noon"], {}, r"row 1.*value 'noon'.*write times as 2017-01-31"),
        ([str(SECONDS), str(SECONDS * 1000)], {}, r"row 1.*looks like milliseconds"),
        (["20240304", "20240305"], {}, r"dates as one number.*--time-format \"%Y%m%d\" or s"),
        ([20240304, 20240305], {}, r"dates as one number"),
        (["202403041200"], {}, r"cannot be read as a time"),
        ([202403041200], {}, r"cannot be read as a time"),
        (["2024-03-04"], {"time_format": "%d/%m/%Y"}, r"of the format '%d/%m/%Y'.*row 0"),
        (["noon"], {"time_format": "ms"}, "row 0"),
        ([SECONDS, SECONDS, 2**62], {}, "row 2"),
    ],
)
def test_what_could_mean_two_things_or_nothing_is_refused(
    values: list[Any], settings: dict[str, str], words: str
) -> None:
    with pytest.raises(ValueInvalidError, match=words):
        read(values, **settings)


def test_times_outside_of_the_calendar_are_refused() -> None:
    wild = pl.Series("t", [0, 2**62]).cast(pl.Datetime("ms")).to_frame().lazy()
    with pytest.raises(ValueInvalidError, match=r"years 1 to 9999 .*f, row 1, column t"):
        time_column(wild, "t", in_file("f"))


def test_a_column_of_something_else_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"t must be a timestamp, text or a number, not List"):
        read([[1]])


def test_what_is_a_format() -> None:
    for text in ("%d/%m/%Y", "%y%m%d%H", "%Y-%m-%dT%H:%M:%S%z", "%d %b %Y %I:%M %p", "%F %T"):
        assert is_format(text)
    for text in ("%Q", "%", "%H%"):
        assert not is_format(text)


def test_formats_of_dates() -> None:
    assert format_of(["31/01/2024"]) == ("%d/%m/%Y",)
    assert format_of(["01-31-24T10:00"]) == ("%m-%d-%yT%H:%M",)
    assert format_of(["01/02/2024 10:00:00"]) == ("%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S")
    assert format_of(["2024-01-31"]) == ()
