"""What of DIN and its base model is saved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.models.embeddings import EmbeddingConfig
from adwright.models.ranking.din import DIN, DINConfig
from adwright.models.ranking.hstu_target import HSTUTargetConfig
from adwright.models.ranking.union import MIXED, choose, is_mixable, mean_of_logits, mixed_model
from tests.support.models.small_batch import small_batch, small_spec

MODEL = DINConfig(attention_hidden=4, mlp_hidden=(8, 4), embedding=EmbeddingConfig(width=4))
USERS = np.repeat(np.arange(80), 30)
TRUE = np.random.default_rng(0).normal(size=len(USERS))
LABELS = (np.random.default_rng(9).random(len(USERS)) < 1 / (1 + np.exp(-TRUE))).astype(np.int8)


def seen(noise: float, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Probabilities of a model that sees the truth through noise of its own."""
    logit = TRUE + noise * np.random.default_rng(seed).normal(size=len(USERS))
    found: np.ndarray[Any, np.dtype[np.float64]] = 1 / (1 + np.exp(-logit))
    return found


def test_the_mean_is_saved_where_both_are_alike() -> None:
    name, why = choose(LABELS, USERS, {"DIN": seen(1.0, 1), "Base": seen(1.0, 2)}, draws=100)
    assert name == MIXED
    assert why.startswith("saved is the mean of the logits of DIN and Base")
    assert "DIN by -0." in why


@pytest.mark.parametrize("better", ["DIN", "Base"])
def test_one_alone_is_saved_where_it_is_ahead(better: str) -> None:
    noise = {name: 0.1 if name == better else 20.0 for name in ("DIN", "Base")}
    valid = {name: seen(n, seed) for seed, (name, n) in enumerate(noise.items(), 1)}
    name, why = choose(LABELS, USERS, valid, draws=100)
    assert name == better
    assert f"saved is {better} alone" in why
    assert f"{better} by +0." in why


def test_the_mean_is_of_logits() -> None:
    p, q = np.array([0.2, 0.5, 0.0]), np.array([0.6, 0.5, 1.0])
    odds = np.sqrt(p[:2] / (1 - p[:2]) * q[:2] / (1 - q[:2]))
    found = mean_of_logits([p, q])
    np.testing.assert_allclose(found[:2], odds / (1 + odds))
    assert found[2] == pytest.approx(0.5, abs=1e-3)


def test_one_network_says_the_mean_of_both() -> None:
    spec, items = small_spec()
    torch.manual_seed(0)
    din, base, batch = DIN(MODEL, spec, items), DIN(MODEL.base(), spec, items), small_batch()
    state = torch.get_rng_state()
    mixed = mixed_model(din, base, spec, items)
    assert torch.equal(state, torch.get_rng_state())
    assert mixed.config == replace(MODEL, base_share=0.5)
    mean = (din.eval()(batch) + base.eval()(batch)) / 2
    torch.testing.assert_close(mixed(batch), mean)
    with pytest.raises(ConfigError, match="not DIN and its base model"):
        mixed_model(base, din, spec, items)
    configs = (MODEL, MODEL.base(), mixed.config, HSTUTargetConfig())
    assert [is_mixable(config) for config in configs] == [True, False, False, False]
