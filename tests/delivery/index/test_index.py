"""Every kind of index against the same promises, the exact product to the last bit, and what is
particular to faiss."""

from __future__ import annotations

import doctest
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import (
    ArtifactCorruptError,
    ArtifactError,
    MissingExtraError,
    ResourceError,
    SchemaError,
    ValueInvalidError,
)
from adwright.delivery.index import index as module
from adwright.delivery.index.index import (
    LARGEST_ID,
    Centres,
    ExactConfig,
    ExactIndex,
    FaissConfig,
    FaissIndex,
    Found,
    Index,
    Structure,
    best_distinct,
    best_of,
    build_index,
    checked_count,
    load_index,
    recall_against_exact,
    search_many,
)
from tests.support.delivery.vector_search import CONFIGS, equal, gaussian, literal, parts

KINDS = pytest.mark.parametrize("name", CONFIGS)
LARGEST = 80


def filled(vectors: np.ndarray, ids: np.ndarray | None = None) -> ExactIndex:
    index = ExactIndex(vectors.shape[1])
    index.add(np.arange(len(vectors)) if ids is None else ids, vectors)
    return index


def test_examples() -> None:
    assert doctest.testmod(module).failed == 0


@st.composite
def additions(draw: st.DrawFn) -> list[tuple[str, Any]]:
    """Vectors added, and searches in between."""
    order = draw(st.permutations(range(LARGEST)))
    masks = st.lists(st.booleans(), min_size=LARGEST // 2, max_size=LARGEST + 1)
    # Filters that leave little are as likely as filters that leave half.
    narrow = st.sets(st.integers(0, LARGEST), max_size=4).map(
        lambda few: [one in few for one in range(LARGEST + 1)]
    )
    steps: list[tuple[str, Any]] = []
    for size in draw(st.lists(st.integers(0, 40), min_size=1, max_size=4)):
        steps += [("add", order[:size]), ("search", draw(st.one_of(st.none(), masks, narrow)))]
        order = order[size:]
    return steps


@KINDS
def test_additions_and_filters(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # So few vectors would all be left to the exact product.
    monkeypatch.setattr(FaissIndex, "products_per_proposal", 0)

    @settings(max_examples=25)
    @given(additions(), st.integers(1, 7))
    def check(steps: list[tuple[str, Any]], k: int) -> None:
        index, present = build_index(CONFIGS[name], 8), dict[int, Any]()
        for number, (step, what) in enumerate(steps):
            if step == "add":
                vectors = gaussian(len(what), seed=number)
                index.add(what, vectors)
                present |= dict(zip(what, vectors, strict=True))
            else:
                allowed = None if what is None else np.array(what, np.bool_)
                check_search(index, present, k, allowed)
            assert len(index) == len(present)

    check()


def check_search(index: Index, present: dict[int, Any], k: int, allowed: Any) -> None:
    queries = gaussian(3, seed=99)
    found, truth = index.search(queries, k, allowed=allowed), literal(present, queries, k, allowed)
    if isinstance(index, ExactIndex):
        assert equal(found, truth)
    may = {one for one in present if allowed is None or (one < len(allowed) and allowed[one])}
    for row, ids in enumerate(found.ids):
        wanted = min(k, len(may))
        assert set(ids[:wanted].tolist()) <= may
        assert len(set(ids[:wanted].tolist())) == wanted
        assert (ids[wanted:] == -1).all()
        assert (found.scores[row, wanted:] == -np.inf).all()
        products = [present[one] @ queries[row] for one in ids[:wanted].tolist()]
        np.testing.assert_allclose(found.scores[row, :wanted], products, rtol=1e-5, atol=1e-5)
        assert (np.diff(found.scores[row, :wanted]) <= 0).all()
    if 0 < len(may) <= 2:
        np.testing.assert_array_equal(found.ids, truth.ids)


GRAPHS = {"hnsw", "hnsw_bf16", "hnsw_int8"}


@KINDS
def test_most_of_the_nearest_are_found(name: str) -> None:
    vectors, queries = gaussian(600), gaussian(50, seed=1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index, exact = build_index(CONFIGS[name], 8), build_index("exact", 8)
    for one in (index, exact):
        one.add(np.arange(600), vectors)
    recall = recall_against_exact(index, exact, queries, 10)
    # One list of four is searched in, and one candidate a result proposed.
    assert (recall == 1.0) if name == "exact" else (0.25 < recall < 1.0 or name in GRAPHS)
    if name in GRAPHS:
        assert recall > 0.8


@KINDS
@pytest.mark.parametrize("number", [0, 120])
def test_saved_and_loaded(name: str, number: int, tmp_path: Path) -> None:
    index = build_index(CONFIGS[name], 8)
    index.add(np.arange(number), gaussian(number))
    first = index.save(tmp_path / "index")
    with pytest.raises(ResourceError, match="exists already"):
        index.save(tmp_path / "index")
    saved, loaded = load_artifact(tmp_path / "index"), load_index(tmp_path / "index")
    assert (saved.kind, saved.config["dimension"], set(saved.tensors)) == (
        *(index.kind, 8),
        {"ids", "vectors"},
    )
    assert (type(loaded), len(loaded), loaded.dimension) == (type(index), len(index), 8)
    assert loaded.config == index.config
    # A loaded index goes on as the other does.
    for one in (index, loaded):
        one.add([700, 200], gaussian(2, seed=3))
    queries = gaussian(4, seed=1)
    assert equal(loaded.search(queries, 5), index.search(queries, 5))
    assert index.save(tmp_path / "index", overwrite=True) != first


@pytest.mark.parametrize(
    ("kind", "config", "tensors"),
    [
        *(("index-exact", {"dimension": one}, {}) for one in (0, 7, 2**40, "8", None)),
        ("index-exact", {}, {"ids": np.zeros(40, np.int64)}),
        ("index-exact", {}, {"ids": np.arange(39)}),
        ("index-exact", {}, {"ids": np.arange(40) + 2**40}),
        ("index-exact", {}, {"ids": np.arange(40).reshape(2, 20)}),
        ("index-exact", {}, {"vectors": np.zeros(40, np.float32)}),
        ("index-exact", {}, {"vectors": np.full((40, 8), np.nan, np.float32)}),
        ("index-faiss", {"candidates": "many"}, {}),
        ("index-faiss", {"more": 1}, {}),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(
    tmp_path: Path, kind: str, config: dict[str, Any], tensors: dict[str, Any]
) -> None:
    kept = {"ids": np.arange(40), "vectors": gaussian(40)}
    save_artifact(
        tmp_path / "odd", kind=kind, config={"dimension": 8} | config, tensors=kept | tensors
    )
    with pytest.raises(ArtifactCorruptError, match="do not fit together"):
        load_index(tmp_path / "odd")


def test_another_artifact_is_refused(tmp_path: Path) -> None:
    save_artifact(tmp_path / "other", kind="din", config={})
    with pytest.raises(ArtifactError, match="of kind 'din', no index"):
        load_index(tmp_path / "other")


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ("exact", ExactIndex),
        ("faiss", FaissIndex),
        (ExactConfig(), ExactIndex),
        (FaissConfig(probes=3), FaissIndex),
    ],
)
def test_one_index_a_config(config: Any, kind: type[Any]) -> None:
    index = build_index(config, 3)
    assert type(index) is kind
    assert index.dimension == 3
    assert config in ("exact", "faiss", index.config)


def test_what_usearch_kept_is_searched_by_faiss(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no index of usearch any more"):
        index = build_index("usearch", 8)
    assert isinstance(index, FaissIndex)
    assert index.config.structure == "hnsw_bf16"
    vectors = gaussian(52)
    kept = {"storage": "f32", "links": 16, "build_breadth": 64, "search_breadth": 50}
    kept |= {"candidates": 1.5, "exact_below": 10, "threads": 1, "dimension": 8, "built": 40}
    # Of two vectors, which were removed, the places were kept.
    ids = np.array([-1, *range(50), -1])
    tensors = {"ids": ids, "vectors": vectors}
    save_artifact(tmp_path / "old", kind="index-usearch", config=kept, tensors=tensors)
    with pytest.warns(UserWarning, match="no index of usearch any more"):
        loaded = load_index(tmp_path / "old")
    assert isinstance(loaded, FaissIndex)
    assert (loaded.config.structure, loaded.config.exact_below, loaded.built) == ("hnsw", 10, 50)
    exact = filled(vectors[1:-1])
    assert recall_against_exact(loaded, exact, gaussian(20, seed=1), 2) > 0.5


@given(st.integers(0, 30), st.integers(1, 4), st.integers(1, 6), st.booleans())
def test_the_best_of_several_vectors(number: int, vectors: int, k: int, some: bool) -> None:
    present = dict(enumerate(np.round(gaussian(number, 3))))
    index = build_index("exact", 3)
    index.add(list(present), np.array(list(present.values())).reshape(-1, 3))
    queries = np.round(gaussian(4 * vectors, 3, seed=1)).reshape(4, vectors, 3)
    found = search_many(index, queries[: 1 if some else 4], k)
    for row, several in enumerate(queries[: 1 if some else 4]):
        best = {
            one: max(float(product) for product in several @ vector)
            for one, vector in present.items()
        }
        order = sorted(best, key=lambda one: (-best[one], one))[:k]
        assert parts(Found(found.ids[row : row + 1], found.scores))[0] == order
        assert found.scores[row, : len(order)].tolist() == [best[one] for one in order]
        assert (found.scores[row, len(order) :] == -np.inf).all()


def test_recall_counts_what_is_there() -> None:
    exact, index = build_index("exact", 2), build_index("exact", 2)
    exact.add([0, 1, 2], [[3, 0], [2, 0], [1, 0]])
    index.add([0, 2], [[3, 0], [1, 0]])
    queries = [[1, 0], [-1, 0]]
    # The two best are 0 and 1, and 2 and 1; of three, fewer than five can be found.
    assert recall_against_exact(index, exact, queries, 2) == 0.5
    assert recall_against_exact(index, exact, queries, 5) == pytest.approx(2 / 3)
    assert recall_against_exact(exact, exact, queries, 2) == 1.0
    for other, asked in ((build_index("exact", 2), queries), (exact, np.zeros((0, 2)))):
        with pytest.raises(ValueInvalidError, match="nothing to recall"):
            recall_against_exact(index, other, asked, 2)


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
        ([0, 0], [[1, 2]] * 2, ValueInvalidError, "an id of its own"),
        ([7], [[1, 2]], ValueInvalidError, "an id of its own"),
        ([0], [[1, np.nan]], ValueInvalidError, "row 0, column vectors"),
        ([0, 1], [[1, 1], [1, np.inf]], ValueInvalidError, "row 1, column vectors"),
        ([0], [[1, -1e300]], ValueInvalidError, "row 0, column vectors"),
    ],
)
def test_what_cannot_be_added(ids: Any, vectors: Any, error: type[Exception], words: str) -> None:
    index = filled(np.ones((1, 2)), np.array([7]))
    with pytest.raises(error, match=words):
        index.add(ids, vectors)
    assert index.ids.tolist() == [7]


@pytest.mark.parametrize("name", ["exact", "hnsw"])
def test_what_cannot_be_searched_is_refused(name: str) -> None:
    index = build_index(CONFIGS[name], 8)
    index.add(np.arange(60), gaussian(60))
    with pytest.raises(ValueInvalidError, match="k must be"):
        index.search(gaussian(1), 0)
    with pytest.raises(SchemaError, match="queries"):
        index.search(gaussian(1, 5), 3)
    with pytest.raises(ValueInvalidError, match="column queries"):
        index.search([[np.nan] * 8], 3)
    for allowed in ([True], np.ones(3), np.ones((2, 2), np.bool_)):
        with pytest.raises(SchemaError, match="one boolean an id"):
            index.search(gaussian(1), 3, allowed=allowed)  # type: ignore[arg-type]
    assert checked_count(np.int64(3), "k") == 3  # type: ignore[arg-type]
    for wrong in (0, -1, True, 1.5, "2"):
        with pytest.raises(ValueInvalidError, match="k must be a positive integer"):
            checked_count(wrong, "k")  # type: ignore[arg-type]


# The exact product against one product at a time.

#: Few values, so that many products are equal.
COARSE = hnp.arrays(
    np.float32, st.tuples(st.integers(0, 40), st.just(3)), elements=st.integers(-2, 2)
)


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
        monkeypatch.setattr(module, name, value)


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


NUMBERS = st.one_of(
    st.floats(width=32, allow_nan=False), st.sampled_from([0.0, -0.0, np.inf, -np.inf, 1.0])
)
PAIRS = st.lists(st.tuples(st.integers(0, 9), NUMBERS), max_size=12)


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


# When the structure is asked, for how much, and when the exact product answers instead.


def asking(candidates: float = 2.0, exact_below: int = 10) -> FaissConfig:
    return FaissConfig("hnsw", candidates=candidates, exact_below=exact_below)


class First(FaissIndex):
    """A structure that is nearly useless: it proposes the first slots, save the blind ones."""

    blind = 0

    def _build(self, vectors: NDArray[np.float32]) -> None:
        self.entries, self.asked = len(vectors), list[int]()

    def _extend(self, vectors: NDArray[np.float32]) -> None:
        self.entries += len(vectors)

    def _propose(self, queries: NDArray[np.float32], width: int) -> NDArray[np.int64]:
        self.asked.append(width)
        slots = np.arange(width) + self.blind
        return np.tile(np.where(slots < self.entries, slots, -1), (len(queries), 1))

    def structure(self) -> bytes:
        return bytes(self.entries)


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FaissIndex, "widest", 0.5)
    monkeypatch.setattr(FaissIndex, "products_per_proposal", 0)


def proposing(number: int, candidates: float = 2.0) -> tuple[First, dict[int, Any]]:
    index, vectors = First(8, asking(candidates)), gaussian(number)
    index.add(np.arange(number), vectors)
    return index, dict(enumerate(vectors))


@pytest.mark.usefixtures("wide")
def test_exact_while_there_are_few() -> None:
    index, present = proposing(10)
    assert not index.built
    assert equal(index.search(gaussian(3, seed=1), 4), literal(present, gaussian(3, seed=1), 4))
    index.add([10], gaussian(1))
    assert index.built


@pytest.mark.usefixtures("wide")
def test_the_best_of_the_proposals() -> None:
    index, present = proposing(40)
    queries = gaussian(5, seed=1)
    found = index.search(queries, 3)
    assert index.asked == [6]
    expected = literal({one: present[one] for one in range(6)}, queries, 3)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)


@pytest.mark.usefixtures("wide")
def test_candidates_can_be_changed() -> None:
    index, _ = proposing(40)
    index.config = asking(5)
    index.search(gaussian(1), 3)
    assert index.asked == [15]


@pytest.mark.usefixtures("wide")
def test_a_filter_asks_for_more_and_returns_only_allowed_ones() -> None:
    index, present = proposing(40)
    allowed = np.arange(40) % 2 == 1
    found = index.search(gaussian(5, seed=1), 3, allowed=allowed)
    assert index.asked == [12]
    first = {one: present[one] for one in range(12)}
    np.testing.assert_array_equal(found.ids, literal(first, gaussian(5, seed=1), 3, allowed).ids)


@pytest.mark.usefixtures("wide")
def test_a_filter_that_asks_for_too_much_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    index, present = proposing(40)
    allowed, queries = np.arange(40) % 2 == 1, gaussian(5, seed=1)
    # Twelve proposals for twenty that are allowed.
    for products, asked in ((2, []), (1, [12])):
        monkeypatch.setattr(FaissIndex, "products_per_proposal", products)
        found = index.search(queries, 3, allowed=allowed)
        assert index.asked == asked
        assert equal(found, literal(present, queries, 3, allowed)) == (products == 2)
    # Without a filter nothing is lost, and the structure is what was asked for.
    monkeypatch.setattr(FaissIndex, "products_per_proposal", 64)
    index.search(queries, 3)
    assert index.asked == [12, 6]


@pytest.mark.usefixtures("wide")
def test_a_filter_that_strikes_the_proposals_loses_nothing() -> None:
    index, present = proposing(40)
    allowed = np.arange(40) >= 25
    queries = gaussian(5, seed=1)
    found = index.search(queries, 3, allowed=allowed)
    assert len(index.asked) == 1
    assert equal(found, literal(present, queries, 3, allowed))


@pytest.mark.usefixtures("wide")
def test_too_few_proposals_are_made_good_for_that_query() -> None:
    index, present = proposing(40)
    index.blind = 38
    queries = gaussian(2, seed=1)
    assert equal(index.search(queries, 3), literal(present, queries, 3))
    assert index.asked == [6]


# What is particular to faiss: structures, training, threads, settings that change something.

VECTORS = gaussian(900, 16) * np.linspace(2, 0.1, 16, dtype=np.float32)
SMALL: dict[str, Any] = {"lists": 16, "exact_below": 0, "candidates": 1}


def structured(**changes: Any) -> FaissIndex:
    index = FaissIndex(16, FaissConfig(**(SMALL | changes)))
    index.add(np.arange(len(VECTORS)), VECTORS)
    assert index.built
    return index


def structure(**changes: Any) -> bytes:
    return structured(**changes).structure()


def recall(index: FaissIndex) -> float:
    exact = ExactIndex(16)
    exact.add(np.arange(len(VECTORS)), VECTORS)
    return recall_against_exact(index, exact, gaussian(60, 16, seed=1), 5)


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        ({}, {"structure": "ivf_flat"}),
        ({}, {"lists": 8}),
        ({}, {"directions": 4}),
        ({}, {"seed": 1}),
        ({}, {"centres": "directions"}),
        ({"structure": "ivf_flat"}, {"centres": "directions"}),
        ({}, {"training": 1}),
        ({}, {"rounds": 1}),
        ({"structure": "hnsw"}, {"structure": "hnsw_bf16"}),
        ({"structure": "hnsw"}, {"structure": "hnsw_int8"}),
        ({"structure": "hnsw"}, {"links": 4}),
        ({"structure": "hnsw"}, {"build_breadth": 4}),
    ],
)
def test_a_setting_changes_the_structure(
    base: Any, changes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEAST_TRAINING", 100)
    assert structure(**base) == structure(**base)
    assert structure(**base) != structure(**(base | changes))


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        ({}, {"probes": 16}),
        ({"probes": 16, "directions": 4}, {"candidates": 8}),
        ({"structure": "ivf_flat"}, {"probes": 8}),
        ({"structure": "hnsw", "links": 2, "search_breadth": 1}, {"search_breadth": 200}),
        ({}, {"exact_below": 900}),
    ],
)
def test_a_setting_of_the_search_finds_more(base: Any, changes: Any) -> None:
    index = structured(**base)
    before = recall(index)
    index.config = FaissConfig(**(SMALL | base | changes))
    assert recall(index) > before + 0.01


@pytest.mark.parametrize("name", ["ivf_fast", "ivf_flat"])
def test_a_common_part_of_all_vectors_does_not_spoil_the_lists(name: Structure) -> None:
    # As in the vectors of a two-tower: a direction, and the popularity as one more number.
    turned = gaussian(4060, 16)
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    popularity = np.random.default_rng(0).exponential(1, 4000) - 10
    vectors = np.column_stack([turned[:4000], popularity])
    queries = np.column_stack([14 * turned[4000:], np.ones(60)])
    exact = ExactIndex(17)
    exact.add(np.arange(4000), vectors)

    def found(index: FaissIndex) -> float:
        return recall_against_exact(index, exact, queries, 10)

    recalls = {}
    for centres in get_args(Centres):
        config = FaissConfig(name, lists=32, probes=8, exact_below=0, centres=centres)
        index = FaissIndex(17, config)
        index.add(np.arange(1500), vectors[:1500])
        index.add(np.arange(1500, 2000), vectors[1500:2000])
        # What is added later goes by the same rule.
        index.add(np.arange(2000, 4000), vectors[2000:])
        recalls[centres] = found(index)
    assert recalls["means"] > recalls["directions"] + 0.06
    assert recalls["means"] > 0.8


def test_lists_are_chosen_from_the_number_of_vectors() -> None:
    index = structured(lists=0)
    assert index.lists == 64
    index.add(np.arange(1000, 4000), gaussian(3000, 16))
    assert index.lists == 128


def test_there_is_no_structure_before_there_are_enough() -> None:
    index = FaissIndex(16, FaissConfig(lists=50, exact_below=0))
    index.add(np.arange(49), VECTORS[:49])
    assert not index.built
    index.add([49], VECTORS[49:50])
    assert index.built


def test_a_graph_grows_and_lists_are_built_anew() -> None:
    for name, built in (("hnsw", 100), ("ivf_fast", 500)):
        index = FaissIndex(16, FaissConfig(name, lists=16, exact_below=0))
        index.add(np.arange(100), VECTORS[:100])
        index.add(np.arange(100, 500), VECTORS[100:500])
        assert index.built == built


def test_without_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match="delivery"):
        FaissIndex(4)
