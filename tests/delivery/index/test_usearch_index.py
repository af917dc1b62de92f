"""What is particular to usearch: what a node holds, and settings that change something."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import usearch.index

from adwright.core.errors import ConfigError, MissingExtraError
from adwright.delivery.index.exact import ExactIndex
from adwright.delivery.index.index import recall_against_exact
from adwright.delivery.index.usearch_index import UsearchConfig, UsearchIndex
from tests.support.delivery.vector_search import gaussian

VECTORS = gaussian(900, 16)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
SMALL: dict[str, Any] = {"exact_below": 0, "candidates": 1}


def filled(**changes: Any) -> UsearchIndex:
    index = UsearchIndex(16, UsearchConfig(**(SMALL | changes)))
    index.add(np.arange(len(VECTORS)), VECTORS)
    assert index.ready
    return index


def recall(index: UsearchIndex) -> float:
    exact = ExactIndex(16)
    exact.add(np.arange(len(VECTORS)), VECTORS)
    return recall_against_exact(index, exact, gaussian(60, 16, seed=1), 5)


@pytest.mark.parametrize(
    "changes", [{"storage": "f32"}, {"storage": "i8"}, {"links": 4}, {"build_breadth": 4}]
)
def test_a_setting_changes_the_structure(changes: Any) -> None:
    assert filled().structure() != filled(**changes).structure()


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        ({"storage": "i8"}, {"candidates": 4}),
        ({"links": 2, "search_breadth": 1}, {"search_breadth": 200}),
        ({"storage": "i8"}, {"exact_below": 900}),
    ],
)
def test_a_setting_of_the_search_finds_more(base: Any, changes: Any) -> None:
    index = filled(**base)
    before = recall(index)
    index.config = UsearchConfig(**(SMALL | base | changes))
    assert recall(index) > before + 0.01


def test_one_query_is_one_of_many() -> None:
    index, queries = filled(), gaussian(5, 16, seed=1)
    many = index.search(queries, 4)
    for row in range(5):
        assert index.search(queries[row : row + 1], 4).ids[0].tolist() == many.ids[row].tolist()


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    index, asked = filled(threads=2), list[int]()
    search = usearch.index.Index.search

    def spy(graph: Any, *inputs: Any, threads: int) -> Any:
        asked.append(threads)
        return search(graph, *inputs, threads=threads)

    monkeypatch.setattr(usearch.index.Index, "search", spy)
    index.search(gaussian(2, 16), 2)
    assert asked == [2]


@pytest.mark.parametrize(
    "changes",
    [
        *({name: 0} for name in ("links", "build_breadth", "search_breadth", "threads")),
        {"exact_below": -1},
        {"candidates": 0.5},
        {"candidates": float("nan")},
        *({name: 2**40} for name in ("links", "build_breadth", "exact_below", "candidates")),
    ],
)
def test_settings_that_cannot_be(changes: Any) -> None:
    with pytest.raises(ConfigError):
        UsearchConfig(**changes)


def test_without_usearch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    with pytest.raises(MissingExtraError, match="delivery"):
        UsearchIndex(4)
