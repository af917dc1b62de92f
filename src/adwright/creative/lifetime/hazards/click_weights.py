"""Weights by click rate: what is clicked often counts more in training.

Kitada et al. (Applied Sciences 12(7):3594, 2022) multiply the loss of a creative by a weight that
rises with its click rate; the form was not to be had, so these are our choices. With r_i = clicks
/ shown and m the mean rate of the training units,

    none      1
    ratio     r_i / m
    clipped   1 + alpha r_i / m, kept from 0.5 to 5
    smoothed  s_i / m,  s_i = (clicks + a) / (shown + a + b),  a = m n, b = (1 - m) n

A unit that was never shown has the mean rate. `smoothed` trusts a rate by how often the unit was
shown: n is what the mean rate counts, by default from the spread of the rates (moments of the Beta
distribution). In each batch weights are divided by their mean.
"""

from __future__ import annotations

import logging
import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import settings
from adwright.core.errors import ConfigError, ValueInvalidError

__all__ = ["ClickWeights", "Weighing"]

Weighing = Literal["none", "ratio", "clipped", "smoothed"]
Floats = NDArray[np.float32]
_LOW, _HIGH = 0.5, 5.0
#: What the mean rate counts at most: beyond, all rates are alike.
_MOST = 1e6
_logger = logging.getLogger("adwright")


@settings
class ClickWeights:
    """How units are weighed. alpha: of "clipped". shown: n of "smoothed", impressions that the
    mean rate counts; 0 finds it from the data."""

    by: Weighing = "none"
    alpha: float = 1.0
    shown: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.alpha < math.inf and 0 <= self.shown < math.inf):
            raise ConfigError(
                "alpha is above 0, and shown not below it",
                where=f"alpha {self.alpha}, shown {self.shown}",
            )

    def of(self, clicks: Floats | None, shown: Floats | None, units: int) -> Floats:
        """Weights [N] of units with clicks [N] and impressions [N], not yet of mean 1.

        Raises ConfigError where the units have no clicks and weights are asked for,
        ValueInvalidError for counts that are negative or no numbers.
        """
        if self.by == "none":
            return np.ones(units, np.float32)
        if clicks is None or shown is None:
            raise ConfigError(
                "these spells have no clicks to weigh them by",
                where=f'by "{self.by}"',
                hint='use "none", or a table with clicks and shown',
            )
        for name, counts in (("clicks", clicks), ("shown", shown)):
            wrong = ~(np.isfinite(counts) & (counts >= 0))
            if wrong.any():
                row = int(np.argmax(wrong))
                raise ValueInvalidError(
                    "a count is a number from 0 on", row=row, column=name, value=float(counts[row])
                )
        click, show = clicks.astype(np.float64), shown.astype(np.float64)
        rate = np.divide(click, show, out=np.full(units, np.nan), where=show > 0)
        mean = float(np.nanmean(rate)) if np.isfinite(rate).any() else 0.0
        if mean == 0:
            _logger.warning("no unit was clicked: all count alike")
            return np.ones(units, np.float32)
        return self._of_rates(click, show, np.nan_to_num(rate, nan=mean), mean)

    def _of_rates(
        self,
        clicks: NDArray[np.float64],
        shown: NDArray[np.float64],
        rate: NDArray[np.float64],
        mean: float,
    ) -> Floats:
        match self.by:
            case "ratio":
                found = rate / mean
            case "clipped":
                found = np.clip(1 + self.alpha * rate / mean, _LOW, _HIGH)
            case "smoothed":
                n = self.shown or _prior_impressions(rate[shown > 0], shown[shown > 0], mean)
                found = (clicks + mean * n) / (shown + n) / mean
            case "none":
                found = np.ones_like(rate)
        return found.astype(np.float32)


def _prior_impressions(rate: NDArray[np.float64], shown: NDArray[np.float64], mean: float) -> float:
    """n of the Beta distribution of true rates, by moments: the variance of the rates is
    v + (mean (1 - mean) - v) E[1 / shown], with v = mean (1 - mean) / (n + 1) that of the true
    ones. At least 1, and 10^6 where the rates differ by chance alone."""
    binomial = mean * (1 - mean)
    inverse = float(np.mean(1 / shown))
    spread = (float(np.var(rate)) - binomial * inverse) / max(1 - inverse, 1e-9)
    return float(np.clip(binomial / spread - 1, 1, _MOST)) if spread > 0 else _MOST
