"""What is stopped, in memory, so that no decision ever asks the store for it.

A thread looks each second for what other processes wrote; stops that this process stores are read
before they are acknowledged. Each look asks first which tenants have anything new, and reads the
stops of these alone. While the store cannot be read, what was read last goes on to count. The order
of stops is the store's, and no clock has a part in it.

Each process tells the store that it lives, and which stops it obeys, so that every process can say
on how many a stop is in force. Who has not told it for `LEASE` seconds decides no more until it has
looked anew: the others count on that, and wait for it no longer. Lives are told by a count that
rises, and judged by whoever reads it on his own watch, since the clocks of machines differ.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from adwright.campaigns.store.events import StopVersion
from adwright.campaigns.store.keys import Replica
from adwright.core.clock import Clock
from adwright.data.stops import Stops
from adwright.delivery.decision import Request
from adwright.service.decide.writer import unavailable

T = TypeVar("T")
#: Seconds at least that a process may decide without a word to the store; with a slower look, as
#: long as four looks take.
LEASE = 15.0
_LOOKS = 4
#: Processes that said nothing for so many leases are forgotten.
_FORGOTTEN = 20
_log = logging.getLogger("adwright.service")


class StopSource(Protocol):
    """The store, as the list of stops needs it."""

    def stop_versions(self) -> Mapping[str, StopVersion]:
        """By tenant, what is another as soon as its stops may be others."""
        ...

    def stops_of(self, tenant: str) -> tuple[Stops, StopVersion]:
        """What is stopped of the tenant's, and its version."""
        ...

    def beat(self, name: str, replica: Replica) -> None:
        """Say that a process lives, and which stops it obeys."""
        ...

    def replicas(self) -> Mapping[str, Replica]:
        """What each process said last, by its name."""
        ...

    def drop_replicas(self, names: Sequence[str]) -> None:
        """Forget processes that ended."""
        ...


@dataclass(frozen=True, eq=False)
class _KnownStops:
    """number: of the read that found it."""

    version: StopVersion
    number: int
    stops: Stops


class StopList:
    """The stops of all tenants; may be shared by threads.

    seconds: between two looks at the store.
    """

    def __init__(self, source: StopSource, clock: Clock, *, seconds: float) -> None:
        self._source = source
        self._clock = clock
        self._seconds = seconds
        self._lease = max(LEASE, _LOOKS * seconds)
        self._name = secrets.token_hex(8)
        # Readers take one reference: what is new is put in the place of an entry.
        self._known: dict[str, _KnownStops] = {}
        self._looked = clock.monotonic()
        self._seen = 0  # the last stop of all tenants
        self._told = Replica(0, 0, self._lease)
        self._beat = float("-inf")  # when it was last told, by the beginning of the telling
        self._heard: dict[str, tuple[int, float]] = {}  # of each process: beats, since when
        # The number that has to be read of a tenant before anything is decided for it again.
        self._owed: dict[str, int] = {}
        self._failing = False
        self._reads = 0  # that were begun
        self._lock = threading.Lock()  # held while the store is read: never by a decision
        self._looking = threading.Lock()
        self._ended = threading.Event()
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
        """The tenant's items that must not be shown. Raises ApiError 503 where that is unknown:
        others may take this process for dead."""
        silent = self._clock.monotonic() - self._beat
        if silent >= self._lease or tenant in self._owed:
            raise unavailable("what is stopped could not be asked of the store for too long")
        known = self._known.get(tenant)
        return frozenset() if known is None else known.stops.items

    def heeded(self, tenant: str, request: Request) -> Request:
        """The request, with the stopped items among those that it excludes. Raises as `items`."""
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

    def obeys(self, tenant: str, number: int) -> bool:
        """Whether this process obeys the tenant's stops up to this number of the store."""
        known = self._known.get(tenant)
        return known is not None and known.version[0] >= number

    def owe(self, tenant: str, number: int) -> None:
        """Decide nothing for the tenant until its stops up to this number were read, which were
        acknowledged, but could not be read in time."""
        if not self.obeys(tenant, number):
            self._owed[tenant] = number

    def spread(self, tenant: str, number: int) -> tuple[int, int]:
        """(processes that obey the tenant's stops up to this number, processes that live), as the
        store knows them now. Raises what the store raises."""
        others = self._alive(self._source.replicas())
        others.pop(self._name, None)
        seen = sum(one.seen >= number for one in others.values())
        return seen + self.obeys(tenant, number), len(others) + 1

    def start(self) -> None:
        """Look for the first time, and begin to watch."""
        self.look()
        self._ended.clear()
        self._thread = threading.Thread(target=self._watch, name="adwright-stops", daemon=True)
        self._thread.start()

    def stop(self, seconds: float | None = None) -> None:
        """Stop watching; waits for a look that is under way, at most `seconds`."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(seconds)
            self._thread = None
            self._beat = float("-inf")
            self._tried(lambda: self._source.drop_replicas([self._name]))

    def look(self) -> None:
        """Read the stops of those tenants that have something new, and tell the store."""
        with self._looking:
            began = self._clock.monotonic()
            # Others must count this process before it reads, or they would not wait for it.
            anew = began - self._beat >= self._lease
            if anew and not self._tell():
                return
            with self._lock:
                versions = self._tried(self._source.stop_versions)
                if versions is None:
                    return
                if self._read_new(versions, anew=anew):
                    self._looked = began
                    self._seen = max((version[0] for version in versions.values()), default=0)
                    if self._failing:
                        _log.info("the stops can be read again")
                    self._failing = False
            due = began - self._beat >= self._lease / _LOOKS
            if (due or self._seen != self._told.seen) and self._tell():
                self._beat = began

    def _read_new(self, versions: Mapping[str, StopVersion], *, anew: bool) -> bool:
        """Read what has changed; whether all could be read. anew: what was known counts no more."""
        fine = True
        for tenant in self._known.keys() - versions.keys():
            del self._known[tenant]  # the store was exchanged for another
            self._owed.pop(tenant, None)
        for tenant, version in versions.items():
            known = self._known.get(tenant)
            same = known is not None and known.version == version and tenant not in self._owed
            if not same and not self._read(tenant):
                fine = False
                if anew or known is None:
                    self._owed.setdefault(tenant, version[0])
        return fine

    def refresh(self, tenant: str) -> None:
        """Read the stops of one tenant now; where that fails, the next look tries again. Of calls
        that wait for their turn together, the first reads for all."""
        asked = self._reads
        with self._lock:
            known = self._known.get(tenant)
            if known is None or known.number <= asked:
                self._read(tenant)

    def _read(self, tenant: str) -> bool:
        self._reads = number = self._reads + 1
        found = self._tried(lambda: self._source.stops_of(tenant))
        if found is not None:
            self._known[tenant] = _KnownStops(found[1], number, found[0])
            if found[1][0] >= self._owed.get(tenant, 0):
                self._owed.pop(tenant, None)
        return found is not None

    def _tell(self) -> bool:
        """Tell the store that this process lives, and what it has seen; whether it took it."""
        told = Replica(self._seen, self._told.beats + 1, self._lease)

        def tell() -> Replica:
            self._source.beat(self._name, told)
            return told

        taken = self._tried(tell)
        self._told = taken or self._told
        return taken is not None

    def _alive(self, found: Mapping[str, Replica]) -> dict[str, Replica]:
        """Those whose count has risen within their lease, as far as this process has seen."""
        now, before = self._clock.monotonic(), self._heard
        heard = {name: (one.beats, now) for name, one in found.items()}
        heard |= {name: was for name, was in before.items() if heard.get(name, was)[0] == was[0]}
        self._heard = {name: heard[name] for name in found}
        silent = {name: now - since for name, (_, since) in self._heard.items()}
        dead = [name for name, one in found.items() if silent[name] > _FORGOTTEN * one.lease]
        if dead:
            self._source.drop_replicas(dead)
        return {name: one for name, one in found.items() if silent[name] <= one.lease}

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
        while not self._ended.wait(self._seconds):
            self.look()
            self._tried(lambda: self._alive(self._source.replicas()))
