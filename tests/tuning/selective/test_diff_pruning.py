"""Diff pruning: gates, penalty, and the projection at the end."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.tuning.methods import apply, load_tuned
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.selective.masks import DiffLinear, DiffPruning, prune
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import logits_of, loss_of, shake, tiny_llama, train


def clamp(x: float) -> float:
    return min(1.0, max(0.0, x))


@pytest.mark.parametrize("structured", [False, True])
def test_is_the_formula_in_use(structured: bool) -> None:
    method = DiffPruning(structured=structured, start=0.0, targets=("q_proj",))
    tuned = apply(tiny_llama(), method)
    shake(tuned, size=2.0)
    modules = {place.layer: place.linear for place in tuned.places(method.targets)}

    def gate(a: Tensor) -> Tensor:
        values = [clamp(1.2 / (1 + math.exp(-each)) - 0.1) for each in a.flatten().tolist()]
        return torch.tensor(values).view_as(a)

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        if target != "q_proj":
            return x @ weight.T
        own = modules[layer]
        assert isinstance(own, DiffLinear)
        z = gate(own.gate) * (gate(own.whole) if own.whole is not None else 1)
        return x @ (weight + z * own.update).T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-4)


def test_the_penalty_is_the_expected_share_of_open_gates() -> None:
    method = DiffPruning(penalty=3.0, start=0.5)
    tuned = apply(tiny_llama(), method)
    chance = 1 / (1 + math.exp(-(0.5 - 2 / 3 * math.log(0.1 / 1.1))))
    assert tuned.loss_extra().item() == pytest.approx(3.0 * chance, rel=1e-4)
    torch.manual_seed(0)
    tuned.train()
    module = tuned.places(("up_proj",))[0].linear
    module.update.data.fill_(1.0)
    drawn = [(module.difference() > 0).float().mean().item() for _ in range(50)]
    assert sum(drawn) / 50 == pytest.approx(chance, abs=0.02)


@pytest.mark.parametrize("weights", [64, 100_000_000])
@pytest.mark.parametrize("structured", [False, True])
def test_the_penalty_shuts_gates_of_small_and_large_models(weights: int, structured: bool) -> None:
    method = DiffPruning(structured=structured)
    rate = method.default_rate
    cost = method.penalty / weights
    layer = DiffLinear(torch.nn.Linear(8, 8), method.start, cost, structured=structured)
    layer.base.requires_grad_(False)
    layer.update.data.fill_(1.0)
    groups = [
        {"params": [value], "lr": rate * method.rate(f"layers.0.gate_proj.{name}")}
        for name, value in layer.named_parameters()
        if value.requires_grad
    ]
    assert [round(group["lr"], 4) for group in groups] == [0.0005, *[0.1] * (len(groups) - 1)]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    for _ in range(400):
        layer.penalty().backward()
        optimizer.step()
        optimizer.zero_grad()
    layer.eval()
    assert (layer.difference() == 0).float().mean() > 0.9


def test_gates_have_a_rate_of_their_own() -> None:
    tuned = apply(tiny_llama(), DiffPruning(structured=True, gate_rate_ratio=3.0))
    by_rate = {group["lr"]: {id(each) for each in group["params"]} for group in tuned.groups(1e-3)}
    assert set(by_rate) == {1e-3, 3e-3}
    for place in tuned.places(tuned.method.targets):
        assert id(place.linear.update) in by_rate[1e-3]
        assert {id(place.linear.gate), id(place.linear.whole)} <= by_rate[3e-3]
    with pytest.raises(ConfigError, match="gate_rate_ratio must not be negative"):
        DiffPruning(gate_rate_ratio=-1.0)


def test_pruned_keeps_the_largest_differences_and_trains_on(tmp_path: Path) -> None:
    tuned = apply(tiny_llama(), DiffPruning(fraction=0.02, targets=("v_proj", "o_proj")))
    train(tuned, steps=6)
    tuned.eval()
    places = tuned.places(("v_proj", "o_proj"))
    dense = [place.linear.difference().detach() for place in places]
    prune(tuned)
    k = tuned.method.count(tuned.sizes)
    assert tuned.count() == k
    least = torch.cat([each.abs().flatten() for each in dense]).sort().values[-k]
    for place, each in zip(places, dense, strict=True):
        got = torch.zeros_like(each).flatten()
        got[place.linear.index] = place.linear.values.detach()
        assert torch.equal(got.view_as(each), torch.where(each.abs() >= least, each, 0.0))
    before = loss_of(tuned).item()
    train(tuned, steps=6)
    assert loss_of(tuned).item() < before
    tuned.save(tmp_path / "out")
    assert torch.equal(logits_of(load_tuned(tiny_llama(), tmp_path / "out")), logits_of(tuned))


def test_what_follows_the_training_is_pruning_once() -> None:
    tuned = apply(tiny_llama(), DiffPruning(fraction=0.02, targets=("v_proj",)))
    train(tuned, steps=2)
    assert tuned.method.then(tuned)
    assert tuned.method == DiffPruning(fraction=0.02, targets=("v_proj",), pruned=True)
    kept = tuned.count()
    assert kept == tuned.method.count(tuned.sizes)
    assert not tuned.method.then(tuned)
    assert tuned.count() == kept


def test_only_a_trained_diff_vector_is_pruned() -> None:
    with pytest.raises(ConfigError, match="unpruned diff vector"):
        prune(apply(tiny_llama(), LoRA()))
    with pytest.raises(ConfigError, match="only a trained"):
        apply(tiny_llama(), DiffPruning(pruned=True))
