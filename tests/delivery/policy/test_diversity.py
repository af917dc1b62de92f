"""MMR and DPP against the algorithms written out, and the similarities they rest on."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Literal

import numpy as np
import pytest

from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.delivery.decision import Candidates
from adwright.delivery.policy.pacing import (
    CategoryLimit,
    CategorySimilarity,
    Diversity,
    DiversityConfig,
    Similarity,
    VectorSimilarity,
)
from adwright.delivery.policy.rules import GreedyConfig
from adwright.delivery.policy.slate_policy import build_policy
from tests.support.delivery.policy_requests import candidates, request

NAMES = tuple("abcdefgh")


def shelf(seed: int) -> tuple[Candidates, Similarity, np.ndarray]:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(8, 4)) + 0.5
    similarity = VectorSimilarity(NAMES, vectors)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return candidates(-np.sort(rng.normal(size=8)), probability=False), similarity, unit @ unit.T


def greedy_slate(
    offered: Candidates, similarity: Similarity, method: Literal["mmr", "dpp"], weight: float
) -> tuple[str, ...]:
    variety = Diversity(DiversityConfig(method, weight), similarity)
    policy = build_policy(GreedyConfig(), adjustments=[variety])
    return policy.decide(request(k=5), offered, np.random.default_rng(0)).item_ids


def literal_mmr(score: np.ndarray, alike: np.ndarray, weight: float) -> list[int]:
    chosen: list[int] = []
    while len(chosen) < 5:
        left = [row for row in range(len(score)) if row not in chosen]
        value = {
            row: score[row] - weight * max((alike[row, above] for above in chosen), default=0)
            for row in left
        }
        chosen.append(max(left, key=value.__getitem__))
    return chosen


def literal_dpp(score: np.ndarray, alike: np.ndarray, weight: float) -> list[int]:
    chosen: list[int] = []
    while len(chosen) < 5:
        left = [row for row in range(len(score)) if row not in chosen]

        def value(row: int) -> float:
            rows = [*chosen, row]
            return float(
                score[rows].sum()
                + weight / 2 * np.log(np.linalg.det(alike[np.ix_(rows, rows)]) + 1e-300)
            )

        chosen.append(max(left, key=value))
        if len(chosen) == 4:  # four vectors span the space; determinants are 0 from here on
            break
    return chosen


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weight", [0.2, 1.0, 5.0])
def test_greedy_equals_the_algorithms_written_out(seed: int, weight: float) -> None:
    offered, similarity, alike = shelf(seed)
    found = greedy_slate(offered, similarity, "mmr", weight)
    assert found == tuple(NAMES[row] for row in literal_mmr(offered.score, alike, weight))
    found = greedy_slate(offered, similarity, "dpp", weight)
    assert found[:4] == tuple(NAMES[row] for row in literal_dpp(offered.score, alike, weight))


def test_weight_zero_changes_nothing_and_a_large_one_alternates() -> None:
    offered = candidates((0.9, 0.8, 0.7, 0.2, 0.1))
    kinds = CategorySimilarity({"a": "x", "b": "x", "c": "x", "d": "y", "e": "z"}, same=0.9)
    for method in ("mmr", "dpp"):
        assert greedy_slate(offered, kinds, method, 0.0) == tuple("abcde")
        assert greedy_slate(offered, kinds, method, 10.0) == tuple("adebc")


def test_the_greedy_dpp_slate_is_near_the_best_of_all() -> None:
    offered, similarity, alike = shelf(7)
    variety = Diversity(DiversityConfig("dpp", 1.0), similarity)
    policy = build_policy(GreedyConfig(), adjustments=[variety])
    slate = policy.decide(request(k=3), offered, np.random.default_rng(0)).item_ids

    def value(rows: tuple[int, ...]) -> float:
        block = alike[np.ix_(rows, rows)]
        return float(offered.score[list(rows)].sum() + np.linalg.slogdet(block)[1] / 2)

    best = max(value(rows) for rows in permutations(range(8), 3))
    assert value(tuple(NAMES.index(item) for item in slate)) > best - 0.5


def test_copies_of_an_item_stay_finite() -> None:
    offered = candidates((0.9, 0.8, 0.7))
    same = CategorySimilarity(dict.fromkeys("abc", "x"))
    for method in ("mmr", "dpp"):
        assert set(greedy_slate(offered, same, method, 1.0)) == set("abc")


def test_diversity_begins_anew_with_each_slate() -> None:
    offered, similarity, _ = shelf(1)
    variety = Diversity(DiversityConfig("dpp", 2.0), similarity, name="variety")
    policy = build_policy(GreedyConfig(), adjustments=[variety])
    slates = {policy.decide(request(), offered, np.random.default_rng(0)).item_ids for _ in "12"}
    assert len(slates) == 1
    decision = policy.decide(request(), offered, np.random.default_rng(0))
    assert decision.reasons[0] == "best of those left"
    assert decision.reasons[1].endswith("moved by variety")
    other = build_policy(GreedyConfig(), adjustments=[replace(variety, similarity=similarity)])
    assert other.decide(request(), offered, np.random.default_rng(0)).item_ids in slates


def test_categories() -> None:
    kinds = CategorySimilarity({"a": "x", "b": "x", "c": "y"}, same=0.5)
    assert kinds.matrix(["a", "b", "c", "z", "w"]).tolist() == [
        [1, 0.5, 0, 0, 0],
        [0.5, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 0, 1],
    ]
    with pytest.raises(ConfigError, match="between 0 and 1"):
        CategorySimilarity({}, same=1.5)


def test_cosines() -> None:
    vectors = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 0.0]], np.float32)
    cosine = VectorSimilarity(["a", "b", "zero"], vectors)
    half = np.sqrt(0.5)
    expected = [[1, half, 0, 0], [half, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert cosine.matrix(["a", "b", "zero", "unknown"]) == pytest.approx(np.array(expected))
    assert np.linalg.eigvalsh(cosine.matrix(["b", "a", "unknown"])).min() > -1e-12


def test_errors() -> None:
    with pytest.raises(ConfigError, match="weight must be 0 or above"):
        DiversityConfig(weight=-1)
    with pytest.raises(DataError, match=r"expected 2 vectors and found shape \(3, 2\)"):
        VectorSimilarity(["a", "b"], np.ones((3, 2)))
    with pytest.raises(ValueInvalidError, match="row 1, column vectors"):
        VectorSimilarity(["a", "b"], np.array([[1.0, 2.0], [np.nan, 1.0]]))


def test_a_category_fills_so_many_places_and_no_more() -> None:
    category = {"a": "x", "b": "x", "d": "x"}
    for most, slate in ((1, ("a", "c")), (2, ("a", "b", "c")), (3, ("a", "b", "c", "d"))):
        policy = build_policy(GreedyConfig(), adjustments=[CategoryLimit(most, category)])
        decision = policy.decide(request(k=4), candidates(), np.random.default_rng(0))
        assert decision.item_ids == slate
        assert decision.propensity.tolist() == [1.0] * len(slate)
