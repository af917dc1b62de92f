"""What is stopped, in memory, so that no decision ever asks the store for it.

A thread looks every few seconds for what other processes wrote; stops that this process stores are
read before they are acknowledged. Each look asks first which tenants have anything new, and reads
the stops of these alone. While the store cannot be read, what was read last goes on to count.

A stop counts by the clock of the service, also for a request that names another time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol, TypeVar

from adwright.campaigns.store.events import StopVersion
from adwright.core.clock import Clock
from adwright.data.stops import Stops
from adwright.delivery.decision import Request

__all__ = ["StopList", "StopSource"]

T = TypeVar("T")
#: Seconds between two looks at least, however soon a stop begins to count.
_LEAST = 0.05
_log = logging.getLogger("adwright.service")


class StopSource(Protocol):
    """The store, as the list of stops needs it."""

    def stop_versions(self) -> Mapping[str, StopVersion]:
        """By tenant, what is another as soon as its stops may be others."""
        ...

    def stops_at(self, tenant: str, at: datetime) -> Stops:
        """What is stopped of the tenant's at a moment."""
        ...


@dataclass(frozen=True, eq=False)
class _KnownStops:
    """version: None where it must be read again in any case. number: of the read that found it."""

    version: StopVersion | None
    number: int
    stops: Stops

    def holds(self, version: StopVersion, now: datetime) -> bool:
        changes = self.stops.changes
        return self.version == version and (changes is None or now < changes)


class StopList:
    """The stops of all tenants; may be shared by threads.

    seconds: between two looks at the store.
    """

    def __init__(self, source: StopSource, clock: Clock, *, seconds: float) -> None:
        self._source = source
        self._clock = clock
        self._seconds = seconds
        # Readers take one reference: what is new is put in the place of an entry.
        self._known: dict[str, _KnownStops] = {}
        self._looked = clock.monotonic()
        self._failing = False
        self._reads = 0  # that were begun
        self._lock = threading.Lock()  # held while the store is read: never by a decision
        self._woken = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None

    @property
    def total(self) -> int:
        """How many items are not shown, of all tenants together."""
        return sum(len(known.stops.items) for known in list(self._known.values()))

    @property
    def age(self) -> float:
        """Seconds since the store was last asked with success, or since the beginning."""
        return self._clock.monotonic() - self._looked

    def of(self, tenant: str) -> Stops | None:
        """What is stopped of the tenant's; None where it never stopped anything."""
        known = self._known.get(tenant)
        return None if known is None else known.stops

    def items(self, tenant: str) -> frozenset[str]:
        """The tenant's items that must not be shown."""
        known = self._known.get(tenant)
        return frozenset() if known is None else known.stops.items

    def heeded(self, tenant: str, request: Request) -> Request:
        """The request, with the stopped items among those that it excludes."""
        stopped = self.items(tenant)
        if not stopped:
            return request
        if request.candidates is not None:
            stopped = stopped.intersection(request.candidates)
            if not stopped:
                return request
        # The set itself where it is all: whoever prepares it does so once for many requests.
        exclude = request.exclude | stopped if request.exclude else stopped
        return replace(request, exclude=exclude)

    def start(self) -> None:
        """Look for the first time, and begin to watch."""
        self.look()
        self._stopped = False
        self._thread = threading.Thread(target=self._watch, name="adwright-stops", daemon=True)
        self._thread.start()

    def stop(self, seconds: float | None = None) -> None:
        """Stop watching; waits for a look that is under way, at most `seconds`."""
        self._stopped = True
        self._woken.set()
        if self._thread is not None:
            self._thread.join(seconds)
            self._thread = None

    def look(self) -> None:
        """Read the stops of those tenants that have something new, or whose time has come."""
        with self._lock:
            began, fine = self._clock.monotonic(), True
            versions = self._tried(self._source.stop_versions)
            if versions is None:
                return
            for tenant in self._known.keys() - versions.keys():
                del self._known[tenant]  # the store was exchanged for another
            for tenant, version in versions.items():
                known = self._known.get(tenant)
                if known is None or not known.holds(version, self._clock.now()):
                    fine = self._read(tenant, version) and fine
            if fine:
                self._looked = began
                if self._failing:
                    _log.info("the stops can be read again")
                self._failing = False

    def refresh(self, tenant: str) -> None:
        """Read the stops of one tenant now; where that fails, the next look tries again. Of calls
        that wait for their turn together, the first reads for all."""
        asked = self._reads
        with self._lock:
            known = self._known.get(tenant)
            if known is None or known.number <= asked:
                self._read(tenant, None)
        self._woken.set()  # one of them may begin to count before the next look is due

    def _read(self, tenant: str, version: StopVersion | None) -> bool:
        self._reads = number = self._reads + 1
        stops = self._tried(lambda: self._source.stops_at(tenant, self._clock.now()))
        if stops is not None:
            self._known[tenant] = _KnownStops(version, number, stops)
        return stops is not None

    def _tried(self, call: Callable[[], T]) -> T | None:
        """What `call` returns; None where it fails, which is said once until it goes well."""
        try:
            return call()
        except Exception as error:
            if not self._failing:
                _log.error("stops cannot be read, those known before go on to count: %s", error)
            self._failing = True
            return None

    def _watch(self) -> None:
        due = self._clock.monotonic() + self._until_next()
        while not self._stopped:
            if self._woken.wait(max(0.0, due - self._clock.monotonic())):
                self._woken.clear()
                due = min(due, self._clock.monotonic() + self._until_next())
                continue
            self.look()
            due = self._clock.monotonic() + self._until_next()

    def _until_next(self) -> float:
        """Seconds to the next look: fewer where a stop begins to count before."""
        if self._failing:
            return self._seconds
        now = self._clock.now()
        begin = [known.stops.changes for known in list(self._known.values())]
        waits = [(moment - now).total_seconds() for moment in begin if moment is not None]
        return max(_LEAST, min([self._seconds, *waits]))
