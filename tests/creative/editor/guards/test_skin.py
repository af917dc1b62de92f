from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import DataError
from adwright.creative.editor.guards.drift import DriftCheck
from adwright.creative.editor.guards.skin import SKIN_LIMITS, skin_tone
from tests.support.creative.drawn_ads import photograph

FACE = np.asarray(photograph("astronaut.png"))[60:190, 160:290]
CHECK = DriftCheck(skin_tone, SKIN_LIMITS)


def lighter(by: float) -> np.ndarray:
    return np.clip(FACE * by, 0, 255).astype(np.uint8)


def test_skin_is_read_in_the_middle_of_the_crop() -> None:
    found = skin_tone(FACE)
    assert 0.3 < found["skin_light"] < 0.9
    assert found["skin_warm"] > 0.1
    other = FACE.copy()
    other[:10] = other[:, :10] = other[:, -10:] = 0
    assert skin_tone(other) == found
    assert skin_tone(np.full((1, 1, 3), 255, np.uint8))["skin_light"] == pytest.approx(1)


def test_lighter_skin_is_drift_and_a_smile_is_not() -> None:
    assert CHECK.measured(FACE, lighter(1.02)).over == ()
    assert "skin_light" in CHECK.measured(FACE, lighter(1.2)).over
    warmer = np.clip(FACE * np.array([1.15, 1, 0.85]), 0, 255).astype(np.uint8)
    assert "skin_warm" in CHECK.measured(FACE, warmer).over
    mouth = FACE.copy()
    mouth[88:96, 52:78] = [150, 40, 40]
    assert CHECK.measured(FACE, mouth).over == ()
    earlier = {"skin_light": 0.05}
    assert CHECK.measured(FACE, lighter(1.04), earlier).over == ("skin_light",)


def test_what_is_no_crop_is_refused() -> None:
    with pytest.raises(DataError):
        skin_tone(np.zeros((4, 4), np.uint8))
