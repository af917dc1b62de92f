from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, DataError
from adwright.creative.editor.edits.background import BackgroundBlur
from adwright.creative.editor.edits.context import EditContext
from adwright.creative.editor.edits.face_moves import FaceMove
from adwright.creative.editor.edits.framing import Crop
from adwright.creative.editor.edits.plan import EditPlan
from adwright.creative.editor.edits.text import TextOverlay
from adwright.creative.editor.edits.tones import Contrast, Exposure, Saturation, Temperature
from tests.support.creative.edited_pictures import scene, scene_context

EVERY = EditPlan(
    (
        Exposure(),
        Contrast(),
        Saturation(),
        Temperature(),
        BackgroundBlur(),
        FaceMove.neutral(("smile", "gaze"), 2),
        Crop(),
        TextOverlay("Fresh today"),
    )
)


@st.composite
def plans(draw: st.DrawFn) -> EditPlan:
    """Any plan of any edits, set anyhow."""
    chosen = draw(st.permutations(EVERY.edits))[: draw(st.integers(1, 8))]
    plan = EditPlan(tuple(chosen))
    shares = draw(st.lists(st.floats(0, 1), min_size=len(plan.knobs()), max_size=len(plan.knobs())))
    low, high = plan.bounds().T
    return plan.with_values(np.clip(low + np.array(shares) * (high - low), low, high))


@settings(max_examples=40, deadline=None)
@given(plan=plans())
def test_no_edit_changes_what_is_protected(plan: EditPlan) -> None:
    picture, context = scene(), scene_context()
    done = plan.apply(picture, context)
    assert context.protected is not None
    assert done.context.protected is not None
    before, after = picture[context.protected], done.picture[done.context.protected]
    np.testing.assert_array_equal(after, before)
    np.testing.assert_array_equal(picture, scene())


@settings(max_examples=40, deadline=None)
@given(plan=plans())
def test_json_and_the_vector_are_the_same_plan(plan: EditPlan) -> None:
    again = EditPlan.of_json(plan.to_json())
    assert again == plan
    assert again.digest == plan.digest
    assert plan.with_values(plan.values()) == plan
    low, high = plan.bounds().T
    assert ((low <= plan.values()) & (plan.values() <= high)).all()


def test_neutral_changes_nothing_and_each_edit_something() -> None:
    picture, context = scene(), scene_context()
    neutral = EVERY.with_values(EVERY.neutral())
    np.testing.assert_array_equal(neutral.apply(picture, context).picture, picture)
    for at, edit in enumerate(EVERY.edits):
        low, high = EditPlan((edit,)).bounds().T
        values = np.where(EditPlan((edit,)).neutral() == high, low, high)
        done = EditPlan((edit.with_values(values.tolist()),)).apply(picture, context)
        assert done.picture.shape != picture.shape or (done.picture != picture).any(), at


def test_edits_follow_each_other() -> None:
    picture, context = scene(), scene_context()
    crop, move = Crop(keep=0.6, x=1, y=0), FaceMove(("smile",), ((0.0,), (1.5,)))
    done = EditPlan((crop, move)).apply(picture, context)
    left, top, *_ = crop.frame(picture.shape, context)
    moved = move.apply(picture, context)
    changed = (moved != picture).any(-1)
    rows, columns = np.nonzero(changed)
    assert (done.picture[rows - top, columns - left] != picture[rows, columns]).any(-1).mean() > 0.9
    assert EditPlan((crop, move)).face_moves() == (move,)
    assert EVERY.face_moves() == ()
    assert EditPlan((crop, move)).without_faces() == EditPlan((crop,))


def test_what_cannot_be_done_is_said() -> None:
    done = EditPlan((Exposure(0.5), BackgroundBlur(0.02))).apply(scene())
    assert [(one.at, one.kind) for one in done.skipped] == [(1, "background_blur")]
    assert "subject" in done.skipped[0].why
    assert (done.picture != scene()).any()
    with pytest.raises(DataError, match="picture"):
        EVERY.apply(np.zeros((3, 3), np.uint8))
    with pytest.raises(DataError, match="protected"):
        EVERY.apply(np.zeros((9, 9, 3), np.uint8), scene_context())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no JSON"),
        ("[]", "no JSON object"),
        ('{"edits": [{"kind": "beautify"}]}', "beautify"),
        ('{"edits": [{"kind": "exposure", "stops": 3}]}', "stops"),
        ('{"edits": [{"kind": "exposure", "stops": "1"}]}', "stops"),
        ('{"edits": [{"kind": "exposure", "stop": 1}]}', "stop"),
        ('{"edits": [{"kind": "exposure"}], "more": 1}', "more"),
        (json.dumps({"edits": [{"kind": "exposure"}] * 33}), "too many"),
    ],
)
def test_json_that_is_no_plan_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        EditPlan.of_json(text, source="plan.json")
    assert said in str(caught.value)
    assert "plan.json" in str(caught.value)


def test_a_vector_of_another_length_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"1 values for 1[0-9] knobs"):
        EVERY.with_values([0.0])
    assert EditPlan().bounds().shape == (0, 2)
    assert EditPlan().apply(scene(), EditContext()).skipped == ()
    with pytest.raises(ConfigError, match="2 values"):
        EditPlan((Exposure(),)).with_values([0.0, 0.0])
