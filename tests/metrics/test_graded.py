"""Graded gain: by the formula, with what was not judged, and on broken judgements."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.metrics.ranking import (
    graded_ndcg_per_query,
    grades_of_lists,
    ndcg_per_user,
    ranks_of_positives,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def literal(listed: list[int], judged: dict[int, float], k: int, *, linear: bool) -> float:
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
            literal(one, judged, k, linear=gain == "linear")
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
