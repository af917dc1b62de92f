from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from adwright.core.clock import SystemClock
from adwright.service.decide.fair_queue import FairQueue
from adwright.service.decide.writer import Batcher, MovingAverage
from tests.support.service.small_shop import wait_until

Batch = tuple[str, list[int]]


class Slow:
    """Takes batches; holds those of the tenants in `held` until they are let go on."""

    def __init__(self, *held: str) -> None:
        self.batches: list[Batch] = []
        self.inside: list[str] = []
        self.go_on = {tenant: threading.Event() for tenant in held}

    def __call__(self, tenant: str, batch: list[int]) -> None:
        self.batches.append((tenant, batch))
        self.inside.append(tenant)
        if tenant in self.go_on:
            self.go_on[tenant].wait(20)
        self.inside.remove(tenant)


def batcher(handle: Any, size: int = 4, **options: Any) -> Batcher[int]:
    return Batcher("test", handle, FairQueue(lambda: size), clock=SystemClock(), **options)


def test_items_gather_while_a_batch_is_handled_and_tenants_take_turns() -> None:
    slow = Slow("a")
    made = batcher(slow)
    made.start()
    made.put("a", 0)
    wait_until(lambda: len(slow.batches) == 1)
    made.put("a", *range(1, 8))
    made.put("b", 10, 11)
    slow.go_on["a"].set()
    made.stop()
    # The turn of a was over, so b comes before what a put since.
    assert slow.batches[0] == ("a", [0])
    assert sorted(slow.batches[1:]) == [("a", [1, 2, 3, 4]), ("a", [5, 6, 7]), ("b", [10, 11])]
    assert slow.batches[2] != ("a", [5, 6, 7]), "b waits for one turn of a at most"
    assert made.seconds > 0


def test_it_waits_for_company_but_not_for_long() -> None:
    slow = Slow()
    made = batcher(slow, size=3, enough=3, wait=0.3)
    made.start()
    began = time.monotonic()
    for item in range(4):
        made.put("a", item)
    wait_until(lambda: len(slow.batches) == 2)
    took = time.monotonic() - began
    made.stop()
    assert slow.batches == [("a", [0, 1, 2]), ("a", [3])]
    assert 0.3 < took < 5


def test_a_batch_that_fails_is_handed_back_and_the_next_is_handled(caplog: object) -> None:
    failed: list[tuple[list[int], str]] = []

    def handle(_: str, batch: list[int]) -> None:
        if 0 in batch:
            raise RuntimeError("zero")

    made = batcher(handle, size=1, failed=lambda batch, error: failed.append((batch, str(error))))
    made.start()
    made.put("a", 0)
    made.put("a", 1)
    made.stop()
    assert failed == [([0], "zero")]


def test_stopping_handles_what_came_before_and_may_be_repeated() -> None:
    handled: list[int] = []
    made = batcher(lambda _, batch: handled.extend(batch), size=7, enough=7, wait=0.01)
    made.stop()
    for item in range(500):
        made.put("a", item)
    made.start()
    for item in range(500, 1000):
        made.put("a", item)
    made.stop()
    made.stop()
    assert handled == list(range(1000))


def test_a_slow_tenant_keeps_one_thread_and_others_go_on() -> None:
    slow = Slow("a")
    made = batcher(slow, size=1, threads=2)
    made.start()
    made.put("a", 0, 1)
    wait_until(lambda: slow.inside == ["a"])
    for item in range(5):
        made.put("b", item)
    wait_until(lambda: len(slow.batches) == 6)
    assert slow.inside == ["a"], "a is never handled by two threads"
    slow.go_on["a"].set()
    made.stop()
    assert slow.batches[-1] == ("a", [1])


def test_items_that_wait_can_be_taken_back() -> None:
    slow = Slow("a")
    made = batcher(slow, size=1)
    made.start()
    made.put("a", *range(4))
    wait_until(lambda: slow.batches == [("a", [0])])
    assert made.drop("a", 2)
    assert not made.drop("a", 0), "it is in work"
    assert made.drain("a") == [1, 3]
    slow.go_on["a"].set()
    made.stop()
    assert slow.batches == [("a", [0])]


def test_another_thread_takes_the_place_of_one_that_is_given_up() -> None:
    slow = Slow("a", "b", "c")
    made = batcher(slow, threads=1, spare=2)
    made.start()
    for tenant in "abc":
        made.put(tenant, 1)
        wait_until(lambda: tenant in slow.inside)  # noqa: B023
        assert not made.stalled
        made.give_up(tenant)
    # Two were replaced; the third had no spare one left, so that nobody comes for d.
    made.put("d", 1)
    time.sleep(0.1)
    assert [tenant for tenant, _ in slow.batches] == ["a", "b", "c"]
    assert made.stalled
    slow.go_on["a"].set()
    slow.go_on["b"].set()
    slow.go_on["c"].set()
    wait_until(lambda: len(slow.batches) == 4)
    assert not made.stalled
    made.put("e", 9)
    made.stop()
    assert slow.batches[-1] == ("e", [9])


def test_the_end_does_not_wait_for_a_batch_that_does_not_end() -> None:
    slow = Slow("a", "b")
    made = batcher(slow, threads=2, spare=1)
    made.start()
    made.put("a", 1)
    made.put("b", 1)
    wait_until(lambda: len(slow.inside) == 2)
    made.give_up("a")
    began = time.monotonic()
    made.stop(0.2)
    assert 0.2 <= time.monotonic() - began < 10
    for event in slow.go_on.values():
        event.set()


def test_a_moving_average_begins_with_the_first_and_follows_slowly() -> None:
    average = MovingAverage()
    average.add(2.0)
    assert average.value == 2.0
    average.add(3.0)
    assert average.value == pytest.approx(2.1)
    for _ in range(200):
        average.add(5.0)
    assert average.value == pytest.approx(5.0)
