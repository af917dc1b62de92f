"""Intervals of a method, over its trainings and the users; those of `bootstrap` are of a training.

A method is trained S times, each time with another seed, and measured on the same U users. Its
value is the mean over seeds. Who is measured and which seeds were drawn move it apart from each
other (two crossed random factors; Owen, "The pigeonhole bootstrap", Annals of Applied Statistics
2007; the readers and cases of Obuchowski and Rockette 1995), so the variances add:

    V = P + s^2 / S      s^2: the variance of the S values; of two methods s_a^2 / S_a + s_b^2 / S_b

P is taken from the interval over users, e = (value - low) / z below the value and likewise above
it, so that its skew stays. s^2 comes from a handful of seeds, and each part has its own quantile
of Student's t; they are weighted by their variances (Cochran and Cox, "Experimental Designs",
1957, 4.14):

    value - low' = t' sqrt(e^2 + v),    t' = (z e^2 + t_f v) / (e^2 + v)

v = s^2 / S, or the sum of both methods'. f = S - 1 degrees of freedom, of two methods v^2 / sum of
(s_i^2 / S_i)^2 / (S_i - 1) (Welch 1947). s^2 holds what users and seeds do together, as P does:
counted twice it makes the interval a little wide where seeds hardly matter. Resampling three seeds
does not do: its variance is 2/3 of s^2 / S, and its tails are short. benchmarks/claims/intervals.py
compares the ways by their rate of false claims and by their width.

An interval of a rule, which has no seed, is that over users. So is one of a single training: it is
not of the method, and says so.

Letters: S seeds, U users.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics.arrays import check_same_length, normal_quantile, refuse
from adwright.metrics.bootstrap import Interval, bootstrap_sums

Floats = npt.NDArray[np.float64]

_LARGEST_FREEDOM = 1e6  # from here on Student's t is the normal distribution to six digits


@dataclass(frozen=True)
class MethodInterval(Interval):
    """An interval, and of what it is.

    seeds: trainings of each method; of two that were trained, of the one that has fewer. 0: of a
    rule, in which nothing is drawn. 1: of that training, over users alone.
    """

    seeds: int = 0


def with_seeds(
    people: Interval, *by_seed: npt.ArrayLike, confidence: float = 0.95
) -> MethodInterval:
    """An interval over users, widened by what the seeds of each method show.

    people: of the mean over the seeds, or of a difference of such means, over users alone.
    by_seed: the values [S] of each trained method, on all users; of a difference whose two sides
    come from one training (a whole and its part) the S differences. None for rules alone.
    confidence: that of `people`. Where a method has one seed, the interval stays that of `people`.
    """
    quantile = normal_quantile(confidence)
    found = [_values(one) for one in by_seed]
    seeds = min((len(one) for one in found), default=0)
    if seeds <= 1:
        return MethodInterval(people.value, people.low, people.high, seeds)
    parts = [(float(one.var(ddof=1)) / len(one), len(one) - 1) for one in found]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return MethodInterval(people.value, people.low, people.high, seeds)
    freedom = variance**2 / sum(part**2 / free for part, free in parts)
    student = student_quantile(freedom, confidence=confidence)

    def reach(side: float) -> float:
        error = (max(side, 0.0) / quantile) ** 2
        total = error + variance
        return (quantile * error + student * variance) / total * math.sqrt(total)

    low = people.value - reach(people.value - people.low)
    return MethodInterval(
        people.value, low, people.value + reach(people.high - people.value), seeds
    )


def two_level_ratio(
    numerators: npt.ArrayLike,
    denominators: npt.ArrayLike,
    rng: np.random.Generator,
    draws: int = 1000,
    *,
    confidence: float = 0.95,
) -> MethodInterval:
    """Interval of the mean over seeds of sum(numerators) / sum(denominators) over users.

    numerators: [S, U] by seed and user; [U] of a rule. denominators: of the same shape, or [U] for
    every seed. As in `bootstrap_ratio`, n_i AUC_i and n_i make the group AUC.
    """
    sums = _Sums.of(numerators, denominators)
    people = bootstrap_sums(sums.columns(), sums.mean, rng, draws=draws, confidence=confidence)
    return with_seeds(people, *sums.trained(), confidence=confidence)


def two_level_difference(
    numerators_a: npt.ArrayLike,
    numerators_b: npt.ArrayLike,
    denominators: npt.ArrayLike,
    rng: np.random.Generator,
    draws: int = 1000,
    *,
    denominators_b: npt.ArrayLike | None = None,
    paired: bool = False,
    confidence: float = 0.95,
) -> MethodInterval:
    """Interval of A - B, both measured on the same users; a draw takes the same users for both.

    numerators_a, numerators_b: [S, U], each with seeds of its own number; [U] of a rule.
    denominators: [S, U] or [U]; denominators_b: where B has others. paired: row s of both comes
    from one training (what serves, and a part of it), so the seeds speak through the S
    differences. Equal seeds of two methods are no pairs: they draw other weights.
    """
    second = denominators if denominators_b is None else denominators_b
    a, b = _Sums.of(numerators_a, denominators), _Sums.of(numerators_b, second)
    check_same_length(a.top.shape[1], {"numerators_b": b.top.T})
    columns, split = np.concatenate([a.columns(), b.columns()], axis=1), 2 * len(a.top)

    def difference(totals: Floats) -> Floats:
        return a.mean(totals[:, :split]) - b.mean(totals[:, split:])

    people = bootstrap_sums(columns, difference, rng, draws=draws, confidence=confidence)
    if not paired:
        return with_seeds(people, *a.trained(), *b.trained(), confidence=confidence)
    check_same_length(len(a.top), {"numerators_b": b.top})
    return with_seeds(people, a.values() - b.values(), confidence=confidence)


def student_quantile(freedom: float, *, confidence: float = 0.95) -> float:
    """Half the width of a two-sided interval by Student's t, 4.303 for 2 degrees of freedom.

    freedom: at least 1, need not be whole. Found by bisection of the integral of the density,
    after t = sqrt(f) tan(x), by 64 nodes of Gauss and Legendre; right to nine digits.
    Raises ValueInvalidError for other numbers.
    """
    least = normal_quantile(confidence)
    if not freedom >= 1:
        raise ValueInvalidError("a quantile needs a degree of freedom", value=freedom)
    f = min(freedom, _LARGEST_FREEDOM)
    constant = math.exp(math.lgamma((f + 1) / 2) - math.lgamma(f / 2)) * 2 / math.sqrt(math.pi)
    nodes, weights = _nodes()

    def inside(t: float) -> float:
        half = math.atan(t / math.sqrt(f)) / 2
        return constant * half * float(weights @ np.cos(half * (nodes + 1)) ** (f - 1))

    low = high = least
    while inside(high) < confidence:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) < confidence else (low, middle)
    return (low + high) / 2


@cache
def _nodes() -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(64)
    return nodes, weights


@dataclass(frozen=True, eq=False)
class _Sums:
    """top, bottom: [S, U]. rule: whether there is no seed, and S is 1."""

    top: Floats
    bottom: Floats
    rule: bool

    @classmethod
    def of(cls, numerators: npt.ArrayLike, denominators: npt.ArrayLike) -> _Sums:
        top, bottom = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
        rule, top = top.ndim == 1, np.atleast_2d(top)
        if top.ndim != 2 or bottom.ndim > 2 or bottom.shape[-1:] != top.shape[1:]:
            raise DataError(
                f"expected [S, U] and [S, U] or [U], found {top.shape} and {bottom.shape}",
                hint="a row a seed, a column a user, the same users in every row",
            )
        if bottom.ndim == 2 and bottom.shape != top.shape:
            raise DataError(f"{len(bottom)} rows of denominators for {len(top)} seeds")
        for name, array in (("numerators", top), ("denominators", bottom)):
            by_user = np.atleast_2d(array).T
            wrong = np.asarray(~np.isfinite(by_user).all(1), np.bool_)
            hint = "leave people without the measure out, or give them 0 and 0"
            refuse(wrong, "a person's sum is not finite", name, by_user, hint)
        return cls(top, np.broadcast_to(bottom, top.shape), rule)

    def columns(self) -> Floats:
        """[U, 2 S]: first the numerators."""
        return np.concatenate([self.top, self.bottom]).T

    def mean(self, totals: Floats) -> Floats:
        """Totals [R, 2 S] to the mean of the ratios [R]."""
        seeds = len(self.top)
        mean: Floats = (totals[:, :seeds] / totals[:, seeds:]).mean(1)
        return mean

    def values(self) -> Floats:
        """Of each seed [S]."""
        found: Floats = self.top.sum(1) / self.bottom.sum(1)
        return found

    def trained(self) -> list[Floats]:
        """What `with_seeds` wants to know of it."""
        return [] if self.rule else [self.values()]


def _values(by_seed: npt.ArrayLike) -> Floats:
    values = np.asarray(by_seed, np.float64)
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise ValueInvalidError("expected one finite value of each seed", value=values.tolist())
    return values
