"""KronA against its formula."""

from __future__ import annotations

import torch
from torch import Tensor

from adwright.tuning.methods import apply
from adwright.tuning.reparameterised.factors import KronA
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import logits_of, shake, tiny_llama


def test_is_the_formula() -> None:
    method = KronA(factor=5, scale=0.5)
    tuned = apply(tiny_llama(), method)
    shake(tuned, size=0.2)
    modules = {(p.layer, p.target): p.linear for p in tuned.places(method.targets)}

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        own = modules[layer, target]
        update = torch.zeros_like(weight)
        rows, columns = own.right.shape
        for i in range(len(own.left)):
            for j in range(own.left.shape[1]):
                block = (slice(i * rows, (i + 1) * rows), slice(j * columns, (j + 1) * columns))
                update[block] = own.left[i, j] * own.right
        return x @ (weight + 0.5 * update).T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)


def test_divisors() -> None:
    assert KronA(factor=32).divisor(576) == 32
    assert KronA(factor=5).divisor(48) == 4
    assert KronA(factor=5).divisor(7) == 1
