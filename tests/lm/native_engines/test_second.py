from __future__ import annotations

import threading
import time

import pytest

from adwright.core.errors import ConfigError, ResourceError
from adwright.lm.engine.base import cancelled_score
from adwright.lm.engine.generation import Cancellation
from adwright.lm.native_engines.second import Second


class Thing:
    """Counts how often it was opened and closed."""

    def __init__(self) -> None:
        self.may_open = threading.Event()
        self.may_open.set()
        self.opened, self.closed, self.fails = 0, 0, 0

    def open(self) -> Thing:
        self.may_open.wait(20)
        self.opened += 1
        if self.opened <= self.fails:
            raise ValueError("not this time")
        return self

    def close(self) -> None:
        self.closed += 1


def test_it_is_opened_once_and_closed() -> None:
    thing = Thing()
    second = Second(thing.open)
    assert second.opened is None
    assert second.get(None, cancelled_score) is second.get(None, cancelled_score) is second.opened
    second.close()
    assert (thing.opened, thing.closed) == (1, 1)
    with pytest.raises(ConfigError, match="closed"):
        second.get(None, cancelled_score)


def test_who_waits_can_be_cancelled_and_closing_does_not_wait() -> None:
    thing = Thing()
    thing.may_open.clear()
    second, cancel = Second(thing.open), Cancellation()
    cancel.cancel()
    with pytest.raises(ResourceError, match="cancelled"):
        second.get(cancel, cancelled_score)
    second.close()
    assert thing.closed == 0
    thing.may_open.set()
    until = time.monotonic() + 20
    while not thing.closed and time.monotonic() < until:
        time.sleep(0.01)
    assert thing.closed == 1


def test_one_that_cannot_be_opened_is_tried_again() -> None:
    thing = Thing()
    thing.fails = 1
    second = Second(thing.open)
    with pytest.raises(ValueError, match="not this time"):
        second.get(None, cancelled_score)
    assert second.opened is None
    assert second.get(None, cancelled_score) is thing
