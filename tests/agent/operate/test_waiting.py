"""A clock that does not count waiting."""

from __future__ import annotations

import pytest

from adwright.agent.operate.policy_file import PatientClock
from adwright.agent.policy.confirmation import PendingChange
from adwright.core.clock import FixedClock

CHANGE = PendingChange("a", "commit", "POST", "http://h/", (), 1, documented=True)


def test_waiting_does_not_count() -> None:
    inner = FixedClock()
    clock = PatientClock(inner)
    inner.advance(2)

    def slow(change: PendingChange) -> bool:
        inner.advance(600)
        return change is CHANGE

    assert clock.patient(slow)(CHANGE)
    assert (clock.monotonic(), clock.waited) == (2.0, 600.0)
    assert clock.now() == inner.now()


def test_nor_where_asking_fails() -> None:
    inner = FixedClock()
    clock = PatientClock(inner)

    def broken(change: PendingChange) -> bool:
        inner.advance(5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clock.patient(broken)(CHANGE)
    assert clock.monotonic() == 0.0
