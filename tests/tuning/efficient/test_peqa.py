"""PEQA: rounding, packing, and the gradient of the scales."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

from adwright.core.errors import ConfigError
from adwright.tuning.efficient.quantised import PEQA, QuantisedLinear, quantise
from adwright.tuning.methods import apply, load_tuned
from tests.support.lm.tuning_methods import shake, tiny_llama

BFLOAT16 = torch.bfloat16


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_rounding_is_the_formula(bits: Literal[2, 3, 4, 8]) -> None:
    torch.manual_seed(0)
    weight = torch.randn(3, 16)
    codes, scale, zero = quantise(weight, bits, 8)
    weight = weight.bfloat16().float()
    for row in range(3):
        for group in range(2):
            part = weight[row, group * 8 : group * 8 + 8]
            step = (part.max() - part.min()) / (2**bits - 1)
            assert torch.allclose(scale[row, group], step)
            for at, value in enumerate(part):
                code = torch.round((value - part.min()) / step)
                assert codes[row, group, at] == code
                back = scale[row, group] * (codes[row, group, at] - zero[row, group])
                assert abs(back - value) <= step / 2 + 1e-5


def test_equal_weights_come_back() -> None:
    for value in (0.0, 0.7, -0.3):
        weight = torch.full((1, 4), value).bfloat16().float()
        codes, scale, zero = quantise(weight, 4, 4)
        assert torch.allclose(scale[..., None] * (codes - zero[..., None]), weight[:, None])


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_both_precisions_of_a_base_are_one(bits: Literal[2, 3, 4, 8], tmp_path: Path) -> None:
    method = PEQA(bits=bits, group=8)
    wide, narrow = (apply(tiny_llama().to(kind), method) for kind in (torch.float32, BFLOAT16))
    assert wide.base_fingerprint == narrow.base_fingerprint
    for one, other in zip(*(each.places(method.targets) for each in (wide, narrow)), strict=True):
        for name in ("codes", "scale", "zero"):
            assert torch.equal(getattr(one.linear, name), getattr(other.linear, name)), name
    shake(wide)
    wide.save(tmp_path / "part")
    again = load_tuned(tiny_llama().to(BFLOAT16), tmp_path / "part")
    for one, other in zip(*(each.places(method.targets) for each in (wide, again)), strict=True):
        merged = one.linear.merged().weight.to(BFLOAT16)
        assert torch.equal(merged, other.linear.merged().weight)


@pytest.mark.parametrize("bits", [3, 4])
def test_forward_and_gradients_are_those_of_the_formula(bits: Literal[3, 4]) -> None:
    torch.manual_seed(0)
    base = nn.Linear(16, 3).requires_grad_(False)
    module = QuantisedLinear(base, bits, 8)
    codes, _, zero = quantise(base.weight, bits, 8)
    scale = module.scale.detach().clone().requires_grad_(True)
    x = torch.randn(2, 5, 16, requires_grad=True)
    weight = (scale[..., None] * (codes - zero[..., None])).flatten(1)
    plain = x @ weight.T + base.bias
    assert torch.allclose(module(x), plain, atol=1e-5)
    above = torch.randn(2, 5, 3)
    got = torch.autograd.grad(module(x), [x, module.scale], above)
    wanted = torch.autograd.grad(plain, [x, scale], above)
    for one, other in zip(got, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    assert torch.allclose(module.merged()(x), plain, atol=1e-5)


def test_codes_are_packed_and_the_weight_is_gone() -> None:
    tuned = apply(tiny_llama(), PEQA(group=8))
    module = tuned.places(("up_proj",))[0].linear
    assert module.codes.numel() == 48 * 32 // 2
    assert not hasattr(module, "base")
    with pytest.raises(ConfigError, match="groups of 7 do not divide"):
        apply(tiny_llama(), PEQA(group=7))
