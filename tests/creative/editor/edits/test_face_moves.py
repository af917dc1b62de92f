from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adwright.core.errors import ConfigError, DataError
from adwright.creative.editor.edits.context import EditContext
from adwright.creative.editor.edits.face_moves import FaceMove
from adwright.creative.faces.aligning import FacePlace
from adwright.creative.faces.pasting import PasteSettings
from tests.support.creative.edited_pictures import ShadeMover, scene, scene_context

FIRST = (slice(75, 95), slice(85, 105))
SECOND = (slice(105, 125), slice(215, 235))


def context() -> EditContext:
    return replace(scene_context(), paste=PasteSettings("feather"))


def test_each_face_moves_by_its_own_amounts() -> None:
    picture = scene()
    edit = FaceMove(("smile", "gaze"), ((1.0, 0.0), (0.0, -0.5)))
    made = edit.apply(picture, context()).astype(int)
    np.testing.assert_array_equal((made - picture)[FIRST].reshape(-1, 3).mean(0), [40, 0, 0])
    np.testing.assert_array_equal((made - picture)[SECOND].reshape(-1, 3).mean(0), [0, 0, -20])
    assert edit.moved_faces == (0, 1)


def test_the_order_of_names_does_not_matter() -> None:
    picture = scene()
    one = FaceMove(("gaze", "smile"), ((0.0, 1.0),)).apply(picture, context())
    other = FaceMove(("smile",), ((1.0,),)).apply(picture, context())
    np.testing.assert_array_equal(one, other)
    assert FaceMove(("smile",), ((0.0,), (1.0,))).moved_faces == (1,)


def test_protected_pixels_stay_and_neutral_is_neutral() -> None:
    picture = scene()
    mask = np.zeros((240, 320), bool)
    mask[60:84] = True
    made = FaceMove(("smile",), ((1.0,),)).apply(picture, replace(context(), protected=mask))
    np.testing.assert_array_equal(made[mask], picture[mask])
    assert (made != picture).any()
    none = FaceMove.neutral(("smile", "gaze"), 2)
    assert none.is_neutral()
    np.testing.assert_array_equal(none.apply(picture, EditContext()), picture)


def test_knobs_are_faces_times_directions() -> None:
    edit = FaceMove.neutral(("smile", "gaze"), 2)
    names = [knob.name for knob in edit.knobs()]
    assert names == ["face 0 smile", "face 0 gaze", "face 1 smile", "face 1 gaze"]
    assert edit.with_values((1, 2e-1, 0, -1)).amounts == ((1, 0.2), (0, -1))
    with pytest.raises(ConfigError, match="3 values for 4"):
        edit.with_values((1, 2, 3))
    with pytest.raises(ConfigError, match=r"face 1 gaze 1\.6"):
        edit.with_values((0, 0, 0, 1.6))


def test_why_a_face_is_not_moved() -> None:
    picture, edit = scene(), FaceMove(("smile",), ((1.0,),))
    assert "no mover" in edit.why_not(picture, replace(context(), mover=None))
    three = FaceMove(("smile",), ((1.0,),) * 3)
    assert "3 faces are moved, and 2 are known" in three.why_not(picture, context())
    assert "no direction 'age'" in FaceMove(("age",), ((1.0,),)).why_not(picture, context())
    gone = replace(context(), places=(FacePlace.of_box(315, 230, 360, 275),))
    assert "cut off" in edit.why_not(picture, gone)
    np.testing.assert_array_equal(edit.apply(picture, gone), picture)
    assert edit.why_not(picture, context()) == ""


def test_what_is_no_move_is_refused() -> None:
    for names, amounts in (((), ((),)), (("a", "a"), ((0, 0),)), (("a",), ()), (("a",), ((0, 1),))):
        with pytest.raises(ConfigError, match=r"FaceMove"):
            FaceMove(names, amounts)

    class Wrong(ShadeMover):
        def moved(self, crops: np.ndarray, amounts: np.ndarray) -> np.ndarray:
            return crops[:, :5]

    with pytest.raises(DataError, match="gave crops of shape"):
        FaceMove(("smile",), ((1.0,),)).apply(scene(), replace(context(), mover=Wrong()))
