from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from adwright.creative.records.seeing.colours import (
    bits_a_pixel,
    colours_of,
    lean,
    orientation_of,
)
from tests.support.creative.drawn_ads import Shot, drawn, photograph


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
    assert lean(warm) > lean(photo) > lean(cool)
    assert lean(photo) == pytest.approx(0, abs=1e-6)


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
