"""DoRA against its formula."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adwright.tuning.methods import apply
from adwright.tuning.reparameterised.lora import DoRA, DoRALinear
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import logits_of, shake, tiny_llama


def test_is_the_formula() -> None:
    method = DoRA(rank=3, alpha=6.0)
    tuned = apply(tiny_llama(), method)
    shake(tuned)
    modules = {(p.layer, p.target): p.linear for p in tuned.places(method.targets)}

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        own = modules[layer, target]
        moved = weight + 2.0 * own.b @ own.a
        rows = [
            m * row / row.square().sum().sqrt() for m, row in zip(own.magnitude, moved, strict=True)
        ]
        return x @ torch.stack(rows).T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)


def test_the_norm_is_a_constant_for_the_gradient_and_a_bias_is_not_scaled() -> None:
    torch.manual_seed(0)
    base = nn.Linear(5, 4).requires_grad_(False)
    a, b = nn.Parameter(torch.randn(2, 5)), nn.Parameter(torch.randn(4, 2))
    module = DoRALinear(base, a, b, 0.5)
    x = torch.randn(3, 5)
    moved = base.weight + 0.5 * b @ a
    norm = moved.detach().norm(dim=1)
    wanted = x @ (moved * (module.magnitude / norm)[:, None]).T + base.bias
    assert torch.allclose(module(x), wanted, atol=1e-5)
    for parameter in (a, b, module.magnitude):
        (got,) = torch.autograd.grad(module(x).square().sum(), parameter)
        (other,) = torch.autograd.grad(wanted.square().sum(), parameter, retain_graph=True)
        assert torch.allclose(got, other, atol=1e-4)
    before = module(x)
    assert torch.allclose(module.merged()(x), before, atol=1e-5)
