"""What is particular to faiss: structures, training, threads, settings that change something."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from adwright.core.errors import ConfigError, MissingExtraError
from adwright.delivery.index import index as module
from adwright.delivery.index.exact import ExactIndex
from adwright.delivery.index.index import (
    Centres,
    FaissConfig,
    FaissIndex,
    Structure,
    recall_against_exact,
)
from tests.support.delivery.vector_search import gaussian

VECTORS = gaussian(900, 16) * np.linspace(2, 0.1, 16, dtype=np.float32)
SMALL: dict[str, Any] = {"lists": 16, "exact_below": 0, "candidates": 1}


def filled(**changes: Any) -> FaissIndex:
    index = FaissIndex(16, FaissConfig(**(SMALL | changes)))
    index.add(np.arange(len(VECTORS)), VECTORS)
    assert index.ready
    return index


def structure(**changes: Any) -> bytes:
    return filled(**changes).structure()


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
    index = filled(**base)
    before = recall(index)
    index.config = FaissConfig(**(SMALL | base | changes))
    assert recall(index) > before + 0.01


@pytest.mark.parametrize("name", ["ivf_fast", "ivf_flat"])
def test_a_common_part_of_all_vectors_does_not_spoil_the_lists(
    name: Structure, tmp_path: Path
) -> None:
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
        index.save(tmp_path / centres)
        # What is added later, also after loading, goes by the same rule.
        index = FaissIndex.load(tmp_path / centres)
        index.add(np.arange(2000, 4000), vectors[2000:])
        recalls[centres] = found(index)
    assert recalls["means"] > recalls["directions"] + 0.06
    assert recalls["means"] > 0.8


def test_all_lists_and_all_directions_find_nearly_all() -> None:
    assert recall(filled(probes=16, candidates=6)) > 0.99
    assert recall(filled(probes=10_000, structure="ivf_flat")) == 1.0


def test_lists_are_chosen_from_the_number_of_vectors() -> None:
    index = filled(lists=0)
    assert index.lists == 64
    index.add(np.arange(1000, 4000), gaussian(3000, 16))
    assert index.lists == 128


def test_there_is_no_structure_before_there_are_enough() -> None:
    index = FaissIndex(16, FaissConfig(lists=50, exact_below=0))
    index.add(np.arange(49), VECTORS[:49])
    assert not index.ready
    index.add([49], VECTORS[49:50])
    assert index.ready


def test_a_graph_grows_and_lists_are_built_anew() -> None:
    for name, built in (("hnsw", 100), ("ivf_fast", 500)):
        index = FaissIndex(16, FaissConfig(name, lists=16, exact_below=0))
        index.add(np.arange(100), VECTORS[:100])
        index.add(np.arange(100, 500), VECTORS[100:500])
        assert index.built == built


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    import faiss

    index, asked = filled(threads=2), list[int]()
    monkeypatch.setattr(faiss, "omp_set_num_threads", asked.append)
    index.search(gaussian(1, 16), 2)
    assert set(asked) == {2}


@pytest.mark.parametrize(
    "changes",
    [
        *({name: 0} for name in ("directions", "links", "build_breadth", "search_breadth")),
        *({name: 0} for name in ("training", "rounds")),
        *({name: -1} for name in ("lists", "probes", "exact_below", "seed")),
        {"threads": 0},
        {"candidates": 0.5},
        {"candidates": float("nan")},
        *({name: 2**40} for name in ("links", "build_breadth", "exact_below", "candidates")),
    ],
)
def test_settings_that_cannot_be(changes: Any) -> None:
    with pytest.raises(ConfigError):
        FaissConfig(**changes)


def test_without_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match="delivery"):
        FaissIndex(4)
