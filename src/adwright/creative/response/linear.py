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
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.core.config import check_literals
from adwright.core.errors import ConfigError, DataError
from adwright.metrics.arrays import check_same_length

__all__ = ["CrossFitted", "LinearConfig", "LinearPart", "fit_linear"]

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

#: Where r begins, and how often it is estimated anew.
_FIRST_RATIO, _ROUNDS = 3.0, 1


@dataclass(frozen=True)
class LinearConfig:
    """penalties: p is chosen among these. ratio: r; None estimates it, 0 is a plain ridge."""

    penalties: tuple[float, ...] = (10.0, 30.0, 100.0)
    ratio: float | None = None

    def __post_init__(self) -> None:
        check_literals(self)
        if not self.penalties or not all(0 < one < np.inf for one in self.penalties):
            raise ConfigError("penalties are above 0", where=f"penalties {self.penalties}")
        if self.ratio is not None and not 0 <= self.ratio < np.inf:
            raise ConfigError("a ratio of variances is 0 or more", where=f"ratio {self.ratio}")


@dataclass(frozen=True, eq=False)
class LinearPart:
    """weight: float64 [D]. penalty, ratio: p and r, of which it was fitted."""

    weight: Floats
    bias: float
    penalty: float
    ratio: float

    def predict(self, x: npt.NDArray[np.float32]) -> Floats:
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
    x: npt.NDArray[np.float32],
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
    rows = _Rows(x, y, _own_tests(tests), folds, np.ones(len(y)) if weights is None else weights)
    ratio = _FIRST_RATIO if config.ratio is None else config.ratio
    fits = _held_out(rows, ratio, config.penalties)
    for _ in range(0 if config.ratio is not None else _ROUNDS):
        ratio = rows.ratio_of(rows.y - fits[1])
        fits = _held_out(rows, ratio, config.penalties)
    errors, held_out, penalty, gram, moment = fits
    solved = _solved(gram, moment, penalty)
    part = LinearPart(solved[:-1], float(solved[-1]), penalty, ratio)
    return CrossFitted(part, held_out, errors)


@dataclass(frozen=True, eq=False)
class _Rows:
    """What is fitted, by tests numbered from 0."""

    x: npt.NDArray[np.float32]
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

    def mean_inputs(self) -> npt.NDArray[np.float32]:
        """float32 [T, D]."""
        order = np.argsort(self.tests, kind="stable")
        starts = np.searchsorted(self.tests[order], np.arange(int(self.tests.max()) + 1))
        shares = (self.weights / self.total(self.weights)[self.tests]).astype(np.float32)
        sums: npt.NDArray[np.float32] = np.add.reduceat((self.x * shares[:, None])[order], starts)
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


def _own_tests(tests: Whole) -> Whole:
    """Numbered from 0 without gaps; whoever is in none has a number of his own."""
    alone = tests < 0
    own = np.where(alone, int(tests.max(initial=-1)) + 1 + np.arange(len(tests)), tests)
    return np.unique(own, return_inverse=True)[1].astype(np.int64)


def _held_out(
    rows: _Rows, ratio: float, penalties: Sequence[float]
) -> tuple[tuple[float, ...], Floats, float, Floats, Floats]:
    """(error of each penalty, held-out log rates by the best, it, sum of x x^T, of x y)."""
    total = rows.total(rows.weights)
    h = (1 - 1 / np.sqrt(1 + ratio * total))[rows.tests]
    root = np.sqrt(rows.weights)
    means = rows.mean_inputs()
    x = np.empty((len(h), rows.x.shape[1] + 1), np.float32)
    # In place, part by part: the inputs are the largest thing here.
    for start in range(0, len(h), 4096):
        part = slice(start, start + 4096)
        x[part, :-1] = rows.x[part] - h[part, None].astype(np.float32) * means[rows.tests[part]]
        x[part, -1] = 1 - h[part]
        x[part] *= root[part, None].astype(np.float32)
    y = root * (rows.y - h * rows.mean(rows.y)[rows.tests])
    members = [np.flatnonzero(rows.folds == fold) for fold in np.unique(rows.folds)]
    grams = [_product(x[some]) for some in members]
    moments = [x[some].astype(np.float64).T @ y[some] for some in members]
    gram, moment = sum(grams[1:], grams[0]), sum(moments[1:], moments[0])
    errors, answers = [], []
    for penalty in penalties:
        answer, error = np.empty(len(y)), 0.0
        for some, own, cross in zip(members, grams, moments, strict=True):
            solved = _solved(gram - own, moment - cross, penalty)
            answer[some] = rows.x[some] @ solved[:-1].astype(np.float32) + solved[-1]
            error += float(((y[some] - x[some] @ solved.astype(np.float32)) ** 2).sum())
        errors.append(error / len(y))
        answers.append(answer)
    best = int(np.argmin(errors))
    return tuple(errors), answers[best], penalties[best], gram, moment


def _product(x: npt.NDArray[np.float32]) -> Floats:
    return (x.T @ x).astype(np.float64)


def _solved(gram: Floats, moment: Floats, penalty: float) -> Floats:
    """[D + 1]: weights, which are penalised, and the bias, which is not."""
    ridge: Floats = gram.copy()
    places = np.arange(len(ridge) - 1)
    ridge[places, places] += penalty
    # Where nothing differs, any bias fits.
    ridge[-1, -1] += 1e-9
    solved: Floats = np.linalg.solve(ridge, moment)
    return solved
