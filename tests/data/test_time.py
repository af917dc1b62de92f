"""The units of time agree with those of the standard library."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from adwright.data import time


def test_units_are_those_of_timedelta() -> None:
    microsecond, second = timedelta(microseconds=1), timedelta(seconds=1)
    assert second // microsecond == time.MICROSECONDS_PER_SECOND
    assert timedelta(hours=1) // microsecond == time.MICROSECONDS_PER_HOUR
    assert timedelta(days=1) // microsecond == time.MICROSECONDS_PER_DAY
    assert timedelta(days=1) // second == time.SECONDS_PER_DAY
    assert timedelta(weeks=1) // second == time.SECONDS_PER_WEEK


def test_the_first_and_the_last_instant_are_those_of_a_datetime() -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert epoch + timedelta(microseconds=time.FIRST) == datetime(1, 1, 1, tzinfo=UTC)
    assert epoch + timedelta(microseconds=time.LAST) == datetime.max.replace(tzinfo=UTC)
