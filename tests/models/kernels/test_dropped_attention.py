"""Attention with dropout: its mask is read off the values, and everything else is the formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from adwright.models.kernels import dropped_attention as module
from adwright.models.kernels.dropped_attention import dropped_attention

RATE = 0.3


def operands(length: int, *, width: int = 3, number: int = 2, heads: int = 2) -> list[Tensor]:
    """q, k and v, float64."""
    generator = torch.Generator().manual_seed(length)
    shape = (3, number, heads, length, width)
    return [x.requires_grad_() for x in torch.randn(shape, generator=generator).double().unbind()]


def literal(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Whole matrices: softmax, then the weights that `mask` [G, H, L, L] scales."""
    length = q.shape[2]
    scores = q @ k.transpose(2, 3) / q.shape[3] ** 0.5
    ahead = torch.ones(length, length).triu(1).bool()
    return (torch.softmax(scores.masked_fill(ahead, -torch.inf), -1) * mask) @ v


def mask_of(q: Tensor, k: Tensor, seed: int, rate: float = RATE) -> Tensor:
    """What the weights are multiplied with: values of unit vectors show the weights."""
    length = q.shape[2]
    eye = torch.eye(length).double().expand(*q.shape[:2], length, length)
    torch.manual_seed(seed)
    dropped = dropped_attention(q, k, eye, rate).detach()
    torch.manual_seed(seed)
    plain = dropped_attention(q, k, eye, 0.0).detach()
    return torch.where(plain > 0, dropped / plain.clamp(min=1e-300), 0.0)


WAYS = {"whole": (256, 128, 1 << 20), "tiles": (1, 128, 1 << 20), "small tiles": (1, 5, 64)}


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(("LONG", "ROWS", "CELLS"), request.param, strict=True):
        monkeypatch.setattr(module, name, value)


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("length", [1, 2, 7, 21, 150])
def test_values_and_gradients_are_the_formulas(length: int) -> None:
    q, k, v = operands(length)
    mask = mask_of(q, k, seed=3)
    torch.manual_seed(3)
    ours = dropped_attention(q, k, v, RATE)
    expected = literal(q, k, v, mask)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)
    above = torch.randn_like(ours)
    found = torch.autograd.grad(ours, (q, k, v), above)
    for one, other in zip(found, torch.autograd.grad(expected, (q, k, v), above), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11)


@pytest.mark.usefixtures("ways")
def test_the_mask_drops_at_the_rate_and_keeps_the_mean() -> None:
    q, k, _ = operands(60, number=4)
    mask = mask_of(q, k, seed=1)
    below = torch.ones(60, 60).tril().bool().expand_as(mask)
    kept = mask[below] > 0
    assert float(kept.double().mean()) == pytest.approx(1 - RATE, abs=0.015)
    torch.testing.assert_close(
        mask[below][kept],
        torch.full((int(kept.sum()),), 1 / (1 - round(RATE * 2**16) / 2**16)).double(),
    )
    # Neighbours are dropped apart from each other: words serve four weights each.
    rows = (mask[:, :, 30:, :30] > 0).double() - (1 - RATE)
    for step in (1, 2, 3, 4, 8):
        assert float((rows[..., step:] * rows[..., :-step]).mean()) == pytest.approx(0, abs=0.02)
    assert not torch.equal(mask[0], mask[1])


@pytest.mark.usefixtures("ways")
def test_the_seed_alone_decides() -> None:
    q, k, v = (x.detach() for x in operands(20))
    runs = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        runs.append(dropped_attention(q, k, v, RATE))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


@pytest.mark.usefixtures("ways")
def test_without_dropout_it_is_torchs() -> None:
    q, k, v = operands(33)
    expected = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(dropped_attention(q, k, v, 0.0), expected)


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_types_are_as_near_as_they_can_be(dtype: torch.dtype) -> None:
    q, k, v = (x.detach() for x in operands(40))
    small = [x.to(dtype).requires_grad_() for x in (q, k, v)]
    exact = [x.detach().double().requires_grad_() for x in small]
    found = []
    for some in (small, exact):
        torch.manual_seed(2)
        out = dropped_attention(some[0], some[1], some[2], RATE)
        assert out.dtype == some[0].dtype
        found.append([out.detach(), *torch.autograd.grad(out.double().square().sum(), some)])
    tolerance = 1e-5 if dtype == torch.float32 else 0.06
    for one, other in zip(*found, strict=True):
        assert one.dtype == dtype
        assert float((one.double() - other).abs().max() / other.abs().max()) < tolerance


@pytest.mark.usefixtures("ways")
def test_operands_of_float32_are_multiplied_as_bfloat16_where_that_is_asked_for() -> None:
    small = [x.detach().float().requires_grad_() for x in operands(40)]
    found = []
    for asked in (True, False):
        torch.manual_seed(2)
        with torch.autocast("cpu", torch.bfloat16, enabled=asked):
            out = dropped_attention(small[0], small[1], small[2], RATE)
        found.append([out.detach(), *torch.autograd.grad(out.double().square().sum(), small)])
    for one, other in zip(*found, strict=True):
        assert float((one.double() - other).abs().max() / other.abs().max()) < 0.06
