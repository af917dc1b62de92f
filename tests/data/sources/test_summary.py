"""What is odd in a log is said with its count, and what is not is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from adwright.core.config import from_jsonable, to_jsonable
from adwright.data.column_kinds import RULE, FoundColumn
from adwright.data.schema import validate_events
from adwright.data.sources.mapped import ImportNotes
from adwright.data.sources.summary import (
    Description,
    LogSummary,
    early_responses,
    find_oddities,
    say_notes,
)

START = datetime(2024, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
N = 400


def log(**columns: object) -> pl.LazyFrame:
    """A click an hour, each of another person of 100; `columns` stand in place of these."""
    table = pl.DataFrame(
        {
            "event_id": [f"e{n}" for n in range(N)],
            "time": [START + timedelta(hours=n) for n in range(N)],
            "request_id": [f"r{n}" for n in range(N)],
            "user_id": [f"u{n % 100}" for n in range(N)],
            "kind": ["click"] * N,
            "item_id": [f"i{n % 150}" for n in range(N)],
            "value": [1.0] * N,
        }
    )
    return validate_events(
        table.with_columns(**{n: pl.Series(v) for n, v in columns.items()})
    ).lazy()


def with_time(*times: datetime) -> list[datetime]:
    return [*times, *(START + timedelta(hours=n) for n in range(N - len(times)))]


def test_a_plain_log_has_nothing_odd() -> None:
    assert find_oddities(log(), NOW) == ()
    assert find_oddities(log().head(0), NOW) == ()


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            {"time": with_time(datetime(1970, 1, 1, tzinfo=UTC), datetime(2019, 1, 1, tzinfo=UTC))},
            "time: 2 events lie far from the others, from 1970-01-01 to 2019-01-01",
        ),
        (
            {"time": [datetime(1970, 1, 1, 0, 0, n % 60, tzinfo=UTC) for n in range(N)]},
            "time: the events lie around 1970-01-01; if these are places in a sequence",
        ),
        (
            {"time": with_time(datetime(2031, 5, 6, tzinfo=UTC))},
            "time: 1 of 400 events (0.25%) are dated after now, 2026-01-01 00:00 UTC, the latest "
            "2031-05-06 00:00",
        ),
        (
            {"time": with_time(*[datetime(2031, 5, 6, tzinfo=UTC)] * 100)},
            "time: 100 of 400 events (25.00%) are dated after now",
        ),
        ({"value": [-1.0, -2.0, *[1.0] * (N - 2)]}, "value: 2 events have a negative one"),
        (
            {"user_id": [f"u{n % 120}" if n > 99 else "robot" for n in range(N)]},
            "user_id: 'robot' has 100 of 400 events (25%)",
        ),
        (
            {"item_id": [f"i{n % 120}" if n > 99 else "bag" for n in range(N)]},
            "item_id: 'bag' has 100 of 400 events (25%)",
        ),
        (
            {
                "kind": ["impression", "click"] * (N // 2),
                "request_id": [f"r{n // 4}" for n in range(N)],
                "user_id": [f"u{n // 4}" for n in range(N)],
                "time": [START + timedelta(seconds=n if n != 1 else -1) for n in range(N)],
            },
            "1 of 200 responses are dated before the first impression of their request",
        ),
    ],
)
def test_each_oddity_is_said(columns: dict[str, object], words: str) -> None:
    (said,) = find_oddities(log(**columns), NOW)
    assert said.startswith(words)


def test_a_long_tail_of_times_is_no_outlier() -> None:
    days = [START + timedelta(days=-n * n / 50) for n in range(N)]
    assert find_oddities(log(time=days), NOW) == ()


def test_responses_of_other_requests_do_not_count() -> None:
    assert early_responses(log(), ("click",)) == (0, 0)
    shown = log(kind=["impression", *["click"] * (N - 1)])
    assert early_responses(shown, ("click",)) == (0, 0)


SUMMARY = LogSummary(
    Description(3, 2, 2, START, START, {"click": 3}, {"median": 1.5}, {"items": 2}, ("type",)),
    {
        "type": FoundColumn("category", 2, "text"),
        "year": FoundColumn("number", 3, "its name says year"),
        "price": FoundColumn("number", 3, "fractions", odd="price: 1 cell is no number"),
    },
    ImportNotes(
        ("sku is taken as item_id",), {"equal to an earlier row": 4}, ("colour",), ("odd ids",)
    ),
    ("value: 2 events have a negative one",),
)


def test_a_summary_is_read_by_people() -> None:
    facts = SUMMARY.facts()
    assert facts["events"] == "3"
    assert facts["time"] == "2024-01-01 to 2024-01-01"
    assert facts["left out"] == "4 rows equal to an earlier row"
    assert facts["columns left out"].startswith("colour ")
    assert SUMMARY.sentences() == [
        "sku is taken as item_id",
        "type: category, 2 values (text)",
        "year: number (its name says year)",
        "price: number (fractions)",
        f"(By rule {RULE}. --column-kinds says otherwise)",
        "Warning: odd ids",
        "Warning: price: 1 cell is no number",
        "Warning: value: 2 events have a negative one",
    ]
    empty = LogSummary(Description(0, 0, 0, None, None, {}, {}, {}, ()))
    assert empty.facts()["time"] == "none"
    assert empty.sentences() == []


def test_a_summary_survives_a_file() -> None:
    assert from_jsonable(LogSummary, to_jsonable(SUMMARY)) == SUMMARY


def test_notes_are_told_to_the_logger(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "adwright"):
        say_notes(SUMMARY.notes, SUMMARY.columns)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "sku is taken as item_id"),
        ("INFO", "left out: the columns colour"),
        ("WARNING", "left out: 4 rows equal to an earlier row"),
        ("WARNING", "odd ids"),
        ("WARNING", "price: 1 cell is no number"),
    ]
