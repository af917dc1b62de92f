"""LoRA-FA is LoRA with a frozen A, and keeps less."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from adwright.tuning.efficient.memory import FrozenALinear, LoRAFA
from adwright.tuning.methods import apply
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import logits_of, shake, tiny_llama


def test_is_the_formula() -> None:
    method = LoRAFA(rank=3, alpha=6.0)
    tuned = apply(tiny_llama(), method)
    shake(tuned)
    modules = {(p.layer, p.target): p.linear for p in tuned.places(method.targets)}

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        own = modules[layer, target]
        return x @ (weight + 2.0 * own.b @ own.a).T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)
    assert all(name.endswith(".b") for name, _ in tuned.named_parameters())


def test_the_graph_keeps_no_input() -> None:
    base = nn.Linear(64, 4, bias=False).requires_grad_(False)
    a = nn.Parameter(torch.randn(2, 64), requires_grad=False)
    module = FrozenALinear(base, a, nn.Parameter(torch.randn(4, 2)), 1.0)
    x = torch.randn(7, 64, requires_grad=True)
    kept: list[tuple[int, ...]] = []

    def keep(tensor: Any) -> Any:
        kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = module(x)
    assert (7, 64) not in kept
    got = torch.autograd.grad(y.sum(), [x, module.b])
    plain: Tensor = base(x) + (x @ a.T) @ module.b.T
    for one, other in zip(got, torch.autograd.grad(plain.sum(), [x, module.b]), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
