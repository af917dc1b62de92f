"""Every kind of index against the same promises."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.core.artifacts import MANIFEST, TENSORS, save_artifact
from adwright.core.errors import (
    ArtifactCorruptError,
    ArtifactError,
    ResourceError,
    SchemaError,
    ValueInvalidError,
)
from adwright.delivery.index import index as module
from adwright.delivery.index.exact import ExactConfig, ExactIndex, Found, Index
from adwright.delivery.index.index import (
    FaissConfig,
    FaissIndex,
    build_index,
    load_index,
    recall_against_exact,
    search_many,
)
from tests.support.delivery.vector_search import CONFIGS, equal, gaussian, literal, parts

KINDS = pytest.mark.parametrize("name", CONFIGS)
LARGEST = 80


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, Any]]:
    """Vectors added, replaced and removed, and searches in between."""
    ids = st.lists(st.integers(0, LARGEST), max_size=60)
    masks = st.lists(st.booleans(), min_size=LARGEST // 2, max_size=LARGEST + 1)
    # Filters that leave little are as likely as filters that leave half.
    narrow = st.sets(st.integers(0, LARGEST), max_size=4).map(
        lambda few: [one in few for one in range(LARGEST + 1)]
    )
    steps = st.one_of(
        st.tuples(st.just("add"), ids),
        st.tuples(st.just("remove"), ids),
        st.tuples(st.just("search"), st.one_of(st.none(), masks, narrow)),
    )
    start = ("add", draw(st.permutations(range(LARGEST)))[: draw(st.integers(0, LARGEST))])
    return [start, *draw(st.lists(steps, max_size=6)), ("search", draw(st.one_of(masks, narrow)))]


@KINDS
def test_filters_removals_and_replacements(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # So few vectors would all be left to the exact product.
    monkeypatch.setattr(FaissIndex, "products_per_proposal", 0)

    @settings(max_examples=25)
    @given(histories(), st.integers(1, 7))
    def check(steps: list[tuple[str, Any]], k: int) -> None:
        index, present = build_index(CONFIGS[name], 8), dict[int, Any]()
        for number, (step, what) in enumerate(steps):
            if step == "add":
                vectors = gaussian(len(what), seed=number)
                index.add(what, vectors)
                present |= dict(zip(what, vectors, strict=True))
            elif step == "remove":
                assert index.remove(what) == len(set(what) & set(present))
                present = {one: vector for one, vector in present.items() if one not in what}
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


GRAPHS = {"hnsw", "hnsw_bf16", "hnsw_int8"}


@KINDS
@pytest.mark.parametrize("number", [0, 120])
def test_saved_and_loaded(name: str, number: int, tmp_path: Path) -> None:
    index = build_index(CONFIGS[name], 8)
    index.add(np.arange(number), gaussian(number))
    index.remove([3, 5])
    queries = gaussian(4, seed=1)
    index.save(tmp_path / "index")
    loaded = load_index(tmp_path / "index")
    assert (type(loaded), len(loaded), loaded.dimension) == (type(index), len(index), 8)
    assert equal(loaded.search(queries, 5), index.search(queries, 5))
    own = type(index).load(tmp_path / "index")  # type: ignore[attr-defined]
    assert own.config == index.config  # type: ignore[attr-defined]
    # A loaded index goes on as the other does.
    for one in (index, loaded):
        one.add([7, 200], gaussian(2, seed=3))
        one.remove([11])
    assert equal(loaded.search(queries, 5), index.search(queries, 5))


@KINDS
def test_a_damaged_file_is_refused(name: str, tmp_path: Path) -> None:
    index = build_index(CONFIGS[name], 8)
    index.add(np.arange(120), gaussian(120))
    index.save(tmp_path / "index")
    path = tmp_path / "index" / TENSORS
    whole = path.read_bytes()
    for place in (len(whole) // 4, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ArtifactCorruptError):
            load_index(tmp_path / "index")
    path.write_bytes(whole[:-1])
    with pytest.raises(ArtifactCorruptError):
        load_index(tmp_path / "index")
    path.write_bytes(whole)
    manifest = tmp_path / "index" / MANIFEST
    manifest.write_text(manifest.read_text("utf-8").replace('"dimension": 8', '"dimension": 9'))
    with pytest.raises(ArtifactCorruptError):
        load_index(tmp_path / "index")


def test_a_taken_folder_stays_as_it_is(tmp_path: Path) -> None:
    index = build_index("exact", 2)
    index.add([1], [[1, 2]])
    first = index.save(tmp_path / "index")
    with pytest.raises(ResourceError):
        index.save(tmp_path / "index")
    index.add([2], [[1, 2]])
    assert index.save(tmp_path / "index", overwrite=True) != first
    assert len(load_index(tmp_path / "index")) == 2


def test_another_artifact_is_no_index(tmp_path: Path) -> None:
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
    assert config in ("exact", "faiss", index.config)  # type: ignore[attr-defined]


def test_what_usearch_kept_is_searched_by_faiss(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no index of usearch any more"):
        index = build_index("usearch", 8)
    assert (type(index), index.config.structure) == (FaissIndex, "hnsw_bf16")
    vectors = gaussian(50)
    settings = {"storage": "f32", "links": 16, "build_breadth": 64, "search_breadth": 50}
    settings |= {"candidates": 1.5, "exact_below": 10, "threads": 1, "dimension": 8, "built": 40}
    tensors = {"ids": np.arange(50), "vectors": vectors}
    save_artifact(tmp_path / "old", kind="index-usearch", config=settings, tensors=tensors)
    with pytest.warns(UserWarning, match="no index of usearch any more"):
        loaded = load_index(tmp_path / "old")
    assert isinstance(loaded, FaissIndex)
    assert (loaded.config.structure, loaded.config.exact_below, loaded.built) == ("hnsw", 10, 40)
    exact = build_index("exact", 8)
    exact.add(np.arange(50), vectors)
    assert recall_against_exact(loaded, exact, gaussian(20, seed=1), 2) > 0.5


def test_example() -> None:
    assert doctest.testmod(module).failed == 0


@given(st.integers(0, 30), st.integers(1, 4), st.integers(1, 6), st.booleans())
def test_the_best_of_several_vectors(number: int, vectors: int, k: int, filtered: bool) -> None:
    present = dict(enumerate(np.round(gaussian(number, 3))))
    index = build_index("exact", 3)
    index.add(list(present), np.array(list(present.values())).reshape(-1, 3))
    queries = np.round(gaussian(4 * vectors, 3, seed=1)).reshape(4, vectors, 3)
    allowed = np.arange(30) % 3 > 0 if filtered else None
    found = search_many(index, queries, k, allowed=allowed)
    assert found.ids.shape == found.scores.shape == (4, k)
    for row, several in enumerate(queries):
        best = {
            one: max(float(product) for product in several @ vector)
            for one, vector in present.items()
            if allowed is None or allowed[one]
        }
        order = sorted(best, key=lambda one: (-best[one], one))[:k]
        assert parts(Found(found.ids[row : row + 1], found.scores))[0] == order
        assert found.scores[row, : len(order)].tolist() == [best[one] for one in order]
        assert (found.scores[row, len(order) :] == -np.inf).all()


@pytest.mark.parametrize("shape", [(3, 2), (3, 0, 2), (1, 1, 1, 2)])
def test_people_have_three_axes(shape: tuple[int, ...]) -> None:
    with pytest.raises(SchemaError, match=r"vectors \[Q, K, D\]"):
        search_many(build_index("exact", 2), np.zeros(shape), 1)


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


def test_the_manifest_names_what_it_is(tmp_path: Path) -> None:
    index = build_index(CONFIGS["ivf_fast"], 8)
    index.add(np.arange(120), gaussian(120))
    identity = index.save(tmp_path / "index")
    manifest = json.loads((tmp_path / "index" / MANIFEST).read_text("utf-8"))
    assert (manifest["id"], manifest["kind"]) == (identity, "index-faiss")
    assert manifest["config"]["structure"] == "ivf_fast"
    assert manifest["config"]["dimension"] == 8
