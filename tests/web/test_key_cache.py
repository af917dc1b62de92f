from __future__ import annotations

import asyncio

import pytest

from adwright.core.clock import FixedClock
from adwright.web import key_cache as keys
from adwright.web.key_cache import KeyCache


class Store:
    def __init__(self) -> None:
        self.known = {"key-a": "acme"}
        self.asked: list[str] = []

    def tenant_of_key(self, key: str) -> str | None:
        self.asked.append(key)
        if key == "down":
            raise OSError("the store is down")
        return self.known.get(key)


def test_a_key_is_believed_for_a_while_and_then_asked_again(clock: FixedClock) -> None:
    store = Store()

    async def main() -> None:
        cache = KeyCache(store.tenant_of_key, clock, seconds=5)
        assert await cache.tenant("key-a") == "acme"
        assert await cache.tenant("other") is None
        store.known = {"other": "umbrella"}
        clock.advance(4.9)
        assert await cache.tenant("key-a") == "acme"
        assert await cache.tenant("other") is None
        assert store.asked == ["key-a", "other"]
        clock.advance(0.1)
        assert await cache.tenant("key-a") is None
        assert await cache.tenant("other") == "umbrella"

    asyncio.run(main())


def test_many_at_once_ask_once(clock: FixedClock) -> None:
    store = Store()

    async def main() -> None:
        cache = KeyCache(store.tenant_of_key, clock, seconds=5)
        assert await asyncio.gather(*(cache.tenant("key-a") for _ in range(50))) == ["acme"] * 50
        assert store.asked == ["key-a"]

    asyncio.run(main())


def test_an_error_is_not_remembered(clock: FixedClock) -> None:
    store = Store()

    async def main() -> None:
        cache = KeyCache(store.tenant_of_key, clock, seconds=5)
        for _ in range(2):
            with pytest.raises(OSError, match="down"):
                await cache.tenant("down")
        assert store.asked == ["down", "down"]

    asyncio.run(main())


def test_it_does_not_grow_with_guesses_and_keeps_no_key(
    clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_MOST", 3)
    store = Store()

    async def main() -> None:
        cache = KeyCache(store.tenant_of_key, clock, seconds=5)
        for guess in ("key-a", "g1", "g2", "g3", "\ud800"):
            await cache.tenant(guess)
        assert len(cache._known) == 3
        assert all(len(digest) == 32 for digest in cache._known)

    asyncio.run(main())
