"""Packed sort keys: their order must be the order of what they hold."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adwright.metrics import keys

singles = st.floats(width=32, allow_nan=False)
doubles = st.floats(allow_nan=False)


@given(st.lists(singles, max_size=40))
def test_float_order_agrees_with_comparison(values: list[float]) -> None:
    scores = np.array(values, np.float32)
    order = keys.float_order(scores)
    assert ((order[:, None] < order) == (scores[:, None] < scores)).all()
    assert ((order[:, None] == order) == (scores[:, None] == scores)).all()


@given(st.lists(doubles, max_size=40))
def test_rounding_never_reverses_an_order(values: list[float]) -> None:
    scores = np.array(values, np.float64)
    order = keys.float_order(scores)
    assert ((order[:, None] <= order) | (scores[:, None] > scores)).all()


@given(st.lists(doubles, max_size=40))
def test_dense_order_is_exact(values: list[float]) -> None:
    scores = np.array(values, np.float64)
    order = keys.dense_order(scores)
    assert order.tolist() == np.unique(scores, return_inverse=True)[1].tolist()


def test_zeros_of_both_signs_are_one_score() -> None:
    order = keys.float_order(np.array([-0.0, 0.0], np.float32))
    assert order[0] == order[1]


def test_lossless_tells_what_float32_holds() -> None:
    assert keys.is_lossless(np.array([0.5, 3.0, np.inf]))
    assert keys.is_lossless(np.array([0.1], np.float32))
    assert not keys.is_lossless(np.array([0.1]))
    assert not keys.is_lossless(np.array([1e300]))


def test_keys_sort_by_group_then_score_then_label() -> None:
    codes = np.array([2**31 - 1, 0, 0, 0])
    order = keys.float_order(np.array([-1.0, 2.0, 1.0, 1.0], np.float32))
    packed = keys.pack(codes, order, np.array([0, 0, 1, 0], np.uint8))
    assert np.argsort(packed).tolist() == [3, 2, 1, 0]


def test_run_starts_of_empty_and_full_arrays() -> None:
    assert keys.run_starts(np.array([])).tolist() == []
    assert keys.run_starts(np.array([4, 4, 5, 7, 7])).tolist() == [0, 2, 3]


def test_hash_order_is_fixed_without_collisions_and_depends_on_the_seed() -> None:
    positions = np.arange(100_000)
    first = keys.hash_order(positions)
    assert len(np.unique(first)) == len(positions)
    assert (first == keys.hash_order(positions)).all()
    assert (first != keys.hash_order(positions, seed=1)).all()
    # Neighbours are in either order about equally often.
    assert abs((np.diff(first.astype(np.float64)) > 0).mean() - 0.5) < 0.01
