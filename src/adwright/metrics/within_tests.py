"""Does a score order the alternatives of a randomised test? Measures within tests, ties expected.

    found = best_of_test(scores, rates, tests)
    found.value, found.chance.mean()         # share of tests whose best is picked; of any pick

A test is a group of alternatives among which chance decided who saw which, so within it alone a
rate compares the alternatives. A model that scores two alike has not chosen: ties count by what a
coin would do, never by the order of the rows. Rows whose test is below 0 are in none, and a test
needs two rows.

Each measure is a sum over tests by another, so that its interval follows from the sums of those
who are resampled (`WithinSums.by`, then `metrics.bootstrap` or `metrics.two_level`).

Letters: N rows, T tests, P pairs of rows of one test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.metrics.arrays import as_scores, check_same_length, refuse
from adwright.metrics.rank_correlation import average_ranks, spearman

Floats = npt.NDArray[np.float64]
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
