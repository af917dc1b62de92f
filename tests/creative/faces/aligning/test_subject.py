from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import DataError
from adwright.creative.faces.aligning.subject import SubjectFinder
from tests.support.creative.drawn_ads import photograph


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
