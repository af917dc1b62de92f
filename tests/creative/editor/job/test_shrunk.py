from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, DataError
from adwright.creative.editor.edits.context import EditContext
from adwright.creative.editor.job.shrunk import shrunk
from adwright.creative.faces.aligning import FacePlace
from tests.support.creative.edited_pictures import scene, scene_context


def test_a_small_picture_stays_as_it_is() -> None:
    picture, context = scene(), scene_context()
    found = shrunk(picture, context, side=320)
    assert found.picture is picture
    assert found.context is context


def test_all_that_is_known_shrinks_along() -> None:
    picture, context = scene(), scene_context()
    found = shrunk(picture, context, side=160)
    assert found.picture.shape == (120, 160, 3)
    assert found.context.protected is not None
    assert found.context.subject is not None
    assert found.context.subject.shape == (120, 160)
    assert found.context.mover is context.mover
    place, small = context.places[0], found.context.places[0]
    assert small.pixels((120, 160)) == tuple(n // 2 for n in place.pixels((240, 320)))
    before, after = place.cut(picture, 24), small.cut(found.picture, 24)
    assert np.abs(before.astype(int) - after).mean() < 12


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 60), st.randoms())
def test_no_protected_pixel_is_lost(high: int, wide: int, side: int, random: object) -> None:
    rng = np.random.default_rng(random.randrange(1 << 30))  # type: ignore[attr-defined]
    mask = rng.random((high, wide)) < 0.02
    found = shrunk(np.zeros((high, wide, 3), np.uint8), EditContext(mask), side=side)
    small = found.context.protected
    assert small is not None
    for row, column in zip(*np.nonzero(mask), strict=True):
        assert small[row * small.shape[0] // high, column * small.shape[1] // wide]
    assert small.any() == mask.any()


def test_outlines_and_wrong_sizes() -> None:
    place = FacePlace((50.0, 40.0), 30.0, 10.0, ((40.0, 30.0), (60.0, 30.0), (50.0, 55.0)))
    found = shrunk(np.zeros((100, 100, 3), np.uint8), EditContext(places=(place,)), side=50)
    (moved,) = found.context.places
    assert moved.side == 15.0
    assert moved.turn == 10.0
    assert moved.outline[0] == (19.75, 14.75)
    with pytest.raises(ConfigError):
        shrunk(scene(), EditContext(), side=0)
    with pytest.raises(DataError):
        shrunk(scene(), EditContext(np.zeros((3, 3), bool)), side=10)
