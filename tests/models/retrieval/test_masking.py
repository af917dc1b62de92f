"""Mutual information and masks against their definitions."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.data.features import ItemTable
from adwright.models.retrieval.retriever import (
    FeatureMasks,
    Masking,
    mutual_information,
    normalised_information,
    single_codes,
)
from tests.support.data.small_next_basket import small_task

INFORMATION = np.array(
    [[2.0, 1.0, 0.1, 0.0], [1.0, 2.0, 0.0, 0.2], [0.1, 0.0, 2.0, 0.9], [0.0, 0.2, 0.9, 2.0]]
)
#: An id, four features of which the first two and the last two belong together, and a pair.
MASKS = FeatureMasks(
    kind="correlated",
    names=("item_id", "a", "b", "c", "d"),
    groups=((1,), (2,), (3,), (4,)),
    free=(0,),
    information=INFORMATION,
)


def _literal(codes: np.ndarray, i: int, j: int) -> float:
    n, total = len(codes), 0.0
    for a in set(codes[:, i].tolist()):
        for b in set(codes[:, j].tolist()):
            both = sum(1 for row in codes if row[i] == a and row[j] == b) / n
            if both:
                p = sum(1 for row in codes if row[i] == a) / n
                q = sum(1 for row in codes if row[j] == b) / n
                total += both * math.log(both / (p * q))
    return total


def _law(masks: FeatureMasks) -> dict[tuple[bool, ...], float]:
    """Each mask of correlated masking with its probability, by going through all draws."""
    found: Counter[tuple[bool, ...]] = Counter()
    count, frees = len(masks.groups), list(product([False, True], repeat=len(masks.free)))
    for seed in range(count):
        shared = {g: masks.information[seed, g] for g in range(count) if g != seed}
        nearest = sorted(shared, key=lambda g: (-shared[g], g))
        chosen = {seed, *nearest[: min(count // 2, count - 2)]}
        for sides, swapped in product(frees, [False, True]):
            hidden = [False] * len(masks.names)
            for group in chosen:
                for feature in masks.groups[group]:
                    hidden[feature] = True
            for feature, side in zip(masks.free, sides, strict=True):
                hidden[feature] = side
            found[tuple(h != swapped for h in hidden)] += 1 / (count * len(frees) * 2)
    return dict(found)


def _shares(masks: FeatureMasks, draws: int = 6_000) -> dict[tuple[bool, ...], float]:
    rng = np.random.default_rng(0)
    drawn = Counter(tuple(masks.draw(rng).tolist()) for _ in range(draws))
    return {mask: number / draws for mask, number in drawn.items()}


def _table(**columns: list[int]) -> ItemTable:
    """A catalogue of these codes, without the unknown item."""
    rows = len(next(iter(columns.values())))
    return ItemTable(
        ids=tuple(f"i{n}" for n in range(rows)),
        categorical={name: np.array([0, *codes]) for name, codes in columns.items()},
        multi={},
        numeric=np.zeros((rows + 1, 0), np.float32),
    )


def test_it_equals_the_formula() -> None:
    codes = np.random.default_rng(0).integers(0, 3, (40, 4))
    codes[:, 3] = codes[:, 0]  # says the same
    found = mutual_information(codes)
    shared = normalised_information(found)
    for i in range(4):
        for j in range(4):
            literal = _literal(codes, i, j)
            assert found[i, j] == pytest.approx(literal)
            both = _literal(codes, i, i) + _literal(codes, j, j)
            assert shared[i, j] == pytest.approx(2 * literal / both)
    assert found[0, 3] == pytest.approx(found[0, 0])


def test_independent_features_share_nothing() -> None:
    codes = np.stack(np.meshgrid(np.arange(4), np.arange(5)), -1).reshape(-1, 2)
    assert mutual_information(codes)[0, 1] == pytest.approx(0)
    assert normalised_information(mutual_information(codes * 0)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    "masks",
    [
        MASKS,
        replace(MASKS, groups=((1, 3), (2,), (4,)), information=INFORMATION[:3, :3]),
        replace(MASKS, groups=((1,), (2,)), free=(0, 3, 4), information=INFORMATION[:2, :2]),
    ],
)
def test_correlated_masks_are_the_law(masks: FeatureMasks) -> None:
    wanted, found = _law(masks), _shares(masks)
    assert set(found) <= set(wanted)
    for mask, probability in wanted.items():
        assert found.get(mask, 0) == pytest.approx(probability, abs=0.025), mask


def test_each_view_keeps_a_group_and_the_id_is_on_either_side() -> None:
    found = _shares(MASKS)
    assert all(0 < sum(mask[1:]) < 4 for mask in found)
    assert sum(share for mask, share in found.items() if mask[0]) == pytest.approx(0.5, abs=0.03)
    # So the poorer view is either one.
    poorer = sum(share for mask, share in found.items() if sum(mask[1:]) == 3)
    assert poorer == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("kind", ["random", "correlated"])
def test_random_masks_hide_half(kind: Masking) -> None:
    # Without two groups there is nothing to be correlated, and masks are random.
    masks = FeatureMasks(kind, tuple("abcde"), ((0,),), (1, 2, 3, 4), np.zeros((1, 1)))
    found = _shares(masks)
    assert {sum(mask) for mask in found} == {2, 3}
    assert len(found) == 20
    for share in found.values():
        assert share == pytest.approx(1 / 20, abs=0.015)


def test_copies_are_hidden_together() -> None:
    codes = np.random.default_rng(0).integers(1, 9, 400)
    items = _table(
        item_id=list(range(1, 401)),
        kind=codes.tolist(),
        same=(10 - codes).tolist(),
        # A part of a kind is no copy of it: it tells much less.
        part=(codes // 5).tolist(),
        one=[1] * 400,
    )
    masks = FeatureMasks.of("random", items)
    assert masks.groups == ((1, 2), (3,), (4,))
    assert masks.notes() == ("kind and same say the same: views hide them together",)
    rng = np.random.default_rng(1)
    drawn = np.stack([masks.draw(rng) for _ in range(100)])
    assert (drawn[:, 1] == drawn[:, 2]).all()
    assert (drawn[:, 1] != drawn[:, 3]).any()


def test_what_names_single_items_is_free_of_the_correlation() -> None:
    rng = np.random.default_rng(0)
    code = rng.permutation(300)
    code[:20] = 0
    items = _table(
        # Few items have an id of their own; it is one still.
        item_id=[0] * 290 + list(range(1, 11)),
        code=code.tolist(),
        a=rng.integers(1, 5, 300).tolist(),
        b=rng.integers(1, 5, 300).tolist(),
    )
    masks = FeatureMasks.of("correlated", items)
    assert masks.free == (0, 1)
    assert masks.groups == ((2,), (3,))
    assert masks.notes() == ("code names single items: views hide it as they do ids",)


def test_information_is_raw_or_normalised() -> None:
    task = small_task()
    raw = FeatureMasks.of("correlated", task.items)
    scaled = FeatureMasks.of("correlated", task.items, "normalised")
    assert raw.names == ("item_id", "kind", "shade", "words")
    assert raw.information[0, 1] == pytest.approx(math.log(3))
    assert scaled.information[0, 1] == pytest.approx(2 * math.log(3) / (math.log(3) + math.log(6)))


def test_two_features_are_needed() -> None:
    with pytest.raises(ConfigError, match="1 features: item_id"):
        FeatureMasks.of("random", _table(item_id=[1, 2]))
    with pytest.raises(ConfigError, match="at least one item"):
        mutual_information(np.zeros((0, 2), np.int64))


def test_a_list_counts_as_the_set_of_its_values() -> None:
    codes = single_codes(small_task().items)
    assert codes.shape == (12, 4)
    assert len(np.unique(codes[:, 3])) == 12  # w of 3 kinds and v of 5, all pairs differ
    task = small_task()
    values, offsets = task.items.multi["words"]
    turned = np.concatenate([values[a:b][::-1] for a, b in pairwise(offsets)])
    again = replace(task.items, multi={"words": (turned, offsets)})
    assert (single_codes(again) == codes).all()
