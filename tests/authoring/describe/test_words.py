"""Words and runs of words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.describe.words import grams_of, words_of


def test_words_are_letters_and_digits_in_one_form() -> None:
    assert words_of('Dish-washer, 24" WIDE') == ("dish", "washer", "24", "wide")
    assert words_of("ﬁne ＴＥＡ Straße") == ("fine", "tea", "strasse")
    assert words_of("snake_case …") == ("snake", "case")
    assert words_of("") == ()


@given(st.text())
def test_words_are_found_again_where_they_stand_apart(text: str) -> None:
    words = words_of(text)
    assert all(words)
    assert len(words_of(" | ".join(words))) >= len(words)


@given(st.lists(st.sampled_from("abc")), st.integers(1, 4))
def test_runs_are_those_that_stand_there(words: list[str], n: int) -> None:
    grams = grams_of(words, n)
    assert all(len(gram) == n for gram in grams)
    assert len(grams) <= max(len(words) - n + 1, 0)
    text = " ".join(words)
    assert all(" ".join(gram) in text for gram in grams)
