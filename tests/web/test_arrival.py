"""Tests of receiving bodies."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive

from adwright.web.errors import ApiError
from adwright.web.gate import ArrivingBodies, too_large
from adwright.web.limits import GateLimits


def receiver(*pieces: bytes, ends: bool = True) -> Receive:
    """Gives the pieces; then, unless it ends, nothing comes any more."""
    left = list(pieces)

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left) or not ends}

    return receive


def arrivals(**settings: Any) -> ArrivingBodies:
    return ArrivingBodies(GateLimits(**settings))


async def status(receiving: ArrivingBodies, tenant: str, receive: Receive) -> int | bytes | None:
    try:
        return await receiving.body(tenant, receive)
    except ApiError as error:
        return error.status


def test_a_body_is_received_whole_and_no_longer_than_allowed() -> None:
    async def main() -> None:
        receiving = arrivals(max_body_bytes=4)
        assert await receiving.body("a", receiver(b"ab", b"", b"cd")) == b"abcd"
        assert await status(receiving, "a", receiver(b"ab", b"cde", ends=False)) == 413
        assert receiving.count == 0

    asyncio.run(main())


def test_a_caller_that_goes_away_leaves_nothing() -> None:
    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def main() -> None:
        receiving = arrivals()
        assert await receiving.body("a", gone) is None
        assert receiving.count == 0

    asyncio.run(main())


def test_what_does_not_come_is_given_up() -> None:
    async def main() -> None:
        receiving = arrivals(body_seconds=0.01)
        with pytest.raises(ApiError, match=r"within 0.01 s") as caught:
            await receiving.body("a", receiver(b"a", ends=False))
        assert (caught.value.status, receiving.count) == (408, 0)

    asyncio.run(main())


def test_a_tenant_with_too_many_loses_its_oldest() -> None:
    async def main() -> None:
        receiving = arrivals(max_arriving=4, tenant_share=0.5)

        def slow(tenant: str) -> asyncio.Task[int | bytes | None]:
            return asyncio.create_task(status(receiving, tenant, receiver(b"a", ends=False)))

        first, second, other = slow("a"), slow("a"), slow("b")
        await asyncio.sleep(0)
        assert receiving.count == 3
        # Honest callers of the same tenant and of others come through.
        assert await receiving.body("a", receiver(b"x")) == b"x"
        assert await receiving.body("b", receiver(b"y")) == b"y"
        assert await first == 408
        assert not second.done()
        assert not other.done()
        for task in (second, other):
            task.cancel()
        await asyncio.gather(second, other, return_exceptions=True)
        assert receiving.count == 0

    asyncio.run(main())


def test_where_all_have_too_many_it_is_from_the_one_that_has_most() -> None:
    async def main() -> None:
        receiving = arrivals(max_arriving=3, tenant_share=1.0)

        def slow(tenant: str) -> asyncio.Task[int | bytes | None]:
            return asyncio.create_task(status(receiving, tenant, receiver(b"a", ends=False)))

        tasks = [slow(tenant) for tenant in "baac"]
        assert await tasks[1] == 408
        assert [task.done() for task in tasks] == [False, True, False, False]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())


def test_a_body_that_is_too_long_is_said_to_be() -> None:
    assert (too_large(7).status, too_large(7).code) == (413, "too_large")
    assert "7 bytes" in str(too_large(7))
