from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import DataError
from adwright.creative.editor.edits.context import EditContext
from adwright.creative.editor.provenance.label import ESTIMATE, LABEL, labelled
from tests.support.creative.edited_pictures import scene, scene_context


def test_it_stands_in_a_free_corner() -> None:
    picture = scene()
    plain = labelled(picture)
    rows, columns = np.nonzero((plain != picture).any(-1))
    assert rows.min() > 210
    assert columns.min() > 160
    beside = labelled(picture, scene_context())
    rows, columns = np.nonzero((beside != picture).any(-1))
    mask = scene_context().protected
    assert mask is not None
    assert not mask[rows, columns].any()
    assert LABEL == "Edited with AI"
    assert "not a measured effect" in ESTIMATE


def test_words_and_size_can_be_chosen() -> None:
    picture = scene()
    small, large = labelled(picture, words="AI"), labelled(picture, words="AI", size=0.1)
    assert (large != picture).sum() > 2 * (small != picture).sum() > 0


def test_where_there_is_no_room_it_says_so() -> None:
    full = EditContext(protected=np.ones((240, 320), bool))
    with pytest.raises(DataError, match="no room for the label"):
        labelled(scene(), full)
