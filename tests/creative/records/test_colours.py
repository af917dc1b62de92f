from __future__ import annotations

import sys

import numpy as np
import pytest
import webcolors
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage.color import rgb2lab

from adwright.core.errors import MissingExtraError
from adwright.creative.records.looking import (
    bits_a_pixel,
    colours_of,
    lab_of,
    lean,
    names_of,
    orientation_of,
    palette,
)
from adwright.creative.records.media import seeing_table
from tests.support.creative.drawn_ads import Shot, drawn, photograph

COLOURS = seeing_table("colours")
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


@pytest.mark.parametrize(
    ("ground", "box"),
    [("white", "red"), ("navy", "orange"), ("black", "gold"), ("ivory", "purple")],
)
def test_a_box_on_a_ground_comes_back_by_name(ground: str, box: str) -> None:
    known = {"navy": "dark blue", "ivory": "off white"}
    found = colours_of(drawn(Shot(ground, box)))
    assert found.foreground == (known.get(box, box),)
    assert found.background == (known.get(ground, ground),)


def test_the_larger_colour_comes_first_and_small_ones_not_at_all() -> None:
    picture = Image.new("RGB", (200, 200), "white")
    picture.paste((255, 0, 0), (50, 50, 150, 120))
    picture.paste((0, 0, 139), (50, 120, 150, 150))
    picture.paste((0, 255, 255), (50, 50, 56, 56))
    assert colours_of(picture).foreground == ("red", "dark blue")
    picture.paste((0, 0, 139), (0, 0, 200, 14))
    assert colours_of(picture).background == ("white", "dark blue")


def test_where_nothing_stands_out_the_middle_counts() -> None:
    found = colours_of(Image.new("RGB", (90, 60), "yellow"))
    assert found.foreground == found.background == ("yellow",)
    assert (found.tone, found.complexity) == ("warm", "low")


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 2), (3, 1), (5000, 1), (1, 3000), (7, 9)])
def test_every_size_has_colours(size: tuple[int, int]) -> None:
    found = colours_of(Image.new("RGB", size, "red"))
    assert found.foreground == found.background == ("red",)
    assert found.complexity == "low"


def test_tone_follows_the_light() -> None:
    photo = photograph("camera.png")
    pixels = np.asarray(photo).astype(float)
    warm = Image.fromarray((pixels * [1.0, 0.9, 0.7]).astype(np.uint8))
    cool = Image.fromarray((pixels * [0.8, 0.92, 1.0]).astype(np.uint8))
    assert [colours_of(one).tone for one in (warm, photo, cool)] == ["warm", "neutral", "cool"]
    leans = [lean(lab_of(np.asarray(one))) for one in (warm, photo, cool)]
    assert leans == sorted(leans, reverse=True)
    assert leans[1] == pytest.approx(0, abs=1e-6)


def test_the_busier_the_more_complex() -> None:
    flat, photo = drawn(Shot("navy", "orange")), photograph("coffee.png")
    noise = Image.effect_noise((256, 256), 80).convert("RGB")
    assert bits_a_pixel(flat) < bits_a_pixel(photo) < bits_a_pixel(noise)
    levels = [colours_of(one).complexity for one in (flat, photo, noise)]
    assert levels == ["low", "medium", "high"]
    assert bits_a_pixel(Image.new("RGB", (640, 480), "teal")) == 0


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ((1920, 1080), "landscape"),
        ((1080, 1920), "portrait"),
        ((1080, 1080), "square"),
        ((1080, 1050), "square"),
        ((1080, 1000), "landscape"),
        ((1, 1), "square"),
    ],
)
def test_orientation(size: tuple[int, int], said: str) -> None:
    assert orientation_of(*size) == said


CHANNEL = st.integers(0, 255)


def test_it_is_what_scikit_image_computes() -> None:
    rgb = np.random.default_rng(3).integers(0, 256, (40, 50, 3), np.uint8)
    assert np.abs(lab_of(rgb) - rgb2lab(rgb)).max() < 0.02


@given(CHANNEL)
def test_greys_have_no_hue_and_grow_lighter(level: int) -> None:
    lab = lab_of(np.full(3, level, np.uint8))
    assert np.abs(lab[1:]).max() < 1e-9
    assert 0 <= lab[0] <= 100 + 1e-9
    if level:
        assert lab[0] > lab_of(np.full(3, level - 1, np.uint8))[0]
