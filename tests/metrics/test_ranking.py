"""Ranking measures against scikit-learn and against literal lists."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics import ranking as r


def literal(order: list[int], k: int) -> dict[str, float]:
    """Every measure of one list of labels in ranked order."""
    positives, top = sum(order), order[:k]
    hits = [place for place, label in enumerate(top, 1) if label]
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(k, positives) + 1))
    return {
        "hit_rate": float(bool(hits)),
        "recall": len(hits) / positives,
        "ndcg": sum(1 / math.log2(place + 1) for place in hits) / ideal,
        "map": sum(sum(order[:place]) / place for place in hits) / min(k, positives),
        "mrr": 1 / hits[0] if hits else 0.0,
    }


lists = st.lists(
    st.lists(st.integers(0, 1), min_size=1, max_size=12).filter(any), min_size=1, max_size=6
)


@given(lists, st.integers(1, 15))
def test_every_measure_equals_its_literal_form(data: list[list[int]], k: int) -> None:
    offsets = np.cumsum([0, *map(len, data)])
    scores = np.concatenate([-np.arange(len(user)) for user in data])
    ranks = r.ranks_from_ragged(scores, np.concatenate(data), offsets)
    expected = [literal(user, k) for user in data]
    found = {
        "hit_rate": r.hit_rate_per_user(ranks, k),
        "recall": r.recall_per_user(ranks, k),
        "ndcg": r.ndcg_per_user(ranks, k),
        "map": r.average_precision_per_user(ranks, k),
        "mrr": r.reciprocal_rank_per_user(ranks, k),
    }
    for name, values in found.items():
        assert values == pytest.approx([one[name] for one in expected], abs=1e-12), name
    means = {
        "hit_rate": r.hit_rate(ranks, k),
        "recall": r.recall(ranks, k),
        "ndcg": r.ndcg(ranks, k),
        "map": r.mean_average_precision(ranks, k),
        "mrr": r.mean_reciprocal_rank(ranks, k),
    }
    for name, mean in means.items():
        assert mean == pytest.approx(np.mean(found[name]), abs=1e-12), name


@pytest.mark.parametrize("k", [1, 5, 40, 100])
def test_ndcg_and_average_precision_equal_scikit_learn(k: int) -> None:
    rng = np.random.default_rng(k)
    scores = rng.random((25, 40))
    labels = rng.random((25, 40)) < 0.15
    labels[:, 0] = True
    ranks = r.ranks_from_ragged(scores.ravel(), labels.ravel(), np.arange(26) * 40)
    # Through arrays of int, which every version of scikit-learn accepts.
    truth = labels.astype(int)
    assert r.ndcg(ranks, k) == pytest.approx(sk.ndcg_score(truth, scores, k=k), abs=1e-12)
    expected = [sk.average_precision_score(y, s) for y, s in zip(truth, scores, strict=True)]
    assert r.average_precision_per_user(ranks) == pytest.approx(expected, abs=1e-12)
    assert r.mean_average_precision(ranks) == pytest.approx(np.mean(expected), abs=1e-12)


def test_one_positive_makes_recall_the_hit_rate_and_map_the_reciprocal_rank() -> None:
    rng = np.random.default_rng(0)
    ranks = r.ranks_of_positives(rng.random((50, 20)), rng.integers(0, 20, 50))
    assert r.recall(ranks, 5) == r.hit_rate(ranks, 5)
    assert r.mean_average_precision(ranks) == pytest.approx(r.mean_reciprocal_rank(ranks))
    assert r.hit_rate(ranks, 20) == 1


def test_measures_do_not_fall_with_k() -> None:
    rng = np.random.default_rng(1)
    ranks = r.ranks_of_positives(rng.random((50, 20)), rng.integers(0, 20, 50))
    for measure in (r.hit_rate, r.recall, r.ndcg, r.mean_reciprocal_rank):
        values = [measure(ranks, k) for k in range(1, 21)]
        assert (np.diff(values) >= 0).all()
        assert values[0] < values[-1]


def test_users_without_a_positive_are_nan_and_left_out_of_the_mean() -> None:
    ranks = r.ranks_from_ragged([3, 2, 1, 5], [0, 1, 0, 0], [0, 3, 3, 4])
    for values in (
        r.hit_rate_per_user(ranks, 2),
        r.recall_per_user(ranks, 2),
        r.ndcg_per_user(ranks, 2),
        r.average_precision_per_user(ranks, 2),
        r.reciprocal_rank_per_user(ranks),
    ):
        assert np.isnan(values).tolist() == [False, True, True]
    assert r.mean_reciprocal_rank(ranks) == 0.5
    nobody = r.ranks_from_ragged([1, 2], [0, 0], [0, 2])
    with pytest.raises(DataError, match="no user has a positive"):
        r.ndcg(nobody, 10)


def test_pessimistic_is_never_above_the_other_rules() -> None:
    rng = np.random.default_rng(2)
    scores = rng.integers(0, 4, (200, 30)).astype(float)
    positive = rng.integers(0, 30, 200)
    hashed, mean, worst = (
        r.hit_rate(r.ranks_of_positives(scores, positive, tie=tie), 10)
        for tie in ("hash", "mean", "pessimistic")
    )
    assert worst < min(hashed, mean)


def test_coverage_counts_distinct_items() -> None:
    assert r.coverage([[0, 1], [1, -1]], items=4) == 0.5
    top = r.top_items(np.eye(5), 1)
    assert r.coverage(top, items=5) == 1
    assert r.coverage(np.zeros((0, 3), int), items=5) == 0
    with pytest.raises(ValueInvalidError, match=r"outside the catalogue.*value 7"):
        r.coverage([[7]], items=5)
    with pytest.raises(ValueInvalidError, match="items must be"):
        r.coverage([[0]], items=0)


@pytest.mark.parametrize("k", [0, -3])
def test_k_must_be_positive(k: int) -> None:
    ranks = r.ranks_of_positives(np.eye(2), [0, 1])
    for measure in (
        r.hit_rate,
        r.recall,
        r.ndcg,
        r.mean_average_precision,
        r.mean_reciprocal_rank,
    ):
        with pytest.raises(ValueInvalidError, match="k must be a whole number"):
            measure(ranks, k)
