from __future__ import annotations

import math

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.creative.editor.edits.context import EditContext
from adwright.creative.editor.edits.framing import Crop
from adwright.creative.editor.edits.knobs import Knob, PictureEdit, check_values
from adwright.creative.editor.edits.tones import Exposure
from tests.support.creative.edited_pictures import scene


def test_an_edit_is_set_by_its_knobs() -> None:
    edit = Exposure(0.25)
    assert edit.values() == (0.25,)
    assert edit.with_values((0.5,)) == Exposure(0.5)
    assert [knob.name for knob in Crop().knobs()] == ["aspect", "keep", "x", "y"]
    assert Crop().is_neutral()
    assert not edit.is_neutral()


@pytest.mark.parametrize("value", [1.5, -1.01, math.nan, math.inf])
def test_a_value_out_of_bounds_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match=r"stops .* is not in \[-1, 1\]"):
        Exposure(value)


def test_a_value_of_another_type_and_too_many_are_refused() -> None:
    with pytest.raises(ConfigError, match="stops is a number"):
        check_values(Exposure("much"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="2 values for 1 knobs"):
        Exposure().with_values((0, 0))
    for bounds in ((1, 0, 0), (0, 1, 2), (0, 0, 0)):
        with pytest.raises(ConfigError, match="bounds"):
            Knob("x", *bounds)


def test_an_edit_can_be_done_and_stays_in_place_by_default() -> None:
    context = EditContext()
    assert PictureEdit.why_not(Exposure(), scene(), context) == ""
    assert Exposure(0.5).followed(scene(), context) is context
    with pytest.raises(NotImplementedError):
        PictureEdit().apply(np.zeros((2, 2, 3), np.uint8), context)
    with pytest.raises(NotImplementedError):
        PictureEdit().knobs()
