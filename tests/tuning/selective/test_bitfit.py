"""BitFit against its formula."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adwright.tuning.methods import apply
from adwright.tuning.selective.bitfit import Biased, BitFit, with_bias
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import logits_of, shake, tiny_llama


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
