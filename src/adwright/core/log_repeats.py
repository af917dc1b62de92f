"""One line for what is logged again and again, such as by each request while a database is away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from adwright.core.clock import Clock, SystemClock

#: Messages that are remembered at most; then all are forgotten.
_MOST = 1000


class LogRepeats(logging.Filter):
    """Lets a message pass once in so many seconds; the next one says how often it came meanwhile.

    seconds: between two of the same text. Thread-safe.
    """

    def __init__(self, seconds: float = 10.0, clock: Clock | None = None) -> None:
        super().__init__()
        self._seconds, self._clock = seconds, clock or SystemClock()
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is written; counts it otherwise."""
        text, now = record.getMessage(), self._clock.monotonic()
        with self._lock:
            since, left_out = self._seen.get(text, (-self._seconds, 0))
            if now - since < self._seconds and text in self._seen:
                self._seen[text] = (since, left_out + 1)
                return False
            if len(self._seen) >= _MOST:
                self._seen.clear()
            self._seen[text] = (now, 0)
        if left_out:
            record.msg, record.args = f"{text} (and {left_out} times since it was last said)", None
        return True


@contextmanager
def fewer_repeats(logger: str) -> Iterator[None]:
    """Within the block what is logged by this very logger passes `LogRepeats`."""
    repeats, log = LogRepeats(), logging.getLogger(logger)
    log.addFilter(repeats)
    try:
        yield
    finally:
        log.removeFilter(repeats)
