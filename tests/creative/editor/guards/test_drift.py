from __future__ import annotations

import math

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.creative.editor.guards.drift import DriftCheck

DARK, LIGHT = (np.full((8, 8, 3), value, np.uint8) for value in (100, 120))


def reader(crop: np.ndarray) -> dict[str, float]:
    return {"skin": float(crop.mean()), "age": 30.0}


def test_a_change_beyond_its_limit_stops() -> None:
    check = DriftCheck(reader, {"skin": 15, "age": 1})
    drift = check.measured(DARK, LIGHT)
    assert drift.changes == {"skin": 20, "age": 0}
    assert drift.over == ("skin",)
    refusal = check.refusal(drift, 4)
    assert refusal is not None
    assert (refusal.code, refusal.face) == ("drift", 4)
    assert "skin +20 (limit 15)" in refusal.reason
    wide = DriftCheck(reader, {"skin": 20})
    assert wide.refusal(wide.measured(DARK, LIGHT), 0) is None
    assert wide.measured(LIGHT, DARK).over == ()


def test_what_drifted_before_counts() -> None:
    check = DriftCheck(reader, {"skin": 30})
    assert check.measured(DARK, LIGHT, {"skin": 9}).over == ()
    assert check.measured(DARK, LIGHT, {"skin": 11}).over == ("skin",)
    assert check.measured(DARK, LIGHT, {"skin": -11}).changes["skin"] == 9


def test_what_cannot_be_read_stops() -> None:
    missing = DriftCheck(lambda crop: {}, {"skin": 1})
    assert missing.measured(DARK, LIGHT).over == ("skin",)
    nan = DriftCheck(lambda crop: {"skin": math.nan}, {"skin": 1})
    assert nan.measured(DARK, DARK).over == ("skin",)
    assert "nan" in str(nan.refusal(nan.measured(DARK, DARK), 0))


def test_limits_are_checked() -> None:
    for limits in ({}, {"skin": -1}, {"skin": math.nan}, {"skin": math.inf}):
        with pytest.raises(ConfigError, match="DriftCheck"):
            DriftCheck(reader, limits)
