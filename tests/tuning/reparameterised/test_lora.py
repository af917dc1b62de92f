"""LoRA against its formula, and its own backward pass against autograd's."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.tuning.methods import apply
from adwright.tuning.modules import Sizes
from adwright.tuning.reparameterised.lora import LoRA, LoRALinear, low_rank_count
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import logits_of, shake, tiny_llama


@pytest.mark.parametrize("stabilised", [False, True])
def test_is_the_formula(stabilised: bool) -> None:
    method = LoRA(rank=3, alpha=5.0, rank_stabilised=stabilised)
    tuned = apply(tiny_llama(), method)
    shake(tuned)
    scale = 5.0 / (math.sqrt(3) if stabilised else 3)
    modules = {(p.layer, p.target): p.linear for p in tuned.places(method.targets)}

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        module = modules[layer, target]
        return x @ (weight + scale * module.b @ module.a).T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_gradients_are_those_of_autograd(bias: bool) -> None:
    torch.manual_seed(0)
    base = nn.Linear(5, 4, bias=bias).requires_grad_(False)
    module = LoRALinear(base, nn.Parameter(torch.randn(2, 5)), nn.Parameter(torch.randn(4, 2)), 0.7)
    x = torch.randn(3, 6, 5, requires_grad=True)
    above = torch.randn(3, 6, 4)
    got = torch.autograd.grad(module(x), [x, module.a, module.b], above)
    low = functional.linear(functional.linear(x, module.a), module.b)
    wanted = torch.autograd.grad(base(x) + 0.7 * low, [x, module.a, module.b], above)
    for one, other in zip(got, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_an_input_without_gradient_gets_none() -> None:
    base = nn.Linear(5, 4).requires_grad_(False)
    module = LoRALinear(base, nn.Parameter(torch.ones(2, 5)), nn.Parameter(torch.ones(4, 2)), 1.0)
    module(torch.randn(3, 5)).sum().backward()
    assert base.weight.grad is None
    assert module.a.grad is not None


def test_dropout_acts_in_training_only() -> None:
    method = LoRA(rank=2, dropout=0.5)
    tuned = apply(tiny_llama(), method)
    shake(tuned)
    module = tuned.places(("q_proj",))[0].linear
    x = torch.randn(2, 32)
    tuned.train()
    assert not torch.allclose(module(x), module(x))
    tuned.eval()
    assert torch.equal(module(x), module(x))


def test_under_autocast_the_step_is_near_the_plain_one() -> None:
    tuned = apply(tiny_llama(), LoRA(rank=2))
    shake(tuned)
    module = tuned.places(("q_proj",))[0].linear
    x = torch.randn(7, 32)
    plain = torch.autograd.grad(module(x).sum(), module.a)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = module(x)
    assert y.dtype == torch.bfloat16
    mixed = torch.autograd.grad(y.float().sum(), module.a)[0]
    assert torch.allclose(mixed, plain, atol=0.05, rtol=0.05)


def test_counts() -> None:
    sizes = Sizes.of(tiny_llama())
    assert low_rank_count(sizes, ("q_proj",), 3) == 2 * 3 * 64
    assert LoRA(rate_ratio=16.0).rate("x.b") == 16.0
    assert LoRA(rate_ratio=16.0).rate("x.a") == 1.0
