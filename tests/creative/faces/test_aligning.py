"""?"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from adwright.core.errors import AssetError, ConfigError, DataError, MissingExtraError
from adwright.creative.faces.aligning import (
    LEFT_EYE,
    MOUTH_CORNERS,
    RIGHT_EYE,
    AlignedFace,
    Blend,
    FaceAligner,
    FaceMesh,
    FacePlace,
    FacePoints,
    LiteModel,
    SubjectFinder,
    cut_at,
    face_mask,
    pasted,
    place_of_points,
    require_picture,
)
from adwright.creative.records.looking import FaceFinder
from tests.support.creative.drawn_ads import Shot, drawn, photograph, portrait

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
    with pytest.raises(ConfigError, match="0 pixels"):
        FacePlace((0, 0), 4).matrix(0)
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(DataError, match="picture"):
            require_picture(wrong)


IRIS = "mediapipe/modules/iris_landmark/iris_landmark.tflite"


def test_outputs_are_found_by_their_size_and_stay() -> None:
    model = LiteModel(IRIS)
    assert model.side == 64
    first = model.run(np.zeros((64, 64, 3), np.uint8))
    assert set(first) == {15, 213}
    kept = first[15].copy()
    other = model.run(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    np.testing.assert_array_equal(first[15], kept)
    assert not np.array_equal(other[15], kept)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="no model that LiteRT can run"):
        LiteModel("mediapipe/modules/none.tflite")
    monkeypatch.setenv("ADWRIGHT_CACHE", str(tmp_path))
    with pytest.raises(AssetError, match="mediapipe"):
        LiteModel(IRIS, offline=True)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(MissingExtraError, match="creative"):
        LiteModel(IRIS)


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
    assert found.at.shape == (478, 2)
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


ASTRONAUT = np.asarray(photograph("astronaut.png"))


@pytest.fixture(scope="module")
def aligner() -> FaceAligner:
    return FaceAligner()


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


def test_cut_off_and_unsure(aligner: FaceAligner, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(*boxes: tuple[float, ...]) -> FaceAligner:
        found = np.array(boxes, float).reshape(-1, 4)
        monkeypatch.setattr(FaceFinder, "boxes", lambda self, image: found)
        return aligner

    half = np.ascontiguousarray(ASTRONAUT[:, 225:])
    cut = told((-53, 66, 52, 171)).aligned(half)
    assert [one.reason for one in cut.skipped] == ["cut off"]
    coffee = np.asarray(photograph("coffee.png"))
    none = told((100, 100, 220, 220)).aligned(coffee)
    assert not none.faces
    assert [one.reason for one in none.skipped] == ["unsure"]
    assert none.skipped[0].box == (100, 100, 220, 220)
    assert told().aligned(coffee).skipped == ()


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


def test_what_is_no_picture_is_refused(aligner: FaceAligner) -> None:
    with pytest.raises(DataError, match="picture"):
        aligner.aligned(np.zeros((4, 4), np.uint8))


def test_a_person_stands_out_from_the_background() -> None:
    picture = np.asarray(photograph("astronaut.png"))
    share = SubjectFinder().share(picture)
    assert share.shape == picture.shape[:2]
    assert share[80:150, 190:250].min() > 0.9  # her face
    assert share[10:120, 5:60].mean() < 0.1  # the wall
    assert 0 <= share.min() <= share.max() <= 1


def test_it_needs_a_picture() -> None:
    with pytest.raises(DataError, match="picture"):
        SubjectFinder().share(np.zeros((4, 4), np.uint8))


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
