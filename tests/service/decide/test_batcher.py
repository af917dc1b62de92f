from __future__ import annotations

import threading
import time

import pytest

from adwright.core.clock import SystemClock
from adwright.service.decide.batcher import Batcher, MovingAverage
from tests.support.service.small_shop import wait_until


class Slow:
    """Takes batches; holds each until it is let go on."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go_on = threading.Event()

    def __call__(self, batch: list[int]) -> None:
        self.batches.append(batch)
        self.go_on.wait(10)


def test_items_gather_while_a_batch_is_handled() -> None:
    slow = Slow()
    batcher: Batcher[int] = Batcher("test", slow, size=4, wait=0.0, clock=SystemClock())
    batcher.start()
    batcher.put(0)
    wait_until(lambda: len(slow.batches) == 1)
    for item in range(1, 8):
        batcher.put(item)
    assert batcher.pending == 8
    slow.go_on.set()
    batcher.stop()
    assert slow.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]
    assert batcher.pending == 0


def test_it_waits_for_company_but_not_for_long() -> None:
    slow = Slow()
    slow.go_on.set()
    batcher: Batcher[int] = Batcher("test", slow, size=3, wait=0.3, clock=SystemClock())
    batcher.start()
    began = time.monotonic()
    for item in range(4):
        batcher.put(item)
    wait_until(lambda: len(slow.batches) == 2)
    took = time.monotonic() - began
    batcher.stop()
    assert slow.batches == [[0, 1, 2], [3]]
    assert 0.3 < took < 5


def test_a_batch_closes_by_weight_and_a_heavy_item_goes_alone() -> None:
    slow = Slow()
    batcher: Batcher[int] = Batcher(
        "test", slow, size=10, wait=0.0, clock=SystemClock(), weight=lambda item: item
    )
    for item in (4, 6, 5, 5, 1, 30, 2):
        batcher.put(item)
    assert batcher.pending == 53
    slow.go_on.set()
    batcher.start()
    batcher.stop()
    assert slow.batches == [[4, 6], [5, 5], [1], [30], [2]]
    assert batcher.seconds > 0


def test_a_batch_that_fails_is_handed_back_and_the_next_is_handled(caplog: object) -> None:
    failed: list[tuple[list[int], str]] = []

    def handle(batch: list[int]) -> None:
        if 0 in batch:
            raise RuntimeError("zero")

    batcher: Batcher[int] = Batcher(
        "test",
        handle,
        size=1,
        wait=0.0,
        clock=SystemClock(),
        failed=lambda batch, error: failed.append((batch, str(error))),
    )
    batcher.start()
    batcher.put(0)
    batcher.put(1)
    batcher.stop()
    assert failed == [([0], "zero")]
    assert batcher.pending == 0


def test_stopping_handles_what_came_before_and_may_be_repeated() -> None:
    handled: list[int] = []
    batcher: Batcher[int] = Batcher("test", handled.extend, size=7, wait=0.01, clock=SystemClock())
    batcher.stop()
    batcher.start()
    for item in range(1000):
        batcher.put(item)
    batcher.stop()
    batcher.stop()
    assert handled == list(range(1000))


def test_a_moving_average_begins_with_the_first_and_follows_slowly() -> None:
    average = MovingAverage()
    average.add(2.0)
    assert average.value == 2.0
    average.add(3.0)
    assert average.value == pytest.approx(2.1)
    for _ in range(200):
        average.add(5.0)
    assert average.value == pytest.approx(5.0)
