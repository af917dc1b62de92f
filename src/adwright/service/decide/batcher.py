"""Handle items of many tenants in batches, on threads of its own, tenants in turn.

While a batch is handled the next one gathers, so that batches grow with the load by themselves;
waiting for more items is worth only a moment. A tenant's batches follow one another; those of
several tenants run side by side where there are several threads, so that a slow one holds up
nobody else.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Container
from typing import Generic, Protocol, TypeVar

from adwright.core.clock import Clock

__all__ = ["Batcher", "Lines", "MovingAverage"]

T = TypeVar("T")
_log = logging.getLogger("adwright.service")


class MovingAverage:
    """Averages durations: the first one sets the average, each later one moves it by a tenth."""

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.value += (seconds - self.value) * (0.1 if self.value else 1.0)


class Lines(Protocol[T]):
    """The lines of tenants, as `FairQueue` has them."""

    def waits(self, tenant: str) -> int:
        """Items of one tenant."""
        ...

    def put(self, tenant: str, item: T) -> None:
        """Add an item."""
        ...

    def next(self, busy: Container[str] = ()) -> str | None:
        """Whose turn it is."""
        ...

    def take(self, tenant: str) -> list[T]:
        """The items of one turn."""
        ...

    def drop(self, tenant: str, item: T) -> bool:
        """Take one item out."""
        ...

    def drain(self, tenant: str) -> list[T]:
        """Take all items of a tenant."""
        ...


class Batcher(Generic[T]):
    """Calls `handle` with a tenant and items of it, in the order they came.

    lines: where items wait; nobody else touches it. enough: this many items of a tenant are not
    kept waiting for more. wait: seconds from a tenant's turn on, for which more items of it are
    waited for; 0 takes what is there. threads: so many batches at a time, each of another
    tenant. spare: threads beyond these, each in the place of one that was given up. failed:
    called with the batch where `handle` raised.
    """

    def __init__(
        self,
        name: str,
        handle: Callable[[str, list[T]], None],
        lines: Lines[T],
        *,
        clock: Clock,
        enough: int = 1,
        wait: float = 0.0,
        threads: int = 1,
        spare: int = 0,
        failed: Callable[[list[T], Exception], None] = lambda _, __: None,
    ) -> None:
        self._name, self._handle, self._lines = name, handle, lines
        self._clock, self._failed = clock, failed
        self._enough, self._wait = enough, wait
        self._most, self._spare = threads, spare
        lock = threading.Lock()
        self._work = threading.Condition(lock)  # for idle threads
        self._company = threading.Condition(lock)  # for those that wait for more of a tenant
        self._idle = 0
        self._busy: dict[str, threading.Thread] = {}
        self._lost: set[threading.Thread] = set()
        self._threads: set[threading.Thread] = set()
        self._seconds = MovingAverage()
        self._running = False

    @property
    def seconds(self) -> float:
        """Seconds that one item took lately: a moving average over batches."""
        return self._seconds.value

    @property
    def stalled(self) -> bool:
        """Whether every thread was given up, so that nothing is handled any more."""
        return self._running and len(self._lost) >= self._most + self._spare

    def put(self, tenant: str, *items: T) -> None:
        """Add items; from any thread, returns at once. Together costs less than one by one."""
        with self._work:
            for item in items:
                self._lines.put(tenant, item)
            if tenant not in self._busy:
                self._wake()
            elif self._wait and self._lines.waits(tenant) >= self._enough:
                self._company.notify_all()

    def drop(self, tenant: str, item: T) -> bool:
        """Take an item back that is not in work yet; whether it was there."""
        with self._work:
            return self._lines.drop(tenant, item)

    def drain(self, tenant: str) -> list[T]:
        """Take back all items of a tenant that are not in work yet."""
        with self._work:
            return self._lines.drain(tenant)

    def give_up(self, tenant: str) -> None:
        """Let another thread go on in the place of the one that handles a batch of this tenant;
        that one ends when its batch does. Nothing happens where `spare` such are there already."""
        with self._work:
            if tenant in self._busy and len(self._lost) < self._most + self._spare:
                self._lost.add(self._busy[tenant])
                if len(self._lost) <= self._spare:
                    del self._busy[tenant]
                self._wake()

    def start(self) -> None:
        """Begin to handle what comes."""
        with self._work:
            self._running = True
            self._wake()

    def stop(self, seconds: float = math.inf) -> None:
        """Handle what was put before this call, then end the threads; returns when they ended,
        but for those that were given up, or after `seconds`."""
        with self._work:
            self._running, self._idle = False, 0
            self._work.notify_all()
            self._company.notify_all()
            threads = list(self._threads - self._lost)
        ends = self._clock.monotonic() + seconds
        for thread in threads:
            left = max(0.0, ends - self._clock.monotonic())
            thread.join(left if math.isfinite(left) else None)

    def _wake(self) -> None:
        """Have a thread look at the lines where somebody's turn has come; holds the lock."""
        if not self._running or self._lines.next(self._busy) is None:
            return
        if self._idle:
            self._idle -= 1
            self._work.notify()
        elif len(self._threads) < self._most + min(len(self._lost), self._spare):
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._threads.add(thread)
            thread.start()

    def _run(self) -> None:
        me = threading.current_thread()
        while turn := self._next(me):
            tenant, items = turn
            began = self._clock.monotonic()
            try:
                self._handle(tenant, items)
            except Exception as error:
                _log.exception("a batch of %s failed", self._name)
                self._failed(items, error)
            self._seconds.add((self._clock.monotonic() - began) / max(1, len(items)))
            with self._work:
                self._lost.discard(me)
                if self._busy.get(tenant) is me:
                    del self._busy[tenant]

    def _next(self, me: threading.Thread) -> tuple[str, list[T]] | None:
        """A tenant and the items of its turn; None when this thread is to end."""
        with self._work:
            while True:
                tenant = self._lines.next(self._busy)
                too_many = len(self._threads) > self._most + min(len(self._lost), self._spare)
                if too_many or (tenant is None and not self._running):
                    self._threads.discard(me)
                    return None
                if tenant is None:
                    self._idle += 1
                    self._work.wait()
                    continue
                self._busy[tenant] = me
                self._gather(tenant)
                items = self._lines.take(tenant)
                if items:
                    self._wake()  # another tenant may have come meanwhile
                    return tenant, items
                del self._busy[tenant]  # they were taken back

    def _gather(self, tenant: str) -> None:
        """Wait a moment for more items of the tenant; holds the lock but while it waits."""
        closes = self._clock.monotonic() + self._wait if self._wait else 0.0
        while self._wait and self._running and self._lines.waits(tenant) < self._enough:
            left = closes - self._clock.monotonic()
            if left <= 0:
                return
            self._company.wait(left)
