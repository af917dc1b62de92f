from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, DataError
from adwright.creative.faces.aligning.places import FacePlace, require_picture

NUMBERS = st.floats(-200, 200)


def gradient(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, 0 * x + 7], -1).astype(np.uint8)


@given(x=NUMBERS, y=NUMBERS, side=st.floats(1, 300), turn=st.floats(-180, 180))
def test_the_matrix_turns_scales_and_shifts(x: float, y: float, side: float, turn: float) -> None:
    matrix = FacePlace((x, y), side, turn).matrix(32)
    linear = matrix[:, :2]
    np.testing.assert_allclose(linear @ linear.T, np.eye(2) * (side / 32) ** 2, atol=1e-6)
    assert np.linalg.det(linear) > 0
    np.testing.assert_allclose(matrix @ [15.5, 15.5, 1], [x, y], atol=1e-6)
    right = linear @ [1, 0]
    assert math.isclose(math.cos(math.radians(turn)), right[0] * 32 / side, abs_tol=1e-6)


def test_a_box_is_cut_to_the_bit_at_its_own_size() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    place = FacePlace.of_box(10, 20, 42, 52)
    np.testing.assert_array_equal(place.cut(picture, 32), picture[20:52, 10:42])
    assert FacePlace.of_box(0, 0, 20, 10).side == 20


def test_a_smaller_crop_is_a_mean_of_areas() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    crop = FacePlace.of_box(0, 0, 64, 64).cut(picture, 16)
    areas = picture.reshape(16, 4, 16, 4, 3).mean((1, 3))
    assert np.abs(crop - areas).max() <= 1


def test_a_quarter_turn_is_a_quarter_turn() -> None:
    picture = gradient(41, 41)
    crop = FacePlace((20, 20), 41, 90).cut(picture, 41)
    assert np.abs(crop.astype(int) - np.rot90(picture, 1).astype(int)).max() <= 1


def test_beyond_the_edge_the_picture_is_mirrored() -> None:
    picture = gradient(20, 20)
    crop = FacePlace.of_box(-4, 0, 16, 20).cut(picture, 20)
    np.testing.assert_array_equal(crop[:, :4, 0], np.tile([4, 3, 2, 1], (20, 1)))


def test_a_cut_of_the_edges_moves_the_place() -> None:
    place = FacePlace((30, 40), 10, 5, ((1, 2), (8, 3), (4, 9)))
    moved = place.moved(3, 4)
    assert moved.middle == (27, 36)
    assert moved.outline[0] == (-2, -2)
    assert place.box() == (1, 2, 8, 9)
    assert FacePlace((5, 5), 4).box() == (3, 3, 7, 7)
    assert FacePlace.of_box(3, 4, 9, 12).pixels((10, 20)) == (2, 4, 10, 10)
    assert FacePlace.of_box(30, 4, 40, 14).pixels((10, 20)) == (20, 4, 20, 10)
    assert np.allclose(FacePlace((0, 0), 2, 90).corners()[0], [1, -1])


def test_a_place_that_is_none_is_refused() -> None:
    for values in ({"side": 0.5}, {"turn": math.nan}, {"outline": ((0, 0), (1, 1))}):
        with pytest.raises(ConfigError):
            FacePlace(**({"middle": (0, 0), "side": 4} | values))
    with pytest.raises(ConfigError, match="no area"):
        FacePlace.of_box(4, 0, 4, 9)
    with pytest.raises(ConfigError, match="shape"):
        FacePlace((0, 0), 4, shape="star")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="0 pixels"):
        FacePlace((0, 0), 4).matrix(0)
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(DataError, match="picture"):
            require_picture(wrong)
