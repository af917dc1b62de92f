from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from adwright.core.clock import Clock, FixedClock, SystemClock


def test_system_clock_is_in_utc_and_moves_forward() -> None:
    clock: Clock = SystemClock()
    before = clock.monotonic()
    assert clock.now().utcoffset() == timedelta(0)
    assert abs((clock.now() - datetime.now(UTC)).total_seconds()) < 5
    assert clock.monotonic() >= before


def test_fixed_clock_stands_still_until_advanced() -> None:
    clock = FixedClock(datetime(2024, 2, 28, 23, 0, tzinfo=UTC))
    assert clock.now() == clock.now()
    clock.advance(3600.5)
    assert clock.now() == datetime(2024, 2, 29, 0, 0, 0, 500_000, tzinfo=UTC)
    assert clock.monotonic() == 3600.5


def test_fixed_clock_converts_to_utc() -> None:
    east = timezone(timedelta(hours=2))
    clock = FixedClock(datetime(2024, 1, 1, 2, 0, tzinfo=east))
    assert clock.now() == datetime(2024, 1, 1, tzinfo=UTC)
    assert clock.now().utcoffset() == timedelta(0)


def test_fixed_clock_refuses_a_moment_without_timezone() -> None:
    with pytest.raises(ValueError, match="timezone"):
        FixedClock(datetime(2024, 1, 1))


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_time_does_not_run_backwards(seconds: float) -> None:
    with pytest.raises(ValueError, match="advanced"):
        FixedClock().advance(seconds)
