"""No stop that was acknowledged is disobeyed, whatever is killed, frozen or put back meanwhile."""

from __future__ import annotations

import math
from typing import Any

import pytest

from benchmarks.service._history import ITEMS, Call, Trial, violations

I = ITEMS[0]  # noqa: E741 - the item
ALL = frozenset(ITEMS)
STOP: dict[str, Any] = {"item": I, "event_id": "s1", "user": "anna"}


def decided(begin: float, *, shows: bool, replica: int = 0) -> Call:
    return Call("decide", replica, begin, begin + 1, shown=ALL if shows else ALL - {I})


def stop(begin: float = 0, end: float = 1, **changes: Any) -> Call:
    return Call("stop", 0, begin, end, **{**STOP, **changes})


def undo(begin: float, end: float, **changes: Any) -> Call:
    return Call("undo", 0, begin, end, **{**STOP, "event_id": "u1", **changes})


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        ([stop(), decided(2, shows=False)], []),
        ([stop(), decided(2, shows=True)], ["shown"]),
        ([stop(), decided(0.5, shows=True)], []),  # begun before the acknowledgement
        ([stop(), decided(2, shows=True, replica=1)], []),  # which binds one process
        ([stop(force=True), decided(2, shows=True, replica=1)], ["shown"]),
        ([stop(end=math.inf), decided(2, shows=True), decided(4, shows=False)], []),  # no answer
        ([stop(), undo(2, 3), decided(4, shows=True)], []),
        ([stop(), undo(2, 3), decided(4, shows=False)], ["hidden"]),
        ([stop(), undo(2, math.inf), decided(2.5, shows=True), decided(9, shows=False)], []),
        ([stop(), undo(2, 3, user="ben"), decided(4, shows=True)], ["shown"]),
        ([stop(), undo(2, 3, user="ben", names=("s1",)), decided(4, shows=True)], []),
        ([stop(), undo(2, 3, names=("s0",)), decided(4, shows=True)], ["shown"]),
        ([stop(), stop(event_id="s2", user="law"), undo(2, 3), decided(4, shows=True)], ["shown"]),
        ([undo(0, 1), stop(2, 3), decided(4, shows=True)], ["shown"]),  # it came before
        ([undo(0, 3), stop(2, 4), decided(5, shows=True), decided(7, shows=False)], []),  # unknown
        ([decided(0, shows=False)], ["hidden"]),
    ],
)
def test_the_checker_finds_what_cannot_be_and_nothing_else(
    calls: list[Call], said: list[str]
) -> None:
    assert [one.split(":")[0] for one in violations(calls)] == said


def test_a_history_with_kills_freezes_and_steps_of_clocks(store_url: str) -> None:
    trial = Trial(store_url, seconds=20, seed=3)
    assert trial.run() == []
    assert len(trial.calls) > 100
    assert trial.counts["in force"] > 0
    assert sum(trial.counts[what] for what in ("kills", "freezes", "steps")) > 0
