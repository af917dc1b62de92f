"""LoRAHub: its mixture, and a search that finds a known best point."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.tuning.methods import apply
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.reparameterised.lora_hub import HubLinear, LoRAHub, search_weights
from adwright.tuning.storage import read_tuned
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import attached, logits_of, loss_of, saved, tiny_llama


def test_is_the_formula(tmp_path: Path) -> None:
    method = LoRAHub(rank=2)
    tuned = attached(method, tmp_path)
    (weights,) = tuned.parameters()
    weights.data.copy_(torch.tensor([0.8, -0.5]))
    states = [read_tuned(tmp_path / str(at)).tensors for at in range(2)]
    modules = {(p.layer, p.target): p for p in tuned.places(method.targets)}

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        place = modules[layer, target]
        assert isinstance(place.linear, HubLinear)
        a, b = (
            0.8 * states[0][f"model.{place.name}.{part}"]
            - 0.5 * states[1][f"model.{place.name}.{part}"]
            for part in ("a", "b")
        )
        return x @ (weight + 8.0 * b @ a).T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)


def test_the_search_finds_the_least(tmp_path: Path) -> None:
    tuned = attached(LoRAHub(rank=2, penalty=0.0), tmp_path)
    (weights,) = tuned.parameters()
    goal = torch.tensor([0.7, -1.1])
    found = search_weights(tuned, lambda: (weights - goal).square().sum(), rounds=60)
    assert found < 1e-2
    assert torch.allclose(weights, goal, atol=0.1)


def test_the_bound_and_the_penalty_hold(tmp_path: Path) -> None:
    tuned = attached(LoRAHub(rank=2, bound=0.5), tmp_path)
    (weights,) = tuned.parameters()
    search_weights(tuned, lambda: -10 * weights.sum(), rounds=20)
    assert torch.allclose(weights, torch.full((2,), 0.5))
    heavy = attached(LoRAHub(rank=2, penalty=100.0), tmp_path / "heavy")
    search_weights(heavy, lambda: loss_of(heavy), rounds=3)
    assert next(iter(heavy.parameters())).tolist() == [0, 0]


def test_sources_have_to_fit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 sources are needed"):
        apply(tiny_llama(), LoRAHub())
    wrong = saved(LoRA(rank=3), tmp_path / "x", 0)
    with pytest.raises(ConfigError, match="not a LoRA of this base"):
        apply(tiny_llama(), LoRAHub(adapters=1, rank=2), sources=[wrong])
    tuned = apply(tiny_llama(), LoRA())
    with pytest.raises(ConfigError, match="not tuned by LoRAHub"):
        search_weights(tuned, lambda: loss_of(tuned))
