from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import DataError
from adwright.metrics.text.words import ngrams, require_texts, words_of
from benchmarks.common.text_measures import require_pairs


def test_words_of_several_scripts() -> None:
    assert words_of("Grey T-shirt, 2.5_m") == ["grey", "t", "shirt", "2", "5", "m"]
    assert words_of("Größe für Mädchen") == ["größe", "für", "mädchen"]
    assert words_of("हिन्दी कपड़े") == ["हिन्दी", "कपड़े"]
    assert words_of("e\u0301te\u0301") == ["e\u0301te\u0301"]
    assert words_of("中文字") == ["中", "文", "字"]
    assert words_of("") == words_of(" ... ") == []


@given(st.text())
def test_words_are_cut_the_same_when_cut_again(text: str) -> None:
    words = words_of(text)
    assert words_of(" ".join(words)) == words


def test_ngrams() -> None:
    assert ngrams("abc", 2) == [("a", "b"), ("b", "c")]
    assert ngrams("a", 2) == []


def test_what_is_no_text_is_named() -> None:
    with pytest.raises(DataError, match="not one"):
        require_texts("one", "texts")
    with pytest.raises(DataError, match="row 1, column texts"):
        require_texts(["a", None], "texts")  # type: ignore[list-item]
    with pytest.raises(DataError, match="1 outputs and 2 references"):
        require_pairs(["a"], ["a", "b"])
