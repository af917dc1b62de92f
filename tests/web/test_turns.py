"""?"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

import pytest

from adwright.core.clock import FixedClock, SystemClock
from adwright.web.errors import ApiError, Busy
from adwright.web.turns import AdaptiveConcurrency, BoundedPool, in_thread, store_is_silent
from tests.support.looped import in_a_loop


def late(turns: AdaptiveConcurrency, times: int = 100) -> None:
    for _ in range(times):
        turns.beat(0.05)


async def filled(turns: AdaptiveConcurrency, tenant: str) -> AsyncExitStack:
    """The tenant with one request in work for long enough to fill a late loop; it is closed to end
    that. Another tenant, `other`, is there too."""
    work = AsyncExitStack()
    async with turns.turn("other"):
        pass
    await work.enter_async_context(turns.turn(tenant))
    late(turns)
    return work


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@in_a_loop
async def test_a_tenant_that_is_alone_never_waits(clock: FixedClock) -> None:
    turns = AdaptiveConcurrency(clock)
    async with AsyncExitStack() as work:
        await work.enter_async_context(turns.turn("a"))
        late(turns)
        for _ in range(200):
            assert await work.enter_async_context(turns.turn("a")) == 0


@in_a_loop
async def test_only_who_fills_the_loop_waits_while_it_is_late(clock: FixedClock) -> None:
    done = list[str]()

    async def work(turns: AdaptiveConcurrency, name: str, tenant: str) -> None:
        async with turns.turn(tenant):
            done.append(name)

    turns = AdaptiveConcurrency(clock)
    flood = await filled(turns, "flood")
    assert (turns.allowed("flood"), turns.allowed("other")) == (1, math.inf)
    waiting = [asyncio.create_task(work(turns, f"f{n}", "flood")) for n in range(9)]
    await settle()
    assert turns.waiting == 9
    await asyncio.gather(*(work(turns, "o", "other") for _ in range(3)))
    assert done == ["o"] * 3
    await flood.aclose()
    await asyncio.gather(*waiting)
    assert done == ["o"] * 3 + [f"f{n}" for n in range(9)]
    assert turns.waiting == 0


@in_a_loop
async def test_a_tenant_rests_between_its_turns_while_only_one_is_allowed() -> None:
    turns = AdaptiveConcurrency(SystemClock())
    work = await filled(turns, "a")
    await asyncio.sleep(0.02)
    await work.aclose()
    second = asyncio.create_task(turns.turn("a").__aenter__())
    await settle()
    assert not second.done()
    assert turns.waiting == 1
    assert 0.02 < await second < 1


@in_a_loop
async def test_more_are_allowed_as_long_as_the_loop_is_in_time(clock: FixedClock) -> None:
    turns = AdaptiveConcurrency(clock)
    async with await filled(turns, "a"), turns.turn("other"):
        assert turns.allowed("a") == 1
        for _ in range(20):
            turns.beat(0.001)
        assert turns.allowed("a") == pytest.approx(2)
        for _ in range(3000):
            turns.beat(0)
        assert turns.allowed("a") == 64


@in_a_loop
async def test_those_that_wait_are_let_in_by_a_beat_when_the_others_have_gone(
    clock: FixedClock,
) -> None:
    turns = AdaptiveConcurrency(clock)
    async with await filled(turns, "a"):
        second = asyncio.create_task(turns.turn("a").__aenter__())
        await settle()
        assert turns.waiting == 1
        clock.advance(1.5)
        turns.beat(0.05)
        assert await second == pytest.approx(1.5)


@in_a_loop
async def test_what_waits_too_long_is_refused_and_takes_no_place(clock: FixedClock) -> None:
    turns = AdaptiveConcurrency(clock, patience=0.01)
    async with await filled(turns, "a"):
        with pytest.raises(Busy) as refused:
            await turns.turn("a").__aenter__()
        assert refused.value.reason == "turn"
        left = asyncio.create_task(turns.turn("a").__aenter__())
        await settle()
        left.cancel()
        await settle()
        assert turns.waiting == 0
    async with turns.turn("a") as waited:
        assert waited == 0


@in_a_loop
async def test_a_caller_that_goes_as_it_is_let_in_leaves_no_place_taken(clock: FixedClock) -> None:
    turns = AdaptiveConcurrency(clock)
    first = await filled(turns, "a")
    going = asyncio.create_task(turns.turn("a").__aenter__())
    await settle()
    await first.aclose()  # after no time at all it lets the other one in
    await asyncio.sleep(0)
    going.cancel()
    await settle()
    async with turns.turn("a") as waited:
        assert waited == 0


def lane(seconds: float = 20.0) -> BoundedPool:
    return BoundedPool("store", threads=3, share=2, waiting=2, seconds=seconds)


async def settled(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")


@in_a_loop
async def test_a_thread_answers_or_raises() -> None:
    def broken() -> None:
        raise KeyError("x")

    assert await in_thread("t", lambda: threading.current_thread().daemon)
    with pytest.raises(KeyError):
        await in_thread("t", broken)


def test_a_thread_may_outlive_its_loop() -> None:
    goes_on = threading.Event()

    async def main() -> asyncio.Future[bool]:
        return in_thread("t", goes_on.wait)

    answer = asyncio.run(main())
    goes_on.set()
    assert not answer.done()


@in_a_loop
async def test_one_owner_has_its_share_of_threads_and_of_the_queue() -> None:
    goes_on, running = threading.Event(), list[str]()

    def call(name: str) -> str:
        running.append(name)
        assert goes_on.wait(30)
        return name

    road = lane()
    calls = [asyncio.create_task(road.run("a", lambda: call("a"))) for _ in range(4)]
    await settled(lambda: running == ["a", "a"])
    with pytest.raises(Busy) as refused:
        await road.run("a", lambda: call("a"))
    assert refused.value.reason == "store"
    calls.append(asyncio.create_task(road.run("b", lambda: call("b"))))
    await settled(lambda: running == ["a", "a", "b"])
    goes_on.set()
    assert await asyncio.gather(*calls) == ["a"] * 4 + ["b"]


@in_a_loop
async def test_owners_take_turns() -> None:
    one, begun = threading.Semaphore(0), list[str]()

    def call(name: str) -> None:
        begun.append(name)
        assert one.acquire(timeout=30)

    def is_begun(number: int) -> bool:
        return len(begun) == number

    road = BoundedPool("store", threads=1, share=1, waiting=5, seconds=20)
    calls = []
    for name in ("a", "a", "a", "b"):
        calls.append(asyncio.create_task(road.run(name, partial(call, name))))
        await asyncio.sleep(0)
    for number in range(4):
        await settled(partial(is_begun, number + 1))
        one.release()
    await asyncio.gather(*calls)
    assert begun == ["a", "a", "b", "a"]


@in_a_loop
async def test_who_waits_too_long_is_answered_and_what_it_waited_for_is_not_begun() -> None:
    goes_on, begun = threading.Event(), list[str]()

    def call(name: str) -> None:
        begun.append(name)
        assert goes_on.wait(30)

    road = BoundedPool("store", threads=1, share=1, waiting=2, seconds=0.2)
    for _ in range(2):
        late = [asyncio.create_task(road.run("a", partial(call, n))) for n in "xyz"]
        results = await asyncio.gather(*late, return_exceptions=True)
        refused = [each.status for each in results if isinstance(each, ApiError)]
        assert sorted(refused) in ([503, 503, 503], [429, 503, 503])
    assert begun == ["x"]
    goes_on.set()
    await settled(lambda: not road._queue.work)
    await road.run("a", lambda: begun.append("after"))
    assert begun == ["x", "after"]


@in_a_loop
async def test_a_call_that_times_out_itself_raises_that() -> None:
    def late() -> None:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        await lane().run("a", late)


def test_the_refusal_says_when_to_come_back() -> None:
    refused = store_is_silent(5)
    assert (refused.status, refused.code) == (503, "unavailable")
    assert refused.headers == {"Retry-After": "1"}
    assert "within 5 s" in refused.message
