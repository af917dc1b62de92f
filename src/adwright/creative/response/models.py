"""Click rates of creatives that were shown a few times: a Beta prior, and what each count tells.

    clicks_i | p_i ~ Binomial(n_i, p_i),  p_i ~ Beta(a, b)
    smoothed rate = (clicks + a) / (n + a + b)

(a, b) maximises the beta-binomial likelihood, by Newton steps in (log a, log b). The weight of a
creative is the share of the variance of its log rate that is no sampling noise:

    w_i = t / (t + (1 - m) / (n_i m)),  t = psi'(a) - psi'(a + b),  m = a / (a + b)

where t is the variance of log p under the prior and the other term that of the log of a share of n
draws. It depends on how often a creative was shown, never on how often it was clicked, which would
favour those that were lucky.

    prior = fit_prior(clicks, impressions)
    prior.smoothed(clicks, impressions), prior.weights(impressions)

Wang et al. (A Hybrid Bandit Model with Visual Priors for Creative Ranking, WWW 2021) smooth by such
a prior; that it is fitted by likelihood, and the weights, are our choice.

From log rates that order well to click rates that are right on average, with intervals.

    calibration = RateCalibration.fit(held_out, clicks, impressions, steps=steps)
    value, low, high = calibration.rates(log_rates)          # click rates, 0 to 1

The mean of a log is not the log of a mean: a level is added, so that on held-out ads (the latest
ones) the expected clicks are those that were found, sum_i n_i exp(s_i + level) = sum_i clicks_i.
The interval is split conformal. Of ads that were held out in steps of time each is off by what the
level moved since the step before, either way, so that what levels move counts, as it will. It is
made on roots of rates, where the noise of clicks is the same at any rate, 1 / (4 n), and ads differ
in proportion: a line of the root says how far off it is expected to be, and a rate of 0 is not far
from a small one. What is covered is the click rate that is measured of an ad which is shown as
often as those held out were.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.creative.judging import ConformalInterval, ResidualScale

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

_STEPS, _HALVINGS = 100, 30
#: a + b of creatives that do not differ at all: no more is to be had of any prior.
_LARGEST = 1e8


@dataclass(frozen=True)
class BetaPrior:
    """Beta(a, b) of click rates. Raises ConfigError where one of them is not above 0."""

    a: float
    b: float

    def __post_init__(self) -> None:
        if not (0 < self.a < np.inf and 0 < self.b < np.inf):
            raise ConfigError("a prior has two numbers above 0", where=f"a {self.a}, b {self.b}")

    @property
    def mean(self) -> float:
        """a / (a + b)."""
        return self.a / (self.a + self.b)

    @property
    def log_variance(self) -> float:
        """t, the variance of log p."""
        from scipy.special import polygamma

        return float(polygamma(1, self.a) - polygamma(1, self.a + self.b))

    def smoothed(self, clicks: npt.ArrayLike, impressions: npt.ArrayLike) -> Floats:
        """float64 [N]: the expected rate of each after what was seen of it."""
        k, n = np.asarray(clicks, np.float64), np.asarray(impressions, np.float64)
        found: Floats = (k + self.a) / (n + self.a + self.b)
        return found

    def weights(self, impressions: npt.ArrayLike) -> Floats:
        """float64 [N], w in (0, 1) of creatives that were shown so often."""
        n = np.asarray(impressions, np.float64)
        noise = (1 - self.mean) / (n * self.mean)
        found: Floats = self.log_variance / (self.log_variance + noise)
        return found


def fit_prior(clicks: npt.ArrayLike, impressions: npt.ArrayLike) -> BetaPrior:
    """The prior of greatest likelihood of clicks and impressions, whole numbers [N].

    Where the creatives differ less than chance alone would have them, a + b stops at 1e8. Raises
    ValueInvalidError for counts that cannot be, DataError where nobody or everybody clicked.
    """
    clicked, seen = np.asarray(clicks, np.float64), np.asarray(impressions, np.float64)
    if clicked.shape != seen.shape or clicked.ndim != 1:
        shapes = clicked.shape, seen.shape
        raise DataError("expected clicks and impressions of one length", value=shapes)
    wrong = ~((clicked >= 0) & (clicked <= seen) & (seen >= 1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueInvalidError(
            "clicks lie between 0 and the impressions, of which there is one or more",
            row=row,
            value=f"{clicked[row]:g} of {seen[row]:g}",
        )
    total, shown = float(clicked.sum()), float(seen.sum())
    if total <= 0 or total >= shown:
        raise DataError(
            "click rates of 0 or 1 alone tell no prior",
            column="clicks",
            value=int(total),
            hint="pass creatives of which some were clicked",
        )
    # [a, b] by moments of the rates, at least roughly.
    mean = total / shown
    spread = float((seen * (clicked / seen - mean) ** 2).sum()) / shown
    noise = mean * (1 - mean) * len(seen) / shown
    between = max(spread - noise, mean * (1 - mean) * 1e-6)
    strength = float(np.clip(mean * (1 - mean) / between - 1, 0.1, _LARGEST / 10))
    at = np.log([mean * strength, (1 - mean) * strength])
    value = _value(at, clicked, seen)
    for _ in range(_STEPS):
        step = _newton(at, clicked, seen)
        share = 1.0
        for _ in range(_HALVINGS):
            tried = at + share * step
            found = _value(tried, clicked, seen)
            if found >= value:
                break
            share /= 2
        else:
            break
        moved = float(np.abs(tried - at).max())
        at, value = tried, found
        if moved < 1e-9 or float(np.exp(at).sum()) > _LARGEST:
            break
    a, b = np.exp(at).tolist()
    if a + b > _LARGEST:
        a, b = _LARGEST * mean, _LARGEST * (1 - mean)
    return BetaPrior(a, b)


def _value(at: Floats, k: Floats, n: Floats) -> float:
    from scipy.special import betaln

    a, b = np.exp(at)
    return float((betaln(k + a, n - k + b) - betaln(a, b)).sum())


def _newton(at: Floats, k: Floats, n: Floats) -> Floats:
    """The step in (log a, log b); along the gradient where the likelihood is not concave."""
    from scipy.special import digamma, polygamma

    scale = np.exp(at)
    a, b = scale
    both = digamma(a + b) - digamma(n + a + b)
    curved = float((polygamma(1, a + b) - polygamma(1, n + a + b)).sum())
    parts = ((k, a), (n - k, b))
    slope = np.array([(digamma(x + c) - digamma(c) + both).sum() for x, c in parts])
    own = np.array([(polygamma(1, x + c) - polygamma(1, c)).sum() + curved for x, c in parts])
    gradient = slope * scale
    hessian = np.diag(own * scale**2 + gradient)
    hessian[0, 1] = hessian[1, 0] = curved * a * b
    if float(np.linalg.eigvalsh(hessian).max()) < 0:
        return np.asarray(np.clip(-np.linalg.solve(hessian, gradient), -2, 2))
    return np.asarray(gradient / (float(np.linalg.norm(gradient)) + 1e-12))


@dataclass(frozen=True)
class RateCalibration:
    """level: added to log rates. scale, interval: of roots of rates with it."""

    level: float
    scale: ResidualScale
    interval: ConformalInterval

    @classmethod
    def fit(
        cls,
        held_out: Floats,
        clicks: npt.NDArray[np.int64],
        impressions: npt.NDArray[np.int64],
        *,
        steps: npt.NDArray[np.int64] | None = None,
        coverage: float = 0.9,
    ) -> RateCalibration:
        """Of log rates [N] by a model that saw nothing of the ads, and how often they were shown
        and clicked. steps: [N], their steps in time, from 0.

        Raises DataError where none was clicked, and as `ConformalInterval.fit`.
        """
        if not clicks.sum():
            raise DataError("no held-out ad was clicked", hint="hold out more ads")

        def level(rows: npt.NDArray[np.bool_]) -> float:
            expected = float((impressions[rows] * np.exp(held_out[rows])).sum())
            # A click of the level of all, so that a step without one has a level too.
            whole = clicks.sum() / (impressions * np.exp(held_out)).sum()
            return float(np.log((clicks[rows].sum() + 1) / (expected + 1 / whole)))

        levels, latest, rows = _levels(level, len(clicks), steps)
        values = np.exp((held_out[rows] + levels) / 2)
        found = np.sqrt(clicks / impressions)[rows]
        scale = ResidualScale.fit(values, found)
        return cls(
            latest, scale, ConformalInterval.fit(values, found, scale(values), coverage=coverage)
        )

    def rates(self, log_rates: Floats) -> tuple[Floats, Floats, Floats]:
        """(value, low, high), click rates [N] of log rates [N], at most 1."""
        values = np.exp(np.minimum((log_rates + self.level) / 2, 0.0))
        low, high = self.interval.bounds(values, self.scale(values))
        return values**2, np.maximum(low, 0.0) ** 2, np.minimum(high, 1.0) ** 2


def _levels(
    level: Callable[[npt.NDArray[np.bool_]], float],
    count: int,
    steps: npt.NDArray[np.int64] | None,
) -> tuple[Floats, float, Whole]:
    """Levels of rows [R], that of new ones, and which rows they are: of steps in time each row
    twice, with the level of its own step, and what that moved since the step before, either way,
    by as much more as Student's t is wider of so few steps."""
    from scipy.special import ndtri, stdtrit

    every = np.ones(count, np.bool_)
    if steps is None:
        return np.full(count, level(every)), level(every), np.arange(count)
    known = np.array([level(steps == step) for step in range(int(steps.max()) + 1)])
    moved = np.diff(known, prepend=known[0]) * stdtrit(len(known) - 1, 0.95) / ndtri(0.95)
    rows = np.flatnonzero(steps > 0)
    own, off = known[steps[rows]], moved[steps[rows]]
    return np.concatenate([own + off, own - off]), float(known[-1]), np.tile(rows, 2)


@dataclass(frozen=True)
class ScoreCalibration:
    """The same of scores. logged: values are log(1 + score)."""

    level: float
    scale: ResidualScale
    interval: ConformalInterval
    logged: bool

    @staticmethod
    def is_logged(scores: Floats) -> bool:
        """Whether none is below 0."""
        return bool(scores.min(initial=0) >= 0)

    @classmethod
    def scale_of(cls, scores: Floats) -> Floats:
        """What is learned [N]: log(1 + score) where none is below 0, else the score."""
        return np.log1p(scores) if cls.is_logged(scores) else scores

    @classmethod
    def fit(
        cls,
        held_out: Floats,
        found: Floats,
        *,
        logged: bool,
        steps: npt.NDArray[np.int64] | None = None,
        coverage: float = 0.9,
    ) -> ScoreCalibration:
        """Of values [N] by a model that saw nothing of the ads, and what was found."""

        def level(rows: npt.NDArray[np.bool_]) -> float:
            return float(np.mean((found - held_out)[rows]))

        levels, latest, rows = _levels(level, len(found), steps)
        values, there = held_out[rows] + levels, found[rows]
        scale = ResidualScale.fit(values, there)
        interval = ConformalInterval.fit(values, there, scale(values), coverage=coverage)
        return cls(latest, scale, interval, logged)

    def rates(self, values: Floats) -> tuple[Floats, Floats, Floats]:
        """(value, low, high), scores [N]."""
        values = values + self.level
        low, high = self.interval.bounds(values, self.scale(values))
        back = np.expm1 if self.logged else np.asarray
        value, low, high = (np.asarray(back(one), np.float64) for one in (values, low, high))
        return value, low, high


Calibration: TypeAlias = RateCalibration | ScoreCalibration


#: Rates of a pair are apart by this at least.
APART = 0.001
