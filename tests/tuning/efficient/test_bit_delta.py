"""BitDelta: signs in bits, one factor a map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from adwright.core.errors import ConfigError
from adwright.tuning.efficient.quantised import BitDelta, BitDeltaLinear
from adwright.tuning.methods import apply, load_tuned
from adwright.tuning.modules import LinearPlace
from adwright.tuning.references import FullTuning
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.storage import read_tuned
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import logits_of, saved, shake, tiny_llama


def test_is_the_formula(tmp_path: Path) -> None:
    source = saved(FullTuning(), tmp_path / "full", 0)
    full = read_tuned(source).tensors
    tuned = apply(tiny_llama(), BitDelta(), sources=[source])
    names = {(p.layer, p.target): p.name for p in tuned.places(BitDelta().targets)}

    def linear(layer: int, target: str, weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        difference = full[f"model.{names[layer, target]}.weight"] - weight
        sign = torch.where(difference > 0, 1.0, -1.0)
        return x @ (weight + difference.abs().mean() * sign).T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)


def small_tuning(base: Any, folder: Path) -> dict[str, torch.Tensor]:
    """A full tuning whose steps lie below the spacing of bfloat16; D of each map."""
    tuned = apply(base, FullTuning())
    before = {name: value.detach().clone() for name, value in tuned.state().items()}
    shake(tuned, size=1e-4)
    tuned.save(folder)
    return {name: value.detach() - before[name] for name, value in tuned.state().items()}


def bit_linear(place: LinearPlace) -> BitDeltaLinear:
    module = place.linear
    assert isinstance(module, BitDeltaLinear)
    return module


def test_a_base_in_bfloat16_keeps_small_updates(tmp_path: Path) -> None:
    differences = small_tuning(tiny_llama().bfloat16().float(), tmp_path / "full")
    narrow = apply(tiny_llama().bfloat16(), BitDelta(), sources=[tmp_path / "full"])
    wide = apply(tiny_llama().bfloat16().float(), BitDelta(), sources=[tmp_path / "full"])
    places = zip(*(each.places(BitDelta().targets) for each in (narrow, wide)), strict=True)
    lost, size = 0.0, 0
    for one, other in places:
        difference, module = differences[f"model.{one.name}.weight"], bit_linear(one)
        signs = torch.where(difference > 0, 1.0, -1.0)
        assert torch.equal(module.signs(torch.float32), signs)
        assert torch.equal(module.signs(torch.bfloat16).float(), signs)
        assert torch.allclose(module.factor, difference.abs().mean(), rtol=1e-5)
        assert torch.equal(module.bits, bit_linear(other).bits)
        # What the module adds, against what is left of it in a sum of weights.
        x = torch.randn(8, module.base.in_features)
        wanted = module.factor * x @ signs.T
        rows, columns = signs.shape
        zero = nn.Linear(columns, rows, bias=False, dtype=torch.bfloat16)
        nn.init.zeros_(zero.weight)
        alone = BitDeltaLinear(zero.requires_grad_(False), difference)
        assert torch.allclose(alone(x.bfloat16()).float(), wanted, rtol=0.02, atol=2e-5)
        update = (module.factor * signs).to(torch.bfloat16)
        summed = module.base.weight + update
        lost += float((summed == module.base.weight).sum())
        size += summed.numel()
    assert lost / size > 0.5


def test_bits_of_a_float32_base_serve_a_bfloat16_one(tmp_path: Path) -> None:
    differences = small_tuning(tiny_llama(), tmp_path / "full")
    apply(tiny_llama(), BitDelta(), sources=[tmp_path / "full"]).save(tmp_path / "bits")
    narrow = load_tuned(tiny_llama().bfloat16(), tmp_path / "bits")
    for place in narrow.places(BitDelta().targets):
        difference = differences[f"model.{place.name}.weight"]
        signs = torch.where(difference > 0, 1.0, -1.0)
        assert torch.equal(bit_linear(place).signs(torch.float32), signs)
    assert logits_of(narrow).dtype == torch.bfloat16


def test_merged_weights_are_rounded_once(tmp_path: Path) -> None:
    source = saved(FullTuning(), tmp_path / "full", 0)
    tuned = apply(tiny_llama().bfloat16(), BitDelta(), sources=[source])
    place = tuned.places(("v_proj",))[0]
    module = bit_linear(place)
    wanted = module.base.weight.float() + module.factor * module.signs(torch.float32)
    tuned.merge()
    assert torch.equal(place.linear.weight, wanted.bfloat16())


def test_bits_of_odd_sizes() -> None:
    difference = torch.randn(3, 5)
    module = BitDeltaLinear(nn.Linear(5, 3).requires_grad_(False), difference)
    assert module.bits.numel() == 2
    update = module.weight_now() - module.base.weight
    assert torch.equal(update > 0, difference > 0)


def test_needs_a_full_tuning_of_the_same_base(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="1 sources are needed"):
        apply(tiny_llama(), BitDelta())
    with pytest.raises(ConfigError, match="not a FullTuning"):
        apply(tiny_llama(), BitDelta(), sources=[saved(LoRA(), tmp_path / "lora", 0)])
