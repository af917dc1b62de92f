"""Means over seeds with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import NamedTuple

from adwright.metrics.bootstrap import student_quantile


class SeedMean(NamedTuple):
    """A mean over seeds, and the ends of its interval of 95% by Student's t."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> SeedMean:
        """Of one value a seed; two or more."""
        middle = mean(values)
        half = student_quantile(len(values) - 1) * stdev(values) / len(values) ** 0.5
        return cls(round(middle, 4), round(middle - half, 4), round(middle + half, 4))
