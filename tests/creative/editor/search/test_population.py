from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adwright.core.errors import DataError
from adwright.creative.editor.edits.background import BackgroundBlur
from adwright.creative.editor.edits.context import EditContext
from adwright.creative.editor.edits.face_moves import FaceMove
from adwright.creative.editor.edits.framing import Crop
from adwright.creative.editor.edits.plan import EditPlan
from adwright.creative.editor.edits.text import TextOverlay
from adwright.creative.editor.edits.tones import Exposure
from adwright.creative.editor.search.population import applied_to_all, edited_batch, squeezed
from tests.support.creative.edited_pictures import ShadeMover, scene, scene_context

PLAN = EditPlan(
    (
        Exposure(),
        FaceMove.neutral(("smile", "gaze"), 2),
        BackgroundBlur(),
        Crop(),
        TextOverlay("Fresh today"),
    )
)


class CountingMover(ShadeMover):
    def moved(self, crops: np.ndarray, amounts: np.ndarray) -> np.ndarray:
        SEEN.append(len(crops))
        return super().moved(crops, amounts)


SEEN: list[int] = []


def vectors(count: int) -> np.ndarray:
    low, high = PLAN.bounds().T
    shares = np.random.default_rng(3).random((count, len(low)))
    made = low + shares * (high - low)
    made[0] = PLAN.neutral()
    return made


def test_a_population_is_what_the_plans_make_one_by_one() -> None:
    picture, context = scene(), replace(scene_context(), mover=CountingMover())
    SEEN.clear()
    batch = edited_batch(PLAN, vectors(6), picture, context)
    assert SEEN == [10]
    assert len(batch) == 6
    for plan, done, seen in zip(batch.plans, batch.done, batch.pictures, strict=True):
        alone = plan.apply(picture, context)
        np.testing.assert_array_equal(done.picture, alone.picture)
        assert done.skipped == alone.skipped
        assert done.context.places == alone.context.places
        np.testing.assert_array_equal(seen, squeezed(alone.picture, picture.shape[:2]))
    np.testing.assert_array_equal(picture, scene())


def test_edits_that_cannot_be_done_are_told_of_each() -> None:
    picture = scene()
    found = edited_batch(PLAN, vectors(3), picture, EditContext())
    for plan, done in zip(found.plans, found.done, strict=True):
        assert done.skipped == plan.apply(picture, EditContext()).skipped
    assert found.done[1].skipped


def test_what_is_judged_has_the_size_asked_for() -> None:
    batch = edited_batch(PLAN, vectors(2), scene(), scene_context(), size=(24, 40))
    assert batch.pictures.shape == (2, 24, 40, 3)
    assert batch.unedited.shape == (24, 40, 3)
    assert (
        squeezed(np.full((4, 4, 3), 7, np.uint8), (9, 9)).tolist() == np.full((9, 9, 3), 7).tolist()
    )
    assert edited_batch(PLAN, vectors(2)[:0], scene()).pictures.shape[0] == 0


def test_other_plans_and_pictures_are_refused() -> None:
    with pytest.raises(DataError, match="different edits"):
        applied_to_all([PLAN, EditPlan((Exposure(),))], scene(), EditContext())
    with pytest.raises(DataError, match="shape"):
        applied_to_all([PLAN], scene()[:50], scene_context())
