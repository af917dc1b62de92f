"""The parts of one running service, which the endpoints work with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from adwright.campaigns.store.store import Store
from adwright.core.clock import Clock
from adwright.core.errors import AdwrightError
from adwright.service.config import ServiceConfig
from adwright.service.decide.decider import Decider
from adwright.service.registry.registry import Models
from adwright.web.key_cache import KeyCache
from adwright.web.metrics import ServiceMetrics

__all__ = ["ServiceState"]

_PING_SECONDS = 0.5
_PING_PATIENCE = 2.0


@dataclass(eq=False)
class ServiceState:
    """The parts, and whether the service is about to end."""

    config: ServiceConfig
    store: Store
    models: Models
    decider: Decider
    keys: KeyCache
    metrics: ServiceMetrics
    clock: Clock
    draining: bool = False
    # Heavy questions beside the decisions, one at a time.
    aside: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    _pinged: tuple[float, bool] = (float("-inf"), False)

    def counts(self) -> tuple[int, int]:
        """How many models decide, and how many newer ones were refused."""
        statuses = self.models.statuses().values()
        loaded = sum(status.deployed is not None for status in statuses)
        return loaded, sum(bool(status.refused) for status in statuses)

    async def store_answers(self) -> bool:
        """Whether the store answers; asked at most once in half a second."""
        now = self.clock.monotonic()
        if now - self._pinged[0] >= _PING_SECONDS:
            try:
                async with asyncio.timeout(_PING_PATIENCE):
                    await asyncio.to_thread(self.store.ping)
                self._pinged = (now, True)
            except (AdwrightError, TimeoutError):
                self._pinged = (now, False)
        return self._pinged[1]
