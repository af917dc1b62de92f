"""BM25 by its formula, read aloud."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.authoring.describe.bm25 import Bm25, Bm25Ranker
from adwright.core.errors import ConfigError

WORDS = st.lists(st.sampled_from(["red", "blue", "tea", "pot", "cup"]), max_size=6)


def literal(query: list[str], documents: list[list[str]], at: int, k1: float, b: float) -> float:
    mean = sum(map(len, documents)) / len(documents)
    document, total = documents[at], 0.0
    for word in query:
        holds = sum(word in one for one in documents)
        idf = math.log(1 + (len(documents) - holds + 0.5) / (holds + 0.5))
        times = document.count(word)
        norm = k1 * (1 - b + b * len(document) / mean) if mean else 1
        total += idf * times * (k1 + 1) / (times + norm) if times else 0
    return total


@settings(max_examples=60)
@given(
    st.lists(WORDS, min_size=1, max_size=6),
    WORDS,
    st.sampled_from([0.0, 0.9, 1.2, 2.0]),
    st.sampled_from([0.0, 0.4, 0.75, 1.0]),
)
def test_equals_the_formula(
    documents: list[list[str]], query: list[str], k1: float, b: float
) -> None:
    index = Bm25([" ".join(one) for one in documents], k1=k1, b=b)
    want = [literal(query, documents, at, k1, b) for at in range(len(documents))]
    np.testing.assert_allclose(index.scores(" ".join(query)), want, atol=1e-9)


def test_lists_hold_what_has_a_word_and_end_there() -> None:
    documents = [("red tea", "a tea for red pots"), ("blue pot",), ("cup",)]
    lists = Bm25Ranker().lists(documents, ["tea", "pot", "gold", "red pot"], 3)
    assert lists[0].tolist() == [0, -1, -1]
    assert lists[1].tolist() == [1, -1, -1]
    assert lists[2].tolist() == [-1, -1, -1]
    assert set(lists[3][:2]) == {0, 1}


def test_k1_and_b_change_the_order() -> None:
    documents = [("tea tea tea filler filler filler filler filler filler",), ("tea cup",)]
    assert Bm25Ranker(k1=2, b=0).lists(documents, ["tea"], 1)[0, 0] == 0
    assert Bm25Ranker(k1=2, b=1).lists(documents, ["tea"], 1)[0, 0] == 1
    once = Bm25([one for (one,) in documents], k1=0).scores("tea")
    assert once[0] == once[1]
    assert Bm25Ranker(k1=2, b=0).name == "BM25 (k1 2, b 0)"


def test_nothing_to_search_in() -> None:
    assert Bm25Ranker().lists([], ["tea"], 2).tolist() == [[-1, -1]]
    assert Bm25Ranker().lists([("",)], ["tea"], 2).tolist() == [[-1, -1]]
    assert Bm25Ranker().lists([("tea",)], [], 2).shape == (0, 2)


def test_ties_favour_nobody() -> None:
    lists = Bm25Ranker().lists([("tea",)] * 40, ["tea"] * 40, 1)
    assert len(set(lists[:, 0])) > 10


@pytest.mark.parametrize("options", [{"k1": -1.0}, {"b": 1.5}, {"b": float("nan")}])
def test_other_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Bm25Ranker(**options)
