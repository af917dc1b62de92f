"""Rank correlations and errors of one list, against pairs counted one by one and against SciPy."""

from __future__ import annotations

import math
from itertools import combinations, pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics.rank_correlation import (
    average_ranks,
    kendall,
    mean_absolute_error,
    mean_relative_error,
    ndcg_of_list,
    spearman,
)

SMALL = st.integers(0, 4).map(float)
PAIRS = st.lists(st.tuples(SMALL, SMALL), min_size=2, max_size=30).map(np.array)


@given(PAIRS)
def test_spearman_and_ranks_are_those_of_scipy(pairs: np.ndarray) -> None:
    a, b = pairs.T
    np.testing.assert_allclose(average_ranks(a), stats.rankdata(a))
    if len(set(a)) > 1 and len(set(b)) > 1:
        assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    else:
        assert math.isnan(spearman(a, b))


@given(PAIRS)
def test_kendall_counts_each_pair_as_its_formula_says(pairs: np.ndarray) -> None:
    a, b = pairs.T
    signs = [
        (np.sign(a[i] - a[j]), np.sign(b[i] - b[j])) for i, j in combinations(range(len(a)), 2)
    ]
    agree = sum(x * y > 0 for x, y in signs)
    against = sum(x * y < 0 for x, y in signs)
    told = [sum(x != 0 for x, _ in signs), sum(y != 0 for _, y in signs)]
    if all(told):
        expected = (agree - against) / math.sqrt(told[0] * told[1])
        assert kendall(a, b) == pytest.approx(expected)
    else:
        assert math.isnan(kendall(a, b))


def test_kendall_is_that_of_scipy_on_many_rows() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=3000).round(2)
    b = a + rng.normal(size=3000).round(1)
    assert kendall(a, b) == pytest.approx(stats.kendalltau(a, b).statistic, abs=1e-12)


def _dcg(gains: list[float], k: int) -> float:
    return sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains[:k]))


@given(st.lists(st.tuples(SMALL, SMALL), min_size=2, max_size=5), st.integers(1, 6))
def test_ndcg_is_the_mean_over_all_orders_of_its_ties(pairs: list, k: int) -> None:
    best = _dcg(sorted((gain for _, gain in pairs), reverse=True), k)
    orders = [
        _dcg([gain for _, gain in order], k)
        for order in permutations(pairs)
        if all(a[0] >= b[0] for a, b in pairwise(order))
    ]
    found = ndcg_of_list([s for s, _ in pairs], [g for _, g in pairs], k=k)
    if best:
        assert found == pytest.approx(np.mean(orders) / best)
    else:
        assert math.isnan(found)


def test_errors_are_absolute_and_relative_to_what_is_not_zero() -> None:
    assert mean_absolute_error([1.0, 2.0], [2.0, 4.0]) == 1.5
    assert mean_relative_error([1.0, 2.0, 9.0], [2.0, 4.0, 0.0]) == 0.5


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueInvalidError, match="row 1, column found"):
        spearman([1.0, 2.0], [1.0, float("nan")])
    with pytest.raises(DataError, match="expected 2 rows and found 1"):
        kendall([1.0, 2.0], [1.0])
    with pytest.raises(ValueInvalidError, match="no rows"):
        mean_absolute_error([], [])
    with pytest.raises(ValueInvalidError, match="row 0, column found, value -1"):
        ndcg_of_list([1.0], [-1.0], k=1)
    with pytest.raises(ValueInvalidError, match="k must be"):
        ndcg_of_list([1.0], [1.0], k=0)
    with pytest.raises(DataError, match="no error is a share"):
        mean_relative_error([1.0], [0.0])
