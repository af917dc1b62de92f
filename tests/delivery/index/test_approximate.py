"""When the structure is asked, for how much, and when the exact product answers instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import ArtifactCorruptError, ArtifactError
from adwright.delivery.index.index import FaissConfig, FaissIndex
from tests.support.delivery.vector_search import equal, gaussian, literal, parts


def settings(candidates: float = 2.0, exact_below: int = 10) -> FaissConfig:
    return FaissConfig(candidates=candidates, exact_below=exact_below)


class First(FaissIndex):
    """A structure that is nearly useless: it proposes the first slots, save the blind ones."""

    kind = "index-first"
    blind = 0

    def _least(self) -> int:
        return 1

    def _outgrown(self, slots: int) -> bool:
        return slots > 4 * self.built

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


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FaissIndex, "widest", 0.5)
    monkeypatch.setattr(FaissIndex, "products_per_proposal", 0)


def filled(number: int, candidates: float = 2.0) -> tuple[First, dict[int, Any]]:
    index, vectors = First(8, settings(candidates)), gaussian(number)
    index.add(np.arange(number), vectors)
    return index, dict(enumerate(vectors))


def test_exact_while_there_are_few() -> None:
    index, present = filled(10)
    assert not index.ready
    assert equal(index.search(gaussian(3, seed=1), 4), literal(present, gaussian(3, seed=1), 4))
    index.add([10], gaussian(1))
    assert index.ready


def test_the_best_of_the_proposals() -> None:
    index, present = filled(40)
    queries = gaussian(5, seed=1)
    found = index.search(queries, 3)
    assert index.asked == [6]
    expected = literal({one: present[one] for one in range(6)}, queries, 3)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)


def test_candidates_can_be_changed() -> None:
    index, _ = filled(40)
    index.config = settings(5)
    index.search(gaussian(1), 3)
    assert index.asked == [15]


def test_a_filter_asks_for_more_and_returns_only_allowed_ones() -> None:
    index, present = filled(40)
    allowed = np.arange(40) % 2 == 1
    found = index.search(gaussian(5, seed=1), 3, allowed=allowed)
    assert index.asked == [12]
    first = {one: present[one] for one in range(12)}
    np.testing.assert_array_equal(found.ids, literal(first, gaussian(5, seed=1), 3, allowed).ids)


@pytest.mark.parametrize("number", [0, 2, 10])
def test_a_narrow_filter_is_exact(number: int) -> None:
    index, present = filled(40)
    allowed = np.arange(40) >= 40 - number
    queries = gaussian(5, seed=1)
    assert equal(index.search(queries, 3, allowed=allowed), literal(present, queries, 3, allowed))
    assert index.asked == []


def test_a_filter_that_asks_for_too_much_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    index, present = filled(40)
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


def test_a_filter_that_strikes_the_proposals_loses_nothing() -> None:
    index, present = filled(40)
    allowed = np.arange(40) >= 25
    queries = gaussian(5, seed=1)
    found = index.search(queries, 3, allowed=allowed)
    assert len(index.asked) == 1
    assert equal(found, literal(present, queries, 3, allowed))


def test_a_wide_search_is_exact() -> None:
    index, present = filled(40)
    queries = gaussian(2, seed=1)
    assert equal(index.search(queries, 11), literal(present, queries, 11))
    assert index.asked == []


def test_too_few_proposals_are_made_good_for_that_query() -> None:
    index, present = filled(40)
    index.blind = 38
    queries = gaussian(2, seed=1)
    assert equal(index.search(queries, 3), literal(present, queries, 3))
    assert index.asked == [6]


def test_removed_and_replaced_vectors_never_return() -> None:
    index, present = filled(40)
    assert index.remove([0, 1, 2, 99]) == 3
    index.add([3], gaussian(1, seed=5))
    queries = gaussian(4, seed=1)
    found = index.search(queries, 3)
    # 41 slots for 37 vectors: the three removed ones and the old one of id 3 are dead.
    assert index.asked == [7]
    first = {one: present[one] for one in (4, 5, 6)}
    np.testing.assert_array_equal(found.ids, literal(first, queries, 3).ids)


def test_built_anew_when_half_is_dead_or_outgrown() -> None:
    index, _ = filled(40)
    index.remove(np.arange(20))
    assert index.slots == 40
    index.remove([20])
    assert (index.slots, index.ready) == (19, True)
    index.add(np.arange(100, 157), gaussian(57))
    assert (index.slots, index.built) == (76, 19)
    index.add([200], gaussian(1))
    assert (index.slots, index.built) == (77, 77)
    index.remove(np.arange(190))
    assert not index.ready
    assert parts(index.search(gaussian(1), 2)) == [[200]]


@pytest.mark.parametrize("number", [5, 40])
def test_saved_and_loaded(number: int, tmp_path: Path) -> None:
    index, _ = filled(number, 3)
    index.remove([2])
    queries = gaussian(4, seed=1)
    before = index.search(queries, 3)
    index.save(tmp_path / "index")
    loaded = First.load(tmp_path / "index")
    assert (loaded.config, loaded.ready, len(loaded)) == (index.config, number > 10, number - 1)
    assert equal(loaded.search(queries, 3), before)
    with pytest.raises(ArtifactError, match="of kind 'index-first', not 'index-second'"):
        type("Second", (First,), {"kind": "index-second"}).load(tmp_path / "index")


def test_a_loaded_structure_is_built_as_it_was(tmp_path: Path) -> None:
    index, _ = filled(40)
    index.add(np.arange(40, 50), gaussian(10, seed=3))
    index.save(tmp_path / "index")
    loaded = First.load(tmp_path / "index")
    assert (loaded.built, loaded.entries, loaded.structure()) == (40, 50, index.structure())
    assert set(load_artifact(tmp_path / "index").tensors) == {"ids", "vectors"}


@pytest.mark.parametrize(
    ("config", "tensors"),
    [
        *(({"built": built}, {}) for built in (-1, 41, 2**70, 1.5, "40", True, None, [])),
        *(({"dimension": one}, {}) for one in (0, 7, 2**40, "8", None)),
        ({"candidates": "many"}, {}),
        ({"more": 1}, {}),
        ({}, {"ids": np.zeros(40, np.int64)}),
        ({}, {"ids": np.arange(39)}),
        ({}, {"ids": np.arange(40) + 2**40}),
        ({}, {"ids": np.arange(40.0)}),
        ({}, {"ids": np.arange(40).reshape(2, 20)}),
        ({}, {"vectors": np.zeros(40, np.float32)}),
        ({}, {"vectors": np.full((40, 8), np.nan, np.float32)}),
        ({}, {"vectors": np.zeros((40, 8), bool)}),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(
    tmp_path: Path, config: dict[str, Any], tensors: dict[str, Any]
) -> None:
    filled(40)[0].save(tmp_path / "index")
    saved = load_artifact(tmp_path / "index")
    changed = saved.config | config, saved.tensors | tensors
    save_artifact(tmp_path / "odd", kind=First.kind, config=changed[0], tensors=changed[1])
    with pytest.raises(ArtifactCorruptError, match="do not fit together"):
        First.load(tmp_path / "odd")


def test_the_scores_are_products() -> None:
    index, present = filled(40)
    queries = gaussian(6, seed=1)
    whole = index.search(queries, 3)
    assert index.asked == [6], "the structure was asked, not the exact product"
    table = np.stack([present[one] for one in range(6)])
    np.testing.assert_allclose(
        whole.scores, -np.sort(-(queries @ table.T), axis=1)[:, :3], rtol=1e-5, atol=1e-6
    )
