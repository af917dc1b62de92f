from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import DataError
from adwright.creative.editor.provenance.hashes import overlap, picture_hash
from tests.support.creative.edited_pictures import scene

CORNERS = st.tuples(*(st.integers(-20, 40),) * 4)


def test_a_picture_is_named_by_its_pixels_and_its_size() -> None:
    picture = scene()
    name = picture_hash(picture)
    assert len(name) == 64
    assert picture_hash(np.asfortranarray(picture)) == name
    other = picture.copy()
    other[0, 0, 0] ^= 1
    assert picture_hash(other) != name
    assert picture_hash(picture.reshape(320, 240, 3)) != name
    with pytest.raises(DataError, match="picture"):
        picture_hash(picture.astype(float))


@given(one=CORNERS, other=CORNERS)
def test_overlap_is_that_of_the_pixels(
    one: tuple[int, int, int, int], other: tuple[int, int, int, int]
) -> None:
    drawn = np.zeros((2, 70, 70), bool)
    for layer, (left, top, right, bottom) in zip(drawn, (one, other), strict=True):
        layer[top + 20 : bottom + 20, left + 20 : right + 20] = True
    both, either = drawn.all(0).sum(), drawn.any(0).sum()
    assert overlap(one, other) == pytest.approx(both / either if either else 0)
    assert overlap(one, other) == overlap(other, one)
