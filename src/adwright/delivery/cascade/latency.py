"""Predict how long a stage takes, to decide whether to begin it before a deadline.

A stage costs something however few the requests are, and something for each of them, so the
durations seen lately are fitted with a line over the number of requests,

    seconds = a + b n,    a, b >= 0,

by least squares in which a duration loses a tenth of its weight with every later one. A stage
that took less than half of what was expected of it was slow for a reason that is gone: the line
is lowered to what it took.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from adwright.core.clock import Clock
from adwright.delivery.deadline import Deadline

__all__ = ["Pace"]

_KEPT = 0.9
_PATIENCE = 0.95
_SURPRISE = 0.5
#: Variances of n below this part of its squared mean say nothing of the slope.
_ALIKE = 1e-3


class Pace:
    """The durations of the stages of one recommender, by name.

    safety: a stage fits where so many times its expected duration is left, at least 1.

    A stage that did not fit is not measured, so one slow moment could rule it out for good.
    Therefore each refusal makes the next one a twentieth less likely: after some dozens the
    stage is tried once more, and measured.
    """

    def __init__(self, clock: Clock, safety: float) -> None:
        self.clock = clock
        self._safety = safety
        self._lines: dict[str, _Line] = {}
        self._doubt: dict[str, float] = {}

    def expected(self, stage: str, requests: int) -> float:
        """Seconds for so many requests; 0 for a stage that never ran."""
        line = self._lines.get(stage)
        return 0.0 if line is None else line.at(requests)

    def fits(self, stage: str, requests: int, deadline: Deadline | None) -> bool:
        """Whether the stage will probably end in time; a stage that never ran is tried."""
        if deadline is None:
            return True
        left = deadline.remaining()
        doubt = self._doubt.get(stage, 1.0)
        fits = left > self.expected(stage, requests) * self._safety * doubt
        if not fits and left > 0:
            self._doubt[stage] = doubt * _PATIENCE
        return fits

    @contextmanager
    def measured(self, stage: str, requests: int) -> Iterator[None]:
        """Time the block, which works on so many requests; nothing is learned if it raises."""
        started = self.clock.monotonic()
        yield
        seconds = self.clock.monotonic() - started
        line = self._lines.get(stage, _Line())
        expected = self.expected(stage, requests)
        if seconds < _SURPRISE * expected:
            line = line.scaled(seconds / expected)
        self._lines[stage] = line.with_point(float(requests), seconds)
        self._doubt[stage] = 1.0


@dataclass(frozen=True)
class _Line:
    """Line fitted to points (n, t): the weighted sums that least squares needs."""

    weight: float = 0.0
    n: float = 0.0
    t: float = 0.0
    nn: float = 0.0
    nt: float = 0.0

    def with_point(self, n: float, t: float) -> _Line:
        return _Line(
            _KEPT * self.weight + 1,
            _KEPT * self.n + n,
            _KEPT * self.t + t,
            _KEPT * self.nn + n * n,
            _KEPT * self.nt + n * t,
        )

    def scaled(self, factor: float) -> _Line:
        return replace(self, t=factor * self.t, nt=factor * self.nt)

    def at(self, n: float) -> float:
        mean_n, mean_t = self.n / self.weight, self.t / self.weight
        spread = self.nn / self.weight - mean_n**2
        # Where all were of one size, and wherever the line would begin below 0: in proportion.
        slope = mean_t / mean_n
        if spread > _ALIKE * mean_n**2:
            slope = min(slope, max(0.0, (self.nt / self.weight - mean_n * mean_t) / spread))
        return mean_t + slope * (n - mean_n)
