"""A decider over a store, for the tests of its parts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from adwright.campaigns.store.store import Events, Store
from adwright.core.clock import SystemClock
from adwright.delivery.decision import Decision
from adwright.service.config import ServiceConfig
from adwright.service.decide.decider import Decider
from adwright.service.registry.deployed import Deployed
from adwright.service.registry.registry import FixedModels
from adwright.web.gate import ServiceMetrics
from tests.support.service.small_shop import request

#: Seconds that are enough for a decision on any machine.
AMPLE = 5.0


class Bench:
    """A decider over a store, and its measures."""

    def __init__(self, store: Any, models: Mapping[str, Deployed], **settings: Any) -> None:
        clock = SystemClock()
        self.metrics = ServiceMetrics()
        config = ServiceConfig(**settings)
        self.decider = Decider(config, FixedModels(models, clock), store, self.metrics, clock)

    def run(self, what: Callable[[Decider], Awaitable[Any]]) -> Any:
        """The result of `what` between the start and the end of the decider."""

        async def main() -> Any:
            self.decider.start()
            try:
                return await what(self.decider)
            finally:
                await asyncio.to_thread(self.decider.stop)

        return asyncio.run(main())

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


class Held:
    """A store whose transactions wait until they are let go on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.groups: list[tuple[str, int]] = []
        self.go_on = threading.Event()

    def record_group(self, tenant: str, entries: Sequence[Decision | Events]) -> Any:
        self.groups.append((tenant, len(entries)))
        self.go_on.wait(20)
        return self._store.record_group(tenant, entries)


def event(event_id: str, **changes: Any) -> dict[str, Any]:
    row = {"event_id": event_id, "time": request().time, "request_id": "r1", "user_id": "u1"}
    return {**row, "kind": "click", "item_id": "item-001", **changes}
