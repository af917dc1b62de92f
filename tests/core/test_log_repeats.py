from __future__ import annotations

import logging

import pytest

from adwright.core.clock import FixedClock
from adwright.core.log_repeats import LogRepeats, fewer_repeats


def record(text: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("x", logging.ERROR, "f", 1, text, args, None)


def test_a_message_is_said_once_and_counted_then() -> None:
    clock = FixedClock()
    repeats = LogRepeats(10, clock)
    assert repeats.filter(record("away: %s", "disk"))
    assert not any(repeats.filter(record("away: %s", "disk")) for _ in range(5))
    assert repeats.filter(record("away: %s", "net"))
    clock.advance(10)
    said = record("away: %s", "disk")
    assert repeats.filter(said)
    assert said.getMessage() == "away: disk (and 5 times since it was last said)"
    clock.advance(10)
    said = record("away: %s", "disk")
    assert repeats.filter(said)
    assert said.getMessage() == "away: disk"


def test_what_is_remembered_has_a_bound() -> None:
    repeats = LogRepeats(10, FixedClock())
    assert all(repeats.filter(record(str(number))) for number in range(1001))
    assert repeats.filter(record("0"))  # forgotten


def test_a_logger_is_its_old_self_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("adwright.test")
    with fewer_repeats("adwright.test"):
        for _ in range(3):
            log.error("gone")
    log.error("gone")
    assert [one.getMessage() for one in caplog.records] == ["gone", "gone"]
