"""Ctrl-C in the midst of a training: the step at work is ended before the run stops, so that what
is written then is a position from which it goes on with the same bits."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupts"]


class Interrupts:
    """Holds Ctrl-C back while a step is at work; a second one ends the step, too.

    `whole` says whether the state is that of a position between two steps. Nothing is held back
    outside of the main thread, where the caller has a handler of its own, and in several processes,
    whose steps would no longer be the same: there a KeyboardInterrupt may fall into any line.
    """

    def __init__(self) -> None:
        self.whole = False
        self._asked = self._at_work = False

    @contextmanager
    def watched(self, *, alone: bool = True) -> Iterator[None]:
        """Hold Ctrl-C back during the steps of this block. alone: this is the only process."""
        usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        in_main = threading.current_thread() is threading.main_thread()
        if not (alone and usual and in_main):
            yield
            return
        signal.signal(signal.SIGINT, self._on_signal)
        self.whole = True
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    @contextmanager
    def step(self) -> Iterator[None]:
        """A step; raises KeyboardInterrupt at its end where Ctrl-C was pressed meanwhile."""
        self._at_work = True
        try:
            yield
        finally:
            self._at_work = False
        if self._asked:
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._at_work and not self._asked:
            self._asked = True
            return
        if self._at_work:
            self.whole = False
        raise KeyboardInterrupt
