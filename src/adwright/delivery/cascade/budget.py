"""The cost of each stage of the cascade per request: processor time measured, work computed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from adwright.delivery.stages.protocols import CallCost

__all__ = ["Meter", "StageCost"]


@dataclass(frozen=True)
class StageCost:
    """Cost of one stage per request: processor milliseconds of the whole process, floating-point
    operations, bytes read, and items that the stage was handed or found.

    requests: how many were measured.
    """

    stage: str
    requests: int
    cpu_ms: float
    flops: float
    bytes: float
    items: float


class Meter:
    """Adds up the cost of the stages; pass one to `Cascade.recommend_many`.

    Other work of the same process is counted too: measure a process that does nothing else.
    """

    def __init__(self) -> None:
        self._totals: dict[str, _Total] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the processor time until the block ends."""
        started = time.process_time()
        try:
            yield
        finally:
            self._total(name).seconds += time.process_time() - started

    def work(self, name: str, requests: int, items: int, cost: CallCost) -> None:
        """Note how much the stage did."""
        total = self._total(name)
        total.requests += requests
        total.items += items
        total.cost += cost

    def report(self) -> list[StageCost]:
        """One line per stage, in the order in which they first ran."""
        return [total.line(name) for name, total in self._totals.items()]

    def _total(self, name: str) -> _Total:
        return self._totals.setdefault(name, _Total())


@dataclass
class _Total:
    seconds: float = 0.0
    requests: int = 0
    items: int = 0
    cost: CallCost = field(default_factory=CallCost)

    def line(self, stage: str) -> StageCost:
        n = max(self.requests, 1)
        flops, read = self.cost.flops / n, self.cost.bytes / n
        return StageCost(stage, self.requests, 1000 * self.seconds / n, flops, read, self.items / n)
