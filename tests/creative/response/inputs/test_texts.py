"""Texts are encoded once, alike with a folder and without one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from adwright.core.errors import MissingExtraError
from adwright.creative.response.inputs.texts import EncodedTexts, encoded_texts, texts_named


class Counting:
    """Remembers what it was asked for."""

    name, width = "lengths", 2

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        return np.array([[len(text), 1 / 3] for text in texts], np.float32)


def test_equal_texts_are_encoded_once(tmp_path: Path) -> None:
    encoder, again = Counting(), Counting()
    texts = ["a", "", "bb", "a"]
    free = EncodedTexts(encoder).vectors(texts)
    kept = EncodedTexts(again, tmp_path).vectors(texts)
    np.testing.assert_array_equal(free, kept)
    assert encoder.asked == again.asked == ["a", "bb"]
    assert np.isnan(free[1]).all()
    assert free[0, 0] == 1
    EncodedTexts(again, tmp_path).vectors(texts)
    assert len(again.asked) == 2


def test_without_the_extra_n_grams_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    found = encoded_texts()
    assert found.name == encoded_texts("hashed").name
    assert texts_named(found.name).vectors(["fresh bread", ""]).shape == (2, 1024)
    with pytest.raises(MissingExtraError):
        encoded_texts("minilm")
    with pytest.raises(MissingExtraError):
        texts_named("minilm-of-another-version")
