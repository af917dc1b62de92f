"""What an attack may spend, one measure for all: calls of the model and CPU-seconds.

    meter = SpendingMeter(AttackBudget(calls=200))
    while meter.allows(8):
        meter.add(calls=8, trials=8)

One call is one reading of a whole prompt by the model. Who has the weights can read less, and pays
that part: a candidate of which 40 of 800 tokens are read costs 1/20, and a gradient costs three
times what it reads, since going back takes twice as long as going forward. So tiers are compared
at equal work of the model. A search on ranks counts each ranking that it asks for as one call,
whatever a defended or averaged ranker reads for it. `trials` says how many texts were looked at.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from adwright.core.errors import ConfigError


@dataclass(frozen=True)
class AttackBudget:
    """calls: of the model at most. cpu_seconds: at most, looked at between two steps; 0 for no
    limit. Raises ConfigError for fewer than one call and for negative seconds."""

    calls: float = 200.0
    cpu_seconds: float = 0.0

    def __post_init__(self) -> None:
        if not self.calls >= 1:
            raise ConfigError(
                "an attack needs at least one call", where=f"calls {self.calls}", hint="allow more"
            )
        if not (math.isfinite(self.cpu_seconds) and self.cpu_seconds >= 0):
            raise ConfigError(
                "CPU-seconds are a number from 0 on",
                where=f"cpu_seconds {self.cpu_seconds}",
                hint="use 0 for no limit",
            )


@dataclass(frozen=True)
class Spending:
    """What was spent. calls: readings of whole prompts. trials: texts that were tried, each in one
    order."""

    calls: float = 0.0
    cpu_seconds: float = 0.0
    trials: int = 0

    def __add__(self, other: Spending) -> Spending:
        return Spending(
            self.calls + other.calls,
            self.cpu_seconds + other.cpu_seconds,
            self.trials + other.trials,
        )


class SpendingMeter:
    """Counts against a budget. spent: before, by a job that goes on. cpu: seconds of this process
    so far."""

    def __init__(
        self,
        budget: AttackBudget,
        spent: Spending | None = None,
        *,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self.budget = budget
        self._before = Spending() if spent is None else spent
        self._calls, self._trials = 0.0, 0
        self._cpu, self._start = cpu, cpu()

    @property
    def spent(self) -> Spending:
        """All of it, what was spent before included."""
        own = Spending(self._calls, self._cpu() - self._start, self._trials)
        return self._before + own

    def resume(self, spent: Spending) -> None:
        """Take what a job had spent before it was stopped as spent, instead of what is counted."""
        self._before, self._calls, self._trials = spent, 0.0, 0
        self._start = self._cpu()

    @property
    def calls_left(self) -> float:
        """How many calls are left."""
        return max(self.budget.calls - self.spent.calls, 0.0)

    def allows(self, calls: float = 1.0) -> bool:
        """Whether so many more calls fit, and there is time."""
        spent, limit = self.spent, self.budget.cpu_seconds
        return spent.calls + calls <= self.budget.calls and not (
            limit and spent.cpu_seconds >= limit
        )

    def add(self, *, calls: float = 0.0, trials: int = 0) -> None:
        """Count what was just spent."""
        self._calls += calls
        self._trials += trials
