"""Handle items that come one by one in batches, on one thread.

While a batch is handled the next one gathers, so that batches grow with the load by themselves;
waiting for more items is worth only a moment.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from adwright.core.clock import Clock

__all__ = ["Batcher", "MovingAverage"]

T = TypeVar("T")
_log = logging.getLogger("adwright.service")


class MovingAverage:
    """Averages durations: the first one sets the average, each later one moves it by a tenth."""

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.value += (seconds - self.value) * (0.1 if self.value else 1.0)


class Batcher(Generic[T]):
    """Calls `handle` with lists of items, in the order they came, on a thread of its own.

    size: a batch closes when its weights sum up to this much; a heavier item goes alone.
    wait: seconds from the first item on, after which it closes in any case; 0 takes what is
    there. weight: of an item, 1 by default. failed: called with the batch where `handle` raised.
    """

    def __init__(
        self,
        name: str,
        handle: Callable[[list[T]], None],
        *,
        size: int,
        wait: float,
        clock: Clock,
        weight: Callable[[T], int] = lambda _: 1,
        failed: Callable[[list[T], Exception], None] = lambda _, __: None,
    ) -> None:
        self._name = name
        self._handle = handle
        self._size = size
        self._wait = wait
        self._clock = clock
        self._weight = weight
        self._failed = failed
        self._queue: SimpleQueue[tuple[T, ...] | None] = SimpleQueue()
        self._arrived: deque[T] = deque()
        self._lock = threading.Lock()
        self._pending = 0
        self._seconds = MovingAverage()
        self._thread: threading.Thread | None = None
        self._ending = False

    @property
    def pending(self) -> int:
        """Weight of what was put and is not handled yet, the batch in work included."""
        return self._pending

    @property
    def seconds(self) -> float:
        """Seconds that one unit of weight took lately: a moving average over batches."""
        return self._seconds.value

    def put(self, *items: T) -> None:
        """Add items; from any thread, returns at once. Together costs less than one by one."""
        with self._lock:
            self._pending += sum(map(self._weight, items))
        self._queue.put(items)

    def start(self) -> None:
        """Begin to handle what comes."""
        self._ending = False
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Handle what was put before this call, then end the thread; returns when it ended."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while batch := self._gather():
            began = self._clock.monotonic()
            try:
                self._handle(batch)
            except Exception as error:
                _log.exception("a batch of %s failed", self._name)
                self._failed(batch, error)
            weight = sum(map(self._weight, batch))
            took = (self._clock.monotonic() - began) / max(1, weight)
            self._seconds.add(took)
            with self._lock:
                self._pending -= weight

    def _gather(self) -> list[T]:
        """The next batch; empty when it is time to end."""
        first = self._next(None)
        if first is None:
            return []
        batch, weight = [first], self._weight(first)
        closes = self._clock.monotonic() + self._wait
        while weight < self._size:
            item = self._next(closes - self._clock.monotonic())
            if item is None:
                break
            weight += self._weight(item)
            if weight > self._size:
                self._arrived.appendleft(item)
                break
            batch.append(item)
        return batch

    def _next(self, seconds: float | None) -> T | None:
        """The next item; None where none came in time, or where no more will come."""
        while not self._arrived:
            if self._ending:
                return None
            try:
                items = self._queue.get() if seconds is None else self._get(seconds)
            except Empty:
                return None
            self._ending = items is None
            self._arrived.extend(items or ())
        return self._arrived.popleft()

    def _get(self, seconds: float) -> tuple[T, ...] | None:
        return self._queue.get(timeout=seconds) if seconds > 0 else self._queue.get_nowait()
