"""Judges of pictures: what a search asks, and an ensemble of them with a lower bound.

    judge = EnsembleJudge("click_rate", (first, second, third), k=1.0)
    judge.judge(pictures)       # float64 [N], the mean of the members
    judge.lower(pictures)       # the mean less k standard deviations
    judge.members(pictures)     # float64 [M, N], what each says

A judge is any object with `name` and `judge`. What it offers beside them is used where it is there:
`lower`, which a search then raises instead (an optimiser finds where one model is wrong, seldom
where all are), and `slopes`, by which `ascent` needs fewer calls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, DataError

__all__ = [
    "BoundedJudge",
    "EnsembleJudge",
    "Floats",
    "PictureJudge",
    "Pixels",
    "SlopedJudge",
    "checked_answers",
]

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]


class PictureJudge(Protocol):
    """Says of pictures how good they are. name: of what it says, such as "click_rate"."""

    @property
    def name(self) -> str:
        """Of what it says."""
        ...

    def judge(self, pictures: Pixels, /) -> Floats:
        """float [N] of uint8 [N, H, W, 3]; higher is better."""
        ...


@runtime_checkable
class BoundedJudge(Protocol):
    """A judge that knows how unsure it is."""

    def lower(self, pictures: Pixels, /) -> Floats:
        """float [N]: the lower bound of what it says."""
        ...


@runtime_checkable
class SlopedJudge(Protocol):
    """A judge that can be differentiated."""

    def slopes(self, pictures: Pixels, /) -> tuple[Floats, Floats]:
        """float [N], what is raised: the lower bound where it has one, else the answer; and
        float [N, H, W, 3], its derivative by each value of each pixel, of 0 to 255."""
        ...


@dataclass(frozen=True, eq=False)
class EnsembleJudge:
    """The mean of M judges; see the module. k: standard deviations that the lower bound lies below.

        mean = sum_m y_m / M,    sd = sqrt(sum_m (y_m - mean)^2 / (M - 1)),    lower = mean - k sd

    Raises ConfigError for fewer than two judges, and for a k that is negative or no number.
    """

    name: str
    judges: Sequence[PictureJudge]
    k: float = 1.0

    def __post_init__(self) -> None:
        if len(self.judges) < 2:
            raise ConfigError(
                f"{len(self.judges)} judges are no ensemble",
                where="EnsembleJudge.judges",
                hint="pass two or more, trained with other seeds, folds or encoders",
            )
        if not 0 <= self.k < math.inf:
            raise ConfigError(f"k is {self.k}", where="EnsembleJudge.k", hint=">= 0")

    def members(self, pictures: Pixels) -> Floats:
        """float64 [M, N]: what each judge says."""
        return np.stack([checked_answers(one, pictures) for one in self.judges])

    def judge(self, pictures: Pixels) -> Floats:
        """float64 [N]: the mean."""
        return np.asarray(self.members(pictures).mean(0))

    def lower(self, pictures: Pixels) -> Floats:
        """float64 [N]: the mean less k standard deviations."""
        return self.bound_of(self.members(pictures))

    def bound_of(self, members: Floats) -> Floats:
        """float64 [N]: the lower bound, of what the members said, [M, N]."""
        return np.asarray(members.mean(0) - self.k * members.std(0, ddof=1))


def checked_answers(judge: PictureJudge, pictures: Pixels) -> Floats:
    """float64 [N]: what the judge says of the pictures. Raises DataError where it says something
    else than one finite number of each."""
    said = np.asarray(judge.judge(pictures), np.float64)
    return _checked(said, len(pictures), judge.name)


def _checked(said: Floats, count: int, name: str) -> Floats:
    if said.shape != (count,):
        raise DataError(
            f"the judge {name!r} gave shape {said.shape} of {count} pictures",
            hint="a judge gives one number a picture",
        )
    if not np.isfinite(said).all():
        at = int(np.flatnonzero(~np.isfinite(said))[0])
        raise DataError(
            f"the judge {name!r} gave no finite number", row=at, hint="see its training"
        )
    return said
