"""The cost of each stage of the cascade per request: processor time measured, work computed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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
        self._seconds: dict[str, float] = {}
        self._cost: dict[str, CallCost] = {}
        self._requests: dict[str, int] = {}
        self._items: dict[str, int] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the processor time until the block ends."""
        started = time.process_time()
        try:
            yield
        finally:
            spent = time.process_time() - started
            self._seconds[name] = self._seconds.get(name, 0.0) + spent

    def work(self, name: str, requests: int, items: int, cost: CallCost) -> None:
        """Note how much the stage did."""
        self._requests[name] = self._requests.get(name, 0) + requests
        self._items[name] = self._items.get(name, 0) + items
        self._cost[name] = self._cost.get(name, CallCost()) + cost

    def report(self) -> list[StageCost]:
        """One line per stage, in the order in which they first ran."""
        return [self._line(name) for name in self._seconds]

    def _line(self, name: str) -> StageCost:
        n = max(self._requests.get(name, 0), 1)
        cost = self._cost.get(name, CallCost())
        return StageCost(
            stage=name,
            requests=self._requests.get(name, 0),
            cpu_ms=1000 * self._seconds[name] / n,
            flops=cost.flops / n,
            bytes=cost.bytes / n,
            items=self._items.get(name, 0) / n,
        )
