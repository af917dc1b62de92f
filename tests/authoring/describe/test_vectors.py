"""Search by vectors: the nearest passage decides, and each text is encoded once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from adwright.authoring.describe.vectors import VectorRanker
from adwright.core.errors import DataError


class Letters:
    """Vectors of how often each of four letters stands in a text."""

    name = "letters"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str], /) -> npt.NDArray[np.float32]:
        self.asked += texts
        counts = np.array([[one.count(c) + 0.01 for c in "abcd"] for one in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def test_the_nearest_passage_decides() -> None:
    ranker = VectorRanker(Letters())
    documents = [("aaab",), ("cccc", "aaaa"), ("dddd",)]
    lists = ranker.lists(documents, ["aa", "d"], 3)
    assert lists[0].tolist() == [1, 0, 2]
    assert lists[1, 0] == 2
    assert ranker.name == "vectors (letters)"


def test_equals_going_through_all_passages() -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcd"), 5)) for _ in range(60)]
    documents = [tuple(texts[at : at + 1 + at % 3]) for at in range(0, 57, 3)]
    queries = texts[40:50]
    lists = VectorRanker(Letters()).lists(documents, queries, 1)
    encode = Letters().encode
    for query, listed in zip(queries, lists[:, 0], strict=True):
        best = [float((encode(one) @ encode([query])[0]).max()) for one in documents]
        assert best[listed] == pytest.approx(max(best), abs=1e-6)


def test_a_text_is_encoded_once() -> None:
    encoder = Letters()
    ranker = VectorRanker(encoder)
    ranker.lists([("ab", "ab"), ("cd",)], ["ab"], 2)
    ranker.lists([("ab",), ("cd", "dd")], ["ab"], 2)
    assert sorted(encoder.asked) == ["ab", "cd", "dd"]


def test_ends_and_mistakes() -> None:
    ranker = VectorRanker(Letters())
    assert ranker.lists([("a",)], ["a"], 2).tolist() == [[0, -1]]
    assert ranker.lists([], ["a"], 2).tolist() == [[-1, -1]]
    assert ranker.lists([("a",)], [], 2).shape == (0, 2)
    with pytest.raises(DataError, match="no passage"):
        ranker.lists([("a",), ()], ["a"], 1)
