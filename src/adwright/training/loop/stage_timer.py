"""How long each stage of a long job took."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from adwright.core.clock import Clock, SystemClock

_logger = logging.getLogger("adwright")


class Stages:
    """How long each stage took: name -> seconds, in order; each is logged when it ends."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = SystemClock() if clock is None else clock
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block under `name`; a name that comes again adds up."""
        start = self._clock.monotonic()
        yield
        spent = self._clock.monotonic() - start
        self.seconds[name] = self.seconds.get(name, 0.0) + spent
        _logger.info("%s: %.1f s", name, spent)
