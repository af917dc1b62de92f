from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError
from adwright.creative.memory.seed.texts.copying import CopyIndex, echo_share
from adwright.metrics.text.words import words_of

TEXTS = st.text("ab c", max_size=20)


def literal(text: str, references: list[str], n: int) -> float:
    """Word by word: is it in a run of n that stands in a reference?"""
    words = words_of(text)
    size = min(n, len(words))
    runs = [words_of(one)[at : at + size] for one in references for at in range(len(words_of(one)))]
    copied = 0
    for place in range(len(words)):
        starts = range(max(0, place - size + 1), min(place, len(words) - size) + 1)
        copied += any(words[at : at + size] in runs for at in starts)
    return copied / len(words) if words else 0.0


@given(TEXTS, st.lists(TEXTS, max_size=4), st.integers(1, 4))
def test_the_share_is_that_of_the_words_in_copied_runs(text: str, known: list[str], n: int) -> None:
    assert CopyIndex(known, n=n).share(text) == literal(text, known, n)


def test_known_slogans_are_found_within_others() -> None:
    index = CopyIndex(["Just do it, every single day"], n=4)
    assert index.share("JUST DO IT!") == 1.0
    assert index.share("Do it on Sundays") == 0.0
    assert index.share("We say do it every single time") == 4 / 7
    assert index.share("") == 0.0
    assert CopyIndex(["a b"], n=2).share("b a") == 0.0


def test_the_length_of_a_run_matters() -> None:
    known = ["fresh bread at six"]
    assert CopyIndex(known, n=2).share("fresh bread, warm tea") == 0.5
    assert CopyIndex(known, n=3).share("fresh bread, warm tea") == 0.0
    with pytest.raises(ConfigError):
        CopyIndex(known, n=0)


def test_an_echo_is_of_one_thing_that_was_told() -> None:
    assert echo_share("Fresh bread, daily", ["Mill Lane", "fresh bread daily"]) == 1.0
    assert echo_share("Something else", ["Mill Lane"]) == 0.0
    assert echo_share("Something else", []) == 0.0
