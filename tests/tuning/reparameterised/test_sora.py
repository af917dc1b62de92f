"""SoRA: gates, the step that shuts them, and the cut of what is shut."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adwright.core.errors import ArtifactError, ConfigError
from adwright.tuning.methods import apply, load_tuned
from adwright.tuning.reparameterised.lora import GatedLinear, LoRA, SoRA, alive, cut
from adwright.tuning.tuned import Tuned
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import TOKENS, logits_of, loss_of, shake, tiny_llama, train


def first_of(tuned: Tuned) -> GatedLinear:
    module = tuned.places(("q_proj",))[0].linear
    assert isinstance(module, GatedLinear)
    return module


def test_is_the_formula() -> None:
    method = SoRA(rank=4, alpha=6.0)
    tuned = apply(tiny_llama(), method)
    shake(tuned)
    modules = {(p.layer, p.target): p.linear for p in tuned.places(method.targets)}

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        own = modules[layer, target]
        return x @ (weight + 1.5 * own.b @ torch.diag(own.gate) @ own.a).T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)


def test_the_proximal_step_is_a_soft_threshold() -> None:
    tuned = apply(tiny_llama(), SoRA(rank=4, threshold=0.3))
    module = first_of(tuned)
    module.gate.data.copy_(torch.tensor([1.0, -1.0, 0.2, -0.3]))
    tuned.after_step(0, 1)
    assert torch.allclose(module.gate, torch.tensor([0.7, -0.7, 0.0, 0.0]))
    assert alive(tuned)["model.model.layers.0.self_attn.q_proj"] == 2


@pytest.mark.parametrize("steps", [1, 7, 300])
def test_thresholds_fall_as_a_cosine_and_add_up(steps: int) -> None:
    module = first_of(apply(tiny_llama(), SoRA(rank=4, threshold=0.5)))
    at, thresholds = 3.0, []
    for step in range(steps):
        module.gate.data.fill_(3.0)
        module.before_step(step, steps)
        module.after_step(step, steps)
        thresholds.append(at - module.gate[0].item())
    assert sum(thresholds) == pytest.approx(0.5, abs=1e-3)
    for step, found in enumerate(thresholds):
        share = (1 + math.cos(math.pi * step / steps)) / 2
        assert found == pytest.approx(thresholds[0] * share, abs=1e-5)


def test_what_is_shut_stays_so() -> None:
    module = first_of(apply(tiny_llama(), SoRA(rank=4, threshold=0.1)))
    module.gate.data.copy_(torch.tensor([0.0, 1.0, 1.0, 1.0]))
    module.before_step(5, 10)
    module.gate.data.fill_(2.0)
    module.after_step(5, 10)
    assert (module.gate != 0).tolist() == [False, True, True, True]


def test_a_large_threshold_shuts_everything() -> None:
    tuned = apply(tiny_llama(), SoRA(rank=4, threshold=5.0))
    train(tuned, steps=4)
    assert sum(alive(tuned).values()) == 0


@pytest.mark.parametrize("rate", [1e-3, 5e-3])
def test_defaults_shut_a_part_and_the_cut_leaves_the_function(rate: float, tmp_path: Path) -> None:
    method = SoRA()
    tuned = apply(tiny_llama(), method)
    start = loss_of(tuned).item()
    drawn = first_of(tuned).gate.detach().abs() >= method.threshold
    train(tuned, steps=300, rate=rate)
    living = alive(tuned)
    share = sum(living.values()) / (16 * len(living))
    assert 0.3 < share < 0.9
    assert (first_of(tuned).gate != 0).tolist() != drawn.tolist()
    before = logits_of(tuned)
    assert loss_of(tuned).item() < 0.5 * start
    assert not tuned.method.then(tuned)
    assert torch.allclose(logits_of(tuned), before, atol=1e-5)
    assert tuned.count() == tuned.method.count(tuned.sizes)
    assert alive(tuned) == living
    assert first_of(tuned).a.shape == (living["model.model.layers.0.self_attn.q_proj"], 32)
    tuned.save(tmp_path / "part")
    again = load_tuned(tiny_llama(), tmp_path / "part")
    assert again.method == tuned.method
    assert torch.equal(logits_of(again), logits_of(tuned))


def test_a_map_that_is_shut_as_a_whole_is_cut_to_nothing(tmp_path: Path) -> None:
    tuned = apply(tiny_llama(), SoRA(rank=3, threshold=0.0))
    shake(tuned)
    first_of(tuned).gate.data.zero_()
    before = logits_of(tuned)
    cut(tuned)
    assert first_of(tuned).b.shape == (32, 0)
    tuned.save(tmp_path / "part")
    again = load_tuned(tiny_llama(), tmp_path / "part")
    train(again, steps=2)
    assert torch.allclose(logits_of(tuned), before, atol=1e-5)
    with torch.no_grad():
        assert torch.allclose(tuned.merge()(TOKENS).logits, before, atol=1e-5)


def test_what_cannot_be_cut_and_ranks_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="directions of a SoRA"):
        cut(apply(tiny_llama(), LoRA()))
    with pytest.raises(ConfigError, match="1 ranks are given for 14 maps"):
        apply(tiny_llama(), SoRA(ranks=(3,)))
    with pytest.raises(ConfigError, match=r"lie in 0 \.\.\. 4"):
        SoRA(rank=4, ranks=(-1,))
    method = SoRA(rank=4, ranks=(2,) * 14)
    tuned = apply(tiny_llama(), method)
    tuned.method = replace(method, ranks=(2,) * 13 + (1,))
    tuned.save(tmp_path / "bad")
    with pytest.raises(ArtifactError, match="the model wants"):
        load_tuned(tiny_llama(), tmp_path / "bad")
