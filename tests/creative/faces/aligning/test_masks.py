from __future__ import annotations

import math

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.creative.faces.aligning.masks import face_mask
from adwright.creative.faces.aligning.places import FacePlace

SHAPE = (120, 160)


def test_a_square_is_its_pixels() -> None:
    mask = face_mask(FacePlace.of_box(20, 30, 52, 62), SHAPE, shrink=0)
    wanted = np.zeros(SHAPE, bool)
    wanted[30:62, 20:52] = True
    np.testing.assert_array_equal(mask, wanted)


def test_an_ellipse_has_its_area_and_an_outline_its_own() -> None:
    circle = face_mask(FacePlace((80, 60), 80), SHAPE, shrink=0)
    assert abs(circle.sum() / (math.pi * 40**2) - 1) < 0.03
    triangle = FacePlace((80, 60), 80, outline=((40, 20), (120, 20), (40, 100)))
    assert abs(face_mask(triangle, SHAPE, shrink=0).sum() / 3200 - 1) < 0.05


def test_it_shrinks_from_the_edge() -> None:
    place = FacePlace((80, 60), 80)
    whole, less = (face_mask(place, SHAPE, shrink=share) for share in (0, 0.1))
    assert less.sum() < whole.sum()
    assert not (less & ~whole).any()
    row = np.flatnonzero(whole[60]), np.flatnonzero(less[60])
    assert row[1][0] - row[0][0] == 8


def test_the_pictures_edge_is_none_of_the_face() -> None:
    mask = face_mask(FacePlace.of_box(-20, 20, 40, 80), SHAPE, shrink=0.1)
    assert mask[50, 0]
    assert not mask[50, 39]


def test_far_outside_is_empty_and_a_wrong_share_refused() -> None:
    assert not face_mask(FacePlace((1e7, 1e7), 30), SHAPE).any()
    with pytest.raises(ConfigError, match="shrink"):
        face_mask(FacePlace((80, 60), 80), SHAPE, shrink=0.5)
