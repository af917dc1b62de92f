from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.creative.memory.text_numbers import (
    FACTS,
    SURPRISALS,
    TEXT_NUMBERS,
    ad_facts,
    surprisal_numbers,
    text_numbers,
)
from adwright.creative.records.verbal.record import AdRecord, Scene


def named(names: tuple[str, ...], values: np.ndarray) -> dict[str, float]:
    return dict(zip(names, values.tolist(), strict=True))


@given(st.text())
def test_any_text_has_finite_numbers(text: str) -> None:
    assert np.isfinite(text_numbers(text)).all()


def test_numbers_of_a_text_are_what_they_are_named() -> None:
    found = named(TEXT_NUMBERS, text_numbers("Don't Stop, 2 go!"))
    assert found["characters"] == 17
    assert found["words"] == 4
    assert found["longest_word"] == 5
    assert found["commas"] == found["exclamations"] == found["digits"] == 1
    assert found["ends_as_sentence"] == found["apostrophe"] == 1
    assert found["capitalised_words"] == 0.5
    assert not text_numbers("  ").any()


def test_surprisals_are_what_they_are_named() -> None:
    found = named(SURPRISALS, surprisal_numbers(np.array([-1.0, -2.0, -6.0]), [0, 9, 99]))
    assert (found["mean"], found["sum"], found["least"], found["most"]) == (-3, -9, -6, -1)
    assert (found["first"], found["last"], found["mean_but_first"]) == (-1, -6, -4)
    assert found["second_half"] == -4
    assert found["most_rarity"] == pytest.approx(np.log(100))
    one = surprisal_numbers(np.array([-2.0]), [4])
    assert np.isfinite(one).all()


def test_facts_are_what_they_are_named() -> None:
    scenes = (
        Scene(complexity="low", tone="warm", faces=2, words=("MILL bread",)),
        Scene(complexity="high", tone="cool", faces=0, emotions=("happy", "warm")),
    )
    ad = AdRecord(
        kind="video", brand="Mill", title="The Mill", seconds=10, pace="high", scenes=scenes
    )
    found = named(FACTS, ad_facts(ad))
    assert (found["seconds"], found["scenes"], found["scenes_a_second"]) == (10, 2, 0.2)
    assert (found["pace"], found["motion"]) == (2, 1)
    assert (found["low_complexity"], found["high_complexity"]) == (0.5, 0.5)
    assert (found["faces"], found["faced_scenes"]) == (1, 0.5)
    assert (found["brand_in_title"], found["brand_shown"]) == (1, 1)
    assert (found["shown_words_a_scene"], found["emotions_a_scene"]) == (1, 1)
    assert np.isfinite(ad_facts(AdRecord())).all()
