"""Measure how late the event loop is: the time a request waits before the service sees it.

When there is more to do than one processor can, requests queue where no counter of ours sees
them: in the sockets and in the loop. A callback that should come every few milliseconds, and
comes late, shows how long that queue is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from adwright.core.clock import Clock

__all__ = ["Pulse"]

_SECONDS = 0.01
#: Of the lag that was seen, so much is believed a beat later; half of it in 70 ms.
_KEPT = 0.9


class Pulse:
    """Measures the lag of the event loop that it is started in.

    beat: called at each measurement with what it found, in seconds.
    """

    def __init__(self, clock: Clock, beat: Callable[[float], None] = lambda _: None) -> None:
        self._clock = clock
        self._each = beat
        self._lag = 0.0
        self._expected = 0.0
        self._stopped = False

    @property
    def lag(self) -> float:
        """Seconds that callbacks came late lately; the worst of the last moments, fading."""
        return self._lag

    def start(self) -> None:
        """Begin to measure; called in the event loop."""
        self._stopped = False
        self._plan()

    def stop(self) -> None:
        """Stop measuring; from any thread."""
        self._stopped = True

    def _plan(self) -> None:
        self._expected = self._clock.monotonic() + _SECONDS
        asyncio.get_running_loop().call_later(_SECONDS, self._beat)

    def _beat(self) -> None:
        if self._stopped:
            return
        late = max(0.0, self._clock.monotonic() - self._expected)
        self._lag = max(late, _KEPT * self._lag)
        self._each(late)
        self._plan()
