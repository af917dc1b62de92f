"""From log rates that order well to click rates that are right on average, with intervals.

    calibration = RateCalibration.fit(held_out, clicks, impressions, prior)
    value, low, high = calibration.rates(log_rates)          # click rates, 0 to 1

The mean of a log is not the log of a mean: a level is added, so that on held-out ads the expected
clicks are those that were found, sum_i n_i exp(s_i + level) = sum_i clicks_i. The interval is split
conformal on log rates, scaled by how far off they are expected to be. What it covers is the click
rate that is measured of an ad which is shown as often as those held out were, so the noise of its
clicks counts; a rate of 0 lies below any bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError
from adwright.creative.judging.conformal import ConformalInterval, ResidualScale
from adwright.creative.response.rates import BetaPrior

__all__ = ["RateCalibration"]

Floats = npt.NDArray[np.float64]
#: Stands for a click rate of 0 where its logarithm is needed.
_LEAST_RATE = 1e-9


@dataclass(frozen=True)
class RateCalibration:
    """level: added to log rates. scale, interval: of log rates with it."""

    level: float
    scale: ResidualScale
    interval: ConformalInterval

    @classmethod
    def fit(
        cls,
        held_out: Floats,
        clicks: npt.NDArray[np.int64],
        impressions: npt.NDArray[np.int64],
        prior: BetaPrior,
        *,
        coverage: float = 0.9,
    ) -> RateCalibration:
        """Of log rates [N] by a model that saw nothing of the ads, and how often they were shown
        and clicked. The scale is fitted to smoothed rates.

        Raises DataError where none was clicked, and as `ConformalInterval.fit`.
        """
        if not clicks.sum():
            raise DataError("no held-out ad was clicked", hint="hold out more ads")
        expected = float((impressions * np.exp(held_out)).sum())
        level = float(np.log(clicks.sum() / expected))
        values = held_out + level
        found = np.log(np.maximum(clicks / impressions, _LEAST_RATE))
        scale = ResidualScale.fit(values, np.log(prior.smoothed(clicks, impressions)))
        interval = ConformalInterval.fit(values, found, scale(values), coverage=coverage)
        return cls(level, scale, interval)

    def rates(self, log_rates: Floats) -> tuple[Floats, Floats, Floats]:
        """(value, low, high), click rates [N] of log rates [N], at most 1."""
        values = log_rates + self.level
        low, high = self.interval.bounds(values, self.scale(values))
        value, low, high = (np.exp(np.minimum(one, 0.0)) for one in (values, low, high))
        return value, low, high
