"""The item-item rule against its formula, event by event."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.data.sequences.pasts import Pasts
from adwright.models.retrieval import item_item as module
from adwright.models.retrieval.item_item import ItemItem, ItemItemConfig
from adwright.models.retrieval.neighbours import NeighbourConfig, count_neighbours

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


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rule, asked = model(own=0.2), pasts()
    owner, codes = np.repeat(np.arange(PEOPLE), 9), np.tile(np.arange(1, 10), PEOPLE)

    def answers() -> list[np.ndarray]:
        best = rule.best(asked, 5, unseen=True)
        return [rule.scores(asked), rule.pair_scores(asked, owner, codes), *best]

    whole = answers()
    monkeypatch.setattr(module, "ROWS", 1)
    for name, size in (("CELLS", 25), ("ENTRIES", 30), ("GROUP", 2)):
        monkeypatch.setattr(module, name, size)
        for one, other in zip(answers(), whole, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)


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


def test_nobody_and_nothing_are_answered() -> None:
    rule = model()
    none = Pasts(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(1, np.int64))
    assert rule.scores(none).shape == (0, ITEMS + 1)
    assert rule.best(none, 3)[0].shape == (0, 3)
    empty = replace(none, offsets=np.zeros(4, np.int64))
    assert not rule.best(empty, 3)[0].any()
    assert not rule.pair_scores(empty, np.array([0, 3 - 1]), np.array([1, 2])).any()


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
