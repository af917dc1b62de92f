from __future__ import annotations

from adwright.core.clock import FixedClock
from adwright.delivery.decision import Deadline


def test_time_runs_out(clock: FixedClock) -> None:
    deadline = Deadline.after(0.25, clock)
    assert deadline.remaining() == 0.25
    assert not deadline.passed()
    clock.advance(0.25)
    assert deadline.remaining() == 0
    assert deadline.passed()
    clock.advance(1)
    assert deadline.remaining() == -1


def test_a_deadline_of_no_time_has_passed(clock: FixedClock) -> None:
    assert Deadline.after(0, clock).passed()
    assert Deadline.after(-1, clock).passed()
    assert not Deadline(at=clock.monotonic() + 1e-9, clock=clock).passed()
