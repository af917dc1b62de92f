"""The exact product against one product at a time, to the last bit."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import (
    ArtifactError,
    ConfigError,
    ResourceError,
    SchemaError,
    ValueInvalidError,
)
from adwright.delivery.index import exact as index_exact
from adwright.delivery.index import exact as module
from adwright.delivery.index.exact import (
    LARGEST_ID,
    ExactIndex,
    Index,
    VectorRows,
    best_distinct,
    best_of,
    checked_count,
    checked_queries,
    first_by_query,
    ordered_bits,
    unordered_bits,
)
from adwright.delivery.index.index import FaissConfig, build_index
from tests.support.delivery.vector_search import CONFIGS, equal, gaussian, literal, parts

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


IDS = st.lists(st.integers(0, 12), max_size=8)


def test_vectors_example() -> None:
    assert doctest.testmod(module).failed == 0


@given(st.lists(st.tuples(st.booleans(), IDS), max_size=12))
def test_rows_are_a_dictionary(steps: list[tuple[bool, list[int]]]) -> None:
    rows, present = VectorRows(3), dict[int, Any]()
    for number, (adding, ids) in enumerate(steps):
        if adding:
            vectors = gaussian(len(ids), 3, seed=number)
            slots = rows.add(ids, vectors)
            present |= dict(zip(ids, vectors, strict=True))
            assert len(slots) == len(set(ids))
        else:
            assert rows.remove(ids) == len(set(ids) & set(present))
            present = {one: vector for one, vector in present.items() if one not in ids}
        restored = VectorRows.restored(rows.ids.copy(), rows.vectors.copy())
        for one in (rows, rows.compacted(), restored):
            alive = one.ids >= 0
            assert len(one) == len(present) == alive.sum()
            assert one.dead == len(one.ids) - len(present)
            assert set(one.ids[alive].tolist()) == set(present)
            for code, vector, norm in zip(one.ids, one.vectors, one.norms, strict=True):
                if code >= 0:
                    np.testing.assert_array_equal(vector, present[int(code)])
                    assert norm == pytest.approx(np.linalg.norm(vector), rel=1e-6)
        np.testing.assert_array_equal(restored.ids, rows.ids)


def test_slots_stay_and_of_one_id_the_last_vector_counts() -> None:
    rows = VectorRows(1)
    assert rows.add([4, 2, 4], [[1], [2], [3]]).tolist() == [0, 1]
    assert rows.ids.tolist() == [2, 4]
    assert rows.vectors.ravel().tolist() == [2, 3]
    assert rows.add([2], [[9]]).tolist() == [2]
    assert rows.ids.tolist() == [-1, 4, 2]


def test_a_filter_names_ids_and_those_beyond_it_are_not_allowed() -> None:
    rows = VectorRows(1)
    rows.add([5, 0, 2], [[1], [1], [1]])
    assert rows.selected(None) is None
    assert rows.selected(np.array([True, True, False])).tolist() == [1]
    assert rows.selected(np.zeros(0, np.bool_)).tolist() == []
    rows.remove([0])
    assert rows.selected(None).tolist() == [0, 2]
    allowed = np.ones(6, np.bool_)
    assert rows.selected(allowed).tolist() == [0, 2]
    slots = np.array([[0, 1], [-1, 2]])
    assert rows.may_return(slots, allowed).tolist() == [[True, False], [False, True]]
    assert rows.may_return(slots, None).tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("allowed", [[True], np.ones(3), np.ones((2, 2), np.bool_)])
def test_what_is_no_filter(allowed: Any) -> None:
    rows = VectorRows(1)
    rows.add([0], [[1]])
    with pytest.raises(SchemaError, match="one boolean an id"):
        rows.selected(allowed)


@pytest.mark.parametrize(
    ("ids", "vectors", "error", "words"),
    [
        ([1], [[1, 2, 3]], SchemaError, r"numbers \[N, 2\]"),
        ([1], [1, 2], SchemaError, r"numbers \[N, 2\]"),
        ([1], [["a", "b"]], SchemaError, r"numbers \[N, 2\]"),
        ([1, 2], [[1, 2]], SchemaError, "one id per vector"),
        ([1.0], [[1, 2]], SchemaError, "one integer"),
        ([[1]], [[1, 2]], SchemaError, "one integer"),
        ([-1], [[1, 2]], ValueInvalidError, "row 0, column ids, value -1"),
        ([0, LARGEST_ID + 1], [[1, 2]] * 2, ValueInvalidError, "row 1, column ids"),
        ([0], [[1, np.nan]], ValueInvalidError, "row 0, column vectors"),
        ([0, 1], [[1, 1], [1, np.inf]], ValueInvalidError, "row 1, column vectors"),
        ([0], [[1, -1e300]], ValueInvalidError, "row 0, column vectors"),
    ],
)
def test_what_cannot_be_added(ids: Any, vectors: Any, error: type[Exception], words: str) -> None:
    rows = VectorRows(2)
    with pytest.raises(error, match=words):
        rows.add(ids, vectors)
    assert len(rows) == 0


def test_queries_and_counts() -> None:
    assert checked_queries([[1, 2]], 2).dtype == np.float32
    with pytest.raises(ValueInvalidError, match="column queries"):
        checked_queries([[np.nan, 0]], 2)
    assert checked_count(np.int64(3), "k") == 3
    for wrong in (0, -1, True, 1.5, "2"):
        with pytest.raises(ValueInvalidError, match="k must be a positive integer"):
            checked_count(wrong, "k")  # type: ignore[arg-type]


VECTORS = gaussian(60, 8)


def base_filled(name: str) -> Index:
    index = build_index(CONFIGS[name], 8)
    index.add(np.arange(60), VECTORS)
    return index


@pytest.mark.parametrize("name", CONFIGS)
def test_ids_are_present_until_they_are_removed(name: str) -> None:
    index = base_filled(name)
    assert (len(index), index.dimension, index.slots) == (60, 8, 60)
    assert index.remove([3, 4, 99]) == 2
    assert index.remove([3]) == 0
    assert (len(index), index.slots) == (58, 60)
    index.add([3, 5], VECTORS[[3, 5]])
    assert (len(index), index.slots) == (59, 62)
    found = index.search(VECTORS[:6], 59)
    for row in parts(found):
        assert sorted(row) == sorted(set(range(60)) - {4})


@pytest.mark.parametrize("name", CONFIGS)
def test_what_may_not_be_returned_never_is(name: str) -> None:
    index = base_filled(name)
    allowed = np.zeros(40, np.bool_)
    allowed[[1, 7, 30]] = True
    index.remove([7])
    for row in parts(index.search(gaussian(4, 8, seed=1), 5, allowed=allowed)):
        assert sorted(row) == [1, 30]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_replaced_vector_is_searched_for_as_it_is_now(name: str) -> None:
    index = base_filled(name)
    index.add([9], 50 * VECTORS[:1])
    found = index.search(VECTORS[:1], 1)
    assert found.ids.tolist() == [[9]]
    present = dict(enumerate(VECTORS)) | {9: 50 * VECTORS[0]}
    assert found.scores == pytest.approx(literal(present, VECTORS[:1], 1).scores, rel=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_saved_and_loaded_it_finds_the_same(name: str, tmp_path: Path) -> None:
    index = base_filled(name)
    index.remove(np.arange(10, 20))
    index.save(tmp_path / "index")
    assert load_artifact(tmp_path / "index").kind == index.kind
    again = type(index).load(tmp_path / "index")
    queries = gaussian(5, 8, seed=2)
    assert equal(again.search(queries, 4), index.search(queries, 4))
    assert (len(again), again.dimension, again.kind) == (50, 8, index.kind)
    with pytest.raises(ResourceError, match="exists already"):
        index.save(tmp_path / "index")
    index.save(tmp_path / "index", overwrite=True)


def test_an_artifact_of_another_kind_is_refused(tmp_path: Path) -> None:
    save_artifact(tmp_path / "other", kind="ranker", config={})
    with pytest.raises(ArtifactError):
        ExactIndex.load(tmp_path / "other")


@pytest.mark.parametrize("name", ["exact", "hnsw"])
def test_what_cannot_be_searched_or_added_is_refused(name: str) -> None:
    index = base_filled(name)
    with pytest.raises(ValueInvalidError, match="k must be"):
        index.search(VECTORS[:1], 0)
    with pytest.raises(SchemaError, match="queries"):
        index.search(VECTORS[:1, :5], 3)
    with pytest.raises(SchemaError, match="one id per vector"):
        index.add([1, 2], VECTORS[:1])
    with pytest.raises(ValueInvalidError, match="not finite"):
        index.add([1], np.full((1, 8), np.nan))
    assert len(index) == 60


def test_the_base_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Index(8)  # type: ignore[abstract]


@pytest.mark.parametrize(
    ("config", "name", "value"),
    [
        *((FaissConfig, name, 0) for name in ("directions", "links", "search_breadth", "rounds")),
        *((FaissConfig, name, -1) for name in ("lists", "probes", "seed", "exact_below")),
        (FaissConfig, "candidates", 0.9),
        *((FaissConfig, name, 0) for name in ("training", "build_breadth", "threads")),
    ],
)
def test_a_setting_out_of_range_is_named(config: Any, name: str, value: float) -> None:
    least = 0 if value == -1 else 1
    with pytest.raises(ConfigError, match=f"{name} must be at least {least}") as refused:
        config(**{name: value})
    assert str(value) in str(refused.value)
    assert config(**{name: least})


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
