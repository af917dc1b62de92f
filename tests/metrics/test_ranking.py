"""Ranking measures against scikit-learn and against literal lists."""

from __future__ import annotations

import math
from itertools import pairwise, permutations

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
    Tie,
    graded_ndcg_per_query,
    grades_of_lists,
    ndcg_per_user,
    ranks_from_ragged,
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


TIES: tuple[Tie, ...] = ("hash", "mean", "pessimistic")


def literal_ranks(
    scores: np.ndarray, labels: np.ndarray, tie: Tie, positions: np.ndarray
) -> list[float]:
    """Ranks of the positives of one user by sorting, or by trying every order of the ties."""
    if tie == "mean":
        # The expected n-th best place over all orders of the candidates: feasible for a few.
        found = []
        for order in permutations(range(len(scores))):
            by_score = sorted(order, key=lambda i: -scores[i])  # stable: ties stay in `order`
            found.append([place + 1 for place, i in enumerate(by_score) if labels[i]])
        return np.mean(found, axis=0).tolist() if labels.any() else []
    mixed = hash_order(positions)
    second = labels if tie == "pessimistic" else mixed
    by_score = sorted(range(len(scores)), key=lambda i: (-scores[i], second[i]))
    return [place + 1.0 for place, i in enumerate(by_score) if labels[i]]


def flat(user_of: list[list[float]]) -> list[float]:
    return [rank for user in user_of for rank in user]


users = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=0, max_size=5),
    min_size=1,
    max_size=4,
)


@given(users, st.sampled_from(TIES), st.sampled_from([np.float32, np.float64]))
def test_ragged_ranks_equal_the_literal_sort(
    data: list[list[tuple[int, bool]]], tie: Tie, dtype: type
) -> None:
    offsets = np.cumsum([0, *map(len, data)])
    scores = np.array([s for user in data for s, _ in user], dtype) + dtype(0.1)
    labels = np.array([y for user in data for _, y in user], bool)
    ranks = ranks_from_ragged(scores, labels, offsets, tie=tie)
    parts = [slice(a, b) for a, b in pairwise(offsets)]
    expected = [
        literal_ranks(scores[part], labels[part], tie, np.arange(part.start, part.stop))
        for part in parts
    ]
    assert ranks.ranks == pytest.approx(flat(expected))
    assert np.diff(ranks.offsets).tolist() == [len(user) for user in expected]
    assert ranks.users == len(data)


@pytest.mark.parametrize("tie", TIES)
@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_dense_and_ragged_forms_agree(tie: Tie, levels: int) -> None:
    rng = np.random.default_rng(levels)
    shape = (40, 30)
    scores = rng.integers(0, levels, shape) / levels
    labels = rng.random(shape) < 0.1
    rows, columns = np.nonzero(labels)
    offsets = np.searchsorted(rows, np.arange(shape[0] + 1))
    dense = ranks_of_positives(scores, columns, offsets=offsets, tie=tie, seed=3)
    ragged = ranks_from_ragged(
        scores.ravel(), labels.ravel(), np.arange(shape[0] + 1) * shape[1], tie=tie, seed=3
    )
    assert dense.ranks.tolist() == ragged.ranks.tolist()
    assert dense.offsets.tolist() == ragged.offsets.tolist()
    assert dense.tied.tolist() == ragged.tied.tolist()


def test_one_positive_a_user_by_hand() -> None:
    scores = np.array([[0.9, 0.5, 0.5, 0.1], [0.5, 0.5, 0.5, 0.5], [0.1, 0.2, 0.3, 0.4]])
    positive = [1, 2, 3]
    mean = ranks_of_positives(scores, positive, tie="mean")
    worst = ranks_of_positives(scores, positive, tie="pessimistic")
    hashed = ranks_of_positives(scores, positive)
    assert mean.ranks.tolist() == [2.5, 2.5, 1.0]
    assert worst.ranks.tolist() == [3.0, 4.0, 1.0]
    assert hashed.ranks[0] in (2, 3)
    assert hashed.ranks[1] in (1, 2, 3, 4)
    assert hashed.ranks[2] == 1
    assert mean.tied.tolist() == [True, True, False]
    assert mean.tie_share == pytest.approx(2 / 3)


def test_a_constant_score_earns_chance_and_not_more() -> None:
    users, items = 4000, 50
    scores = np.zeros((users, items), np.float32)
    positive = np.zeros(users, int)  # a sort by item number would rank all of them first
    hashed = ranks_of_positives(scores, positive)
    assert hashed.tie_share == 1
    assert (hashed.ranks <= 10).mean() == pytest.approx(0.2, abs=0.02)
    assert hashed.ranks.mean() == pytest.approx((items + 1) / 2, rel=0.03)
    assert ranks_of_positives(scores, positive, tie="mean").ranks.tolist() == [25.5] * users


def test_the_seed_moves_ties_only() -> None:
    scores = np.array([[1, 1, 1, 1, 1, 1, 1, 0.0]] * 20)
    first = ranks_of_positives(scores, [3] * 20)
    assert first.ranks.tolist() == ranks_of_positives(scores, [3] * 20).ranks.tolist()
    assert first.ranks.tolist() != ranks_of_positives(scores, [3] * 20, seed=1).ranks.tolist()
    distinct = np.random.default_rng(0).random((20, 8))
    a, b = (ranks_of_positives(distinct, [3] * 20, seed=seed) for seed in (0, 1))
    assert a.ranks.tolist() == b.ranks.tolist()


@pytest.mark.parametrize("tie", TIES)
def test_seen_items_do_not_compete(tie: Tie) -> None:
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 6, (30, 20)).astype(float)
    seen = rng.random((30, 20)) < 0.4
    positive = rng.integers(0, 20, 30)
    seen[np.arange(30), positive] = False
    masked = ranks_of_positives(scores, positive, seen=seen, tie=tie)
    sunk = ranks_of_positives(np.where(seen, -1, scores), positive, tie=tie)
    assert masked.ranks.tolist() == sunk.ranks.tolist()
    plain = ranks_of_positives(scores, positive, tie=tie)
    assert (masked.ranks <= plain.ranks).all() or tie == "hash"
    assert masked.ranks.tolist() != plain.ranks.tolist()


def test_infinite_and_integer_scores_rank() -> None:
    scores = np.array([[-np.inf, np.inf, 0, -np.inf]])
    assert ranks_of_positives(scores, [0], tie="pessimistic").ranks.tolist() == [4]
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
    assert ranks_from_ragged([], [], [0, 0, 0]).users == 2


def test_wrong_inputs_name_the_user() -> None:
    scores = np.array([[0.1, 0.2], [0.3, np.nan]])
    with pytest.raises(ValueInvalidError, match=r"NaN.*row 1"):
        ranks_of_positives(scores, [0, 0])
    good = np.array([[0.1, 0.2], [0.3, 0.4]])
    with pytest.raises(ValueInvalidError, match=r"none of the 2 candidates.*row 1.*value 2"):
        ranks_of_positives(good, [0, 2])
    with pytest.raises(ValueInvalidError, match=r"marked as seen.*row 1"):
        ranks_of_positives(good, [0, 1], seen=np.array([[False, False], [False, True]]))
    with pytest.raises(ValueInvalidError, match=r"given twice.*row 1"):
        ranks_of_positives(good, [0, 1, 1], offsets=[0, 1, 3])
    with pytest.raises(SchemaError, match="whole numbers"):
        ranks_of_positives(good, [0.0, 1.0])
    with pytest.raises(SchemaError, match="booleans of shape"):
        ranks_of_positives(good, [0, 1], seen=np.zeros((2, 2)))
    with pytest.raises(DataError, match="found shape"):
        ranks_of_positives(good[0], [0])
    with pytest.raises(DataError, match="offsets"):
        ranks_of_positives(good, [0, 1, 1])
    with pytest.raises(ValueInvalidError, match="use hash, mean or pessimistic"):
        ranks_of_positives(good, [0, 1], tie="lucky")  # type: ignore[arg-type]
    with pytest.raises(ValueInvalidError, match=r"NaN.*row 1"):
        ranks_from_ragged([0.1, np.nan], [0, 1], [0, 2])


def test_ranks_record_their_rule() -> None:
    ranks = ranks_of_positives(np.eye(2), [0, 1], tie="mean")
    assert isinstance(ranks, Ranks)
    assert ranks.tie == "mean"


@given(
    st.lists(st.lists(st.integers(-3, 3), min_size=4, max_size=4), min_size=1, max_size=5),
    st.sampled_from(TIES),
    st.integers(0, 3),
)
def test_rising_transforms_change_no_rank(rows: list[list[int]], tie: Tie, column: int) -> None:
    scores = np.array(rows, np.float64)
    positive = np.full(len(rows), column)
    found = ranks_of_positives(scores, positive, tie=tie)
    moved = ranks_of_positives(np.exp(scores) - 100, positive, tie=tie)
    assert moved.ranks.tolist() == found.ranks.tolist()
    assert moved.tied.tolist() == found.tied.tolist()
    assert ((found.ranks >= 1) & (found.ranks <= 4)).all()


@given(st.permutations(range(5)), st.sampled_from(("mean", "pessimistic")))
def test_where_a_candidate_stands_in_the_matrix_does_not_matter(order: list[int], tie: Tie) -> None:
    scores = np.array([[3.0, 1.0, 3.0, 0.0, 3.0], [0.0, 2.0, 1.0, 2.0, 5.0]])
    where = np.argsort(order)
    for column in range(5):
        plain = ranks_of_positives(scores, np.full(2, column), tie=tie)
        turned = ranks_of_positives(scores[:, order], np.full(2, where[column]), tie=tie)
        assert turned.ranks.tolist() == plain.ranks.tolist()


@pytest.mark.parametrize("tie", TIES)
def test_all_candidates_as_positives_fill_all_ranks(tie: Tie) -> None:
    scores = np.random.default_rng(1).integers(0, 3, (4, 6))
    columns = np.tile(np.arange(6), 4)
    found = ranks_of_positives(scores, columns, tie=tie, offsets=np.arange(5) * 6)
    for user in range(4):
        mine = found.ranks[found.offsets[user] : found.offsets[user + 1]]
        assert mine.tolist() == pytest.approx([1, 2, 3, 4, 5, 6])


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
