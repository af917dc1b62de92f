"""Scales and bounds of logits."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from adwright.tuning.modules import HeadLogits, head_logits


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({}, HeadLogits()),
        ({"logit_scale": None, "final_logit_softcapping": None}, HeadLogits()),
        ({"logit_scale": 0.25}, HeadLogits(factor=0.25)),
        ({"logits_scaling": 8}, HeadLogits(factor=0.125)),
        ({"final_logit_softcapping": 30.0}, HeadLogits(cap=30.0)),
    ],
)
def test_it_is_read_from_the_config(config: dict[str, float], wanted: HeadLogits) -> None:
    assert head_logits(SimpleNamespace(**config)) == wanted


@pytest.mark.parametrize("scaled", [HeadLogits(), HeadLogits(0.25), HeadLogits(2.0, 3.0)])
def test_the_slope_is_the_derivative(scaled: HeadLogits) -> None:
    products = torch.linspace(-4, 4, 9, dtype=torch.float64, requires_grad=True)
    logits = scaled(products)
    (wanted,) = torch.autograd.grad(logits.sum(), products)
    slope = scaled.slope(logits.detach())
    torch.testing.assert_close(torch.as_tensor(slope, dtype=torch.float64).expand(9), wanted)


def test_a_bound_bounds() -> None:
    found = HeadLogits(cap=3.0)(torch.tensor([100.0, -100.0, 0.3]))
    torch.testing.assert_close(found, torch.tensor([3.0, -3.0, 3 * torch.tanh(torch.tensor(0.1))]))
