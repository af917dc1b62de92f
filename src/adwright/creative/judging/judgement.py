"""What a judge of ads answers: a value, an interval, and whether the ad is unlike all it knows.

class ClickRate:                       # any judge: click rate, memorability, another
    name = "click_rate"
    def judge(self, ads): ...          # Judgements of N records
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ValueInvalidError
from adwright.creative.records.verbal.record import AdRecord

__all__ = ["AdJudge", "Judgements"]


@dataclass(frozen=True, eq=False)
class Judgements:
    """Answers of one judge on N ads.

    value, low, high: float32 [N], low <= value <= high, in the judge's unit. unlike: bool [N],
    whether the ad is unlike anything seen in training. coverage: share of such ads that the
    interval is made to cover. Raises ValueInvalidError for other shapes and for NaN.
    """

    value: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    unlike: NDArray[np.bool_]
    coverage: float = 0.9

    def __post_init__(self) -> None:
        for name in ("value", "low", "high", "unlike"):
            array = getattr(self, name)
            if array.shape != self.value.shape or array.ndim != 1:
                raise _refused(name, array.shape, f"pass an array of shape {self.value.shape}")
            if name != "unlike" and np.isnan(array).any():
                raise _refused(name, "NaN", "answer each ad with a number")
        if not (self.low <= self.value).all() or not (self.value <= self.high).all():
            raise _refused("low", "outside", "give low <= value <= high")

    def __len__(self) -> int:
        """N."""
        return len(self.value)


@runtime_checkable
class AdJudge(Protocol):
    """Anything that judges ads by their records. name: of what is judged, for tables."""

    @property
    def name(self) -> str:
        """See the class."""
        ...

    def judge(self, ads: Sequence[AdRecord], /) -> Judgements:
        """The answers on N ads, each by itself: no ad changes the answer on another."""
        ...


def _refused(name: str, value: object, hint: str) -> ValueInvalidError:
    return ValueInvalidError("these are no judgements", column=name, value=value, hint=hint)
