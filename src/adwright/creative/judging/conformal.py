"""Intervals that cover: split conformal prediction on residuals of ads that were held out.

    scale = ResidualScale.fit(values, found)                    # how far off, by the value itself
    interval = ConformalInterval.fit(values, found, scale(values), coverage=0.9)
    low, high = interval.bounds(new_values, scale(new_values))

Of n held-out ads with value v, outcome y and scale c, r = (y - v) / c. With a = 1 - coverage the
interval is [v + c r_(k), v + c r_(n + 1 - k)], k = floor((n + 1) a / 2), r_(k) the k-th smallest.
An ad drawn as they were is below it with probability at most a / 2, and above likewise, whatever
the model (Vovk, Gammerman and Shafer 2005; normalised: Papadopoulos et al., ECAI 2008). Taking the
tails one by one instead of |r| is our choice, since outcomes of ads are skewed.

What is covered is what y was: if y is a measured rate, its sampling noise counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.core.errors import ConfigError, DataError, ValueInvalidError

__all__ = ["ConformalInterval", "ResidualScale"]

Floats = npt.NDArray[np.float64]

#: Of the mean absolute residual: no scale is smaller.
_LEAST_SHARE = 0.2


@dataclass(frozen=True)
class ResidualScale:
    """How far off a value is expected to be: max(level + slope * value, least)."""

    level: float
    slope: float
    least: float

    @classmethod
    def fit(cls, values: npt.ArrayLike, found: npt.ArrayLike) -> ResidualScale:
        """The line of least squares of |found - value| on the value. values, found: [N], finite.

        least is a fifth of the mean absolute residual, our choice. Raises DataError without ads.
        """
        value, y = _pair(values, found)
        off = np.abs(y - value)
        mean, centred = float(off.mean()), value - value.mean()
        spread = float((centred**2).sum())
        slope = float((centred * off).sum()) / spread if spread > 0 else 0.0
        least = max(_LEAST_SHARE * mean, 1e-12)
        return cls(mean - slope * float(value.mean()), slope, least)

    def __call__(self, values: npt.ArrayLike) -> Floats:
        """float64 [N], above 0."""
        found: Floats = self.level + self.slope * np.asarray(values, np.float64)
        return np.maximum(found, self.least)


@dataclass(frozen=True)
class ConformalInterval:
    """below, above: r_(k) and r_(n + 1 - k). coverage: 1 - a. count: n."""

    below: float
    above: float
    coverage: float
    count: int

    @classmethod
    def fit(
        cls,
        values: npt.ArrayLike,
        found: npt.ArrayLike,
        scales: npt.ArrayLike | None = None,
        *,
        coverage: float = 0.9,
    ) -> ConformalInterval:
        """Of values and outcomes [N] of ads that the model was not fitted on. scales: [N], above 0;
        1 by default.

        Raises ConfigError for a coverage outside (0, 1), DataError for fewer ads than it takes: 19
        for 0.9.
        """
        if not 0 < coverage < 1:
            raise ConfigError("a coverage lies between 0 and 1", where=f"coverage {coverage}")
        value, y = _pair(values, found)
        count = len(y)
        place = math.floor((count + 1) * (1 - coverage) / 2 + 1e-9)
        if place < 1:
            least = math.ceil(2 / (1 - coverage) - 1 - 1e-9)
            raise DataError(
                f"an interval that covers {coverage:g} takes {least} held-out ads",
                value=count,
                hint="hold out more ads, or ask for less coverage",
            )
        ratio = np.sort((y - value) / _scales(scales, count))
        return cls(float(ratio[place - 1]), float(ratio[count - place]), coverage, count)

    def bounds(
        self, values: npt.ArrayLike, scales: npt.ArrayLike | None = None
    ) -> tuple[Floats, Floats]:
        """(low, high), float64 [N] each, around values [N]; the value is always inside."""
        value = np.asarray(values, np.float64)
        scale = _scales(scales, len(value))
        low = np.minimum(value + scale * self.below, value)
        return low, np.maximum(value + scale * self.above, value)


def _pair(values: npt.ArrayLike, found: npt.ArrayLike) -> tuple[Floats, Floats]:
    value, y = np.asarray(values, np.float64), np.asarray(found, np.float64)
    if value.shape != y.shape or value.ndim != 1 or not len(y):
        raise DataError(
            "expected values and outcomes of the same ads", value=(value.shape, y.shape)
        )
    for name, array in (("values", value), ("found", y)):
        if not np.isfinite(array).all():
            row = int(np.argmin(np.isfinite(array)))
            raise ValueInvalidError("not a finite number", row=row, column=name, value=array[row])
    return value, y


def _scales(scales: npt.ArrayLike | None, count: int) -> Floats:
    if scales is None:
        return np.ones(count)
    scale = np.asarray(scales, np.float64)
    if scale.shape != (count,) or not (scale > 0).all():
        raise DataError("scales are above 0, one an ad", column="scales", value=scale.shape)
    return scale
