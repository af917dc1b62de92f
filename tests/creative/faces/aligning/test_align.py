from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from PIL import Image

from adwright.core.errors import ConfigError, DataError
from adwright.creative.faces.aligning.align import (
    AlignLimits,
    FaceAligner,
    cut_at,
    place_of_points,
)
from adwright.creative.faces.aligning.landmarks import (
    LEFT_EYE,
    MOUTH_CORNERS,
    RIGHT_EYE,
    FacePoints,
)
from adwright.creative.faces.aligning.places import FacePlace
from tests.support.creative.drawn_ads import photograph, portrait

ASTRONAUT = np.asarray(photograph("astronaut.png"))


@pytest.fixture(scope="module")
def aligner() -> FaceAligner:
    return FaceAligner()


class Boxes:
    """A finder that finds what it was told."""

    def __init__(self, *boxes: tuple[float, ...]) -> None:
        self.found = np.array(boxes, float).reshape(-1, 4)

    def boxes(self, image: object) -> np.ndarray:
        return self.found


def ffhq_square(eyes: tuple, mouth: np.ndarray) -> np.ndarray:
    """Middle and corners of the square as FFHQ's formula says, number by number."""
    between = (eyes[0] + eyes[1]) / 2
    e, m = eyes[1] - eyes[0], mouth - between
    x = np.array([e[0] + m[1], e[1] - m[0]])
    x = x / math.hypot(*x) * max(2 * math.hypot(*e), 1.8 * math.hypot(*m))
    y = np.array([-x[1], x[0]])
    c = between + 0.1 * m
    return np.array([c - x - y, c + x - y, c + x + y, c - x + y])


def test_the_square_is_ffhqs(aligner: FaceAligner) -> None:
    (face,) = aligner.aligned(ASTRONAUT).faces
    points = face.points
    assert points is not None
    eyes = points.middle(RIGHT_EYE), points.middle(LEFT_EYE)
    wanted = ffhq_square(eyes, points.middle(MOUTH_CORNERS))
    np.testing.assert_allclose(face.place.corners(), wanted, atol=1e-6)
    assert face.crop.shape == (256, 256, 3)


def test_a_level_crop_comes_out_of_a_tilted_head(aligner: FaceAligner) -> None:
    upright = aligner.aligned(ASTRONAUT, 64).faces[0].crop.astype(float)
    turn = cv2.getRotationMatrix2D((224, 115), 30, 1.0)
    tilted = cv2.warpAffine(ASTRONAUT, turn, (512, 512), borderMode=cv2.BORDER_REFLECT)
    (face,) = aligner.aligned(tilted, 64).faces
    assert abs(face.place.turn + 30 - 3) < 3
    middle = slice(16, 48)
    difference = np.abs(face.crop.astype(float) - upright)[middle, middle].mean()
    assert difference < 0.5 * np.abs(upright - upright.mean((0, 1)))[middle, middle].mean()


def test_several_faces_and_each_that_is_not_taken_has_its_reason(aligner: FaceAligner) -> None:
    page = Image.new("RGB", (1000, 500), "ivory")
    page.paste(portrait(220), (40, 60))
    page.paste(portrait(220), (500, 160))
    page.paste(portrait(48), (320, 40))
    found = aligner.aligned(np.asarray(page), 128)
    assert len(found.faces) == 2
    assert sorted(round(one.place.middle[0], -2) for one in found.faces) == [200, 600]
    assert [one.reason for one in found.skipped] == ["small"]
    assert "< 12" in found.skipped[0].detail
    places = aligner.places(np.asarray(page))
    assert len(places) == 3
    assert places[2].box()[0] == pytest.approx(found.skipped[0].box[0] - 0.5, abs=4)
    low = FaceAligner(AlignLimits(least_eyes=5))
    assert len(low.aligned(np.asarray(page), 32).faces) == 3


def test_cut_off_and_unsure(aligner: FaceAligner) -> None:
    half = np.ascontiguousarray(ASTRONAUT[:, 225:])
    told = FaceAligner(finder=Boxes((-53, 66, 52, 171)))
    assert [one.reason for one in told.aligned(half).skipped] == ["cut off"]
    coffee = np.asarray(photograph("coffee.png"))
    none = FaceAligner(finder=Boxes((100, 100, 220, 220))).aligned(coffee)
    assert not none.faces
    assert [one.reason for one in none.skipped] == ["unsure"]
    assert none.skipped[0].box == (100, 100, 220, 220)
    assert FaceAligner(finder=Boxes()).aligned(coffee).skipped == ()


def test_places_that_are_known_are_cut(aligner: FaceAligner) -> None:
    scene = np.random.default_rng(2).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    places = (FacePlace.of_box(8, 8, 40, 40), FacePlace.of_box(120, 90, 152, 122))
    found = cut_at(scene, places, 32)
    np.testing.assert_array_equal(found.faces[0].crop, scene[8:40, 8:40])
    assert found.faces[0].points is None
    assert [one.reason for one in found.skipped] == ["cut off"]


def test_the_outline_holds_all_points() -> None:
    at = np.random.default_rng(3).normal(100, 20, (478, 2))
    place = place_of_points(FacePoints(at, 1.0))
    contour = np.array(place.outline, np.float32)
    for point in at:
        assert cv2.pointPolygonTest(contour, (float(point[0]), float(point[1])), True) > -1e-3
    assert len(place.outline) < 40


def test_wrong_settings_are_refused(aligner: FaceAligner) -> None:
    for values in ({"least_eyes": 0}, {"least_inside": 2}, {"least_confidence": -1}):
        with pytest.raises(ConfigError):
            AlignLimits(**values)
    with pytest.raises(DataError, match="picture"):
        aligner.aligned(np.zeros((4, 4), np.uint8))
