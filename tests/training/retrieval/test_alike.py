"""Neighbours by what is known of items, against all cosines of a matrix in memory."""

from __future__ import annotations

import numpy as np
import pytest

from adwright.data.features import ItemTable
from adwright.training.retrieval import alike
from adwright.training.retrieval.alike import alike_neighbours

N = 40


def table(*, known: bool = True) -> ItemTable:
    rng = np.random.default_rng(5)
    brand = np.append(0, rng.integers(0, 4, N) * known)
    sizes = np.append(0, rng.integers(0, 5, N)) * known
    words = rng.integers(0, 12, sizes.sum())
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    ids = tuple(f"i{at}" for at in range(N))
    multi = {"title words": (words, offsets)}
    own = {"item_id": np.arange(N + 1), "brand": brand}
    return ItemTable(ids, own, multi, np.zeros((N + 1, 0), np.float32))


def cosines(items: ItemTable, most: int = alike.PAIRS) -> np.ndarray:
    has = np.zeros((N + 1, 16))
    has[np.arange(N + 1), items.categorical["brand"]] = 1
    words, offsets = items.multi["title words"]
    has[np.repeat(np.arange(N + 1), np.diff(offsets)), 4 + words] = 1
    has[:, [0, 4]] = 0  # what is not known
    number = has.sum(0)
    order = np.argsort(number, kind="stable")
    has[:, order[np.cumsum(number[order] ** 2) > most]] = 0
    x = has * np.where(number > 1, np.log((N + 1) / np.maximum(number, 1)), 0)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    found = x @ x.T
    np.fill_diagonal(found, 0)
    return found


def test_the_best_of_all_cosines_whatever_is_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    items = table()
    whole = alike_neighbours(items, 6)
    monkeypatch.setattr(alike, "HELD", 50)
    parts = alike_neighbours(items, 6)
    assert whole is not None
    assert parts is not None
    best = -np.sort(-cosines(items), axis=1)[:, :6]
    assert np.allclose(whole.score, best, atol=1e-6)
    assert np.allclose(parts.score, best, atol=1e-6)
    assert not whole.codes[0].any()
    row = np.repeat(np.arange(N + 1), 6)
    assert np.allclose(cosines(items)[row, whole.codes.ravel()], whole.score.ravel(), atol=1e-6)


def test_values_of_most_items_go_first_where_pairs_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items = table()
    monkeypatch.setattr(alike, "PAIRS", 300)
    found = alike_neighbours(items, 6)
    assert found is not None
    assert np.allclose(found.score, -np.sort(-cosines(items, 300), axis=1)[:, :6], atol=1e-6)
    assert not np.allclose(cosines(items, 300), cosines(items))
    monkeypatch.setattr(alike, "PAIRS", 0)
    assert alike_neighbours(items, 6) is None


def test_nothing_is_known() -> None:
    assert alike_neighbours(table(known=False), 6) is None
