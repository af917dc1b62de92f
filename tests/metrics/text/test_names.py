from __future__ import annotations

import pytest

from adwright.metrics.text.mentions import find_names, lexicon, scan


def names(text: str, language: str = "en") -> list[str]:
    words = lexicon(language)
    return [name for _, _, name in find_names(text, scan(text, words, {}).words, words)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("We went to see Anna in the garden", ["anna"]),
        ("We Went To See Anna In The Garden", []),
        ("Works with GoPro and HDMI", ["gopro", "hdmi"]),
        ("WORKS WITH HDMI", []),
        ("Rest well. Sleep well! Wake up: Smile", []),
        ("no capital", []),
        ("OK on TV", []),
        ("", []),
    ],
)
def test_names(text: str, found: list[str]) -> None:
    assert names(text) == found


def test_german_nouns_are_no_names() -> None:
    text = "wir sehen Anna im schönen Garten"
    assert names(text, "de") == []
    assert names(text, "en") == ["anna", "garten"]


def test_words_know_whether_they_begin_a_sentence() -> None:
    text = 'One two. "Three" four'
    words = scan('Ab cd. "Ef" gh', lexicon("en"), {}).words
    assert [word.begins('Ab cd. "Ef" gh') for word in words] == [True, False, True, False]
    assert names(text) == []
