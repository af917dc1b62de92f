"""How much a run may use: steps, acts, writes and time. Each is counted before it is used."""

from __future__ import annotations

from typing import Annotated

from adwright.agent.language.problems import ScriptError, ScriptProblem
from adwright.core.clock import Clock
from adwright.core.config import Gt, Natural, settings

__all__ = ["BudgetMeter", "RunBudget"]


@settings
class RunBudget:
    """Limits of one run.

    steps: statements and values that are computed. acts: taps and their like. writes: acts on
    elements that may change what the app stores. seconds: from the start of the run.
    """

    steps: Natural = 5_000
    acts: Natural = 100
    writes: Natural = 5
    seconds: Annotated[float, Gt(0)] = 300.0


class BudgetMeter:
    """Counts what a run uses. Raises ScriptError of code "budget" before more is used."""

    def __init__(self, budget: RunBudget, clock: Clock) -> None:
        self.budget = budget
        self.steps = self.acts = self.writes = 0
        self._clock = clock
        self._start = clock.monotonic()

    def step(self) -> None:
        """A statement or a value."""
        if self.steps >= self.budget.steps:
            self._refuse(f"the script has taken its {self.budget.steps:,} steps", "steps")
        self.steps += 1

    def act(self, *, writes: bool) -> None:
        """A tap or its like, which may write."""
        seconds = self._clock.monotonic() - self._start
        if seconds >= self.budget.seconds:
            self._refuse(f"the script has run for {self.budget.seconds:g} seconds", "seconds")
        if self.acts >= self.budget.acts:
            self._refuse(f"the script has acted {self.budget.acts} times", "acts")
        if writes and self.writes >= self.budget.writes:
            self._refuse(f"the script has written {self.budget.writes} times", "writes")
        self.acts += 1
        self.writes += writes

    def _refuse(self, what: str, name: str) -> None:
        hint = f"raise RunBudget.{name}, or let the script do less"
        raise ScriptError([ScriptProblem("budget", what, hint=hint)])
