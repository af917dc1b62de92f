"""Dropout: the mask is read off the values, and everything else is the formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adwright.models.kernels.attention_spec import draw_kept, dropout, scaled, share_kept

RATE = 0.3


def values(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """None of them 0."""
    drawn = torch.rand(shape, generator=torch.Generator().manual_seed(1)).to(dtype) + 0.5
    return drawn.requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(0, 4), (1,), (3,), (2, 3, 7), (100, 4)])
def test_values_and_gradients_are_the_formulas(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = values(*shape, dtype=dtype)
    found = dropout(x, RATE, training=True)
    assert (found.shape, found.dtype) == (x.shape, dtype)
    kept = (found != 0).to(dtype)
    scale = torch.tensor(1 / share_kept(RATE), dtype=dtype)
    torch.testing.assert_close(found, x * kept * scale)
    above = torch.randn_like(found)
    (slope,) = torch.autograd.grad(found, x, above)
    torch.testing.assert_close(slope, above * kept * scale)


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5, 0.9])
def test_so_many_are_dropped_and_apart_from_each_other(rate: float) -> None:
    torch.manual_seed(0)
    kept = draw_kept((400, 500), rate, like=torch.zeros(1)).double()
    spread = (rate * (1 - rate) / kept.numel()) ** 0.5
    assert float(kept.mean()) == pytest.approx(1 - rate, abs=4 * spread)
    off = (kept - kept.mean()) / kept.std()
    for step in (1, 2, 3, 4, 5, 8, 500):  # four neighbours come of one draw
        flat = off.flatten()
        met = float((flat[step:] * flat[:-step]).mean())
        assert met == pytest.approx(0, abs=4 / kept.numel() ** 0.5), step


def test_the_share_is_what_is_drawn_and_never_nothing() -> None:
    assert share_kept(0.5) == 0.5
    assert share_kept(0.2) == pytest.approx(0.8, abs=2**-17)
    assert share_kept(1 - 1e-9) == 2**-16
    assert share_kept(0) == 1
    assert bool(draw_kept((10_000,), 0.0, like=torch.zeros(1)).all())


def test_the_seed_alone_decides() -> None:
    x, runs = values(5, 9), []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        runs.append(dropout(x, RATE, training=True))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    draws = [torch.Generator().manual_seed(3) for _ in range(2)]
    first, second = (draw_kept((50,), RATE, like=x, generator=one) for one in draws)
    assert torch.equal(first, second)


def test_nothing_is_dropped_where_nothing_is_trained() -> None:
    x = values(4)
    state = torch.get_rng_state()
    assert dropout(x, RATE, training=False) is x
    assert dropout(x, 0.0, training=True) is x
    assert torch.equal(torch.get_rng_state(), state)


def test_a_slice_and_a_transposed_one_are_scaled_in_their_places() -> None:
    x = values(6, 8).detach()[:, ::2].T
    kept = draw_kept(x.shape, RATE, like=x)
    torch.testing.assert_close(scaled(x, kept, RATE), x * kept / share_kept(RATE))
