from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError
from adwright.delivery.recommend.models import top_of_rows


@given(st.integers(0, 5), st.integers(1, 700), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_it_is_what_sorting_each_row_gives(users: int, items: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(items), (users, 1)), axis=1).astype(np.float32)
    scores[rng.random(scores.shape) < 0.3] = -np.inf
    columns, found = top_of_rows(scores, k)
    for row in range(users):
        order = np.argsort(-scores[row], kind="stable")[:k]
        order = order[np.isfinite(scores[row][order])]
        assert columns[row, : len(order)].tolist() == order.tolist()
        assert found[row, : len(order)].tolist() == scores[row][order].tolist()
        assert (columns[row, len(order) :] == -1).all()
        assert (found[row, len(order) :] == -np.inf).all()


@pytest.mark.parametrize("items", [3, 400, 5000])
def test_of_equal_scores_the_lower_column_stands_first(items: int) -> None:
    scores = np.zeros((2, items), np.float32)
    scores[:, [1, 2]] = 5.0
    scores[1, 0] = 5.0
    columns, _ = top_of_rows(scores, 2)
    assert columns[0].tolist() == [1, 2]
    columns, _ = top_of_rows(scores, 3)
    assert columns[1].tolist() == [0, 1, 2]


def test_k_is_at_least_1() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        top_of_rows(np.zeros((1, 2), np.float32), 0)
