"""Item-item by regression, against counting every pair and solving every row."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest

from adwright.data.sequences.pasts import Pasts, moment_numbers
from adwright.models.retrieval.item_item import ItemItem, ItemItemConfig
from adwright.models.retrieval.linear import (
    LinearCounts,
    count_linear,
    linear_neighbours,
    regression,
)
from adwright.models.retrieval.neighbours import NeighbourConfig

ITEMS = 7
CONFIG = NeighbourConfig(window=2, decay=0.6, backward=0.3)
MEMORY = 0.5


def events(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items, moments and offsets of five users, some with several items a moment."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 14, 5)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    instant = np.concatenate([np.sort(rng.integers(0, 9, size)) for size in lengths])
    # Item 7 is never taken.
    return rng.integers(1, ITEMS, offsets[-1]), moment_numbers(offsets, instant), offsets


def by_pairs(config: NeighbourConfig, memory: float) -> tuple[np.ndarray, np.ndarray]:
    """C and G of all items: every pair of events of a user, one after another."""
    item, moment, offsets = events()
    near, together = (np.zeros((ITEMS + 1, ITEMS + 1)) for _ in range(2))
    for start, stop in pairwise(offsets):
        for one, other in product(range(start, stop), repeat=2):
            if one == other:
                together[item[one], item[one]] += 1
                continue
            apart = moment[other] - moment[one]
            worth = memory ** abs(apart)
            together[item[one], item[other]] += worth if worth >= 0.01 else 0
            if abs(apart) <= config.window:
                way = 1 if apart >= 0 else config.backward
                near[item[one], item[other]] += way * config.decay ** abs(apart)
    return near[1:ITEMS, 1:ITEMS], together[1:ITEMS, 1:ITEMS]


def counted(
    config: NeighbourConfig = CONFIG, memory: float = MEMORY, most: int = 99
) -> LinearCounts:
    return count_linear(*events(), ITEMS, config, memory=memory, most=most)


@pytest.mark.parametrize("memory", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("backward", [0.0, 0.3, 1.0])
def test_counts_are_those_of_every_pair(memory: float, backward: float) -> None:
    config = NeighbourConfig(window=2, decay=0.6, backward=backward)
    near, together = by_pairs(config, memory)
    found = counted(config, memory)
    assert found.kept.tolist() == list(range(1, ITEMS))
    np.testing.assert_allclose(found.near, near, rtol=1e-5)
    np.testing.assert_allclose(found.together, together, rtol=1e-5)


def test_each_row_is_a_ridge_regression() -> None:
    near, together = by_pairs(CONFIG, MEMORY)
    for shrink in (0.5, 20.0):
        expected = np.linalg.inv(together + shrink * np.eye(ITEMS - 1)) @ near
        np.testing.assert_allclose(regression(counted(), shrink), expected, rtol=2e-3, atol=2e-4)


def test_sums_that_are_not_definite_are_solved_too() -> None:
    near, _ = by_pairs(CONFIG, MEMORY)
    together = np.eye(ITEMS - 1, dtype=np.float32)
    together[0, 1] = together[1, 0] = 3
    counts = LinearCounts(
        np.arange(1, ITEMS), near.astype(np.float32), together, np.ones(ITEMS + 1)
    )
    expected = np.linalg.solve(together + 0.5 * np.eye(ITEMS - 1), near)
    np.testing.assert_allclose(regression(counts, 0.5), expected, rtol=1e-4)


def test_the_best_of_each_row_are_kept() -> None:
    counts = counted()
    weights = regression(counts, 1.0)
    table = linear_neighbours(counts, weights, 3, target=0.5)
    assert table.codes.shape == (ITEMS + 1, 3)
    assert not table.codes[[0, ITEMS]].any()
    for row, code in enumerate(counts.kept):
        score = np.maximum(weights[row] / np.sqrt(counts.count[counts.kept]), 0)
        score[row] = 0
        order = np.argsort(-score, kind="stable")[:3]
        np.testing.assert_allclose(table.score[code], score[order], rtol=1e-5)
        kept = np.where(score[order] > 0, counts.kept[order], 0)
        assert table.codes[code].tolist() == kept.tolist()


def test_only_the_most_frequent_items_have_a_row() -> None:
    found = counted(most=3)
    whole = counted()
    order = np.argsort(-whole.count, kind="stable")[:3]
    assert found.kept.tolist() == sorted(order.tolist())
    place = np.searchsorted(whole.kept, found.kept)
    np.testing.assert_allclose(found.near, whole.near[np.ix_(place, place)])
    np.testing.assert_allclose(found.together, whole.together[np.ix_(place, place)])


def test_items_that_explain_each_other_share_what_follows() -> None:
    """Two items that always come together and are followed by a third say it once between them."""
    item = np.tile([1, 2, 3, 4], 50)
    offsets = np.arange(0, 201, 4)
    moment = moment_numbers(offsets, np.tile([0, 0, 1, 2], 50))
    config = NeighbourConfig(window=1, decay=1.0, backward=0.0)
    counts = count_linear(item, moment, offsets, 4, config, memory=0.0)
    weights = regression(counts, 1.0)
    assert weights[:2, 2] == pytest.approx([50 / 101, 50 / 101], rel=1e-4)
    assert weights[2, 3] == pytest.approx(50 / 51, rel=1e-4)


def test_it_is_asked_as_item_item_is() -> None:
    counts = counted()
    table = linear_neighbours(counts, regression(counts, 1.0), 5, target=0.0)
    config = ItemItemConfig(NeighbourConfig(neighbours=5), recency=0.5)
    model = ItemItem(config, table, counts.count)
    pasts = Pasts(np.array([1, 2]), np.array([1, 0]), np.array([0, 2]))
    dense = np.zeros((ITEMS + 1, ITEMS + 1))
    np.put_along_axis(dense, table.codes.astype(int), table.score, 1)
    dense[:, 0] = 0
    np.testing.assert_allclose(model.scores(pasts)[0], 0.5 * dense[1] + dense[2], rtol=1e-5)
