"""BitDelta: signs in bits, one factor a map."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import nn

from adwright.core.errors import ConfigError
from adwright.tuning.efficient import (
    PEQA,
    BitDelta,
    BitDeltaLinear,
    MeZO,
    QuantisedLinear,
    quantise,
)
from adwright.tuning.methods import apply, load_tuned
from adwright.tuning.modules import LinearPlace
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.selective import FullTuning
from adwright.tuning.tuned import read_tuned
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import logits_of, loss_of, saved, shake, tiny_llama


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


def test_needs_a_full_tuning_of_the_same_base(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="1 sources are needed"):
        apply(tiny_llama(), BitDelta())
    with pytest.raises(ConfigError, match="not a FullTuning"):
        apply(tiny_llama(), BitDelta(), sources=[saved(LoRA(), tmp_path / "lora", 0)])


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


def test_a_step_is_the_formula() -> None:
    method = MeZO(epsilon=1e-2)
    tuned = apply(tiny_llama(), method)
    before = [parameter.detach().clone() for parameter in tuned.parameters()]
    loss = method.search(tuned, lambda: loss_of(tuned), rate=1e-3, seed=5)
    after = [parameter.detach().clone() for parameter in tuned.parameters()]
    generator = torch.Generator().manual_seed(5)
    drawn = [torch.randn(each.shape, generator=generator) for each in before]

    def loss_at(scale: float) -> float:
        with torch.no_grad():
            for parameter, first, z in zip(tuned.parameters(), before, drawn, strict=True):
                parameter.copy_(first + scale * z)
            return float(loss_of(tuned))

    above, below = loss_at(1e-2), loss_at(-1e-2)
    gradient = (above - below) / 2e-2
    assert loss == pytest.approx((above + below) / 2, rel=1e-5)
    for now, first, z in zip(after, before, drawn, strict=True):
        assert torch.allclose(now, first - 1e-3 * gradient * z, atol=1e-5)


def test_no_graph_is_built() -> None:
    tuned = apply(tiny_llama(), MeZO())
    made = []

    def loss() -> torch.Tensor:
        made.append(loss_of(tuned))
        return made[-1]

    MeZO().search(tuned, loss, rate=1e-3, seed=0)
    assert [each.requires_grad for each in made] == [False, False]
    assert all(parameter.grad is None for parameter in tuned.parameters())
