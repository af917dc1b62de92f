from __future__ import annotations

import asyncio
import math
from contextlib import AsyncExitStack

import pytest

from adwright.core.clock import FixedClock
from adwright.web.errors import Busy
from adwright.web.turns import Turns


def late(turns: Turns, times: int = 60) -> None:
    for _ in range(times):
        turns.beat(0.05)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_tenant_that_is_alone_never_waits(clock: FixedClock) -> None:
    async def trial() -> None:
        turns = Turns(clock)
        late(turns)
        async with AsyncExitStack() as work:
            for _ in range(200):
                assert await work.enter_async_context(turns.turn("a")) == 0
        assert turns.allowed == math.inf

    asyncio.run(trial())


def test_while_the_loop_is_late_each_tenant_has_one_in_work(clock: FixedClock) -> None:
    done = list[str]()

    async def work(turns: Turns, name: str, tenant: str, go_on: asyncio.Event) -> None:
        async with turns.turn(tenant):
            await go_on.wait()
            done.append(name)

    async def trial() -> None:
        turns, go_on, other = Turns(clock), asyncio.Event(), asyncio.Event()
        async with turns.turn("honest"):
            pass
        late(turns)
        flood = [asyncio.create_task(work(turns, f"f{n}", "flood", go_on)) for n in range(9)]
        await settle()
        assert turns.waiting == 8
        other.set()
        await work(turns, "h", "honest", other)  # whose turn does not wait for theirs
        assert done == ["h"]
        go_on.set()
        await asyncio.gather(*flood)
        assert done == ["h", *(f"f{n}" for n in range(9))]
        assert turns.waiting == 0

    asyncio.run(trial())


def test_more_are_allowed_as_long_as_the_loop_is_in_time(clock: FixedClock) -> None:
    async def trial() -> None:
        turns = Turns(clock)
        async with turns.turn("a"), turns.turn("b"):
            late(turns)
            assert turns.allowed == 1
            for _ in range(8):
                turns.beat(0.001)
            assert turns.allowed == 3
            for _ in range(1000):
                turns.beat(0)
            assert turns.allowed == 64

    asyncio.run(trial())


def test_those_that_wait_are_let_in_by_a_beat_when_the_others_have_gone(
    clock: FixedClock,
) -> None:
    async def trial() -> None:
        turns = Turns(clock)
        async with turns.turn("gone"):
            pass
        late(turns)
        async with turns.turn("a"):
            second = asyncio.create_task(turns.turn("a").__aenter__())
            await settle()
            assert turns.waiting == 1
            clock.advance(1.5)
            turns.beat(0.05)
            assert await second == pytest.approx(1.5)

    asyncio.run(trial())


def test_what_waits_too_long_is_refused_and_takes_no_place(clock: FixedClock) -> None:
    async def trial() -> None:
        turns = Turns(clock, patience=0.01)
        async with turns.turn("b"):
            pass
        late(turns)
        async with turns.turn("a"):
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
        turns = Turns(clock)
        async with turns.turn("b"):
            pass
        late(turns)
        async with AsyncExitStack() as first:
            await first.enter_async_context(turns.turn("a"))
            going = asyncio.create_task(turns.turn("a").__aenter__())
            await settle()
            await first.aclose()  # lets the other one in
            going.cancel()
            await settle()
            assert going.cancelled()
        async with turns.turn("a") as waited:
            assert waited == 0

    asyncio.run(trial())
