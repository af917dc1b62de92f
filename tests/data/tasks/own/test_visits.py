"""Visits and splits of a log, against what a reader would write down."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.schema import validate_events
from adwright.data.tasks.own.visits import (
    read_visits,
    split_visits,
    time_kind,
    visits_digest,
)
from adwright.data.tasks.split import check_cut

START = datetime(2024, 1, 1, 9, 30, tzinfo=UTC)
Row = tuple[str, str, float, str, str]


def log_of(rows: list[Row], value: float | None = None) -> pl.LazyFrame:
    """(user, request, minutes, kind, item) to an EventLog."""
    table = pl.DataFrame(
        [
            {
                "event_id": f"e{n}",
                "user_id": user,
                "request_id": request,
                "time": START + timedelta(minutes=minutes),
                "kind": kind,
                "item_id": item,
                "value": None if value is None else value + n,
            }
            for n, (user, request, minutes, kind, item) in enumerate(rows)
        ],
        schema_overrides={"value": pl.Float64},
    )
    return validate_events(table).lazy()


def minutes_of(events: pl.DataFrame) -> list[tuple[str, float]]:
    return [
        (item, (time - START).total_seconds() / 60)
        for item, time in events.select("item_id", "time").iter_rows()
    ]


def test_a_request_counts_at_its_first_moment() -> None:
    rows: list[Row] = [
        ("a", "r1", 0, "purchase", "i1"),
        ("a", "r1", 5, "purchase", "i2"),
        ("a", "r2", 9, "purchase", "i3"),
    ]
    found = read_visits(log_of(rows))
    assert minutes_of(found.events) == [("i1", 0), ("i2", 0), ("i3", 9)]
    assert found.kinds == ("purchase",)
    assert found.why == "each request of purchase, at its first moment"


def test_a_decision_counts_from_its_impression() -> None:
    rows: list[Row] = [
        ("a", "r1", 0, "impression", "i1"),
        ("a", "r1", 0, "impression", "i2"),
        ("a", "r1", 3, "click", "i2"),
        ("a", "r2", 9, "impression", "i4"),
        ("a", "r2", 10, "click", "i4"),
    ]
    assert minutes_of(read_visits(log_of(rows)).events) == [("i2", 0), ("i4", 9)]


def test_what_another_request_reaches_into_counts_by_its_moments() -> None:
    """The second click of r1 comes after r2 began: r2 must not know it."""
    rows: list[Row] = [
        ("a", "r1", 0, "impression", "i1"),
        ("a", "r1", 1, "click", "i1"),
        ("a", "r2", 4, "click", "i2"),
        ("a", "r1", 8, "click", "i3"),
        ("a", "r3", 9, "click", "i4"),
        ("a", "r3", 9, "click", "i5"),
    ]
    found = read_visits(log_of(rows))
    assert minutes_of(found.events)[:3] == [("i1", 1), ("i2", 4), ("i3", 8)]
    assert found.why.endswith("1 that others reach into count by their moments")


def test_where_a_request_is_a_session_its_moments_are_visits() -> None:
    rows: list[Row] = [(f"u{n}", f"s{n}", at, "view", f"i{at}") for n in range(4) for at in (0, 7)]
    found = read_visits(log_of(rows))
    assert minutes_of(found.events) == [("i0", 0), ("i7", 7)] * 4
    assert "0% of the users have two requests" in found.why


def test_kinds_and_values_that_count() -> None:
    rows: list[Row] = [
        ("a", "r1", 0, "view", "i1"),
        ("a", "r2", 1, "rating", "i2"),
        ("a", "r3", 2, "rating", "i3"),
        ("a", "r4", 3, "stop", "i4"),
    ]
    log = log_of(rows, value=2)
    assert read_visits(log).kinds == ("view", "rating")
    assert read_visits(log, ("rating", "click")).events["item_id"].to_list() == ["i2", "i3"]
    assert read_visits(log, min_value=4).events["item_id"].to_list() == ["i3"]
    with pytest.raises(ValueInvalidError, match="no event is history"):
        read_visits(log, ("purchase",))
    with pytest.raises(ValueInvalidError, match="no event is left"):
        read_visits(log, min_value=99)


def test_times_tell_what_they_count() -> None:
    assert time_kind(pl.Series([START, START + timedelta(hours=1)])) == "instants"
    days = [datetime(2024, 1, n, 12, tzinfo=UTC) for n in (1, 2)]
    assert time_kind(pl.Series(days)) == "days"
    assert time_kind(pl.Series([datetime(1970, 1, 3, tzinfo=UTC)])) == "positions"


def coming_back(users: int, visits: int, days: float = 1.0) -> pl.DataFrame:
    """Users who come every `days` days, all through the log."""
    rows: list[Row] = [
        (f"u{u}", f"r{u}-{v}", 1440 * days * v + u, "purchase", f"i{v % 5}")
        for u in range(users)
        for v in range(visits)
    ]
    return read_visits(log_of(rows)).events


def test_users_who_come_back_are_split_by_time() -> None:
    events, why = split_visits(coming_back(60, 20))
    assert why.startswith("by time: 960 visits train, 120 validate, 120 test; validation from")
    bounds = events.group_by("split").agg(
        first=pl.col("time").min(), last=pl.col("time").max(), number=pl.len()
    )
    parts = {row["split"]: row for row in bounds.iter_rows(named=True)}
    assert parts["train"]["last"] < parts["valid"]["first"]
    assert parts["valid"]["last"] < parts["test"]["first"]
    assert [parts[name]["number"] for name in ("train", "valid", "test")] == [960, 120, 120]


def test_users_who_come_once_are_split_by_their_last_visits() -> None:
    """Each user comes in a month of their own."""
    rows: list[Row] = [
        (f"u{u:03}", f"r{v}", 43_200 * u + 60 * v, "rating", f"i{v}")
        for u in range(300)
        for v in range(5)
    ]
    events, why = split_visits(read_visits(log_of(rows)).events)
    assert "of users whom training knows" in why
    assert why.startswith("the last visit of each of the 300 users with three tests")
    splits = events.filter(pl.col("user_id") == "u007")["split"].to_list()
    assert splits == ["train", "train", "train", "valid", "test"]


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        (lambda: coming_back(4, 10), "a split would have 4 visits"),
        (
            lambda: coming_back(60, 20).with_columns(pl.col("time").dt.offset_by("-54y")),
            "places in a sequence",
        ),
    ],
)
def test_why_not_by_time(events: object, reason: str) -> None:
    assert reason in split_visits(events())[1]  # type: ignore[operator]


def test_users_of_two_visits_train() -> None:
    rows: list[Row] = [("a", f"r{n}", n, "click", f"i{n}") for n in range(4)]
    rows += [("b", f"r{n}", n, "click", f"i{n}") for n in range(2)]
    events, _ = split_visits(read_visits(log_of(rows)).events, "last")
    assert events.filter(pl.col("user_id") == "b")["split"].to_list() == ["train", "train"]
    with pytest.raises(ValueInvalidError, match="has no visit"):
        split_visits(events.filter(pl.col("user_id") == "b").drop("split"), "last")


def test_the_rule_the_shares_and_the_dates_can_be_said() -> None:
    events = coming_back(60, 20)
    assert split_visits(events, "last")[1].startswith("the last visit")
    few = coming_back(4, 10)
    assert split_visits(few, "time")[1].startswith("by time")
    halves = split_visits(events, shares=(0.5, 0.25))[0]
    assert (halves["split"] == "train").sum() == 600
    dates = (START + timedelta(days=3), START + timedelta(days=5))
    cut, why = split_visits(events, dates=dates)
    assert (cut["split"] == "train").sum() == 180
    assert "test from 2024-01-06 09:30 UTC" in why
    with pytest.raises(ValueInvalidError, match="the test split has no visit"):
        split_visits(events, dates=(dates[0], START + timedelta(days=999)))


def test_the_digest_is_of_values_not_of_their_order() -> None:
    events = coming_back(3, 3)
    assert visits_digest(events) == visits_digest(events.reverse())
    assert visits_digest(events) != visits_digest(events.head(8))
    other = events.with_columns(item_id=pl.col("item_id") + "x")
    assert visits_digest(events) != visits_digest(other)


@pytest.mark.parametrize(
    ("shares", "dates", "message"),
    [
        ((0.9, 0.1), (None, None), "leave a part"),
        ((0.8, 0.1), (START, None), "come together"),
        ((0.8, 0.1), (START, START), "begin before"),
        ((0.8, 0.1), (START.replace(tzinfo=None), None), "come together"),
        (
            (0.8, 0.1),
            (START.replace(tzinfo=None), START.replace(tzinfo=None, year=2025)),
            "time zone",
        ),
    ],
)
def test_cuts_that_cannot_be(
    shares: tuple[float, float], dates: tuple[datetime | None, datetime | None], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_cut(shares, dates)
