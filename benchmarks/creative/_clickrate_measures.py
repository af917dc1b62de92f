"""What the answers of a system are worth: within tests, over one list, as rates, as intervals.

Sums by story carry each measure, so that a draw of stories is a matrix product; of a rank
correlation the ranks are those of all rows, and a draw weighs the stories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau
from sklearn.metrics import ndcg_score

from adwright.creative.response.outcomes import CreativeOutcomes
from adwright.metrics.bootstrap import (
    Interval,
    MethodInterval,
    TestRows,
    WithinSums,
    best_of_test,
    bootstrap_sums,
    centred_by_test,
    pair_accuracy,
    two_level_difference,
    two_level_ratio,
    with_seeds,
)
from adwright.metrics.classification import expected_calibration_error
from adwright.metrics.ranking import average_ranks, spearman

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
#: Measures that are one sum over another, and those that are rank correlations.
RATIOS = (
    *("best_of_test_text", "best_of_test_all", "pair_accuracy", "pair_accuracy_all"),
    *("lift_share", "lift_share_all", "rho_by_test"),
)
RHOS = ("rho_log_ctr", "rho_within")
APART = 0.001
_DRAWS = 1000


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows that were held out: all of them, or those of the later weeks. stories: int64 [N] of
    them, `number` in all."""

    outcomes: CreativeOutcomes
    stories: Whole
    number: int

    @cached_property
    def owner(self) -> Whole:
        """The story of each test, -1 for a number that no test has."""
        tests = self.outcomes.tests
        owner = np.full(int(tests.max(initial=-1)) + 1, -1, np.int64)
        owner[tests[tests >= 0]] = self.stories[tests >= 0]
        return owner


@dataclass(frozen=True, eq=False)
class Measured:
    """A system on `rows`. rates: float64 [N] of each seed."""

    rows: Rows
    rates: Sequence[Floats]

    def _within(self, measure: str, rates: Floats) -> WithinSums:
        out = self.rows.outcomes
        text = measure in ("best_of_test_text", "pair_accuracy", "lift_share")
        some = out.varied if text else out.tests >= 0
        arrays = rates[some], out.rate[some], out.tests[some]
        match measure:
            case "best_of_test_text" | "best_of_test_all":
                return best_of_test(*arrays)
            case "pair_accuracy" | "pair_accuracy_all":
                return pair_accuracy(*arrays, apart=APART)
            case "lift_share" | "lift_share_all":
                return lift_share(*arrays)
            case _:
                return rho_by_test(*arrays)

    def sums(self, measure: str) -> tuple[Floats, Floats]:
        """Tops and bottoms [S, U] of one of RATIOS, by seed and story."""
        found = [
            self._within(measure, rates).by(self.rows.owner, self.rows.number)
            for rates in self.rates
        ]
        return np.stack([top for top, _ in found]), np.stack([bottom for _, bottom in found])

    def moments(self, measure: str) -> Floats:
        """[S, U, 6] of one of RHOS: of ranks a and b the sums of 1, a, b, aa, bb, ab."""
        return np.stack([self._moments(measure, rates) for rates in self.rates])

    def _moments(self, measure: str, rates: Floats) -> Floats:
        out, owner = self.rows.outcomes, self.rows.stories
        score, found = rates, out.rate
        if measure == "rho_within":
            score, found, tests = centred_by_test(rates, out.rate, out.tests)
            owner = self.rows.owner[tests]
        a, b = average_ranks(score), average_ranks(found)
        a, b = a / len(a) - 0.5, b / len(b) - 0.5
        columns = (np.ones(len(a)), a, b, a * a, b * b, a * b)
        return np.stack([np.bincount(owner, one, self.rows.number) for one in columns], 1)

    def interval(self, measure: str) -> MethodInterval:
        """The mean over seeds, with its 95% interval over stories and seeds."""
        rng = np.random.default_rng(0)
        if measure in RATIOS:
            return two_level_ratio(*self.sums(measure), rng, _DRAWS)
        moments = self.moments(measure)
        return with_seeds(_drawn(moments, rng), _rho(moments.sum(1)))

    def by_seed(self, measure: str) -> list[float]:
        """The values that `interval` is the mean of."""
        if measure in RATIOS:
            tops, bottoms = self.sums(measure)
            found = tops.sum(1) / bottoms.sum(1)
        else:
            found = _rho(self.moments(measure).sum(1))
        return [round(float(one), 6) for one in found]

    def less(self, other: Measured, measure: str) -> MethodInterval:
        """This less `other`, paired: a draw takes the same stories for both, and a seed parted them
        into the same folds."""
        rng = np.random.default_rng(0)
        pairs = min(len(self.rates), len(other.rates))
        if measure in RATIOS:
            (tops, bottoms), (others, below) = self.sums(measure), other.sums(measure)
            return two_level_difference(
                tops[:pairs],
                others[:pairs],
                bottoms[:pairs],
                rng,
                _DRAWS,
                denominators_b=below[:pairs],
                paired=True,
            )
        a, b = self.moments(measure)[:pairs], other.moments(measure)[:pairs]
        by_seed = [
            float((_rho(x.sum(0)[None]) - _rho(y.sum(0)[None]))[0])
            for x, y in zip(a, b, strict=True)
        ]
        return with_seeds(_drawn(a, rng, b), by_seed)


def lift_share(scores: Floats, rates: Floats, tests: Whole) -> WithinSums:
    """Share of the possible lift that picking by score has: 0 is the mean of the test, 1 its best.

    top = mean rate of the rows of the highest score - mean rate of the test; bottom = highest rate
    - mean rate. Below 0 where the picks are worse than the mean.
    """
    rows = TestRows.of(scores, rates, tests)
    first = rows.is_highest(rows.scores)
    mean = rows.sum(rows.rates) / rows.sum(np.ones(len(first)))
    picked = rows.sum(rows.rates * first) / rows.sum(first)
    return WithinSums(rows.names, picked - mean, rows.highest(rows.rates) - mean)


def rho_by_test(scores: Floats, rates: Floats, tests: Whole) -> WithinSums:
    """Spearman's rho within each test, a test one: top is the rho, bottom 1.

    Equal scores throughout a test have rho 0, as any order of them has on average; a test of equal
    rates is left out.
    """
    rows = TestRows.of(scores, rates, tests)
    a, b = (rows.centred(rows.ranks(one)) for one in (rows.scores, rows.rates))
    product, first, second = rows.sum(a * b), rows.sum(a * a), rows.sum(b * b)
    size = np.sqrt(first * second)
    rho = np.divide(product, size, out=np.zeros(len(size)), where=size > 0)
    kept = second > 0
    return WithinSums(rows.names[kept], rho[kept], np.ones(int(kept.sum())))


def paper_form(
    outcomes: CreativeOutcomes, folds: Sequence[Whole], rates: Floats
) -> dict[str, float]:
    """The columns of AdSEE's table, each the mean over the folds: one list a fold."""
    found: dict[str, list[float]] = {}
    for rows in folds:
        told, true = rates[rows], outcomes.rate[rows]
        measures = {
            "mae": float(np.abs(told - true).mean()),
            "mape": float((np.abs(told - true)[true != 0] / true[true != 0]).mean()),
            # Ties share the mean gain of the tie, which is what any order of them has on average.
            "ndcg10": float(ndcg_score(true[None], told[None], k=10)),
            "ndcg50": float(ndcg_score(true[None], told[None], k=50)),
            "spearman": spearman(told, true) if np.ptp(told) else 0.0,
            "kendall": float(kendalltau(told, true).statistic) if np.ptp(told) else 0.0,
        }
        for name, value in measures.items():
            found.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


def calibration_error(outcomes: CreativeOutcomes, rates: Floats) -> float:
    """ECE of the rate of an impression, in 20 bins of as many impressions."""
    clicks = outcomes.clicks.astype(np.float64)
    weights = np.concatenate([clicks, outcomes.impressions - clicks])
    labels = np.repeat([1, 0], len(clicks))
    return expected_calibration_error(labels, np.tile(rates, 2), weights)


def cover(outcomes: CreativeOutcomes, low: Floats, high: Floats) -> float:
    """Share of the creatives whose measured rate lies within the interval."""
    return float(((low <= outcomes.rate) & (outcomes.rate <= high)).mean())


def _rho(totals: Floats) -> Floats:
    """[R] correlations of totals [R, 6]."""
    n, a, b, aa, bb, ab = totals.T
    first, second = aa - a * a / n, bb - b * b / n
    # Ranks that are all equal have no variance but what rounding leaves; they say nothing, 0.
    told = (first > 1e-9 * n) & (second > 1e-9 * n)
    spread = np.sqrt(np.where(told, first * second, 1.0))
    made: Floats = np.where(told, (ab - a * b / n) / spread, 0.0)
    return made


def _drawn(moments: Floats, rng: np.random.Generator, other: Floats | None = None) -> Interval:
    """Of the mean over seeds of the correlations, or of its difference; over stories."""
    every = moments if other is None else np.concatenate([moments, other])
    sums = every.transpose(1, 0, 2).reshape(every.shape[1], -1)

    def statistic(totals: Floats) -> Floats:
        rhos = [_rho(totals[:, 6 * at : 6 * at + 6]) for at in range(len(every))]
        first = np.mean(rhos[: len(moments)], 0)
        return np.asarray(first if other is None else first - np.mean(rhos[len(moments) :], 0))

    return bootstrap_sums(sums, statistic, rng, draws=_DRAWS)
