"""The item-item rule against its formula, event by event."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.data.sequences.pasts import Pasts, moment_numbers
from adwright.models.retrieval import item_item as module
from adwright.models.retrieval.item_item import (
    ItemItem,
    ItemItemConfig,
    LinearCounts,
    NeighbourConfig,
    Neighbours,
    count_linear,
    count_neighbours,
    linear_neighbours,
    regression,
)
from adwright.models.retrieval.item_item_loops import best_sums

ITEMS, PEOPLE = 9, 14
LOOPS = "adwright.models.retrieval.item_item_loops"


def model(**changes: float) -> ItemItem:
    rng = np.random.default_rng(0)
    item, offsets = rng.integers(1, ITEMS + 1, 120), np.arange(0, 121, 10)
    moment = np.arange(120) // 2
    table = NeighbourConfig(neighbours=4)
    config = replace(ItemItemConfig(neighbours=table, recency=0.7), **changes)
    found = count_neighbours(item, moment, offsets, ITEMS, table)
    return ItemItem(config, found, np.bincount(item, minlength=ITEMS + 1))


def pasts(seed: int = 1) -> Pasts:
    """Histories of up to twelve moments, an empty one and an unknown item among them."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 16, PEOPLE)
    lengths[2] = 0
    back = [np.sort(rng.integers(1, 12, n))[::-1] for n in lengths]
    back = [np.where(np.arange(len(b)) == len(b) - 1, 0, b) for b in back]
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    return Pasts(rng.integers(0, ITEMS + 1, offsets[-1]), np.concatenate(back), offsets)


def literal(rule: ItemItem, asked: Pasts) -> np.ndarray:
    scores = np.zeros((len(asked), ITEMS + 1))
    for person in range(len(asked)):
        for e in range(asked.offsets[person], asked.offsets[person + 1]):
            weight = rule.config.recency ** float(asked.back[e])
            if weight < 0.01:
                continue
            item = int(asked.item[e])
            row = rule.neighbours
            for code, s in zip(row.codes[item].tolist(), row.score[item].tolist(), strict=True):
                scores[person, code] += weight * s
            scores[person, item] += weight * rule.config.own
    scores[:, 0] = 0
    return scores


def test_what_was_only_looked_at_counts_as_much_as_the_best_of_its_neighbours() -> None:
    rule, asked = model(), pasts()
    looked = np.arange(len(asked.item)) % 3 == 0
    some = replace(asked, had=~looked)
    expected = literal(rule, asked)
    for e in np.flatnonzero(looked & (asked.item > 0)):
        weight = rule.config.recency ** float(asked.back[e])
        best = rule.neighbours.score[asked.item[e], 0]
        expected[asked.owner[e], asked.item[e]] += weight * best if weight >= 0.01 else 0
    np.testing.assert_allclose(rule.scores(some), expected, rtol=1e-5, atol=1e-6)
    codes, score = rule.best(some, ITEMS, unseen=True)
    expected[asked.owner[~looked], asked.item[~looked]] = 0
    for person, (row, values) in enumerate(zip(codes, score, strict=True)):
        kept = row > 0
        assert set(row[kept]) == set(np.flatnonzero(expected[person] > 0))
        np.testing.assert_allclose(values[kept], expected[person][row[kept]], rtol=1e-5)


RULES = pytest.mark.parametrize("rule", [model(), model(own=0.4), model(recency=1.0)])


@RULES
def test_scores_are_the_formula(rule: ItemItem) -> None:
    np.testing.assert_allclose(rule.scores(pasts()), literal(rule, pasts()), rtol=1e-5, atol=1e-7)


@RULES
def test_pairs_are_cells_of_the_scores(rule: ItemItem) -> None:
    asked = pasts()
    whole = rule.scores(asked)
    owner = np.repeat(np.arange(PEOPLE), 5)
    codes = np.random.default_rng(2).integers(0, ITEMS + 1, len(owner))
    found = rule.pair_scores(asked, owner, codes)
    np.testing.assert_allclose(found, whole[owner, codes], rtol=1e-5, atol=1e-7)


@RULES
@pytest.mark.parametrize("unseen", [False, True])
@pytest.mark.parametrize("k", [1, 3, 9])
def test_the_best_are_those_of_the_scores(rule: ItemItem, unseen: bool, k: int) -> None:
    asked = pasts()
    scores = literal(rule, asked)
    if unseen:
        scores[asked.owner, asked.item] = 0
    codes, score = rule.best(asked, k, unseen=unseen)
    assert codes.shape == score.shape == (PEOPLE, k)
    for person in range(PEOPLE):
        order = np.argsort(-scores[person], kind="stable")[:k]
        expected = scores[person][order]
        np.testing.assert_allclose(score[person], expected, rtol=1e-5, atol=1e-7)
        known = codes[person][codes[person] > 0]
        assert len(known) == len({*known.tolist()}) == int((expected > 0).sum())
        np.testing.assert_allclose(scores[person][known], expected[: len(known)], rtol=1e-5)


@RULES
@pytest.mark.parametrize("unseen", [False, True])
@pytest.mark.parametrize("k", [1, 4, 12])
def test_compiled_loops_add_up_the_same(
    rule: ItemItem, unseen: bool, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    for seed in (1, 2, 3):
        monkeypatch.setattr(module, "LOOPS_FROM", 1 << 60)
        monkeypatch.delitem(sys.modules, LOOPS, raising=False)
        plain = rule.best(pasts(seed), k, unseen=unseen)
        assert LOOPS not in sys.modules
        monkeypatch.setattr(module, "LOOPS_FROM", 1)
        compiled = rule.best(pasts(seed), k, unseen=unseen)
        assert LOOPS in sys.modules
        assert compiled[0].tolist() == plain[0].tolist()
        assert compiled[1].tolist() == plain[1].tolist()


def test_only_moments_that_weigh_count() -> None:
    assert ItemItemConfig(recency=0.5).moments == 7
    assert ItemItemConfig(recency=1.0).moments > 10**12
    old = Pasts(np.array([1, 2]), np.array([7, 0]), np.array([0, 2]))
    new = Pasts(np.array([2]), np.array([0]), np.array([0, 1]))
    rule = model(recency=0.5)
    assert np.array_equal(rule.scores(old), rule.scores(new))


def test_similar_items_are_the_neighbours() -> None:
    rule = model()
    codes, score = rule.similar(3, 2)
    assert codes.tolist() == rule.neighbours.codes[3][:2].tolist()
    assert score.tolist() == rule.neighbours.score[3][:2].tolist()
    assert len(rule.similar(3, 99)[0]) == int((rule.neighbours.codes[3] > 0).sum())
    assert rule.popular.tolist() == (1 + np.argsort(-rule.count[1:], kind="stable")).tolist()


@pytest.mark.parametrize("change", [{"recency": 0.0}, {"recency": 1.5}, {"own": -1.0}])
def test_what_is_out_of_range_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="recency lies"):
        ItemItemConfig(**change)  # type: ignore[arg-type]


pytest.importorskip("numba")


ITEMS_ITEM_ITEM_LOOPS, WIDE = 40, 6


def literal_item_item_loops(
    items: np.ndarray, weights: np.ndarray, had: set[int], table: tuple[np.ndarray, ...], own: float
) -> list[tuple[float, int]]:
    sums = dict.fromkeys(range(1, ITEMS_ITEM_ITEM_LOOPS + 1), np.float32(0))
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
    codes = np.stack(
        [
            rng.permutation(ITEMS_ITEM_ITEM_LOOPS)[:WIDE] + 1
            for _ in range(ITEMS_ITEM_ITEM_LOOPS + 1)
        ]
    )
    codes[::5, 4:] = 0
    codes[0] = 0
    # Few values, so that sums are equal and the items decide.
    score = (rng.integers(1, 4, codes.shape) / 4 * (codes > 0)).astype(np.float32)
    offsets = np.array([0, 0, 7, 12, 40], np.int64)
    items = rng.integers(0, ITEMS_ITEM_ITEM_LOOPS + 1, 40)
    weights = (rng.integers(1, 3, 40) / 2).astype(np.float32)
    barred = np.array([0, 0, 3, 3, 10], np.int64)
    out = rng.integers(0, ITEMS_ITEM_ITEM_LOOPS + 1, 10)
    found = np.zeros((4, k), np.int64), np.zeros((4, k), np.float32)
    table = codes.astype(np.int32), score
    best_sums((offsets, items, weights), (barred, out), table, np.float32(own), *found)
    for row in range(4):
        some = slice(offsets[row], offsets[row + 1])
        had = {*out[barred[row] : barred[row + 1]].tolist()}
        expected = literal_item_item_loops(items[some], weights[some], had, table, own)[:k]
        number = len(expected)
        assert found[0][row, :number].tolist() == [item for _, item in expected]
        assert found[1][row, :number].tolist() == [value for value, _ in expected]
        assert not found[0][row, number:].any()
        assert not found[1][row, number:].any()


ITEMS_LINEAR = 7
CONFIG = NeighbourConfig(window=2, decay=0.6, backward=0.3)
MEMORY = 0.5


def events(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items, moments and offsets of five users, some with several items a moment."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 14, 5)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    instant = np.concatenate([np.sort(rng.integers(0, 9, size)) for size in lengths])
    # Item 7 is never taken.
    return rng.integers(1, ITEMS_LINEAR, offsets[-1]), moment_numbers(offsets, instant), offsets


def by_pairs(config: NeighbourConfig, memory: float) -> tuple[np.ndarray, np.ndarray]:
    """C and G of all items: every pair of events of a user, one after another."""
    item, moment, offsets = events()
    near, together = (np.zeros((ITEMS_LINEAR + 1, ITEMS_LINEAR + 1)) for _ in range(2))
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
    return near[1:ITEMS_LINEAR, 1:ITEMS_LINEAR], together[1:ITEMS_LINEAR, 1:ITEMS_LINEAR]


def counted(
    config: NeighbourConfig = CONFIG, memory: float = MEMORY, most: int = 99
) -> LinearCounts:
    return count_linear(*events(), ITEMS_LINEAR, config, memory=memory, most=most)


@pytest.mark.parametrize("memory", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("backward", [0.0, 0.3, 1.0])
def test_counts_are_those_of_every_pair(memory: float, backward: float) -> None:
    config = NeighbourConfig(window=2, decay=0.6, backward=backward)
    near, together = by_pairs(config, memory)
    found = counted(config, memory)
    assert found.kept.tolist() == list(range(1, ITEMS_LINEAR))
    np.testing.assert_allclose(found.near, near, rtol=1e-5)
    np.testing.assert_allclose(found.together, together, rtol=1e-5)


def test_each_row_is_a_ridge_regression() -> None:
    near, together = by_pairs(CONFIG, MEMORY)
    for shrink in (0.5, 20.0):
        expected = np.linalg.inv(together + shrink * np.eye(ITEMS_LINEAR - 1)) @ near
        np.testing.assert_allclose(regression(counted(), shrink), expected, rtol=2e-3, atol=2e-4)


def test_sums_that_are_not_definite_are_solved_too() -> None:
    near, _ = by_pairs(CONFIG, MEMORY)
    together = np.eye(ITEMS_LINEAR - 1, dtype=np.float32)
    together[0, 1] = together[1, 0] = 3
    counts = LinearCounts(
        np.arange(1, ITEMS_LINEAR), near.astype(np.float32), together, np.ones(ITEMS_LINEAR + 1)
    )
    expected = np.linalg.solve(together + 0.5 * np.eye(ITEMS_LINEAR - 1), near)
    np.testing.assert_allclose(regression(counts, 0.5), expected, rtol=1e-4)


def test_the_best_of_each_row_are_kept() -> None:
    counts = counted()
    weights = regression(counts, 1.0)
    table = linear_neighbours(counts, weights, 3, target=0.5)
    assert table.codes.shape == (ITEMS_LINEAR + 1, 3)
    assert not table.codes[[0, ITEMS_LINEAR]].any()
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


NEIGHBOURS_ITEMS = 8
Rows = dict[int, list[tuple[float, int]]]


def made_up(seed: int, users: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """item (0 among them), moment and offsets of a few users; several events share a moment."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 30, users)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    instant = np.concatenate([np.sort(rng.integers(0, 12, n)) for n in lengths])
    return (
        rng.integers(0, NEIGHBOURS_ITEMS + 1, offsets[-1]),
        moment_numbers(offsets, instant),
        offsets,
    )


def neighbours_literal(
    item: np.ndarray, moment: np.ndarray, offsets: np.ndarray, config: NeighbourConfig
) -> Rows:
    """item -> (s, neighbour), best first."""
    number: Counter[int] = Counter()
    pairs: defaultdict[tuple[int, int], float] = defaultdict(float)
    for first, end in pairwise(offsets.tolist()):
        events = []
        for e in range(first, end):
            one = (int(moment[e]), int(item[e]))
            if one[1] and one not in events:
                events.append(one)
        number.update(i for _, i in events)
        for m, i in events:
            for n, j in events:
                if i != j and abs(n - m) <= config.window:
                    weight = config.decay ** abs(n - m)
                    pairs[i, j] += weight * (config.backward if n < m else 1)
    rows: Rows = defaultdict(list)
    for (i, j), c in pairs.items():
        scale = number[i] ** config.source * number[j] ** config.target
        if c > 0:
            rows[i].append((c / (scale + config.shrink), j))
    return {i: sorted(row, key=lambda x: (-np.float32(x[0]), x[1])) for i, row in rows.items()}


def agree(found: Neighbours, rows: Rows, kept: int) -> None:
    for code in range(NEIGHBOURS_ITEMS + 1):
        best = rows.get(code, [])[:kept]
        assert found.codes[code].tolist()[: len(best)] == [j for _, j in best]
        np.testing.assert_allclose(found.score[code][: len(best)], [s for s, _ in best], rtol=1e-6)
        assert not found.codes[code][len(best) :].any()
        assert not found.score[code][len(best) :].any()


CONFIGS = [
    NeighbourConfig(),
    NeighbourConfig(window=0),
    NeighbourConfig(window=2, decay=0.5, backward=0.5, neighbours=3),
    NeighbourConfig(window=3, decay=1.0, backward=0.0, source=1.0, target=0.0, shrink=2.0),
    NeighbourConfig(window=1, decay=0.0, source=0.25, target=0.75, neighbours=2),
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_formula(config: NeighbourConfig, seed: int) -> None:
    item, moment, offsets = made_up(seed)
    found = count_neighbours(item, moment, offsets, NEIGHBOURS_ITEMS, config)
    agree(found, neighbours_literal(item, moment, offsets, config), config.neighbours)
    assert (found.codes.dtype, found.score.dtype) == (np.int32, np.float32)


def test_an_event_meets_the_nearest_of_a_large_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REACH", 1)
    item, offsets = np.array([1, 2, 3, 4]), np.array([0, 4])
    found = count_neighbours(item, np.zeros(4, np.int64), offsets, 4, NeighbourConfig())
    met = [sorted(set(row.tolist()) - {0}) for row in found.codes[1:]]
    assert met == [[2], [1, 3], [2, 4], [3]]


@pytest.mark.parametrize(
    "change",
    [
        {"window": 1},
        {"decay": 0.2},
        {"backward": 0.3},
        {"source": 0.9},
        {"target": 0.1},
        {"shrink": 5.0},
        {"neighbours": 2},
    ],
)
def test_every_setting_counts(change: dict[str, float]) -> None:
    log = made_up(3)
    one = count_neighbours(*log, NEIGHBOURS_ITEMS, CONFIGS[0])
    other = count_neighbours(*log, NEIGHBOURS_ITEMS, replace(CONFIGS[0], **change))
    assert not np.array_equal(one.score, other.score)


@pytest.mark.parametrize(
    ("change", "about"),
    [
        ({"window": -1}, "window is at least 0"),
        ({"neighbours": 0}, "neighbours is at least 1"),
        ({"shrink": -0.5}, "shrink is at least 0"),
    ],
)
def test_neighbours_what_is_out_of_range_is_refused(change: dict[str, float], about: str) -> None:
    with pytest.raises(ConfigError, match=about):
        NeighbourConfig(**change)  # type: ignore[arg-type]
