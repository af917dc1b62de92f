"""Empirical likelihood intervals: for means and ratios of skewed terms, without resampling.

Rewards are rare and importance weights are long-tailed, so a sum of weighted rewards is far
from normal and its interval should reach further up than down. Empirical likelihood (Owen 1988,
"Empirical likelihood ratio confidence intervals for a single functional"; 2001, chapter 2)
takes the shape of the interval from the terms themselves. For a ratio of sums
mu = sum A_g / sum B_g over G independent groups, let z_g = A_g - mu B_g. Then

    R(mu) = max prod G p_g   over weights p_g >= 0 with sum p_g = 1 and sum p_g z_g = 0
          = prod 1 / (1 + lambda z_g)   with lambda such that sum z_g / (1 + lambda z_g) = 0

and the interval holds all mu with -2 log R(mu) <= the quantile of chi square with one degree
of freedom. For off-policy values: Karampatziakis, Langford and Mineiro, "Empirical likelihood
for contextual bandits", NeurIPS 2020.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError
from adwright.metrics.arrays import check_same_length, normal_quantile, refuse
from adwright.metrics.bootstrap import Interval

_STEPS = 100  # at most; Newton needs about six


def likelihood_interval(
    numerators: npt.ArrayLike, denominators: npt.ArrayLike, *, confidence: float = 0.95
) -> Interval:
    """Interval of sum(numerators) / sum(denominators), [G] each.

    Never leaves the range of ratios that the terms can give, so the interval of a mean of
    terms that are not negative stays above 0. Raises DataError where all groups agree: they
    tell nothing about what would happen with others.
    """
    limit = normal_quantile(confidence) ** 2
    top, bottom = _columns(numerators, denominators)
    value = float(top.sum() / bottom.sum())
    spread = top - value * bottom
    scale = float(np.sqrt((spread**2).sum())) / abs(float(bottom.sum()))
    if scale <= 1e-12 * abs(value) or scale == 0:
        raise DataError(
            "all rounds agree, so there is no interval",
            value=value,
            hint="collect rounds until some differ; without any response nothing can be said",
        )

    def inside(point: float) -> bool:
        return _statistic(top - point * bottom) <= limit

    def end(direction: int) -> float:
        near, far = value, value + direction * scale
        while inside(far):
            near, far = far, value + 2 * (far - value)
        while abs(far - near) > 1e-10 * scale:
            middle = (near + far) / 2
            near, far = (middle, far) if inside(middle) else (near, middle)
        return near

    return Interval(value, end(-1), end(1))


def _columns(
    numerators: npt.ArrayLike, denominators: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    top = np.asarray(numerators, np.float64)
    bottom = np.asarray(denominators, np.float64)
    check_same_length(len(top), {"denominators": bottom})
    for name, array in (("numerators", top), ("denominators", bottom)):
        refuse(~np.isfinite(array), "a term is not finite", name, array)
    if not bottom.sum() > 0:
        raise DataError("the denominators sum to nothing", hint="pass at least one round")
    return top, bottom


def _statistic(z: npt.NDArray[np.float64]) -> float:
    """2 sum log(1 + lambda z) at the lambda that solves sum z / (1 + lambda z) = 0."""
    highest, lowest = float(z.max()), float(z.min())
    if highest == 0 == lowest:
        return 0.0
    if highest <= 0 or lowest >= 0:
        return float("inf")
    # The equation falls in lambda between its two poles; a weight is at most 1, which keeps
    # every 1 + lambda z at 1 / G or above (Owen 2001, section 3.14).
    slack = 1 - 1 / len(z)
    low, high = -slack / highest, -slack / lowest
    guess = min(max(float(z.sum() / (z**2).sum()), low), high)
    for _ in range(_STEPS):
        scaled = z / (1 + guess * z)
        gradient = float(scaled.sum())
        if gradient > 0:
            low = guess
        else:
            high = guess
        newton = guess + gradient / float((scaled**2).sum())
        step = newton if low < newton < high else (low + high) / 2
        if abs(step - guess) <= 1e-13 * (abs(guess) + 1e-300):
            break
        guess = step
    return max(0.0, 2 * float(np.log1p(guess * z).sum()))
