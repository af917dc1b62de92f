"""Which connections are open, and which of them must go.

A connection waits while it has no complete head of a request, and while its client does not take
what was sent. Whoever waits has a time to do it in, and is the first to go where there are too
many: so callers who connect and say nothing, or half of something, shut nobody out.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections import Counter
from typing import Protocol

from adwright.web.limits import GateLimits
from adwright.web.metrics import ServiceMetrics

__all__ = ["Connection", "Connections", "raise_file_limit"]

_log = logging.getLogger("adwright.service")
#: Descriptors that are kept for the store, models, logs and whatever else is opened.
_FILES_KEPT = 256
_FILES_WANTED = 65_536
_LOOK_SECONDS = 0.5
_TELL_SECONDS = 10.0


class Connection(Protocol):
    """One connection, as it is known here."""

    def give_up(self, reason: str) -> None:
        """Close it, at once."""


class Connections:
    """The connections of one server; belongs to one event loop."""

    def __init__(self, limits: GateLimits, metrics: ServiceMetrics) -> None:
        self.limits = limits
        self._gone = metrics.connections_closed
        self._address: dict[Connection, str] = {}
        self._of_address: Counter[str] = Counter()
        # By when each that waits must be done; those that have waited longest come first.
        self._waiting: dict[Connection, float] = {}
        self._looking = False
        self._told = float("-inf")
        self._most = 0
        metrics.gauge("connections", "Open connections.", lambda: len(self._address))

    @property
    def most(self) -> int:
        """How many there may be: by the setting and the limit on open files."""
        if not self._most:
            files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            room = self.limits.max_connections
            if files != resource.RLIM_INFINITY:
                room = min(room, max(files - _FILES_KEPT, files // 2))
            self._most = room
        return self._most

    def opened(self, one: Connection, address: str) -> bool:
        """Count a new connection, which waits from now on; False where there is no room."""
        if len(self._address) >= self.most and not self._make_room("most", None):
            return False
        bound = self.limits.connections_per_address
        full = bound and self._of_address[address] >= bound
        if full and not self._make_room("address", address):
            return False
        self._address[one] = address
        self._of_address[address] += 1
        self.waits(one, self.limits.head_seconds)
        return True

    def closed(self, one: Connection) -> None:
        """Forget it; it may be forgotten already."""
        self._waiting.pop(one, None)
        address = self._address.pop(one, None)
        if address is not None:
            self._of_address[address] -= 1
            if not self._of_address[address]:
                del self._of_address[address]

    def waits(self, one: Connection, seconds: float) -> None:
        """It waits for its client from now on, and is closed after so long."""
        if one not in self._address:
            return
        loop = asyncio.get_running_loop()
        self._waiting.pop(one, None)
        self._waiting[one] = loop.time() + seconds
        if not self._looking:
            self._looking = True
            loop.call_later(_LOOK_SECONDS, self._look)

    def works(self, one: Connection) -> None:
        """It has sent a whole head, or takes what is sent: it does not wait any more."""
        self._waiting.pop(one, None)

    def end(self, one: Connection, reason: str) -> None:
        """Close it, and count why."""
        self.closed(one)
        self._gone.labels(reason).inc()
        one.give_up(reason)

    def _make_room(self, reason: str, address: str | None) -> bool:
        self._tell(reason)
        for one in self._waiting:
            if address is None or self._address[one] == address:
                self.end(one, reason)
                return True
        self._gone.labels("refused").inc()
        return False

    def _tell(self, reason: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._told > _TELL_SECONDS:
            self._told = now
            count = len(self._address)
            _log.warning("too many connections (%s): %d are open, the oldest go", reason, count)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for one in [one for one, end in self._waiting.items() if end <= now]:
            self.end(one, "time")
        self._looking = bool(self._waiting)
        if self._looking:
            loop.call_later(_LOOK_SECONDS, self._look)


def raise_file_limit() -> None:
    """Let this process open as many files as it may, up to 65,536: connections are files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, _FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
