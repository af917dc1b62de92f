"""Bootstrap intervals over users: how much a measure would move with other users.

Rows of one user depend on each other, so users are resampled, never rows. A measure that
is a ratio of sums over users needs only two numbers per user; a draw is then a vector of
multinomial counts (how often each user was drawn) times a small matrix. Pooled AUC is not
such a ratio; see `auc_draws`.

Letters: U users, S sums per user, R draws. Intervals are percentile intervals
(Efron and Tibshirani 1993, chapter 13).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError, SchemaError, ValueInvalidError
from adwright.metrics.arrays import (
    Array,
    as_codes,
    as_labels,
    as_scores,
    check_positive_integer,
    check_same_length,
    normal_quantile,
    refuse,
)
from adwright.metrics.classification import auc, mass_bins
from adwright.metrics.ranking import average_ranks, spearman

_CHUNK_CELLS = 2_000_000  # counts held at once, 16 MB


@dataclass(frozen=True)
class Interval:
    """A measured value with its interval, in the unit of the measure."""

    value: float
    low: float
    high: float

    def text(self, form: str = ".4f", *, brackets: bool = False) -> str:
        """`value (low to high)`, or `value [low, high]`, each number in the format `form`."""
        value, low, high = (format(x, form) for x in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]" if brackets else f"{value} ({low} to {high})"

    @property
    def width(self) -> float:
        """high - low."""
        return self.high - self.low

    def excludes(self, point: float) -> bool:
        """Whether `point` lies outside: for a difference and 0, whether it is significant."""
        return not self.low <= point <= self.high


def draw_counts(
    users: int, draws: int, rng: np.random.Generator
) -> Iterator[npt.NDArray[np.float64]]:
    """Multinomial counts in chunks [r, U] that add up to `draws` rows.

    Row sums are U: each row says how often each user occurs in one resample of U users.
    The chunks depend on the generator, users and draws alone, so two statistics computed
    from generators in the same state are paired.
    """
    check_positive_integer(draws, "draws")
    if users == 0:
        raise DataError("there is nobody to resample", hint="check the filter before it")
    chunk = max(1, _CHUNK_CELLS // users)
    for start in range(0, draws, chunk):
        rows = min(chunk, draws - start)
        drawn = rng.integers(0, users, size=(rows, users))
        drawn += users * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * users)
        yield counts.reshape(rows, users).astype(np.float64)


def bootstrap_sums(
    sums: Array,
    statistic: Callable[[Array], Array],
    rng: np.random.Generator,
    *,
    draws: int = 1000,
    confidence: float = 0.95,
) -> Interval:
    """Interval of any measure that depends on sums over users.

    sums: [U, S], the user's share of each sum. statistic: maps totals [R, S] to [R].
    Draws whose statistic is not finite (nobody drawn had a response, say) are left out;
    DataError when that leaves none.
    """
    totals = np.concatenate([counts @ sums for counts in draw_counts(len(sums), draws, rng)])
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(sums.sum(0, keepdims=True))[0])
        drawn = statistic(totals)
    return interval_of(value, drawn, confidence=confidence)


def bootstrap_ratio(
    numerators: npt.ArrayLike,
    denominators: npt.ArrayLike,
    rng: np.random.Generator,
    draws: int = 1000,
    *,
    confidence: float = 0.95,
) -> Interval:
    """Interval of sum(numerators) / sum(denominators) over users.

    numerators, denominators: [U], for example n_i AUC_i and n_i for group AUC, the hit of a
    user and 1 for hit rate, summed loss and rows for log loss. Users with 0 and 0 are
    part of the resample. rng: seeded generator; the same state gives the same interval.
    """
    sums = _columns(numerators=numerators, denominators=denominators)
    return bootstrap_sums(sums, _ratio, rng, draws=draws, confidence=confidence)


def bootstrap_difference(
    numerators_a: npt.ArrayLike,
    numerators_b: npt.ArrayLike,
    denominators: npt.ArrayLike,
    rng: np.random.Generator,
    draws: int = 1000,
    *,
    denominators_b: npt.ArrayLike | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Paired interval of ratio A - ratio B, both measured on the same users, [U] each.

    Every draw takes the same users for both, so what makes a user easy or hard cancels
    out. denominators_b: where B has denominators of its own; by default those of A.
    """
    second = denominators if denominators_b is None else denominators_b
    sums = _columns(
        numerators_a=numerators_a,
        denominators=denominators,
        numerators_b=numerators_b,
        denominators_b=second,
    )

    def difference(totals: Array) -> Array:
        return _ratio(totals[:, :2]) - _ratio(totals[:, 2:])

    return bootstrap_sums(sums, difference, rng, draws=draws, confidence=confidence)


def auc_draws(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    users: npt.ArrayLike,
    rng: np.random.Generator,
    draws: int = 1000,
    *,
    bins: int = 512,
    blocks: int = 4096,
) -> npt.NDArray[np.float64]:
    """Pooled AUC of `draws` resamples of users, [R], without touching the rows again.

    Scores are put into `bins` bins of equal mass, responses and the rest counting one half
    of the mass each; a user becomes two histograms, so a draw is a matrix product. The
    binned AUC takes pairs within a bin as ties. The error of that on the full data is known
    exactly and taken off every draw; what remains is far below the width of the interval
    (the tests compare with exact resampling). More than `blocks` users are first dealt at
    random into that many blocks, which are resampled instead: sums over equally many users
    drawn at random are themselves exchangeable, and the cost stays bounded.
    Two models on generators in the same state get paired draws.
    """
    y = as_labels(labels)
    s = as_scores(scores)
    check_same_length(len(y), {"scores": s})
    exact = auc(y, s)
    block, count = user_blocks(users, len(y), rng, blocks)

    responses = int(y.sum())
    share = 1.0 / np.where(y == 1, responses, len(y) - responses)
    cell = (block * 2 + y) * bins + mass_bins(s, share, bins)
    histograms = np.bincount(cell, minlength=count * 2 * bins).reshape(count, 2 * bins)
    correction = exact - _binned_auc(histograms.sum(0, keepdims=True), bins)[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.concatenate(
            [_binned_auc(counts @ histograms, bins) for counts in draw_counts(count, draws, rng)]
        )
    areas: npt.NDArray[np.float64] = drawn + correction
    return areas


def user_blocks(
    users: npt.ArrayLike, rows: int, rng: np.random.Generator, blocks: int
) -> tuple[npt.NDArray[np.int64], int]:
    """Block of each row [N] and the number of blocks; one block per user where they fit."""
    codes = as_codes(users, rows)
    present = np.bincount(codes.codes, minlength=codes.span) > 0
    people = int(present.sum())
    if people <= blocks:
        of_code = np.cumsum(present) - 1
        return of_code[codes.codes], people
    of_code = np.zeros(codes.span, np.int64)
    of_code[present] = rng.permutation(people) % blocks
    return of_code[codes.codes], blocks


def interval_of(value: float, drawn: Array, *, confidence: float = 0.95) -> Interval:
    """Percentile interval of the finite draws [R] around a value measured on all users."""
    if not 0 < confidence < 1:
        raise ValueInvalidError("confidence must lie strictly between 0 and 1", value=confidence)
    finite = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or len(finite) == 0:
        raise DataError(
            "the measure is undefined on these people",
            value=value,
            hint="check that rows of both classes are present and denominators are not all 0",
        )
    tail = (1 - confidence) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def _binned_auc(totals: Array, bins: int) -> npt.NDArray[np.float64]:
    """AUC [R] of histograms [R, 2 bins]: first the rows without response, then those with."""
    rest, responses = totals[:, :bins], totals[:, bins:]
    below = np.cumsum(rest, axis=1) - rest / 2
    pairs = rest.sum(1) * responses.sum(1)
    area: npt.NDArray[np.float64] = (responses * below).sum(1) / pairs
    return area


def _ratio(totals: Array) -> Array:
    ratio: Array = totals[:, 0] / totals[:, 1]
    return ratio


def _columns(**columns: npt.ArrayLike) -> npt.NDArray[np.float64]:
    arrays = {name: np.asarray(column, np.float64) for name, column in columns.items()}
    users = len(next(iter(arrays.values())))
    check_same_length(users, arrays)
    for name, array in arrays.items():
        hint = "leave people without the measure out, or give them 0 and 0"
        refuse(~np.isfinite(array), "a person's sum is not finite", name, array, hint)
    return np.stack(list(arrays.values()), axis=1)


# --------------------------------------------------------------------------------------------------
# Intervals of a method, over its trainings and the users; those of `bootstrap` are of a training.
#
# A method is trained S times, each time with another seed, and measured on the same U users. Its
# value is the mean over seeds. Who is measured and which seeds were drawn move it apart from each
# other (two crossed random factors; Owen, "The pigeonhole bootstrap", Annals of Applied Statistics
# 2007; the readers and cases of Obuchowski and Rockette 1995), so the variances add:
#
#     V = P + s^2 / S      s^2: the variance of the S values; of two methods s_a^2 / S_a + s_b^2 /
# S_b
#
# P is taken from the interval over users, e = (value - low) / z below the value and likewise above
# it, so that its skew stays. s^2 comes from a handful of seeds, and each part has its own quantile
# of Student's t; they are weighted by their variances (Cochran and Cox, "Experimental Designs",
# 1957, 4.14):
#
#     value - low' = t' sqrt(e^2 + v),    t' = (z e^2 + t_f v) / (e^2 + v)
#
# v = s^2 / S, or the sum of both methods'. f = S - 1 degrees of freedom, of two methods v^2 / sum
# of
# (s_i^2 / S_i)^2 / (S_i - 1) (Welch 1947). s^2 holds what users and seeds do together, as P does:
# counted twice it makes the interval a little wide where seeds hardly matter. Resampling three
# seeds
# does not do: its variance is 2/3 of s^2 / S, and its tails are short.
# benchmarks/claims/intervals.py
# compares the ways by their rate of false claims and by their width.
#
# An interval of a rule, which has no seed, is that over users. So is one of a single training: it
# is
# not of the method, and says so.
#
# Letters: S seeds, U users.

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


# --------------------------------------------------------------------------------------------------
# Does a score order the alternatives of a randomised test? Measures within tests, ties expected.
#
#     found = best_of_test(scores, rates, tests)
#     found.value, found.chance.mean()         # share of tests whose best is picked; of any pick
#
# A test is a group of alternatives among which chance decided who saw which, so within it alone a
# rate compares the alternatives. A model that scores two alike has not chosen: ties count by what a
# coin would do, never by the order of the rows. Rows whose test is below 0 are in none, and a test
# needs two rows.
#
# Each measure is a sum over tests by another, so that its interval follows from the sums of those
# who are resampled (`WithinSums.by`, then `metrics.bootstrap` or `metrics.two_level`).
#
# Letters: N rows, T tests, P pairs of rows of one test.

Whole = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class WithinSums:
    """A measure as two sums over tests. tests: int64 [T], ascending; those that cannot be measured
    are not in it. top, bottom: float64 [T]."""

    tests: Whole
    top: Floats
    bottom: Floats

    @property
    def value(self) -> float:
        """sum(top) / sum(bottom); NaN where there is nothing to measure."""
        total = float(self.bottom.sum())
        return float(self.top.sum()) / total if total > 0 else float("nan")

    def by(self, owner: npt.ArrayLike, owners: int) -> tuple[Floats, Floats]:
        """top and bottom of each of `owners`, float64 [O]: who is resampled, a story say.

        owner: int64, the owner of each test number from 0 on, or -1 for one that has none.
        """
        of = np.asarray(owner, np.int64)
        if len(self.tests) and int(self.tests.max()) >= len(of):
            raise ValueInvalidError(
                "a test has no owner", column="owner", value=int(self.tests.max())
            )
        mine = of[self.tests]
        there = mine >= 0
        top, bottom = (_sums(mine[there], one[there], owners) for one in (self.top, self.bottom))
        return top, bottom


@dataclass(frozen=True, eq=False)
class BestOfTest(WithinSums):
    """chance: float64 [T], what picking blindly has."""

    chance: Floats


def best_of_test(scores: npt.ArrayLike, rates: npt.ArrayLike, tests: npt.ArrayLike) -> BestOfTest:
    """How often the row of the highest score of a test is one of its highest rate.

    scores, rates: [N]; tests: int [N]. Of a test with the rows S of the highest score and B of the
    highest rate, top = |S and B| / |S| and bottom = 1: a row of S is drawn, and any of B is right.
    chance = |B| / n. A test whose rates are all equal has no best and is left out.
    """
    rows = TestRows.of(scores, rates, tests)
    first = rows.is_highest(rows.scores)
    best = rows.is_highest(rows.rates)
    size, chosen = rows.sum(np.ones(len(best))), rows.sum(first)
    right, bests = rows.sum(first & best), rows.sum(best)
    open_ = bests < size
    return BestOfTest(
        rows.names[open_],
        (right / chosen)[open_],
        np.ones(int(open_.sum())),
        (bests / size)[open_],
    )


def pair_accuracy(
    scores: npt.ArrayLike, rates: npt.ArrayLike, tests: npt.ArrayLike, *, apart: float
) -> WithinSums:
    """Share of the pairs of a test, `apart` or more in their rates, that the scores order rightly;
    a pair of equal scores is half right. bottom counts the pairs."""
    if not apart > 0:
        raise ValueInvalidError("pairs are apart by more than 0", column="apart", value=apart)
    rows = TestRows.of(scores, rates, tests)
    left, right = rows.pairs()
    gap = rows.rates[left] - rows.rates[right]
    # A rate is a quotient: what should be apart by exactly that may miss it by a rounding.
    told = np.abs(gap) >= apart * (1 - 1e-9)
    said = np.sign(rows.scores[left] - rows.scores[right]) * np.sign(gap)
    owner = rows.code[left][told]
    top = _sums(owner, (said[told] + 1) / 2, len(rows.names))
    bottom = _sums(owner, np.ones(len(owner)), len(rows.names))
    kept = bottom > 0
    return WithinSums(rows.names[kept], top[kept], bottom[kept])


def rho_within(scores: npt.ArrayLike, rates: npt.ArrayLike, tests: npt.ArrayLike) -> float:
    """Spearman's rho over all rows of tests, of what `centred_by_test` gives; NaN without any.

    Tests whose rates lie far apart count for more, and equal scores of a test
    say that its rows are at its mean.
    """
    score, rate, _ = centred_by_test(scores, rates, tests)
    return spearman(score, rate) if len(score) else float("nan")


def centred_by_test(
    scores: npt.ArrayLike, rates: npt.ArrayLike, tests: npt.ArrayLike
) -> tuple[Floats, Floats, Whole]:
    """scores and rates [M] less the means of their tests, and the test of each, int64 [M]: the rows
    of tests of two rows or more, by test. Scores of a test that are equal are exactly 0."""
    rows = TestRows.of(scores, rates, tests)
    made = [rows.centred(one) * rows.differs(one) for one in (rows.scores, rows.rates)]
    return made[0], made[1], rows.names[rows.code]


@dataclass(frozen=True, eq=False)
class TestRows:
    """Rows sorted by test. code: int64 [N], of the test among names [T]; start: of each test."""

    scores: Floats
    rates: Floats
    code: Whole
    names: Whole
    start: Whole

    @classmethod
    def of(cls, scores: npt.ArrayLike, rates: npt.ArrayLike, tests: npt.ArrayLike) -> TestRows:
        score = as_scores(scores).astype(np.float64)
        rate = as_scores(rates, name="rates").astype(np.float64)
        group = np.asarray(tests)
        if group.dtype.kind not in "iu":
            raise SchemaError("tests must be whole numbers", column="tests", value=str(group.dtype))
        check_same_length(len(score), {"rates": rate, "tests": group})
        refuse(np.isinf(score), "a score is not finite", "scores", score)
        group = group.astype(np.int64)
        known, size = np.unique(group, return_counts=True)
        names = known[(size > 1) & (known >= 0)]
        order = np.argsort(group, kind="stable")
        order = order[np.isin(group[order], names)]
        code = np.searchsorted(names, group[order])
        start = np.searchsorted(code, np.arange(len(names)))
        return cls(score[order], rate[order], code, names, start)

    def sum(self, values: npt.NDArray[np.generic]) -> Floats:
        return _sums(self.code, values.astype(np.float64), len(self.names))

    def highest(self, values: Floats) -> Floats:
        return np.maximum.reduceat(values, self.start) if len(self.start) else np.empty(0)

    def is_highest(self, values: Floats) -> npt.NDArray[np.bool_]:
        highest: npt.NDArray[np.bool_] = values == self.highest(values)[self.code]
        return highest

    def differs(self, values: Floats) -> npt.NDArray[np.bool_]:
        """Whether the values of the row's test are not all equal."""
        return (self.highest(values) > -self.highest(-values))[self.code]

    def centred(self, values: Floats) -> Floats:
        centred: Floats = values - (self.sum(values) / self.sum(np.ones(len(values))))[self.code]
        return centred

    def ranks(self, values: Floats) -> Floats:
        """Average ranks within each test, up to a constant of the test."""
        if not len(values):
            return values
        dense = average_ranks(values)
        # All ranks of a test lie above those of the tests before it.
        return average_ranks(dense + self.code * (len(values) + 1.0))

    def pairs(self) -> tuple[Whole, Whole]:
        """Rows of all pairs of one test, int64 [P] each."""
        size = np.diff(self.start, append=len(self.code))
        later = (self.start + size)[self.code] - np.arange(len(self.code)) - 1
        left = np.repeat(np.arange(len(self.code)), later)
        begin = np.cumsum(later) - later
        right = left + 1 + np.arange(len(left)) - begin[left]
        return left, right


def _sums(owner: Whole, values: Floats, owners: int) -> Floats:
    return np.asarray(np.bincount(owner, values, owners), np.float64)
