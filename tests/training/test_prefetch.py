from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from adwright.training.prefetch import prefetch


def alive() -> int:
    return sum(thread.name == "prefetch" for thread in threading.enumerate())


@pytest.mark.parametrize("depth", [1, 3, 100])
def test_same_items_in_the_same_order(depth: int) -> None:
    assert list(prefetch(iter(range(50)), depth=depth)) == list(range(50))
    assert alive() == 0


def test_nothing_is_fine() -> None:
    assert list(prefetch(iter(()))) == []


def test_works_ahead_and_no_further_than_its_depth() -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number

    with closing(prefetch(source(), depth=4)) as items:
        assert next(items) == 0
        deadline = time.monotonic() + 5
        while len(made) < 6 and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.05)
        # The one in hand, four that are ready and one that waits for room.
        assert made == list(range(6))
    assert alive() == 0


def test_an_error_comes_after_the_items_before_it() -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("three")

    items = prefetch(source())
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(KeyError, match="three"):
        next(items)
    assert alive() == 0


def test_leaving_early_stops_the_thread() -> None:
    items = prefetch(iter(range(10**9)), depth=2)
    next(items)
    items.close()
    assert alive() == 0


def consume_one_and_fail() -> None:
    with closing(prefetch(iter(range(100)), depth=2)) as items:
        for _ in items:
            raise RuntimeError("mine")


def test_the_consumer_may_fail() -> None:
    with pytest.raises(RuntimeError, match="mine"):
        consume_one_and_fail()
    assert alive() == 0
