from __future__ import annotations

import sys

import numpy as np
import pytest
import webcolors
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import MissingExtraError
from adwright.creative.records.seeing.colour_names import COLOURS, names_of, palette
from adwright.creative.records.seeing.lab import lab_of

NAMES = tuple(COLOURS)
WORDS = [(name, word) for name, words in COLOURS.items() for word in words.split()]


def name_of(*rgb: int) -> str:
    return NAMES[names_of(lab_of(np.array([rgb], np.uint8)))[0]]


def test_each_colour_of_css_belongs_to_one_name() -> None:
    css = {webcolors.name_to_hex(name) for name in webcolors.names("css3")}
    ours = [webcolors.name_to_hex(word) for _, word in WORDS if not word.startswith("#")]
    assert len(set(ours)) == len(ours)
    assert set(ours) == css


@pytest.mark.parametrize(("name", "word"), WORDS)
def test_a_colour_has_the_name_it_stands_under(name: str, word: str) -> None:
    hexadecimal = word if word.startswith("#") else webcolors.name_to_hex(word)
    assert name_of(*webcolors.hex_to_rgb(hexadecimal)) == name


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((10, 10, 10), "black"),
        ((250, 250, 250), "white"),
        ((128, 128, 128), "gray"),
        ((60, 60, 62), "dark gray"),
        ((60, 30, 8), "dark brown"),
        ((255, 130, 10), "orange"),
        ((20, 30, 110), "dark blue"),
        ((10, 160, 75), "emerald"),
        ((250, 215, 20), "gold"),
    ],
)
def test_colours_nearby_have_the_name_that_people_give(
    rgb: tuple[int, int, int], name: str
) -> None:
    assert name_of(*rgb) == name


@given(st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=8))
def test_the_nearest_is_taken(colours: list[tuple[int, int, int]]) -> None:
    lab = lab_of(np.array(colours, np.uint8))
    every = [
        (word if word.startswith("#") else webcolors.name_to_hex(word), name)
        for name, word in WORDS
    ]
    every_lab = lab_of(np.array([webcolors.hex_to_rgb(one) for one, _ in every], np.uint8))
    far = np.linalg.norm(lab[:, None] - every_lab, axis=-1)
    for row, place in enumerate(names_of(lab)):
        own = min(far[row, at] for at, (_, name) in enumerate(every) if name == NAMES[place])
        assert own == pytest.approx(far[row].min(), abs=1e-6)


def test_without_webcolors_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    names_of(np.zeros((0, 3)))
    palette.cache_clear()
    monkeypatch.setitem(sys.modules, "webcolors", None)
    with pytest.raises(MissingExtraError, match="creative"):
        names_of(np.zeros((1, 3)))
