from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, DataError
from adwright.creative.faces.aligning import (
    AlignedFace,
    Blend,
    FaceAligner,
    FacePlace,
    cut_at,
    face_mask,
    pasted,
)
from tests.support.creative.drawn_ads import Shot, drawn, photograph

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


ASTRONAUT = np.asarray(photograph("astronaut.png"))
SCENE = np.asarray(drawn(Shot("navy", "orange", "Fresh bread"), (320, 240)))


@pytest.fixture(scope="module")
def face() -> AlignedFace:
    return FaceAligner().aligned(ASTRONAUT, 256).faces[0]


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one.astype(int) - other.astype(int))


@pytest.mark.parametrize("how", ["seamless", "feather"])
def test_an_unedited_face_changes_almost_nothing(face: AlignedFace, how: Blend) -> None:
    back = pasted(ASTRONAUT, [face], face.crop[None], how)
    changed = difference(back.picture, ASTRONAUT)
    assert changed[~back.mask].max() == 0
    assert changed.max() == 0
    assert 3000 < back.mask.sum() < 15000


@pytest.mark.parametrize("how", ["seamless", "feather"])
def test_an_edit_is_seen_where_it_was_made_and_nowhere_else(face: AlignedFace, how: Blend) -> None:
    edited = face.crop.copy()
    edited[110:130, 80:176] = 255 - edited[110:130, 80:176]
    back = pasted(ASTRONAUT, [face], edited[None], how)
    changed = difference(back.picture, ASTRONAUT)
    assert changed[~back.mask].max() == 0
    matrix = face.place.matrix(256)
    x, y = (matrix @ [128, 120, 1]).round().astype(int)
    assert changed[y - 2 : y + 3, x - 10 : x + 11].mean() > 20
    far_x, far_y = (matrix @ [128, 60, 1]).round().astype(int)
    assert changed[far_y - 2 : far_y + 3, far_x - 5 : far_x + 6].mean() < 8


def test_a_light_that_differs_all_over_disappears_in_the_seamless_form(face: AlignedFace) -> None:
    brighter = np.clip(face.crop.astype(int) + 25, 0, 255).astype(np.uint8)[None]
    seamless = pasted(ASTRONAUT, [face], brighter, "seamless")
    feather = pasted(ASTRONAUT, [face], brighter, "feather")
    inside = seamless.mask
    assert difference(seamless.picture, ASTRONAUT)[inside].mean() < 6
    assert difference(feather.picture, ASTRONAUT)[inside].mean() > 12


def test_details_that_a_coarse_crop_lacks_stay_where_nothing_was_changed() -> None:
    rng = np.random.default_rng(4)
    picture = rng.integers(90, 160, (128, 128, 3), dtype=np.uint8)
    (one,) = cut_at(picture, (FacePlace.of_box(32, 32, 96, 96),), 16).faces
    edited = one.crop.copy()
    edited[12:, :] = 250
    kept = pasted(picture, [one], edited[None], "feather")
    upper = (slice(40, 64), slice(40, 88))
    assert difference(kept.picture, picture)[upper].max() <= 3
    lower = (slice(88, 92), slice(50, 80))
    assert kept.picture[lower].std() < 12


@settings(max_examples=25, deadline=None)
@given(
    x=st.floats(-30, 350),
    y=st.floats(-30, 270),
    side=st.floats(4, 150),
    turn=st.floats(-180, 180),
    shape=st.sampled_from(["ellipse", "square"]),
    blend=st.sampled_from(["seamless", "feather"]),
    hidden=st.integers(0, 320),
)
def test_outside_the_mask_every_pixel_is_the_same(
    x: float, y: float, side: float, turn: float, shape: str, blend: str, hidden: int
) -> None:
    one = AlignedFace(FacePlace((x, y), side, turn, shape=shape), np.zeros((16, 16, 3), np.uint8))
    edited = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    protected = np.zeros((240, 320), bool)
    protected[:, :hidden] = True
    back = pasted(SCENE, [one], edited, blend, protected=protected)
    assert difference(back.picture, SCENE)[~back.mask].max(initial=0) == 0
    assert not (back.mask & protected).any()
    assert bool(back.skipped) == (not back.mask.any())


@pytest.mark.parametrize("wide", [1, 2, 3])
def test_a_sliver_of_a_face_is_put_back(wide: int) -> None:
    (one,) = cut_at(SCENE, (FacePlace.of_box(100, 60, 160, 120),), 32).faces
    protected = np.ones((240, 320), bool)
    protected[:, 130 : 130 + wide] = False
    back = pasted(SCENE, [one], 255 - one.crop[None], protected=protected)
    assert not back.skipped
    assert back.mask.any(0).sum() == wide
    assert difference(back.picture, SCENE)[~back.mask].max() == 0


def test_several_faces_are_put_back_each_in_its_place() -> None:
    boxes = [(20, 20, 60, 60), (100, 40, 164, 104), (250, 150, 282, 182)]
    faces = cut_at(SCENE, tuple(FacePlace.of_box(*box) for box in boxes), 32).faces
    edited = np.stack([one.crop for one in faces])
    edited[1] = [10, 200, 30]
    back = pasted(SCENE, faces, edited, "feather")
    assert (back.picture[50:94, 110:154] == [10, 200, 30]).all(-1).mean() > 0.9
    np.testing.assert_array_equal(back.picture[20:60, 20:60], SCENE[20:60, 20:60])
    assert not back.skipped


def test_what_does_not_belong_together_is_refused(face: AlignedFace) -> None:
    crops = face.crop[None]
    with pytest.raises(DataError, match="0 edited crops of 1"):
        pasted(ASTRONAUT, [face], crops[:0])
    with pytest.raises(DataError, match="edited crop"):
        pasted(ASTRONAUT, [face], crops[:, :40])
    with pytest.raises(DataError, match="edited crop"):
        pasted(ASTRONAUT, [face], crops.astype(float))
    with pytest.raises(DataError, match="protected"):
        pasted(ASTRONAUT, [face], crops, protected=np.zeros((3, 3), bool))
