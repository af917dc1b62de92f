"""The compiled sums against adding up by hand; `test_item_item` compares them with the others."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from adwright.models.retrieval.item_item_loops import best_sums

ITEMS, WIDE = 40, 6


def literal(
    items: np.ndarray, weights: np.ndarray, had: set[int], table: tuple[np.ndarray, ...], own: float
) -> list[tuple[float, int]]:
    sums = dict.fromkeys(range(1, ITEMS + 1), np.float32(0))
    for item, weight in zip(items.tolist(), weights, strict=True):
        for other, score in zip(table[0][item].tolist(), table[1][item], strict=True):
            if other:
                sums[other] += weight * score
        if own and item:
            sums[item] += weight * np.float32(own)
    pairs = [(-float(value), item) for item, value in sums.items() if value > 0]
    return [(-value, item) for value, item in sorted(pairs) if item not in had]


@pytest.mark.parametrize("own", [0.0, 0.3])
@pytest.mark.parametrize("k", [1, 5, 60])
def test_the_best_are_those_of_adding_up(own: float, k: int) -> None:
    rng = np.random.default_rng(k)
    codes = np.stack([rng.permutation(ITEMS)[:WIDE] + 1 for _ in range(ITEMS + 1)])
    codes[::5, 4:] = 0
    codes[0] = 0
    # Few values, so that sums are equal and the items decide.
    score = (rng.integers(1, 4, codes.shape) / 4 * (codes > 0)).astype(np.float32)
    offsets = np.array([0, 0, 7, 12, 40], np.int64)
    items = rng.integers(0, ITEMS + 1, 40)
    weights = (rng.integers(1, 3, 40) / 2).astype(np.float32)
    barred = np.array([0, 0, 3, 3, 10], np.int64)
    out = rng.integers(0, ITEMS + 1, 10)
    found = np.zeros((4, k), np.int64), np.zeros((4, k), np.float32)
    table = codes.astype(np.int32), score
    best_sums((offsets, items, weights), (barred, out), table, np.float32(own), *found)
    for row in range(4):
        some = slice(offsets[row], offsets[row + 1])
        had = {*out[barred[row] : barred[row + 1]].tolist()}
        expected = literal(items[some], weights[some], had, table, own)[:k]
        number = len(expected)
        assert found[0][row, :number].tolist() == [item for _, item in expected]
        assert found[1][row, :number].tolist() == [value for value, _ in expected]
        assert not found[0][row, number:].any()
        assert not found[1][row, number:].any()
