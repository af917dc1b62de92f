from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial

import pytest

from adwright.web.errors import ApiError, Busy
from adwright.web.turns import BoundedPool, in_thread, store_is_silent


def lane(seconds: float = 20.0) -> BoundedPool:
    return BoundedPool("store", threads=3, share=2, waiting=2, seconds=seconds)


async def settled(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")


def test_a_thread_answers_or_raises() -> None:
    def broken() -> None:
        raise KeyError("x")

    async def main() -> None:
        assert await in_thread("t", lambda: threading.current_thread().daemon)
        with pytest.raises(KeyError):
            await in_thread("t", broken)

    asyncio.run(main())


def test_a_thread_may_outlive_its_loop() -> None:
    goes_on = threading.Event()

    async def main() -> asyncio.Future[bool]:
        return in_thread("t", goes_on.wait)

    answer = asyncio.run(main())
    goes_on.set()
    assert not answer.done()


def test_one_owner_has_its_share_of_threads_and_of_the_queue() -> None:
    goes_on, running = threading.Event(), list[str]()

    def call(name: str) -> str:
        running.append(name)
        assert goes_on.wait(30)
        return name

    async def main() -> None:
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

    asyncio.run(main())


def test_owners_take_turns() -> None:
    one, begun = threading.Semaphore(0), list[str]()

    def call(name: str) -> None:
        begun.append(name)
        assert one.acquire(timeout=30)

    def is_begun(number: int) -> bool:
        return len(begun) == number

    async def main() -> None:
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

    asyncio.run(main())


def test_who_waits_too_long_is_answered_and_what_it_waited_for_is_not_begun() -> None:
    goes_on, begun = threading.Event(), list[str]()

    def call(name: str) -> None:
        begun.append(name)
        assert goes_on.wait(30)

    async def main() -> None:
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

    asyncio.run(main())


def test_a_call_that_times_out_itself_raises_that() -> None:
    def late() -> None:
        raise TimeoutError("of its own")

    async def main() -> None:
        with pytest.raises(TimeoutError, match="of its own"):
            await lane().run("a", late)

    asyncio.run(main())


def test_the_refusal_says_when_to_come_back() -> None:
    refused = store_is_silent(5)
    assert (refused.status, refused.code) == (503, "unavailable")
    assert refused.headers == {"Retry-After": "1"}
    assert "within 5 s" in refused.message
