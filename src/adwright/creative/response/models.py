"""The linear part of a click rate: a ridge in which each test has an intercept of its own.

    y_i = b + w . x_i + u_t(i) + e_i,   u_t ~ N(0, r s2),  e_i ~ N(0, s2 / c_i),  w ~ N(0, s2 / p)

y is a log rate, t(i) the test, c_i the weight. What a test's audience, day and story do to all its
creatives is u_t, so that w is learnt mostly from what differs within tests, which is what a choice
among creatives needs, and from the means of tests only as much as they tell. Given r this is least
squares on partly centred rows, with W_t = sum of c_i and means weighted by c:

    x_i - h_t mean_t(x),  y_i - h_t mean_t(y),  h_t = 1 - (1 + r W_t)^(-1/2)

h = 0 is a plain ridge, h = 1 learns within tests alone. r comes from the residuals e of creatives
whose story was held out, by moments; the penalty p is that of the least partly centred squared
error there:

    s2 = sum_i c_i (e_i - mean_t(e))^2 / (N - T),   r s2 = mean_t(mean_t(e)^2 - s2 / W_t)

All of it needs sums of x x^T, of each fold once. Letters: N creatives, D inputs, T tests, K folds.

What a click rate is trained on: the order within each test, and the level over all creatives.

With scores s (log rates), smoothed rates p and weights w of the creatives of test t:

    q_i = p_i / sum_t p,   L_t = (mean_t w) n_t KL(q || softmax_t(s))
    L = sum_t L_t + (g / 2) sum_i w_i (s_i - log p_i)^2

n_t is the number of creatives of the test. The first term does not change where a test's scores all
grow by a constant: it asks which share of the clicks each creative would have if all were shown
alike. The second sets the level; g is small, since between tests rates differ by audience and day.
A creative that was in no test has the second term alone.

Listwise softmax with a squared error on smoothed rates is the loss of Wang et al. (WWW 2021);
there the error is of rates and g is 1. That it is of log rates, and the weights, are our choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from adwright.core.config import MinLen, NotNegative, Positive, settings
from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.creative.judging import ConformalInterval, ResidualScale
from adwright.creative.response.inputs import Array
from adwright.creative.response.outcomes import CreativeOutcomes
from adwright.metrics.arrays import check_same_length
from adwright.metrics.bootstrap import best_of_test, pair_accuracy, rho_within
from adwright.metrics.ranking import spearman

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

#: r, of the residuals by which it is estimated.
_FIRST_RATIO = 3.0


@settings
class LinearConfig:
    """penalties: p is chosen among these. ratio: r; None estimates it, 0 is a plain ridge."""

    penalties: Annotated[tuple[Positive, ...], MinLen(1)] = (10.0, 30.0, 100.0)
    ratio: NotNegative | None = None


@dataclass(frozen=True, eq=False)
class LinearPart:
    """weight: float64 [D]. penalty, ratio: p and r, of which it was fitted."""

    weight: Floats
    bias: float
    penalty: float
    ratio: float

    def predict(self, x: Array) -> Floats:
        """Log rates float64 [N] of inputs [N, D]."""
        found = x @ self.weight.astype(np.float32)
        return found.astype(np.float64) + self.bias


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """part: fitted on all creatives. held_out: float64 [N], the log rate of each by a part that saw
    nothing of its fold. errors: the mean squared error there of each penalty."""

    part: LinearPart
    held_out: Floats
    errors: tuple[float, ...]


def fit_linear(
    x: Array,
    y: Floats,
    tests: Whole,
    folds: Whole,
    weights: Floats | None = None,
    config: LinearConfig | None = None,
) -> CrossFitted:
    """Fit on inputs [N, D] and log rates [N].

    tests: [N], below 0 where a creative was in none; it counts as a test of its own. folds: [N],
    from 0 to K - 1, the fold that each is held out in; tests must not be cut. weights: c [N], 1 by
    default. Raises DataError for arrays of other lengths, a test in two folds, or fewer than 2
    folds.
    """
    config = config or LinearConfig()
    check_same_length(len(x), {"y": y, "tests": tests, "folds": folds})
    narrow, back = _narrowed(x)
    shares = np.ones(len(y)) if weights is None else weights
    # Numbered from 0 without gaps; whoever is in no test has a number of his own.
    own = np.where(tests < 0, int(tests.max(initial=-1)) + 1 + np.arange(len(tests)), tests)
    own = np.unique(own, return_inverse=True)[1].astype(np.int64)
    rows = _LinearRows(narrow, y, own, folds, shares)
    members = (np.flatnonzero(folds == fold) for fold in np.unique(folds))
    plain = [_sums_of(narrow[some], y[some], shares[some]) for some in members]
    ratio = config.ratio
    if ratio is None:
        # Of residuals by any reasonable penalty.
        middle = config.penalties[len(config.penalties) // 2 :][:1]
        ratio = rows.ratio_of(y - _cross_fitted(rows, plain, _FIRST_RATIO, middle).held_out)
    found = _cross_fitted(rows, plain, ratio, config.penalties)
    if back is None:
        return found
    weight = back.astype(np.float64) @ found.part.weight
    return replace(found, part=replace(found.part, weight=weight))


@dataclass(frozen=True, eq=False)
class _LinearRows:
    """What is fitted, by tests numbered from 0."""

    x: Array
    y: Floats
    tests: Whole
    folds: Whole
    weights: Floats

    def __post_init__(self) -> None:
        first = np.full(int(self.tests.max(initial=-1)) + 1, -1)
        first[self.tests] = self.folds
        if (first[self.tests] != self.folds).any():
            raise DataError("a test stands in two folds", hint="fold by story")
        if len(np.unique(self.folds)) < 2:
            raise DataError("held-out errors need 2 folds", value=len(np.unique(self.folds)))

    def total(self, values: Floats) -> Floats:
        """[T], sums."""
        return np.bincount(self.tests, values).astype(np.float64)

    def mean(self, values: Floats) -> Floats:
        """[T], weighted means."""
        found: Floats = self.total(values * self.weights) / self.total(self.weights)
        return found

    def mean_inputs(self) -> Array:
        """float32 [T, D]."""
        order = np.argsort(self.tests, kind="stable")
        starts = np.searchsorted(self.tests[order], np.arange(int(self.tests.max()) + 1))
        shares = (self.weights / self.total(self.weights)[self.tests]).astype(np.float32)
        sums: Array = np.add.reduceat((self.x * shares[:, None])[order], starts)
        return sums

    def ratio_of(self, residuals: Floats) -> float:
        """r by moments; 0 where the tests differ no more than chance has them."""
        mean, total = self.mean(residuals), self.total(self.weights)
        tests, several = len(total), np.bincount(self.tests) > 1
        left = len(residuals) - tests
        if left < 1 or not several.any():
            return 0.0
        inner = float((self.weights * (residuals - mean[self.tests]) ** 2).sum()) / left
        between = float(np.mean(mean**2 - inner / total))
        return max(0.0, between / inner) if inner > 0 else 0.0


@dataclass(frozen=True, eq=False)
class _LinearSums:
    """Of partly centred rows with a last input of 1: sum of x x^T, of x y and of y^2."""

    gram: Floats
    moment: Floats
    square: float

    def __add__(self, other: _LinearSums) -> _LinearSums:
        return _LinearSums(
            self.gram + other.gram, self.moment + other.moment, self.square + other.square
        )

    def __sub__(self, other: _LinearSums) -> _LinearSums:
        return _LinearSums(
            self.gram - other.gram, self.moment - other.moment, self.square - other.square
        )

    def error(self, solved: Floats) -> float:
        """Sum of squared errors."""
        return float(self.square - 2 * self.moment @ solved + solved @ self.gram @ solved)


def _sums_of(x: Array, y: Floats, weights: Floats) -> _LinearSums:
    """Of inputs [n, D], without the last one, outcomes and weights [n]."""
    root = np.sqrt(weights)
    longer = np.empty((len(x), x.shape[1] + 1), np.float32)
    longer[:, :-1] = x
    longer[:, -1] = 1
    longer *= root[:, None].astype(np.float32)
    gram = (longer.T @ longer).astype(np.float64)
    moment = longer.T.astype(np.float64) @ (root * y)
    return _LinearSums(gram, moment, float((weights * y**2).sum()))


def _narrowed(x: Array) -> tuple[Array, Array | None]:
    """Fewer creatives than inputs span R <= N directions, in which all weights of a ridge lie: the
    inputs [N, R] along them, and the directions [D, R]. Otherwise the inputs as they are."""
    if len(x) >= x.shape[1]:
        return x, None
    wide = x.astype(np.float64)
    values, vectors = np.linalg.eigh(wide @ wide.T)
    kept = values > 1e-10 * max(float(values.max(initial=0)), 1e-300)
    root = np.sqrt(values[kept])
    back = (wide.T @ vectors[:, kept]) / root
    return (vectors[:, kept] * root).astype(np.float32), back.astype(np.float32)


def _cross_fitted(
    rows: _LinearRows, plain: Sequence[_LinearSums], ratio: float, penalties: Sequence[float]
) -> CrossFitted:
    """Centring takes (2 h - h^2) W_t mean_t(x) mean_t(x)^T of each test from the plain sums."""
    folds = np.unique(rows.folds)
    sums = list(plain)
    if ratio > 0:
        total = rows.total(rows.weights)
        taken = total * (ratio * total / (1 + ratio * total))  # 1 - (1 - h)^2 = r W / (1 + r W)
        means, mean = rows.mean_inputs(), rows.mean(rows.y)
        home = np.empty(len(total), np.int64)
        home[rows.tests] = rows.folds
        for place, fold in enumerate(folds):
            some = np.flatnonzero(home == fold)
            sums[place] = sums[place] - _sums_of(means[some], mean[some], taken[some])
    whole = sum(sums[1:], sums[0])
    solutions = [[_solved(whole - own, penalty) for own in sums] for penalty in penalties]
    errors = tuple(
        sum(own.error(one) for own, one in zip(sums, solved, strict=True)) / len(rows.y)
        for solved in solutions
    )
    best = int(np.argmin(errors))
    answer = np.empty(len(rows.y))
    for fold, solved in zip(folds, solutions[best], strict=True):
        some = np.flatnonzero(rows.folds == fold)
        answer[some] = rows.x[some] @ solved[:-1].astype(np.float32) + solved[-1]
    solved = _solved(whole, penalties[best])
    part = LinearPart(solved[:-1], float(solved[-1]), penalties[best], ratio)
    return CrossFitted(part, answer, errors)


def _solved(sums: _LinearSums, penalty: float) -> Floats:
    """[D + 1]: weights, which are penalised, and the bias, which is not."""
    ridge = sums.gram.copy()
    places = np.arange(len(ridge) - 1)
    ridge[places, places] += penalty
    # Where nothing differs, any bias fits.
    ridge[-1, -1] += 1e-9
    solved: Floats = np.linalg.solve(ridge, sums.moment).astype(np.float64)
    return solved


def click_rate_loss(
    scores: Tensor, rates: Tensor, weights: Tensor, tests: Tensor, *, regression: float
) -> Tensor:
    """L, [] of scores, rates and weights [B]. tests: int64 [B], below 0 for none; a test stands in
    one batch whole. regression: g."""
    level = (weights * (scores - rates.log()) ** 2).sum() / 2
    return listwise_loss(scores, rates, weights, tests) + regression * level


def listwise_loss(scores: Tensor, rates: Tensor, weights: Tensor, tests: Tensor) -> Tensor:
    """sum_t L_t, []."""
    inside = tests >= 0
    if not bool(inside.any()):
        return scores.sum() * 0
    scores, rates, weights = scores[inside], rates[inside], weights[inside]
    names, code = torch.unique(tests[inside], return_inverse=True)
    count = len(names)
    found = scores - _log_sum(scores, code, count)[code]
    wanted = rates.log() - _log_sum(rates.log(), code, count)[code]
    gaps = _sums(wanted.exp() * (wanted - found), code, count)
    return (_sums(weights, code, count) * gaps).sum()


def _sums(values: Tensor, code: Tensor, count: int) -> Tensor:
    """[T]."""
    return values.new_zeros(count).index_add(0, code, values)


def _log_sum(values: Tensor, code: Tensor, count: int) -> Tensor:
    """log sum exp of each test, [T]."""
    highest = values.new_full((count,), -torch.inf)
    highest = highest.scatter_reduce(0, code, values.detach(), "amax")
    return _sums((values - highest[code]).exp(), code, count).log() + highest


# --------------------------------------------------------------------------------------------------
# Click rates of creatives that were shown a few times: a Beta prior, and what each count tells.
#
#     clicks_i | p_i ~ Binomial(n_i, p_i),  p_i ~ Beta(a, b)
#     smoothed rate = (clicks + a) / (n + a + b)
#
# (a, b) maximises the beta-binomial likelihood, by Newton steps in (log a, log b). The weight of a
# creative is the share of the variance of its log rate that is no sampling noise:
#
#     w_i = t / (t + (1 - m) / (n_i m)),  t = psi'(a) - psi'(a + b),  m = a / (a + b)
#
# where t is the variance of log p under the prior and the other term that of the log of a share of
# n
# draws. It depends on how often a creative was shown, never on how often it was clicked, which
# would
# favour those that were lucky.
#
#     prior = fit_prior(clicks, impressions)
#     prior.smoothed(clicks, impressions), prior.weights(impressions)
#
# Wang et al. (A Hybrid Bandit Model with Visual Priors for Creative Ranking, WWW 2021) smooth by
# such
# a prior; that it is fitted by likelihood, and the weights, are our choice.
#
# From log rates that order well to click rates that are right on average, with intervals.
#
#     calibration = RateCalibration.fit(held_out, clicks, impressions, prior)
#     value, low, high = calibration.rates(log_rates)          # click rates, 0 to 1
#
# The mean of a log is not the log of a mean: a level is added, so that on held-out ads the expected
# clicks are those that were found, sum_i n_i exp(s_i + level) = sum_i clicks_i. The interval is
# split
# conformal on log rates, scaled by how far off they are expected to be. What it covers is the click
# rate that is measured of an ad which is shown as often as those held out were, so the noise of its
# clicks counts; a rate of 0 lies below any bound.
#
# How well answers order creatives, in a few numbers: what `fit_click_rate` shows and decides by.
#
#     order_measures(log_rates, outcomes)    # {"rho": .53, "best_of_test": .33, "pairs": .61, ...}
#
# The benchmarks measure with intervals; here the first fold is looked at once.

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
