"""What people do counts on every process that decides: each follows the events that others store.

    followed = Followed(store, models, clock, seconds=0.4)
    decider = Decider(config, models, followed, ...)     # writes by it, so that its own are known
    followed.start()

Twice a second or so the store is asked for what people did (views, clicks, carts, purchases,
ratings) since the last look, whoever took it in; what this process has written itself its models
know already. A transaction may be seen after a later one: so the events of the last seconds are
asked for again, and each is passed on once. While the store cannot be asked, what was not heard
waits for the look that can.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from adwright.campaigns.store.store import Events, Store, StoredDecision
from adwright.campaigns.store.tables import Recorded
from adwright.core.clock import Clock
from adwright.data.schema import ACTION_KINDS
from adwright.delivery.decision import Decision
from adwright.service.registry.registry import Models
from adwright.web.turns import Watcher

_log = logging.getLogger("adwright.service")
#: Seconds within which a transaction that has taken its numbers is seen by others.
_LATE = 10.0
#: Events of one look; the rest is for the next one.
MOST = 10_000
#: Of this process, of which no look has come yet.
_REMEMBERED = 200_000


class Followed:
    """The store as one process writes to it, and what others write. seconds: between two looks."""

    def __init__(self, store: Store, models: Models, clock: Clock, *, seconds: float) -> None:
        self._store, self._models, self._clock = store, models, clock
        self._lock = threading.Lock()
        # In a transaction that is under way, and written by this process: (tenant, event id).
        self._writing: set[tuple[str, str]] = set()
        self._own: dict[tuple[str, str], None] = {}
        # Numbers of the store that were passed on, and the last number by when it was seen.
        self._passed: set[int] = set()
        self._marks: deque[tuple[float, int]] = deque()
        self._after, self._last = 0, 0
        self._failing = False
        self._watch = Watcher(self.look, "events of others", seconds)

    def record_group(
        self, tenant: str, entries: Sequence[Decision | Events]
    ) -> list[StoredDecision | Recorded]:
        """As of the store; what it writes is not heard again."""
        ids = {
            (tenant, str(event["event_id"]))
            for entry in entries
            if not isinstance(entry, Decision)
            for event in entry
            if event["kind"] in ACTION_KINDS
        }
        if not ids:
            return self._store.record_group(tenant, entries)
        with self._lock:
            self._writing |= ids
        own: set[tuple[str, str]] = set()
        try:
            results = self._store.record_group(tenant, entries)
            own = {
                (tenant, str(event["event_id"]))
                for entry, result in zip(entries, results, strict=True)
                if isinstance(result, Recorded) and not isinstance(entry, Decision)
                for place, event in enumerate(entry)
                if place not in result.repeated and event["kind"] in ACTION_KINDS
            }
        finally:
            with self._lock:
                self._writing -= ids
                self._own |= dict.fromkeys(own)
                while len(self._own) > _REMEMBERED:
                    del self._own[next(iter(self._own))]
        return results

    def begin(self) -> None:
        """From here on; what was stored before, models read as they are loaded."""
        self._after = self._last = self._store.last_event()

    def start(self) -> None:
        """Begin to look."""
        self._watch.start()

    def stop(self, seconds: float | None = None) -> None:
        """Look no more."""
        self._watch.stop(seconds)

    def look(self) -> None:
        """Pass on what others have stored since."""
        recent = self._models.read_lately()
        now = self._clock.monotonic()
        try:
            found = self._store.events_after(self._after, MOST)
        except Exception as error:
            if not self._failing:
                _log.error("events of other processes cannot be read: %s", error)
            self._failing = True
            return
        self._failing = False
        heard: dict[str, list[Mapping[str, Any]]] = {}
        with self._lock:
            for number, tenant, event in found:
                key = (tenant, str(event["event_id"]))
                if number in self._passed or key in self._writing:
                    continue
                self._passed.add(number)
                self._last = max(self._last, number)
                if key in self._own:
                    del self._own[key]
                else:
                    heard.setdefault(tenant, []).append(event)
        for tenant, events in heard.items():
            self._models.hear(tenant, events)
        if len(found) == MOST:
            # What waited while the store could not be asked: the next look goes on with it.
            self._after = found[-1][0]
            self._marks.clear()
            return
        self._models.forget_read(recent)
        # What is asked for again begins where the last look was so many seconds ago.
        self._marks.append((now, self._last))
        while self._marks[0][0] < now - _LATE:
            self._after = self._marks.popleft()[1]
        self._passed = {one for one in self._passed if one > self._after}
