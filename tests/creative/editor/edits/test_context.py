from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import ConfigError, DataError
from adwright.creative.editor.edits.context import (
    EditContext,
    ProtectedBox,
    kept,
    protected_mask,
)
from tests.support.creative.edited_pictures import BOXES, PLACES, scene, scene_context


def test_the_mask_has_the_boxes() -> None:
    mask = protected_mask(BOXES, (240, 320, 3))
    assert mask.sum() == 40 * 20 + 240 * 16
    assert mask[4, 4]
    assert not mask[24, 44]
    with pytest.raises(DataError, match="logo ends outside"):
        protected_mask(BOXES, (20, 30))
    with pytest.raises(ConfigError, match="no area"):
        ProtectedBox(5, 5, 5, 9)
    with pytest.raises(ConfigError, match="what"):
        ProtectedBox(0, 0, 5, 9, "face")  # type: ignore[arg-type]


def test_a_part_of_the_picture_has_its_part_of_the_context() -> None:
    part = scene_context().cut(10, 20, 200, 100)
    assert part.protected is not None
    assert part.subject is not None
    assert part.protected.shape == part.subject.shape == (80, 190)
    assert part.places[0].middle == (PLACES[0].middle[0] - 10, PLACES[0].middle[1] - 20)
    assert EditContext().cut(0, 0, 5, 5).protected is None


def test_protected_pixels_are_kept() -> None:
    picture, context = scene(), scene_context()
    new = kept(picture, 255 - picture, context)
    mask = context.protected
    np.testing.assert_array_equal(new[mask], picture[mask])
    np.testing.assert_array_equal(new[~mask], 255 - picture[~mask])
    assert kept(picture, new, EditContext()) is new


def test_a_context_of_another_picture_is_refused() -> None:
    picture = scene()
    scene_context().require_size_of(picture)
    for wrong in (
        EditContext(protected=np.zeros((3, 3), bool)),
        EditContext(protected=np.zeros((240, 320), np.uint8)),  # type: ignore[arg-type]
        EditContext(subject=np.zeros((240, 321), np.float32)),
    ):
        with pytest.raises(DataError, match=r"protected|subject"):
            wrong.require_size_of(picture)
