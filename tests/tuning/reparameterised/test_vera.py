"""VeRA against its formula."""

from __future__ import annotations

import torch
from torch import Tensor

from adwright.tuning.methods import apply
from adwright.tuning.reparameterised.factors import VeRA, VeRALinear
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import logits_of, shake, tiny_llama


def test_is_the_formula() -> None:
    method = VeRA(rank=5)
    tuned = apply(tiny_llama(), method)
    shake(tuned, size=0.3)
    modules = {(p.layer, p.target): p.linear for p in tuned.places(method.targets)}
    first = modules[0, "q_proj"]

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        own = modules[layer, target]
        assert isinstance(own, VeRALinear)
        assert own.a is first.a
        rows, columns = weight.shape
        update = torch.diag(own.outer) @ own.b[:rows] @ torch.diag(own.inner) @ own.a[:, :columns]
        return x @ (weight + update).T

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)
