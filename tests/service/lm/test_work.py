from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.requests import Request

from adwright.core.clock import SystemClock
from adwright.lm.engine.generation import Cancellation
from adwright.service.lm.work import Asked, Gone, LmShares, LmWork, TimeUp, in_thread
from adwright.web.errors import ApiError, Busy


def request_of(gone: asyncio.Event) -> Request:
    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "headers": []}, receive)


def make(running: int = 1, waiting: int = 0) -> LmWork:
    return LmWork(LmShares(running=running, waiting=waiting), clock=SystemClock())


def test_a_result_and_an_error() -> None:
    async def run() -> None:
        work = make()
        here = request_of(asyncio.Event())
        assert await work.run(lambda _: 7, here) == 7

        def fail(_: Cancellation) -> int:
            raise ValueError("broken")

        with pytest.raises(ValueError, match="broken"):
            await work.run(fail, here)
        assert work.pending == 0
        work.close()

    asyncio.run(run())


def test_who_goes_away_takes_the_work_along() -> None:
    async def run() -> None:
        work, gone, ended = make(), asyncio.Event(), threading.Event()

        def wait(cancel: Cancellation) -> None:
            while not cancel.cancelled:
                ended.wait(0.01)
            ended.set()

        asyncio.get_running_loop().call_later(0.05, gone.set)
        with pytest.raises(Gone):
            await work.run(wait, request_of(gone))
        await asyncio.to_thread(work.close)
        assert ended.is_set()

    asyncio.run(run())


def test_a_full_queue_is_told_at_once() -> None:
    async def run() -> None:
        work, go_on = make(running=1, waiting=1), threading.Event()
        here = request_of(asyncio.Event())
        tasks = [asyncio.create_task(work.run(lambda _: go_on.wait(10), here)) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert work.pending == 2
        with pytest.raises(Busy):
            await work.run(lambda _: None, here)
        with pytest.raises(Busy):
            work.stream(lambda _: iter(()), here)
        go_on.set()
        assert await asyncio.gather(*tasks) == [True, True]
        work.close()

    asyncio.run(run())


def test_streams() -> None:
    async def run() -> None:
        work, here = make(), request_of(asyncio.Event())
        assert [one async for one in work.stream(lambda _: iter("abc"), here)] == ["a", "b", "c"]

        def broken(_: Cancellation) -> Iterator[int]:
            yield 1
            raise ValueError("broken")

        found: list[int] = []

        async def take() -> None:
            async for one in work.stream(broken, here):
                found.append(one)

        with pytest.raises(ValueError, match="broken"):
            await take()
        assert found == [1]
        work.close()

    asyncio.run(run())


def test_a_stream_that_is_left_ends() -> None:
    async def run() -> None:
        work, closed = make(), threading.Event()
        gone = asyncio.Event()

        def endless(cancel: Cancellation) -> Iterator[int]:
            try:
                while not cancel.cancelled:
                    closed.wait(0.005)
                    yield 1
            finally:
                closed.set()

        stream: Any = work.stream(endless, request_of(asyncio.Event()))
        assert await anext(stream) == 1
        await stream.aclose()
        assert await asyncio.to_thread(closed.wait, 10)
        closed.clear()
        asyncio.get_running_loop().call_later(0.05, gone.set)
        with pytest.raises(Gone):
            async for _ in work.stream(endless, request_of(gone)):
                pass
        assert await asyncio.to_thread(closed.wait, 10)
        work.close()

    asyncio.run(run())


def test_closing_ends_what_runs() -> None:
    async def run() -> None:
        work, here = make(), request_of(asyncio.Event())
        entered = threading.Event()

        def wait(cancel: Cancellation) -> str:
            entered.set()
            while not cancel.cancelled:
                entered.wait(0.005)
            return "cancelled"

        task = asyncio.create_task(work.run(wait, here))
        await asyncio.to_thread(entered.wait, 10)
        await asyncio.to_thread(work.close)
        assert await task == "cancelled"

    asyncio.run(run())


def test_nobody_waits_for_longer_than_the_bound() -> None:
    async def run() -> None:
        work = LmWork(LmShares(running=1, waiting=1), clock=SystemClock(), seconds=0.2)
        here = request_of(asyncio.Event())
        go_on = threading.Event()
        # What does not look at its cancellation, and what waits behind it.
        tasks = [asyncio.create_task(work.run(lambda _: go_on.wait(20), here)) for _ in range(2)]
        for task in tasks:
            with pytest.raises(TimeUp):
                await task
        assert work.pending == 1
        assert not work.stuck

        def wait(cancel: Cancellation) -> str:
            while not cancel.cancelled:
                go_on.wait(0.005)
            return "what it has"

        go_on.set()
        assert await work.run(wait, here) == "what it has"
        work.close()
        with pytest.raises(ApiError, match="ending"):
            await work.run(wait, here)

    asyncio.run(run())


def test_one_that_is_pushed_out_of_the_queue_is_told() -> None:
    async def run() -> None:
        shares: LmShares[Any] = LmShares(
            running=1, waiting=1, several=True, tenant_waiting=9, tenant_tokens=9
        )
        work, go_on = LmWork(shares, clock=SystemClock()), threading.Event()
        here = request_of(asyncio.Event())

        def ask(tenant: str) -> Any:
            return asyncio.create_task(work.run(lambda _: go_on.wait(20), here, Asked(tenant)))

        first = ask("a")
        await asyncio.sleep(0.05)
        stream = work.stream(lambda _: iter("ab"), here, Asked("a"))
        with pytest.raises(Busy):
            work.stream(lambda _: iter("ab"), here, Asked("a"))
        go_on.set()
        assert await first
        assert [one async for one in stream] == ["a", "b"]
        work.close()

    asyncio.run(run())


def test_aside_in_a_thread() -> None:
    async def run() -> None:
        assert await in_thread(lambda: 7, 20) == 7
        with pytest.raises(ZeroDivisionError):
            await in_thread(lambda: 1 // 0, 20)
        with pytest.raises(TimeUp):
            await in_thread(lambda: threading.Event().wait(1), 0.05)

    asyncio.run(run())
