"""What of DIN and its base model is saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.models.ranking.din import DIN
from adwright.training.ranking.mix import (
    MIXED,
    choose,
    is_mixable,
    mean_of_logits,
    mixed_model,
)
from adwright.training.ranking.predict import Predictions, predict
from tests.support.data.ranking_task import HSTU, MODEL, shop_task, untrained


def predictions(noise: float, seed: int, users: int = 80, rows: int = 30) -> Predictions:
    """Of the same rows, whose labels a model sees through noise of its own."""
    same, own = np.random.default_rng(0), np.random.default_rng(seed)
    true = same.normal(size=users * rows)
    label = (same.random(users * rows) < 1 / (1 + np.exp(-true))).astype(np.int8)
    logit = true + noise * own.normal(size=users * rows)
    return Predictions(1 / (1 + np.exp(-logit)), label, np.repeat(np.arange(users), rows))


def test_the_mean_is_saved_where_both_are_alike() -> None:
    name, why = choose({"DIN": predictions(1.0, 1), "Base": predictions(1.0, 2)}, draws=100)
    assert name == MIXED
    assert why.startswith("saved is the mean of the logits of DIN and Base")
    assert "DIN by -0." in why


@pytest.mark.parametrize("better", ["DIN", "Base"])
def test_one_alone_is_saved_where_it_is_ahead(better: str) -> None:
    noise = {name: 0.1 if name == better else 20.0 for name in ("DIN", "Base")}
    valid = {name: predictions(n, seed) for seed, (name, n) in enumerate(noise.items(), 1)}
    name, why = choose(valid, draws=100)
    assert name == better
    assert f"saved is {better} alone" in why
    assert f"{better} by +0." in why


def test_the_mean_is_of_logits() -> None:
    p, q = np.array([0.2, 0.5, 0.0]), np.array([0.6, 0.5, 1.0])
    odds = np.sqrt(p[:2] / (1 - p[:2]) * q[:2] / (1 - q[:2]))
    found = mean_of_logits([p, q])
    np.testing.assert_allclose(found[:2], odds / (1 + odds))
    assert found[2] == pytest.approx(0.5, abs=1e-3)


def test_one_network_says_the_mean_of_both(tmp_path: Path) -> None:
    task = shop_task(tmp_path / "task", users=6)
    torch.manual_seed(0)
    din, base = untrained(task), untrained(task, MODEL.base())
    assert isinstance(din, DIN)
    assert isinstance(base, DIN)
    state = torch.get_rng_state()
    mixed = mixed_model(din, base, task)
    assert torch.equal(state, torch.get_rng_state())
    assert mixed.config == replace(MODEL, base_share=0.5)
    found = [predict(model.eval(), task, "valid").probability for model in (din, base, mixed)]
    np.testing.assert_allclose(found[2], mean_of_logits(found[:2]), rtol=1e-5)
    with pytest.raises(ConfigError, match="not DIN and its base model"):
        mixed_model(base, din, task)
    assert [is_mixable(c) for c in (MODEL, MODEL.base(), mixed.config, HSTU)] == [
        *(True, False, False, False)
    ]
