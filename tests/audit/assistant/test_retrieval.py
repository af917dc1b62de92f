from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from adwright.audit.assistant.retrieval import (
    RecommenderRetrieval,
    VectorRetrieval,
    WordRetrieval,
    document,
)
from adwright.audit.catalogue.listing import ShopListing
from adwright.audit.targets.recommending import RecommenderTarget
from adwright.core.errors import ConfigError
from adwright.delivery.decision import Candidates, Request
from tests.support.audit.shops import kettles

SHOP = kettles().listings


def test_a_document_holds_name_facts_and_texts() -> None:
    one = ShopListing("Kettle", {"Price": 3, "Stock": None}, {"Text": "Boils.", "More": ""})
    assert document(one) == "Kettle. Price: 3. Boils."


def test_words_find_by_words_and_fill_up_in_order() -> None:
    words = WordRetrieval()
    assert words.retrieve(SHOP, "a samovar", 3) == (5, 0, 1)
    assert words.retrieve(SHOP, "glass", 2) == (1, 2)
    assert words.retrieve(SHOP, "nothing of this", 99) == (0, 1, 2, 3, 4, 5)
    loud = (*SHOP[:5], SHOP[5].with_text("Ideal For", "glass " * 9))
    assert words.retrieve(loud, "glass", 1) == (5,)


def test_vectors_find_by_cosine_and_are_remembered() -> None:
    asked: list[list[str]] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        asked.append(list(texts))
        rows = np.array([[text.count("Glass"), 1.0] for text in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    found = VectorRetrieval(encode, name="glassiness")
    assert found.retrieve(SHOP, "Glass Glass", 2) == (1, 2)
    assert found.retrieve(SHOP, "steel", 2) == (0, 3)
    assert [len(one) for one in asked] == [6, 1, 1]
    assert found.name == "glassiness"


def test_a_recommender_finds_whatever_the_texts_say() -> None:
    class Last:
        def recommend(self, request: Request) -> Candidates:
            ids = tuple(reversed(request.candidates or ()))
            return Candidates(ids, np.zeros(len(ids)), False, "fine")

    found = RecommenderRetrieval(RecommenderTarget(Last(), name="last"))
    assert found.retrieve(SHOP, "glass", 2) == (5, 4)
    assert found.name == "last"


def test_at_least_one_is_found() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        WordRetrieval().retrieve(SHOP, "glass", 0)
    with pytest.raises(ConfigError, match="at least 1"):
        VectorRetrieval(lambda texts: np.zeros((len(texts), 1), np.float32)).retrieve(SHOP, "x", 0)
