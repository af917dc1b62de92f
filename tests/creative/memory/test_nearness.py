from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.creative.memory.nearness import NEAREST, near_numbers


def unit(rows: int, seed: int) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(rows, 5))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(2, 20), st.booleans())
def test_numbers_are_means_of_sorted_similarities(rows: int, known: int, own: bool) -> None:
    train = unit(known, 1)
    vectors = train if own else unit(rows, 2)
    found = near_numbers(vectors, train, own=own)
    for row, vector in enumerate(vectors):
        others = [float(vector @ one) for at, one in enumerate(train) if not (own and at == row)]
        others.sort(reverse=True)
        expected = [np.mean(others[:many]) for many in NEAREST] + [np.mean(others)]
        np.testing.assert_allclose(found[row], expected, atol=1e-5)


def test_a_text_that_is_not_there_is_near_nothing() -> None:
    train = np.vstack([unit(4, 1), np.full((1, 5), np.nan, np.float32)])
    found = near_numbers(np.vstack([train[:1], train[-1:]]), train)
    assert np.isnan(found[1]).all()
    assert found[0, 0] == pytest.approx(1)
    assert np.isnan(near_numbers(train[:1], train[:1], own=True)).all()
