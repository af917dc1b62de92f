"""BitFit against its formula."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from adwright.tuning.additive.adapters import SSF
from adwright.tuning.methods import Method, apply
from adwright.tuning.selective.masks import Biased, BitFit, with_bias
from tests.support.lm.families import tiny_of
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import TOKENS, logits_of, shake, tiny_llama


def test_is_the_formula() -> None:
    method = BitFit(targets=("q_proj", "up_proj", "down_proj"))
    tuned = apply(tiny_llama(), method)
    shake(tuned, size=0.3)
    shifts = {(p.layer, p.target): p.linear.shift for p in tuned.places(method.targets)}

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        return x @ weight.T + shifts.get((layer, target), torch.zeros(()))

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)


def test_a_bias_of_the_base_is_moved() -> None:
    base = nn.Linear(3, 2).requires_grad_(False)
    module = Biased(base)
    module.shift.data += 1
    x = torch.randn(4, 3)
    assert torch.allclose(module(x), base(x) + 1, atol=1e-6)
    before = module(x)
    assert torch.allclose(module.merged()(x), before, atol=1e-6)


def test_factor_and_shift_go_into_a_map() -> None:
    base = nn.Linear(3, 2).requires_grad_(False)
    x, factor, shift = torch.randn(4, 3), torch.tensor([2.0, 3.0]), torch.tensor([1.0, -1.0])
    wanted = base(x) * factor + shift
    assert torch.allclose(with_bias(base, factor, shift)(x), wanted, atol=1e-6)


@pytest.mark.parametrize(
    "method", [BitFit(), SSF(), BitFit(targets=("q_proj", "down_proj"))], ids=["all", "ssf", "some"]
)
def test_a_merged_model_is_loaded_with_its_biases(method: Method, tmp_path: Path) -> None:
    tuned = apply(tiny_llama(), method)
    shake(tuned, size=0.3)
    wanted = logits_of(tuned)
    merged: Any = tuned.merge()
    assert (merged.config.attention_bias, merged.config.mlp_bias) == (True, True)
    merged.save_pretrained(tmp_path)
    again: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(again(TOKENS).logits, wanted, rtol=1e-4, atol=1e-5)


def test_a_config_that_foresees_no_biases_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    tuned = apply(tiny_of("qwen3"), BitFit(targets=("up_proj",)))
    with caplog.at_level("WARNING", "adwright"):
        tuned.merge()
    assert "has no setting mlp_bias" in caplog.text
