"""Time as an argument: code asks the clock that it was given, never the machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the time of day and measures durations."""

    def now(self) -> datetime:
        """The current moment, timezone-aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never runs backwards. For durations only."""
        ...


#: By how much the time of day is another one while `simulated_time` lasts.
_moved = [timedelta(0)]


@contextmanager
def simulated_time() -> Iterator[Callable[[datetime], None]]:
    """Let every `SystemClock` of this process tell a simulated time of day: what it yields says
    which moment it is from now on. Durations stay those of the machine."""

    def set_now(moment: datetime) -> None:
        _moved[0] = moment - datetime.now(UTC)

    try:
        yield set_now
    finally:
        _moved[0] = timedelta(0)


class SystemClock:
    """The machine's own clock; `simulated_time` moves it."""

    def now(self) -> datetime:
        return datetime.now(UTC) + _moved[0]

    def monotonic(self) -> float:
        return time.monotonic()


class ProcessorClock(SystemClock):
    """Durations of work of the thread that asks, and of it alone: while it waits, for a core, for a
    disk or for other threads, none passes. Work that it hands to others counts only as far as it
    helps; where it sleeps meanwhile, not at all."""

    def monotonic(self) -> float:
        return time.thread_time()


class FixedClock:
    """A clock that stands still until `advance` is called: for tests and simulations.

    start: the first moment; must be timezone-aware, is converted to UTC.
    Raises ValueError for a moment without a timezone or a negative step.
    """

    def __init__(self, start: datetime = datetime(2024, 1, 1, tzinfo=UTC)) -> None:
        if start.tzinfo is None:
            raise ValueError(f"the start of a FixedClock needs a timezone, got {start!r}")
        self._now = start.astimezone(UTC)
        self._monotonic = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both scales; zero or more."""
        if not seconds >= 0:
            raise ValueError(f"a clock cannot be advanced by {seconds} seconds")
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds
