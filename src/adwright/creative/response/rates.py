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

    calibration = RateCalibration.fit(held_out, clicks, impressions, prior)
    value, low, high = calibration.rates(log_rates)          # click rates, 0 to 1

The mean of a log is not the log of a mean: a level is added, so that on held-out ads the expected
clicks are those that were found, sum_i n_i exp(s_i + level) = sum_i clicks_i. The interval is split
conformal on log rates, scaled by how far off they are expected to be. What it covers is the click
rate that is measured of an ad which is shown as often as those held out were, so the noise of its
clicks counts; a rate of 0 lies below any bound.

How well answers order creatives, in a few numbers: what `fit` shows and decides by.

    order_measures(log_rates, outcomes)    # {"rho": .53, "best_of_test": .33, "pairs": .61, ...}

`protocol` and the benchmarks measure with intervals; here the first fold is looked at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.creative.judging import ConformalInterval, ResidualScale
from adwright.creative.response.outcomes import CreativeOutcomes
from adwright.metrics.rank_correlation import spearman
from adwright.metrics.within_tests import best_of_test, pair_accuracy, rho_within

Floats = npt.NDArray[np.float64]

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
        first, both = torch.tensor([self.a, self.a + self.b], dtype=torch.float64)
        return float(torch.polygamma(1, first) - torch.polygamma(1, both))

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
    k, n = torch.from_numpy(clicked), torch.from_numpy(seen)
    total, shown = float(k.sum()), float(n.sum())
    if total <= 0 or total >= shown:
        raise DataError(
            "click rates of 0 or 1 alone tell no prior",
            column="clicks",
            value=int(total),
            hint="pass creatives of which some were clicked",
        )
    # [a, b] by moments of the rates, at least roughly.
    mean = k.sum() / n.sum()
    spread = (n * (k / n - mean) ** 2).sum() / n.sum()
    noise = mean * (1 - mean) * len(n) / n.sum()
    between = torch.clamp(spread - noise, min=float(mean * (1 - mean)) * 1e-6)
    strength = torch.clamp(mean * (1 - mean) / between - 1, 0.1, _LARGEST / 10)
    at = torch.log(torch.stack([mean * strength, (1 - mean) * strength]))
    value = _value(at, k, n)
    for _ in range(_STEPS):
        step = _newton(at, k, n)
        share = 1.0
        for _ in range(_HALVINGS):
            tried = at + share * step
            found = _value(tried, k, n)
            if found >= value:
                break
            share /= 2
        else:
            break
        moved = float((tried - at).abs().max())
        at, value = tried, found
        if moved < 1e-9 or float(at.exp().sum()) > _LARGEST:
            break
    a, b = at.exp().tolist()
    if a + b > _LARGEST:
        a, b = _LARGEST * total / shown, _LARGEST * (1 - total / shown)
    return BetaPrior(a, b)


def _value(at: Tensor, k: Tensor, n: Tensor) -> float:
    a, b = at.exp()
    own = torch.lgamma(k + a) + torch.lgamma(n - k + b) - torch.lgamma(n + a + b)
    return float((own - torch.lgamma(a) - torch.lgamma(b) + torch.lgamma(a + b)).sum())


def _newton(at: Tensor, k: Tensor, n: Tensor) -> Tensor:
    """The step in (log a, log b); along the gradient where the likelihood is not concave."""
    a, b = at.exp()
    both = torch.digamma(a + b) - torch.digamma(n + a + b)
    curved = torch.polygamma(1, a + b) - torch.polygamma(1, n + a + b)
    slope = torch.stack(
        [
            (torch.digamma(k + a) - torch.digamma(a) + both).sum(),
            (torch.digamma(n - k + b) - torch.digamma(b) + both).sum(),
        ]
    )
    own = torch.stack(
        [
            (torch.polygamma(1, k + a) - torch.polygamma(1, a) + curved).sum(),
            (torch.polygamma(1, n - k + b) - torch.polygamma(1, b) + curved).sum(),
        ]
    )
    scale = at.exp()
    gradient = slope * scale
    hessian = torch.diag(own * scale**2 + gradient)
    hessian[0, 1] = hessian[1, 0] = curved.sum() * a * b
    if float(torch.linalg.eigvalsh(hessian).max()) < 0:
        step: Tensor = -torch.linalg.solve(hessian, gradient)
        return step.clamp(-2, 2)
    return gradient / (float(gradient.norm()) + 1e-12)


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


#: Rates of a pair are apart by this at least.
APART = 0.001


def order_measures(answers: npt.ArrayLike, outcomes: CreativeOutcomes) -> dict[str, float]:
    """Spearman's rho over all creatives [N], and within the tests that have several titles: how
    often the best is picked, pairs that are ordered rightly, the mean rho. What cannot be measured
    is left out."""
    found = {}
    try:
        found["rho"] = spearman(answers, outcomes.rate)
    except DataError:
        found["rho"] = math.nan
    if outcomes.varied.any():
        rows = outcomes.varied.nonzero()[0]
        some = outcomes.take(rows)
        scores = np.asarray(answers, np.float64)[rows]
        found["best_of_test"] = best_of_test(scores, some.rate, some.tests).value
        found["pairs"] = pair_accuracy(scores, some.rate, some.tests, apart=APART).value
        found["rho_within"] = rho_within(scores, some.rate, some.tests)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def is_behind(model: Mapping[str, float], simple: Mapping[str, float]) -> bool:
    """Whether the simple rule orders as well: by pairs where both have them, else by rho."""
    for name in ("pairs", "rho"):
        if name in model and name in simple:
            return simple[name] >= model[name]
    return False
