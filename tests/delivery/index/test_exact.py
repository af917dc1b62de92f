"""The exact product against one product at a time, to the last bit."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from adwright.delivery.index import exact as index_exact
from adwright.delivery.index.exact import ExactIndex
from tests.support.delivery.vector_search import equal, gaussian, literal

#: Few values, so that many products are equal.
COARSE = hnp.arrays(
    np.float32, st.tuples(st.integers(0, 40), st.just(3)), elements=st.integers(-2, 2)
)


def filled(vectors: np.ndarray, ids: np.ndarray | None = None) -> ExactIndex:
    index = ExactIndex(vectors.shape[1])
    index.add(np.arange(len(vectors)) if ids is None else ids, vectors)
    return index


def test_example() -> None:
    assert doctest.testmod(index_exact).failed == 0


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks, prunings and parts even of a few dozen vectors."""
    for name, value in {
        "_QUERIES": 3,
        "_PRODUCTS": 8,
        "_SMALLEST_BLOCK": 4,
        "_LARGEST_BLOCK": 8,
        "_PAIRS": 5,
    }.items():
        monkeypatch.setattr(index_exact, name, value)


@pytest.mark.parametrize("blocks", ["small", "large"])
def test_literal(blocks: str, request: pytest.FixtureRequest) -> None:
    if blocks == "small":
        request.getfixturevalue("small_blocks")

    @given(COARSE, COARSE, st.integers(1, 9), st.randoms(use_true_random=False))
    def check(vectors: np.ndarray, queries: np.ndarray, k: int, random: object) -> None:
        ids = np.random.default_rng(len(vectors)).permutation(60)[: len(vectors)]
        present = dict(zip(ids.tolist(), vectors, strict=True))
        found = filled(vectors, ids).search(queries, k)
        assert equal(found, literal(present, queries, k))

    check()


def test_literal_of_real_numbers(small_blocks: None) -> None:
    vectors, queries = gaussian(300, 16), gaussian(7, 16, seed=1)
    found = filled(vectors).search(queries, 20)
    assert equal(found, literal(dict(enumerate(vectors)), queries, 20))


def test_vectors_of_very_different_lengths(small_blocks: None) -> None:
    scale = 10.0 ** np.random.default_rng(0).integers(-6, 7, (200, 1))
    vectors = (gaussian(200, 16) * scale).astype(np.float32)
    queries = gaussian(5, 16, seed=1)
    found = filled(vectors).search(queries, 9)
    assert equal(found, literal(dict(enumerate(vectors)), queries, 9))


def test_products_that_float32_cannot_tell_apart(small_blocks: None) -> None:
    # Large terms cancel and leave a step of 2^-10, less than what their sum rounds away.
    rng = np.random.default_rng(0)
    vectors = rng.integers(-(2**20), 2**20, (200, 34)).astype(np.float32)
    vectors[:, 0] = rng.permutation(200) / 1024
    vectors[:, -1] = -vectors[:, 1:-1].astype(np.float64).sum(axis=1)
    queries = np.ones((2, 34), np.float32)
    found = filled(vectors).search(queries, 10)
    assert found.scores[0].tolist() == [(199 - place) / 1024 for place in range(10)]
    assert equal(found, literal(dict(enumerate(vectors)), queries, 10))


def test_the_same_for_any_batch_and_order() -> None:
    vectors, queries = gaussian(3000, 24), gaussian(300, 24, seed=1)
    whole = filled(vectors).search(queries, 15)
    order = np.random.default_rng(3).permutation(len(vectors))
    shuffled = filled(vectors[order], order).search(queries, 15)
    assert equal(whole, shuffled)
    for row in (0, 17, 299):
        alone = filled(vectors).search(queries[row : row + 1], 15)
        np.testing.assert_array_equal(alone.ids[0], whole.ids[row])
        np.testing.assert_array_equal(alone.scores[0], whole.scores[row])


def test_more_results_than_a_block(small_blocks: None) -> None:
    vectors, queries = gaussian(50, 4), gaussian(2, 4, seed=1)
    for k in (49, 50, 51):
        found = filled(vectors).search(queries, k)
        assert equal(found, literal(dict(enumerate(vectors)), queries, k))


def test_all_equal_products(small_blocks: None) -> None:
    found = filled(np.zeros((100, 4), np.float32)).search(gaussian(3, 4), 5)
    assert found.ids.tolist() == [[0, 1, 2, 3, 4]] * 3
    assert (found.scores == 0).all()


def test_nothing_and_no_query() -> None:
    empty = ExactIndex(4)
    assert empty.search(gaussian(2, 4), 3).ids.tolist() == [[-1] * 3] * 2
    assert filled(gaussian(5, 4)).search(np.zeros((0, 4)), 3).ids.shape == (0, 3)


def test_dead_slots_do_not_pile_up() -> None:
    index = ExactIndex(2)
    for step in range(50):
        index.add([0, 1], gaussian(2, 2, seed=step))
    assert len(index) == 2
    assert index.slots <= 6
