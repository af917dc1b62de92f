"""SSF against its formula."""

from __future__ import annotations

import torch
from torch import Tensor

from adwright.tuning.additive.adapters import SSF, ScaledShifted
from adwright.tuning.methods import apply
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import logits_of, shake, tiny_llama


def test_is_the_formula() -> None:
    method = SSF()
    tuned = apply(tiny_llama(), method)
    shake(tuned)
    modules = {(p.layer, p.target): p.linear for p in tuned.places(method.targets)}

    def linear(layer: int, target: str, weight: Tensor, x: Tensor) -> Tensor:
        own = modules[layer, target]
        assert isinstance(own, ScaledShifted)
        return (x @ weight.T) * own.factor + own.shift

    assert torch.allclose(logits_of(tuned), literal_logits(linear=linear), atol=1e-5)
