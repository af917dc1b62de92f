"""Keep the counts of a policy (caps, budgets, evidence) up to date while it serves.

A decision counts against caps and budgets from the moment it is made, before the store has it, so
that two decisions never share what is left. What then comes out of the store takes the place of
what was reserved; if nothing does (the request was repeated, or the store failed), the reservation
is taken back. Evidence counts what is stored alone.

Between processes nothing is shared but the store: a replica hears of what the others showed when
it loads its next model or settings.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from adwright.core.clock import Clock, SystemClock
from adwright.delivery.decision import Decision
from adwright.delivery.policy.evidence import ItemCounts
from adwright.delivery.policy.pacing import Limit

__all__ = ["PolicyRecords"]

_FORGET_EVERY = timedelta(hours=1)
#: A request may name a time that is past by this much; its limits still hold.
_LATE = timedelta(days=1)


class PolicyRecords:
    """The limits and the evidence of one policy.

    lock: held by whoever lets the policy decide, and while events are taken note of. clock: says
    which impressions no longer count.
    """

    def __init__(
        self,
        limits: Sequence[Limit] = (),
        evidence: ItemCounts | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self.lock = threading.Lock()
        self._limits, self._evidence = tuple(limits), evidence
        self._clock = SystemClock() if clock is None else clock
        self._reserved: dict[str, Decision] = {}
        self._forgot = self._clock.now()

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of the events that are to be observed; none without limits and evidence."""
        if self._evidence is not None:
            return frozenset({"impression", self._evidence.response})
        return frozenset({"impression"} if self._limits else ())

    @property
    def since(self) -> datetime | None:
        """The first instant whose events matter now; None is the beginning of the log."""
        now = self._clock.now()
        needed = [limit.needs(now) for limit in self._limits]
        if self._evidence is not None:
            if self._evidence.since is None:
                return None
            needed.append(self._evidence.since)
        return min(needed, default=now)

    def reserve(self, decision: Decision) -> None:
        """Count what a decision shows until `settle`; call it under the lock."""
        request = decision.request
        # Of decisions about one request only one is stored.
        if self._limits and request.request_id not in self._reserved:
            self._reserved[request.request_id] = decision
            for limit in self._limits:
                for item_id in decision.item_ids:
                    limit.add(request.user_id, item_id, request.time)

    def settle(self, request_id: str) -> None:
        """The decision was written or was not; what is still reserved for it is taken back."""
        with self.lock:
            self._release(request_id)

    def observe(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Count events that were stored, in EVENT_SCHEMA columns; each must come once."""
        now = self._clock.now()
        with self.lock:
            if self._evidence is not None:
                self._evidence.record(events)
            for event in events if self._limits else ():
                if event["kind"] == "impression":
                    self._release(event["request_id"])
                    for limit in self._limits:  # what came is not still to come
                        limit.add(event["user_id"], event["item_id"], min(event["time"], now))
            if now - self._forgot > _FORGET_EVERY:
                self._forgot = now
                for limit in self._limits:
                    limit.forget(now - _LATE)

    def _release(self, request_id: str) -> None:
        decision = self._reserved.pop(request_id, None)
        if decision is not None:
            request = decision.request
            for limit in self._limits:
                for item_id in decision.item_ids:
                    limit.remove(request.user_id, item_id, request.time)
