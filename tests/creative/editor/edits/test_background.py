from __future__ import annotations

from dataclasses import replace

import numpy as np

from adwright.creative.editor.edits.background import BackgroundBlur
from adwright.creative.editor.edits.context import EditContext
from tests.support.creative.edited_pictures import scene, scene_context


def test_only_the_background_is_blurred() -> None:
    picture, context = scene(), scene_context(protected=False)
    made = BackgroundBlur(0.02).apply(picture, context)
    assert context.subject is not None
    subject = context.subject == 1
    np.testing.assert_array_equal(made[subject], picture[subject])
    corner = (slice(130, 195), slice(10, 60))
    assert made[corner].std((0, 1)).max() < 0.5 * picture[corner].std((0, 1)).min()
    assert abs(made[corner].mean() - picture[corner].mean()) < 2


def test_the_subject_leaves_no_halo() -> None:
    picture = np.full((60, 60, 3), 20, np.uint8)
    picture[20:40, 20:40] = 255
    subject = np.zeros((60, 60), np.float32)
    subject[20:40, 20:40] = 1
    made = BackgroundBlur(0.03).apply(picture, EditContext(subject=subject))
    np.testing.assert_array_equal(made, picture)


def test_faces_are_subject_and_a_larger_spread_blurs_more() -> None:
    picture, context = scene(), scene_context()
    none = replace(context, subject=np.zeros((240, 320), np.float32))
    made = BackgroundBlur(0.03).apply(picture, none)
    np.testing.assert_array_equal(made[70:100, 80:110], picture[70:100, 80:110])
    less = BackgroundBlur(0.003).apply(picture, none)
    assert less[130:195, 10:60].std((0, 1)).min() > made[130:195, 10:60].std((0, 1)).max()


def test_without_a_subject_it_says_so() -> None:
    picture = scene()
    assert "no subject" in BackgroundBlur(0.01).why_not(picture, EditContext())
    whole = EditContext(subject=np.ones((240, 320), np.float32))
    assert "all of the picture" in BackgroundBlur(0.01).why_not(picture, whole)
    assert BackgroundBlur(0.01).why_not(picture, scene_context()) == ""
    np.testing.assert_array_equal(BackgroundBlur().apply(picture, whole), picture)
