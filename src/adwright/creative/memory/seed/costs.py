"""What a run costs, step by step, kept in a file; and whether its budget is spent.

    with ledger.step(2, "write") as cost:
        cost.add(read=usage.prompt_tokens, written=usage.completion_tokens)
    ledger.total.cpu_seconds

A step that is killed has not told what it took: sums are then a little low.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from adwright.core.clock import Clock
from adwright.core.journal import append_rows, read_rows
from adwright.creative.memory.seed.config import SeedBudget

__all__ = ["CostLedger", "StepCost"]

#: CPU-seconds below which a step that did nothing is not written down.
_LEAST = 0.05
_DAMAGED = "remove the file; what was spent before is then not counted"


@dataclass
class StepCost:
    """Of a step of a round. read: tokens of prompts that were computed. written: tokens of answers.
    tuned: tokens of training. judged: ads that a judge looked at. cpu_seconds: of this process and
    of those that it started and that have ended."""

    round: int
    step: str
    read: int = 0
    written: int = 0
    tuned: int = 0
    judged: int = 0
    cpu_seconds: float = 0.0

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.read + self.written + self.tuned

    def add(self, *, read: int = 0, written: int = 0, tuned: int = 0, judged: int = 0) -> None:
        """Count more."""
        self.read += read
        self.written += written
        self.tuned += tuned
        self.judged += judged


class CostLedger:
    """The costs of the run in `path`. clock: measures the minutes of this call."""

    def __init__(self, path: Path, budget: SeedBudget, clock: Clock) -> None:
        self._path, self._budget, self._clock = path, budget, clock
        self._start = clock.monotonic()
        self._steps = read_rows(path, lambda row: StepCost(**row), hint=_DAMAGED)

    @property
    def steps(self) -> tuple[StepCost, ...]:
        """All steps, one for each time that it was done or gone on with."""
        return tuple(replace(one) for one in self._steps)

    @property
    def total(self) -> StepCost:
        """All steps together."""
        return _sum("all", self._steps)

    def of_round(self, at: int) -> StepCost:
        """The steps of one round together."""
        return replace(_sum("all", [one for one in self._steps if one.round == at]), round=at)

    def spent(self) -> bool:
        """Whether no further step may begin."""
        budget, minutes = self._budget, (self._clock.monotonic() - self._start) / 60
        return bool(budget.minutes and minutes >= budget.minutes) or bool(
            budget.tokens and self.total.tokens >= budget.tokens
        )

    @contextmanager
    def step(self, at: int, name: str) -> Iterator[StepCost]:
        """Measure what a block takes; written down at its end, also where it raises."""
        cost, before = StepCost(at, name), _cpu_seconds()
        self._steps.append(cost)
        try:
            yield cost
        finally:
            cost.cpu_seconds = round(_cpu_seconds() - before, 3)
            if cost.tokens or cost.judged or cost.cpu_seconds >= _LEAST:
                append_rows(self._path, [asdict(cost)])


def _sum(name: str, steps: list[StepCost]) -> StepCost:
    total = StepCost(-1, name)
    for one in steps:
        total.add(read=one.read, written=one.written, tuned=one.tuned, judged=one.judged)
        total.cpu_seconds += one.cpu_seconds
    return total


def _cpu_seconds() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime
