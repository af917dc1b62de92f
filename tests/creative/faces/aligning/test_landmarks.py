from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from adwright.core.errors import DataError
from adwright.creative.faces.aligning.landmarks import (
    LEFT_EYE,
    MOUTH_CORNERS,
    POINTS,
    RIGHT_EYE,
    FaceMesh,
    FacePoints,
)
from tests.support.creative.drawn_ads import photograph

PICTURE = np.asarray(photograph("astronaut.png"))
#: Of her face, by the detector.
BOX = np.array([172.0, 67, 277, 172])
#: Seen by eye in the photograph, to a pixel or two: pupils and corners of the mouth.
PUPILS = ((203, 101), (246, 103))
MOUTH = ((203, 140), (245, 142))


@pytest.fixture(scope="module")
def mesh() -> FaceMesh:
    return FaceMesh()


@pytest.fixture(scope="module")
def found(mesh: FaceMesh) -> FacePoints:
    return mesh.points(PICTURE, BOX)


def test_eyes_and_mouth_are_where_they_are(found: FacePoints) -> None:
    assert found.at.shape == (POINTS, 2)
    assert found.confidence > 0.99
    for iris, eye, seen in ((468, RIGHT_EYE, PUPILS[0]), (473, LEFT_EYE, PUPILS[1])):
        assert math.dist(found.at[iris], seen) < 2
        assert math.dist(found.middle(eye), seen) < 3
    for corner, seen in zip(MOUTH_CORNERS, MOUTH, strict=True):
        assert math.dist(found.at[corner], seen) < 4


def test_a_mirrored_picture_has_mirrored_points(mesh: FaceMesh, found: FacePoints) -> None:
    mirrored = np.ascontiguousarray(PICTURE[:, ::-1])
    box = np.array([511 - BOX[2], BOX[1], 511 - BOX[0], BOX[3]])
    other = mesh.points(mirrored, box)
    for one, twin in (
        (468, 473),
        (473, 468),
        *zip(MOUTH_CORNERS, MOUTH_CORNERS[::-1], strict=True),
    ):
        x, y = other.at[twin]
        assert math.dist(found.at[one], (511 - x, y)) < 1.5


@pytest.mark.parametrize("angle", [-40, 25, 60])
def test_a_tilted_head_is_followed(mesh: FaceMesh, found: FacePoints, angle: float) -> None:
    turn = cv2.getRotationMatrix2D((224, 115), angle, 1.0)
    tilted = cv2.warpAffine(PICTURE, turn, (512, 512), borderMode=cv2.BORDER_REFLECT)
    other = mesh.points(tilted, BOX)
    for point in (468, 473, *MOUTH_CORNERS):
        assert math.dist(other.at[point], turn @ [*found.at[point], 1]) < 3


def test_where_there_is_no_face_it_is_unsure(mesh: FaceMesh) -> None:
    coffee = np.asarray(photograph("coffee.png"))
    assert mesh.points(coffee, np.array([100.0, 100, 220, 220])).confidence < 0.2


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (9, 5, 5, 9), (0, 0, math.nan, 4)])
def test_a_box_that_is_none_is_refused(mesh: FaceMesh, box: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="no area"):
        mesh.points(PICTURE, np.array(box))
