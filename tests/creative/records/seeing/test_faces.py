from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adwright.core.errors import AssetError, MissingExtraError
from adwright.creative.records.seeing.faces import FaceFinder
from tests.support.creative.drawn_ads import Shot, drawn, photograph, portrait


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


def crowd(places: list[tuple[int, int]], width: int, size: tuple[int, int]) -> Image.Image:
    made = Image.new("RGB", size, "ivory")
    for place in places:
        made.paste(portrait(width), place)
    return made


@pytest.mark.parametrize(
    ("places", "width", "size"),
    [
        ([(500, 100)], 480, (1080, 1080)),
        ([(700, 80), (60, 600)], 300, (1080, 1080)),
        ([(30, 30), (500, 60), (150, 700), (800, 640)], 160, (1080, 1080)),
        ([(120, 60)], 150, (1080, 300)),
        ([(100, 60), (700, 90)], 150, (970, 250)),
        ([(60, 200), (60, 900), (60, 1500)], 300, (400, 1900)),
    ],
    ids=["one", "two", "four", "banner", "board", "tower"],
)
def test_as_many_faces_as_were_pasted_where_they_were(
    finder: FaceFinder, places: list[tuple[int, int]], width: int, size: tuple[int, int]
) -> None:
    boxes = finder.boxes(crowd(places, width, size))
    assert len(boxes) == len(places)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    for left, top in places:
        near = np.linalg.norm(middles - [left + width * 0.5, top + width * 0.55], axis=1)
        assert near.min() < 0.3 * width


def test_the_whole_photograph_has_one_and_others_none(finder: FaceFinder) -> None:
    assert len(finder.boxes(photograph("astronaut.png"))) == 1
    for name in ("coffee.png", "chelsea.png", "brick.png", "hubble_deep_field.jpg", "rocket.jpg"):
        assert len(finder.boxes(photograph(name))) == 0, name
    assert len(finder.boxes(drawn(Shot("navy", "orange", "Fresh bread")))) == 0


@pytest.mark.parametrize("size", [(1, 1), (15, 900), (900, 16), (16, 16), (4000, 30)])
def test_every_size_can_be_looked_at(finder: FaceFinder, size: tuple[int, int]) -> None:
    assert finder.boxes(Image.new("RGB", size, "tan")).shape == (0, 4)


def test_fewer_count_the_surer_they_have_to_be() -> None:
    small = crowd([(100, 100), (700, 600)], 90, (1080, 1080))
    counts = [len(FaceFinder(least).boxes(small)) for least in (0.05, 0.75, 0.99)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[2] == 0


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADWRIGHT_CACHE", str(tmp_path))
    with pytest.raises(AssetError, match="mediapipe"):
        FaceFinder(offline=True)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(MissingExtraError, match="creative"):
        FaceFinder()
