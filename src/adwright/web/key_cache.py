"""Who calls: the tenant of an API key, asked from the store and believed for a short while."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable

from adwright.core.clock import Clock

__all__ = ["KeyCache"]

_MOST = 10_000


class KeyCache:
    """Answers `tenant_of_key` from memory for `seconds`, unknown keys included.

    ask: the store's own look-up; it may block, so it runs on a thread. The keys themselves are
    not kept, only their SHA-256. Of many requests with one new key, only one asks. Belongs to
    one event loop.
    """

    def __init__(self, ask: Callable[[str], str | None], clock: Clock, *, seconds: float) -> None:
        self._ask = ask
        self._clock = clock
        self._seconds = seconds
        self._known: OrderedDict[bytes, tuple[str | None, float]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[str | None]] = {}

    async def tenant(self, key: str) -> str | None:
        """The key's tenant; None where it is unknown. Raises what the store raises."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        found = self._known.get(digest)
        if found is not None and self._clock.monotonic() < found[1]:
            return found[0]
        task = self._asking.get(digest)
        if task is None:
            task = asyncio.create_task(self._look_up(digest, key))
            self._asking[digest] = task
        # A caller that goes away must not take the others' answer with it.
        return await asyncio.shield(task)

    async def _look_up(self, digest: bytes, key: str) -> str | None:
        try:
            tenant = await asyncio.to_thread(self._ask, key)
        finally:
            del self._asking[digest]
        self._known[digest] = (tenant, self._clock.monotonic() + self._seconds)
        self._known.move_to_end(digest)
        while len(self._known) > _MOST:
            self._known.popitem(last=False)
        return tenant
