from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from adwright.lm.torch_engine.linear_map import mapped


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 1, 24), (1, 24), (24,), (1, 3, 24)])
def test_is_the_linear_map(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=generator).to(dtype)
    weight = torch.randn(40, 24, generator=generator).to(dtype)
    for bias in (None, torch.randn(40, generator=generator).to(dtype)):
        found = mapped(x, weight, bias)
        exact = functional.linear(
            x.double(), weight.double(), None if bias is None else bias.double()
        )
        assert found.shape == (*shape[:-1], 40)
        assert found.dtype == dtype
        # Rounded once, at the end: sums are in 32 bits.
        rounding = torch.finfo(dtype).eps * exact.abs() + 2e-5
        assert ((found.double() - exact).abs() <= rounding).all()


def test_one_row_of_a_part_of_a_tensor() -> None:
    x = torch.randn(1, 48, generator=torch.Generator().manual_seed(2)).bfloat16()[:, ::2]
    weight = torch.ones(3, 24, dtype=torch.bfloat16)
    assert torch.allclose(mapped(x, weight).float(), x.float().sum().expand(1, 3), atol=0.05)
