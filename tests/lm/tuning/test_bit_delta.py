"""BitDelta: signs in bits, one factor a map."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from adwright.core.errors import ConfigError
from adwright.lm.tuning.bit_delta import BitDelta, BitDeltaLinear
from adwright.lm.tuning.lora import LoRA
from adwright.lm.tuning.methods import apply
from adwright.lm.tuning.references import FullTuning
from adwright.lm.tuning.storage import read_tuned
from tests.lm.tuning.literal import literal_logits
from tests.lm.tuning.tiny import logits_of, saved, tiny_llama


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


def test_bits_of_odd_sizes() -> None:
    difference = torch.randn(3, 5)
    module = BitDeltaLinear(nn.Linear(5, 3).requires_grad_(False), difference)
    assert module.bits.numel() == 2
    update = module.weight_now() - module.base.weight
    assert torch.equal(update > 0, difference > 0)


def test_needs_a_full_tuning_of_the_same_base(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one source is needed"):
        apply(tiny_llama(), BitDelta())
    with pytest.raises(ConfigError, match="not a full tuning"):
        apply(tiny_llama(), BitDelta(), sources=[saved(LoRA(), tmp_path / "lora", 0)])
