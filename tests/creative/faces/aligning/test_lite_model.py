from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from adwright.core.errors import AssetError, MissingExtraError
from adwright.creative.faces.aligning.lite_model import LiteModel

IRIS = "mediapipe/modules/iris_landmark/iris_landmark.tflite"


def test_outputs_are_found_by_their_size_and_stay() -> None:
    model = LiteModel(IRIS)
    assert model.side == 64
    first = model.run(np.zeros((64, 64, 3), np.uint8))
    assert set(first) == {15, 213}
    kept = first[15].copy()
    other = model.run(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    np.testing.assert_array_equal(first[15], kept)
    assert not np.array_equal(other[15], kept)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="no model that LiteRT can run"):
        LiteModel("mediapipe/modules/none.tflite")
    monkeypatch.setenv("ADWRIGHT_CACHE", str(tmp_path))
    with pytest.raises(AssetError, match="mediapipe"):
        LiteModel(IRIS, offline=True)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(MissingExtraError, match="creative"):
        LiteModel(IRIS)
