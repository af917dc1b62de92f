from __future__ import annotations

import asyncio
import math
from contextlib import AsyncExitStack

import pytest

from adwright.core.clock import FixedClock, SystemClock
from adwright.web.errors import Busy
from adwright.web.turns import AdaptiveConcurrency


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


def test_a_tenant_that_is_alone_never_waits(clock: FixedClock) -> None:
    async def trial() -> None:
        turns = AdaptiveConcurrency(clock)
        async with AsyncExitStack() as work:
            await work.enter_async_context(turns.turn("a"))
            late(turns)
            for _ in range(200):
                assert await work.enter_async_context(turns.turn("a")) == 0

    asyncio.run(trial())


def test_only_who_fills_the_loop_waits_while_it_is_late(clock: FixedClock) -> None:
    done = list[str]()

    async def work(turns: AdaptiveConcurrency, name: str, tenant: str) -> None:
        async with turns.turn(tenant):
            done.append(name)

    async def trial() -> None:
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

    asyncio.run(trial())


def test_a_tenant_rests_between_its_turns_while_only_one_is_allowed() -> None:
    async def trial() -> None:
        turns = AdaptiveConcurrency(SystemClock())
        work = await filled(turns, "a")
        await asyncio.sleep(0.02)
        await work.aclose()
        second = asyncio.create_task(turns.turn("a").__aenter__())
        await settle()
        assert not second.done()
        assert turns.waiting == 1
        assert 0.02 < await second < 1

    asyncio.run(trial())


def test_more_are_allowed_as_long_as_the_loop_is_in_time(clock: FixedClock) -> None:
    async def trial() -> None:
        turns = AdaptiveConcurrency(clock)
        async with await filled(turns, "a"), turns.turn("other"):
            assert turns.allowed("a") == 1
            for _ in range(20):
                turns.beat(0.001)
            assert turns.allowed("a") == pytest.approx(2)
            for _ in range(3000):
                turns.beat(0)
            assert turns.allowed("a") == 64

    asyncio.run(trial())


def test_those_that_wait_are_let_in_by_a_beat_when_the_others_have_gone(
    clock: FixedClock,
) -> None:
    async def trial() -> None:
        turns = AdaptiveConcurrency(clock)
        async with await filled(turns, "a"):
            second = asyncio.create_task(turns.turn("a").__aenter__())
            await settle()
            assert turns.waiting == 1
            clock.advance(1.5)
            turns.beat(0.05)
            assert await second == pytest.approx(1.5)

    asyncio.run(trial())


def test_what_waits_too_long_is_refused_and_takes_no_place(clock: FixedClock) -> None:
    async def trial() -> None:
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

    asyncio.run(trial())


def test_a_caller_that_goes_as_it_is_let_in_leaves_no_place_taken(clock: FixedClock) -> None:
    async def trial() -> None:
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

    asyncio.run(trial())
