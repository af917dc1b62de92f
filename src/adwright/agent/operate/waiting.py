"""A clock that does not count the time in which a person is waited for.

    clock = PatientClock(SystemClock())
    confirm = clock.patient(ask)          # a Confirmer; while it asks, the clock stands still

Budgets and the patience of a driver go by it, so that a run does not end because somebody thinks.
"""

from __future__ import annotations

from datetime import datetime

from adwright.agent.policy.confirmation import Confirmer, PendingChange
from adwright.core.clock import Clock

__all__ = ["PatientClock"]


class PatientClock:
    """waited: seconds that were spent so."""

    def __init__(self, clock: Clock) -> None:
        self.waited = 0.0
        self._clock = clock

    def now(self) -> datetime:
        """The current moment; it goes on while somebody is waited for."""
        return self._clock.now()

    def monotonic(self) -> float:
        """Seconds since an arbitrary start, without those that were waited."""
        return self._clock.monotonic() - self.waited

    def patient(self, confirm: Confirmer) -> Confirmer:
        """The same confirmer, whose time does not count."""

        def ask(change: PendingChange) -> bool:
            start = self._clock.monotonic()
            try:
                return confirm(change)
            finally:
                self.waited += self._clock.monotonic() - start

        return ask
