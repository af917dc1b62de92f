"""Packed sort keys: their order must be the order of what they hold."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adwright.metrics import arrays as keys

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


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=30))
def test_the_order_of_keys_is_that_of_group_then_score_then_label(scores: list[float]) -> None:
    rng = np.random.default_rng(len(scores))
    values = np.array(scores, np.float32)
    groups, labels = rng.integers(0, 3, len(values)), rng.integers(0, 2, len(values))
    packed = keys.pack(groups, keys.float_order(values), labels.astype(np.uint8))
    expected = np.lexsort((labels, values, groups))
    found = np.argsort(packed, kind="stable")
    columns = (groups, values, labels)
    assert all(np.array_equal(column[found], column[expected]) for column in columns)
    assert np.array_equal(packed & np.uint64(1), labels)
    assert np.array_equal(packed >> np.uint64(33), groups)


@given(st.lists(st.integers(-5, 5), max_size=30))
def test_runs_of_a_sorted_array_are_its_distinct_values(values: list[int]) -> None:
    ordered = np.sort(np.array(values, np.int64))
    starts = keys.run_starts(ordered)
    assert ordered[starts].tolist() == sorted(set(values))
    assert starts.dtype == np.int64


def test_hashes_of_positions_never_collide() -> None:
    hashed = keys.hash_order(np.arange(100_000), seed=3)
    assert len(np.unique(hashed)) == 100_000
    assert not np.array_equal(hashed, keys.hash_order(np.arange(100_000), seed=4))
    # Neighbours are strangers: each bit is set about half the time.
    bits = [(hashed >> np.uint64(bit)) & np.uint64(1) for bit in range(64)]
    assert all(abs(float(bit.mean()) - 0.5) < 0.01 for bit in bits)
