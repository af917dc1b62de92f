"""Ranking measures against scikit-learn and against literal lists."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from adwright.core.errors import ConfigError, DataError, SchemaError, ValueInvalidError
from adwright.metrics import ranking as r
from adwright.metrics.arrays import hash_order
from adwright.metrics.ranking import (
    Ranks,
    graded_ndcg_per_query,
    grades_of_lists,
    ndcg_per_user,
    ranks_of_positives,
    top_items,
)


def literal(order: list[int], k: int) -> dict[str, float]:
    """Every measure of one list of labels in ranked order."""
    positives, top = sum(order), order[:k]
    hits = [place for place, label in enumerate(top, 1) if label]
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(k, positives) + 1))
    return {
        "hit_rate": float(bool(hits)),
        "recall": len(hits) / positives,
        "ndcg": sum(1 / math.log2(place + 1) for place in hits) / ideal,
    }


lists = st.lists(
    st.lists(st.integers(0, 1), min_size=1, max_size=12).filter(any), min_size=1, max_size=6
)


def ranks_of_lists(data: list[list[int]]) -> Ranks:
    """Ranks of the positives of lists of labels in ranked order, none of them tied."""
    offsets = np.cumsum([0, *(sum(user) for user in data)])
    ranks = [place for user in data for place, label in enumerate(user, 1) if label]
    return Ranks(np.array(ranks, float), offsets, np.zeros(len(ranks), bool))


@given(lists, st.integers(1, 15))
def test_every_measure_equals_its_literal_form(data: list[list[int]], k: int) -> None:
    ranks = ranks_of_lists(data)
    expected = [literal(user, k) for user in data]
    found = {
        "hit_rate": (r.hit_rate_per_user(ranks, k), r.hit_rate(ranks, k)),
        "recall": (r.recall_per_user(ranks, k), r.recall(ranks, k)),
        "ndcg": (r.ndcg_per_user(ranks, k), r.ndcg(ranks, k)),
    }
    for name, (values, mean) in found.items():
        assert values == pytest.approx([one[name] for one in expected], abs=1e-12), name
        assert mean == pytest.approx(np.mean(values), abs=1e-12), name


@pytest.mark.parametrize("k", [1, 5, 40, 100])
def test_ndcg_equals_scikit_learn(k: int) -> None:
    rng = np.random.default_rng(k)
    scores = rng.random((25, 40))
    labels = (rng.random((25, 40)) < 0.15).astype(int)
    labels[:, 0] = 1
    ordered = np.take_along_axis(labels, np.argsort(-scores, 1), 1)
    found = r.ndcg(ranks_of_lists(ordered.tolist()), k)
    assert found == pytest.approx(sk.ndcg_score(labels, scores, k=k), abs=1e-12)


def test_users_without_a_positive_are_nan_and_left_out_of_the_mean() -> None:
    ranks = ranks_of_lists([[0, 1, 0], [], [0]])
    for measure in (r.hit_rate_per_user, r.recall_per_user, r.ndcg_per_user):
        assert np.isnan(measure(ranks, 2)).tolist() == [False, True, True]
    assert r.recall(ranks, 2) == 1
    with pytest.raises(DataError, match="no user has a positive"):
        r.ndcg(ranks_of_lists([[0, 0]]), 10)


@pytest.mark.parametrize("k", [0, -3])
def test_k_must_be_positive(k: int) -> None:
    ranks = r.ranks_of_positives(np.eye(2), [0, 1])
    for measure in (r.hit_rate, r.recall, r.ndcg):
        with pytest.raises(ValueInvalidError, match="k must be a whole number"):
            measure(ranks, k)


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=1, max_size=4),
    st.integers(0, 4),
    st.sampled_from([np.float32, np.float64]),
)
def test_ranks_equal_the_literal_sort(data: list[list[int]], column: int, dtype: type) -> None:
    scores = np.array(data, dtype) + dtype(0.1)
    ranks = ranks_of_positives(scores, np.full(len(data), column), seed=3)
    for user, row in enumerate(scores):
        mixed = hash_order(user * 5 + np.arange(5), seed=3)
        place = sorted(range(5), key=lambda i: (-row[i], mixed[i])).index(column)
        assert ranks.ranks[user] == place + 1
        assert ranks.tied[user] == ((row == row[column]).sum() > 1)
    assert ranks.offsets.tolist() == list(range(len(data) + 1))


def test_a_constant_score_earns_chance_and_not_more() -> None:
    users, items = 4000, 50
    scores = np.zeros((users, items), np.float32)
    positive = np.zeros(users, int)  # a sort by item number would rank all of them first
    hashed = ranks_of_positives(scores, positive)
    assert hashed.tie_share == 1
    assert (hashed.ranks <= 10).mean() == pytest.approx(0.2, abs=0.02)
    assert hashed.ranks.mean() == pytest.approx((items + 1) / 2, rel=0.03)


def test_the_seed_moves_ties_only() -> None:
    scores = np.array([[1, 1, 1, 1, 1, 1, 1, 0.0]] * 20)
    first = ranks_of_positives(scores, [3] * 20)
    assert first.ranks.tolist() == ranks_of_positives(scores, [3] * 20).ranks.tolist()
    assert first.ranks.tolist() != ranks_of_positives(scores, [3] * 20, seed=1).ranks.tolist()
    distinct = np.random.default_rng(0).random((20, 8))
    a, b = (ranks_of_positives(distinct, [3] * 20, seed=seed) for seed in (0, 1))
    assert a.ranks.tolist() == b.ranks.tolist()


def test_seen_items_do_not_compete() -> None:
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 6, (30, 20)).astype(float)
    seen = rng.random((30, 20)) < 0.4
    positive = rng.integers(0, 20, 30)
    seen[np.arange(30), positive] = False
    masked = ranks_of_positives(scores, positive, seen=seen)
    sunk = ranks_of_positives(np.where(seen, -1, scores), positive)
    assert masked.ranks.tolist() == sunk.ranks.tolist()
    plain = ranks_of_positives(scores, positive)
    assert (masked.ranks <= plain.ranks).all()
    assert masked.ranks.tolist() != plain.ranks.tolist()


def test_infinite_and_integer_scores_rank() -> None:
    scores = np.array([[-np.inf, np.inf, 0, -1]])
    assert ranks_of_positives(scores, [0]).ranks.tolist() == [4]
    whole = np.array([[3, 200, 100]], np.uint8)
    assert ranks_of_positives(whole, [1]).ranks.tolist() == [1]


def test_large_inputs_are_cut_into_chunks_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    scores, positive = rng.integers(0, 9, (50, 12)), rng.integers(0, 12, 50)
    whole = ranks_of_positives(scores, positive)
    best = top_items(scores, 4)
    monkeypatch.setattr("adwright.metrics.ranking._CHUNK_CELLS", 36)
    assert ranks_of_positives(scores, positive).ranks.tolist() == whole.ranks.tolist()
    assert top_items(scores, 4).tolist() == best.tolist()


@pytest.mark.parametrize("levels", [2, 5, 1000])
@pytest.mark.parametrize("k", [1, 3, 12, 40])
def test_top_items_list_whom_the_hash_ranks_within_k(levels: int, k: int) -> None:
    rng = np.random.default_rng(levels)
    scores = rng.integers(0, levels, (15, 12)) / levels
    top = top_items(scores, k, seed=2)
    for column in range(12):
        ranks = ranks_of_positives(scores, np.full(15, column), seed=2).ranks.astype(int)
        for user in range(15):
            place = np.flatnonzero(top[user] == column)
            assert place.tolist() == ([ranks[user] - 1] if ranks[user] <= k else [])


def test_top_items_leave_seen_items_out_and_fill_up_with_minus_one() -> None:
    scores = np.array([[0.4, 0.3, 0.2, 0.1], [-np.inf, 1.0, -np.inf, -np.inf]])
    seen = np.array([[True, False, True, False], [False, True, True, False]])
    assert top_items(scores, 3, seen=seen)[0].tolist() == [1, 3, -1]
    assert sorted(top_items(scores, 3, seen=seen)[1].tolist()) == [-1, 0, 3]


def test_nobody_and_nothing_are_allowed() -> None:
    empty = ranks_of_positives(np.zeros((0, 3)), np.zeros(0, int))
    assert (empty.users, len(empty.ranks)) == (0, 0)
    assert np.isnan(empty.tie_share)


def test_wrong_inputs_name_the_user() -> None:
    scores = np.array([[0.1, 0.2], [0.3, np.nan]])
    with pytest.raises(ValueInvalidError, match=r"NaN.*row 1"):
        ranks_of_positives(scores, [0, 0])
    good = np.array([[0.1, 0.2], [0.3, 0.4]])
    with pytest.raises(ValueInvalidError, match=r"none of the 2 candidates.*row 1.*value 2"):
        ranks_of_positives(good, [0, 2])
    with pytest.raises(ValueInvalidError, match=r"marked as seen.*row 1"):
        ranks_of_positives(good, [0, 1], seen=np.array([[False, False], [False, True]]))
    with pytest.raises(SchemaError, match="whole numbers"):
        ranks_of_positives(good, [0.0, 1.0])
    with pytest.raises(SchemaError, match="booleans of shape"):
        ranks_of_positives(good, [0, 1], seen=np.zeros((2, 2)))
    with pytest.raises(DataError, match="found shape"):
        ranks_of_positives(good[0], [0])
    with pytest.raises(DataError, match="positive"):
        ranks_of_positives(good, [0, 1, 1])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def literal_graded(listed: list[int], judged: dict[int, float], k: int, *, linear: bool) -> float:
    """The formula, read aloud."""

    def dcg(grades: list[float]) -> float:
        total = 0.0
        for rank, grade in enumerate(grades[:k], start=1):
            total += (grade if linear else 2**grade - 1) / math.log2(rank + 1)
        return total

    best = dcg(sorted(judged.values(), reverse=True))
    found = dcg([judged.get(item, 0.0) if item >= 0 else 0.0 for item in listed])
    return found / best if best else math.nan


@given(st.data())
def test_equals_the_literal_formula(data: st.DataObject) -> None:
    k = data.draw(st.integers(1, 6))
    grades = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0])
    queries = data.draw(st.lists(st.dictionaries(st.integers(0, 9), grades), min_size=1))
    lists = [data.draw(st.permutations(range(10)))[:7] for _ in queries]
    ends = data.draw(st.integers(0, 7))
    lists = [[*one[:ends], *[-1] * (7 - ends)] for one in lists]
    offsets = np.cumsum([0, *map(len, queries)])
    items = [item for one in queries for item in one]
    found = [grade for one in queries for grade in one.values()]
    for gain in ("linear", "exponential"):
        got = graded_ndcg_per_query(lists, offsets, items, found, k=k, gain=gain)
        want = [
            literal_graded(one, judged, k, linear=gain == "linear")
            for one, judged in zip(lists, queries, strict=True)
        ]
        np.testing.assert_allclose(got, want, atol=1e-12)


def test_with_grades_of_one_it_is_the_binary_measure(rng: np.random.Generator) -> None:
    scores = rng.normal(size=(20, 30))
    positive = rng.integers(0, 30, 20)
    lists = np.argsort(-scores, axis=1)[:, :10]
    got = graded_ndcg_per_query(lists, np.arange(21), positive, np.ones(20))
    ranks = ranks_of_positives(scores, positive)
    np.testing.assert_allclose(got, ndcg_per_user(ranks, 10))


def test_the_gain_and_k_change_the_measure() -> None:
    case = ([[1, 0, 2]], [0, 2], [0, 1], [3, 1])
    linear = graded_ndcg_per_query(*case, gain="linear")
    assert linear[0] > graded_ndcg_per_query(*case, gain="exponential")[0]
    assert graded_ndcg_per_query(*case, k=1)[0] < graded_ndcg_per_query(*case, k=2)[0]


def test_grades_of_what_is_listed() -> None:
    found = grades_of_lists([[4, -1, 2], [0, 1, 2]], [0, 2, 3], [2, 4, 2], [1, 3, 2])
    assert found.tolist() == [[3, 0, 1], [0, 0, 2]]
    assert grades_of_lists([[1, 2]], [0, 0], [], []).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("lists", "items", "grades", "words"),
    [
        ([[1, 1]], [0], [1], "twice"),
        ([[1, 2]], [0], [-1], "outside 0 to 30"),
        ([[1, 2]], [0], [np.nan], "outside 0 to 30"),
        ([[1, 2]], [-3], [1], "below 0"),
        ([[0.5, 2]], [0], [1], "whole numbers"),
        ([1, 2], [0], [1], "whole numbers"),
    ],
)
def test_broken_judgements_are_refused(
    lists: list[object], items: list[int], grades: list[float], words: str
) -> None:
    with pytest.raises(ValueInvalidError, match=words):
        graded_ndcg_per_query(lists, [0, 1], items, grades)


def test_two_judgements_of_one_item_are_refused() -> None:
    with pytest.raises(ValueInvalidError, match="two judgements"):
        graded_ndcg_per_query([[1, 2]], [0, 2], [5, 5], [1, 2])
    with pytest.raises(ConfigError, match="gain"):
        graded_ndcg_per_query([[1, 2]], [0, 1], [5], [1], gain="square")  # type: ignore[arg-type]
    with pytest.raises(DataError):
        graded_ndcg_per_query([[1, 2], [1, 2]], [0, 1], [5], [1])
