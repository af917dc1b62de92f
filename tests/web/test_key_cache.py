from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from adwright.core.clock import FixedClock
from adwright.core.errors import ResourceError
from adwright.web import key_cache as keys
from adwright.web.errors import ApiError
from adwright.web.key_cache import KeyCache


class Store:
    def __init__(self) -> None:
        self.known = {"key-a": "acme"}
        self.asked: list[str] = []
        self.looks: list[int] = []
        self.fails = False
        self.open = threading.Event()
        self.open.set()

    def tenants_of_keys(self, keys: Sequence[str]) -> list[str | None]:
        self.asked += keys
        self.looks.append(len(keys))
        assert self.open.wait(30)
        if self.fails:
            raise ResourceError("the store is down")
        return [self.known.get(key) for key in keys]


def test_a_key_is_believed_for_a_while_and_then_asked_again(clock: FixedClock) -> None:
    store = Store()

    async def main() -> None:
        cache = KeyCache(store.tenants_of_keys, clock, seconds=5)
        assert await cache.caller("key-a") == "acme"
        assert await cache.caller("other") is None
        store.known = {"other": "umbrella"}
        clock.advance(4.9)
        assert await cache.caller("key-a") == "acme"
        assert await cache.caller("other") is None
        assert store.asked == ["key-a", "other"]
        clock.advance(0.2)
        assert await cache.caller("key-a") is None
        assert await cache.caller("other") == "umbrella"

    asyncio.run(main())


def test_many_at_once_ask_once(clock: FixedClock) -> None:
    store = Store()

    async def main() -> None:
        cache = KeyCache(store.tenants_of_keys, clock, seconds=5)
        assert await asyncio.gather(*(cache.caller("key-a") for _ in range(50))) == ["acme"] * 50
        assert store.asked == ["key-a"]

    asyncio.run(main())


def test_an_error_is_not_remembered(clock: FixedClock) -> None:
    store = Store()
    store.fails = True

    async def main() -> None:
        cache = KeyCache(store.tenants_of_keys, clock, seconds=5)
        for _ in range(2):
            with pytest.raises(ResourceError, match="down"):
                await cache.caller("key-a")
        assert store.asked == ["key-a", "key-a"]

    asyncio.run(main())


def test_guesses_are_asked_together_and_the_next_key_with_them(clock: FixedClock) -> None:
    store = Store()
    store.open.clear()

    async def main() -> None:
        cache = KeyCache(store.tenants_of_keys, clock, seconds=5)
        guesses = [asyncio.create_task(cache.caller(f"guess-{n}")) for n in range(300)]
        await asyncio.sleep(0)
        honest = asyncio.create_task(cache.caller("key-a"))
        await asyncio.sleep(0)
        store.open.set()
        assert await honest == "acme"
        assert await asyncio.gather(*guesses) == [None] * 300
        assert store.looks == [1, 1, 299]

    asyncio.run(main())


def test_it_does_not_grow_with_guesses_which_drive_no_known_key_out_and_it_keeps_no_key(
    clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_MOST", 3)
    store = Store()

    async def main() -> None:
        cache = KeyCache(store.tenants_of_keys, clock, seconds=5)
        for guess in ("key-a", "g1", "g2", "g3", "\ud800"):
            await cache.caller(guess)
        assert await cache.caller("key-a") == "acme"
        assert store.asked == ["key-a", "g1", "g2", "g3", "\ud800"]
        assert len(cache._unknown) == 3
        assert all(len(digest) == 32 for digest in (*cache._known, *cache._unknown))

    asyncio.run(main())


@pytest.mark.parametrize("hangs", [False, True])
def test_a_known_key_is_believed_on_while_the_store_cannot_be_asked(
    clock: FixedClock, hangs: bool
) -> None:
    store = Store()

    async def main() -> None:
        cache = KeyCache(store.tenants_of_keys, clock, seconds=5, stale_seconds=60)
        await cache.caller("key-a")
        if hangs:
            store.open.clear()
        else:
            store.fails = True
        for _ in range(3):
            clock.advance(19)
            assert await cache.caller("key-a") == "acme"
        clock.advance(3.1)
        with pytest.raises((ApiError, ResourceError)):
            await cache.caller("key-a")
        # As soon as it can be asked, the store is right: the key was revoked meanwhile.
        store.known, store.fails = {}, False
        store.open.set()
        for _ in range(500):
            if await cache.caller("key-a") is None:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the revoked key is still believed")

    asyncio.run(main())


def test_new_keys_are_refused_while_the_store_hangs(
    clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "PATIENCE", 0.05)
    store = Store()
    store.open.clear()

    async def main() -> None:
        cache = KeyCache(store.tenants_of_keys, clock, seconds=5)
        for guess in ("g1", "g2", "g3"):
            with pytest.raises(ApiError, match="has not answered") as refused:
                await cache.caller(guess)
            assert refused.value.status == 503
            assert refused.value.headers == {"Retry-After": "1"}
        clock.advance(1)
        # Both looks hang: no more keys wait behind them.
        with pytest.raises(ApiError, match="has not answered"):
            await cache.caller("g4")
        store.open.set()
        for _ in range(500):
            if "g3" in store.asked and not cache._began:
                break
            await asyncio.sleep(0.01)
        assert await cache.caller("key-a") == "acme"
        assert "g4" not in store.asked

    asyncio.run(main())
