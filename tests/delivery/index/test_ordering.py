"""Pairs in order, against Python's own sort."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from adwright.delivery.index.exact import (
    best_distinct,
    best_of,
    first_by_query,
    ordered_bits,
    unordered_bits,
)

NUMBERS = st.one_of(
    st.floats(width=32, allow_nan=False), st.sampled_from([0.0, -0.0, np.inf, -np.inf, 1.0])
)
PAIRS = st.lists(st.tuples(st.integers(0, 9), NUMBERS), max_size=12)


@given(hnp.arrays(np.float32, st.integers(0, 20), elements=NUMBERS))
def test_bits_are_in_the_order_of_the_numbers(values: np.ndarray) -> None:
    bits = ordered_bits(values)
    np.testing.assert_array_equal(unordered_bits(bits), values)
    np.testing.assert_array_equal(bits[:, None] < bits, values[:, None] < values)


@given(PAIRS, st.integers(1, 6))
def test_best(pairs: list[tuple[int, float]], k: int) -> None:
    padded = [*pairs, (-1, -np.inf)]
    ids = np.array([[one for one, _ in padded]] * 2)
    scores = np.array([[score for _, score in padded]] * 2, np.float32)
    best: dict[int, float] = {}
    for one, score in pairs:
        best[one] = max(score, best.get(one, -np.inf))
    ordered = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
    distinct = sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))
    for found, some in ((best_of, ordered), (best_distinct, distinct)):
        result = found(ids, scores, k)
        expected = [*some, *[(-1, -np.inf)] * k][:k]
        for row in range(2):
            assert result.ids[row].tolist() == [one for one, _ in expected]
            assert result.scores[row].tolist() == [score for _, score in expected]


def test_first_by_query() -> None:
    query = np.array([1, 0, 1, 1, 0])
    score = np.array([2.0, 5.0, 3.0, 3.0, 5.0], np.float32)
    pairs, place = first_by_query(query, score, np.array([7, 9, 8, 4, 1]), 2)
    assert pairs.tolist() == [4, 1, 3, 2]
    assert place.tolist() == [0, 1, 0, 1]
