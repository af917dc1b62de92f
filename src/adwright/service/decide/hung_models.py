"""Which models are set aside, because a call to them does not end.

Nothing can end a call of somebody's code. It is left alone on its thread, and its tenant is
served from the fallback: until the call returns and a while has passed, or until another model is
put in place. A model is never entered by two threads at once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from adwright.core.clock import Clock
from adwright.delivery.decision import Deadline
from adwright.service.registry.deployed import Deployed

__all__ = ["HungModels"]

#: A model that hangs again and again waits up to so many times as long for its next try.
_LONGEST = 32
_log = logging.getLogger("adwright.service")


@dataclass(eq=False)
class _ModelCall:
    deployed: Deployed
    due: float


@dataclass(eq=False)
class _Aside:
    deployed: Deployed
    retry: float
    times: int = 1
    returned: bool = False

    def lasts(self, now: float) -> bool:
        return not self.returned or now < self.retry


class HungModels:
    """Watches the calls to models, one a tenant at a time, and remembers who is set aside.

    seconds: a call that is so late after its deadline counts as hung. retry: seconds until a
    model whose call returned is tried again; twice as many each time that it hangs again.
    """

    def __init__(self, clock: Clock, *, seconds: float, retry: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._retry = retry
        self._calls: dict[str, _ModelCall] = {}
        self._aside: dict[str, _Aside] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many models are set aside."""
        now = self._clock.monotonic()
        return sum(one.lasts(now) for one in list(self._aside.values()))

    def aside(self, tenant: str, deployed: Deployed) -> bool:
        """Whether this model must not be called now."""
        found = self._aside.get(tenant)
        if found is None or found.deployed is not deployed:
            return False
        return found.lasts(self._clock.monotonic())

    @contextmanager
    def call(self, tenant: str, deployed: Deployed, deadline: Deadline) -> Iterator[None]:
        """Around a call to the model that is to end by `deadline`."""
        due = max(self._clock.monotonic(), deadline.at) + self._seconds
        call = _ModelCall(deployed, due)
        with self._lock:
            self._calls[tenant] = call
        try:
            yield
        finally:
            with self._lock:
                self._ended(tenant, call)

    def look(self) -> list[str]:
        """Set aside the models whose calls are late by now; their tenants."""
        now, late = self._clock.monotonic(), []
        if not any(now > call.due for call in list(self._calls.values())):
            return []
        with self._lock:
            for tenant, call in list(self._calls.items()):
                if now > call.due:
                    del self._calls[tenant]
                    self._set_aside(tenant, call.deployed, now)
                    late.append(tenant)
        return late

    def _set_aside(self, tenant: str, deployed: Deployed, now: float) -> None:
        before = self._aside.get(tenant)
        again = before is not None and before.deployed is deployed
        times = min(_LONGEST, 2 * before.times) if before is not None and again else 1
        self._aside[tenant] = _Aside(deployed, now + self._retry * times, times)
        _log.error("the model %s of tenant %s hangs and is set aside", deployed.name, tenant)

    def _ended(self, tenant: str, call: _ModelCall) -> None:
        found = self._aside.get(tenant)
        if self._calls.get(tenant) is call:
            del self._calls[tenant]
            self._aside.pop(tenant, None)  # it is well, or another one took its place
        elif found is not None and found.deployed is call.deployed:
            found.returned = True
