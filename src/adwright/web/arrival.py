"""Bodies that are being received: how long, how large, and how many for each tenant.

They count apart from what is in work. Where a tenant has too many, the one that has been coming
for longest gives way, so that callers who send a byte now and then shut out nobody, not even
honest callers of the same tenant.
"""

from __future__ import annotations

import asyncio

from starlette.types import Receive

from adwright.web.errors import ApiError
from adwright.web.limits import GateLimits

__all__ = ["ArrivingBodies", "too_large"]


class ArrivingBodies:
    """Receives bodies; belongs to one event loop."""

    def __init__(self, limits: GateLimits) -> None:
        self._limits = limits
        self._share = limits.share_of(limits.max_arriving)
        # Of each tenant, those that have been coming for longest first.
        self._tenants: dict[str, dict[asyncio.Timeout, None]] = {}
        self._count = 0

    @property
    def count(self) -> int:
        """Bodies that are being received."""
        return self._count

    async def body(self, tenant: str, receive: Receive) -> bytes | None:
        """The whole body; None where the caller went away.

        Raises ApiError with 413 where it is too long, 408 where it takes too long.
        """
        seconds = self._limits.body_seconds
        try:
            async with asyncio.timeout(seconds) as time:
                self._add(tenant, time)
                try:
                    return await self._whole(receive)
                finally:
                    self._remove(tenant, time)
        except TimeoutError:
            raise ApiError(
                408,
                f"the body did not arrive within {seconds:g} s, or too many others were coming",
                hint="send it faster, or in several requests",
            ) from None

    async def _whole(self, receive: Receive) -> bytes | None:
        pieces, size, limit = list[bytes](), 0, self._limits.max_body_bytes
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if size > limit:
                raise too_large(limit)
            pieces.append(piece)
            if not message.get("more_body", False):
                return b"".join(pieces)

    def _add(self, tenant: str, time: asyncio.Timeout) -> None:
        mine = self._tenants.setdefault(tenant, {})
        mine[time] = None
        self._count += 1
        if len(mine) > self._share:
            self._give_up(tenant)
        elif self._count > self._limits.max_arriving:
            self._give_up(max(self._tenants, key=lambda name: len(self._tenants[name])))

    def _give_up(self, tenant: str) -> None:
        oldest = next(iter(self._tenants[tenant]))
        self._remove(tenant, oldest)
        oldest.reschedule(0.0)

    def _remove(self, tenant: str, time: asyncio.Timeout) -> None:
        mine = self._tenants.get(tenant, {})
        if time in mine:
            del mine[time]
            self._count -= 1
            if not mine:
                del self._tenants[tenant]


def too_large(limit: int) -> ApiError:
    """The refusal of a body that is longer than `limit` bytes."""
    return ApiError(
        413, f"the body is longer than {limit} bytes", hint="send it in several requests"
    )
