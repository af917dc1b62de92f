"""Rank correlation of one list, against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics.ranking import average_ranks, spearman

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


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueInvalidError, match="row 1, column found"):
        spearman([1.0, 2.0], [1.0, float("nan")])
    with pytest.raises(DataError, match="expected 2 rows and found 1"):
        spearman([1.0, 2.0], [1.0])
    with pytest.raises(ValueInvalidError, match="no rows"):
        spearman([], [])
