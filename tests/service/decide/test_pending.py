from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from adwright.core.clock import FixedClock
from adwright.delivery.decision import Deadline
from adwright.service.decide.writer import Answers, DecisionJob, unavailable
from tests.support.service.small_shop import request


def test_only_the_first_may_decide(clock: FixedClock) -> None:
    async def main() -> None:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        job = DecisionJob("acme", request(), Deadline.after(1, clock), future)
        assert not job.claimed
        won: list[bool] = []
        threads = [threading.Thread(target=lambda: won.append(job.claim())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(won) == [False] * 7 + [True]
        assert job.claimed

    asyncio.run(main())


def test_results_and_errors_reach_the_loop_and_late_ones_are_dropped() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Any]] = [loop.create_future() for _ in range(3)]
        futures[2].cancel()
        results = list(zip(futures, (1, ValueError("no"), 3), strict=True))
        thread = threading.Thread(target=Answers(loop).deliver, args=(results,))
        thread.start()
        assert await futures[0] == 1
        with pytest.raises(ValueError, match="no"):
            await futures[1]
        thread.join()

    asyncio.run(main())


def test_a_loop_that_is_closed_is_no_error() -> None:
    async def main() -> tuple[Answers, asyncio.Future[Any]]:
        loop = asyncio.get_running_loop()
        return Answers(loop), loop.create_future()

    answers, future = asyncio.run(main())
    answers.deliver([(future, 1)])
    assert not future.done()


def test_what_the_store_does_not_take_may_be_sent_again() -> None:
    error = unavailable("the store sleeps")
    assert (error.status, error.code, error.headers) == (503, "unavailable", {"Retry-After": "1"})
    assert "send it again" in error.hint
