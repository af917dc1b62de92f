from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.creative.editor.edits.context import EditContext, ProtectedBox, protected_mask
from adwright.creative.editor.edits.framing import Crop
from adwright.creative.faces.aligning import FacePlace
from tests.support.creative.edited_pictures import scene, scene_context

FREE = EditContext()


def test_shape_size_and_place_are_as_asked() -> None:
    picture = scene()
    assert Crop().apply(picture, FREE).shape == picture.shape
    assert Crop(aspect=0.5).apply(picture, FREE).shape == (240, 160, 3)
    assert Crop(aspect=2.0).apply(picture, FREE).shape == (120, 320, 3)
    made = Crop(keep=0.6, x=-1, y=1).apply(picture, FREE)
    np.testing.assert_array_equal(made, picture[96:, :192])
    assert Crop(keep=0.6, x=1, y=-1).frame(picture.shape, FREE) == (128, 0, 320, 144)


def test_what_is_protected_and_the_faces_stay_whole() -> None:
    box = ProtectedBox(0, 100, 20, 130, "price")
    context = EditContext(
        protected_mask([box], (240, 320)), places=(FacePlace.of_box(250, 10, 290, 50),)
    )
    picture = scene()
    edit = Crop(keep=0.6, x=0, y=1)
    left, top, right, _ = edit.frame(picture.shape, context)
    assert (left, top) == (0, 10)
    assert right == 290
    after = edit.followed(picture, context)
    assert after.protected is not None
    assert after.protected.sum() == 20 * 30


def test_where_all_has_to_stay_it_says_so() -> None:
    all_over = EditContext(protected_mask([ProtectedBox(0, 0, 320, 240)], (240, 320)))
    picture = scene()
    assert "whole picture" in Crop(keep=0.8).why_not(picture, all_over)
    assert Crop().why_not(picture, all_over) == Crop(keep=0.8).why_not(picture, FREE) == ""


@settings(max_examples=40, deadline=None)
@given(
    aspect=st.floats(0.5, 2),
    keep=st.floats(0.6, 1),
    x=st.floats(-1, 1),
    y=st.floats(-1, 1),
)
def test_every_frame_is_a_part_of_the_picture(
    aspect: float, keep: float, x: float, y: float
) -> None:
    picture, context = scene(), scene_context()
    edit = Crop(aspect, keep, x, y)
    left, top, right, bottom = edit.frame(picture.shape, context)
    assert 0 <= left < right <= 320
    assert 0 <= top < bottom <= 240
    tiny = np.zeros((1, 7, 3), np.uint8)
    assert edit.apply(tiny, FREE).size > 0
