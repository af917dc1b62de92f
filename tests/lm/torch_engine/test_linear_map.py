from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from adwright.lm.torch_engine.network import mapped, row_mapped


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 1, 24), (1, 24), (24,), (1, 3, 24), (1, 64), (2, 64)])
def test_is_the_linear_map(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=generator).to(dtype)
    weight = torch.randn(40, shape[-1], generator=generator).to(dtype)
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("wide", [24, 64])
def test_one_row_into_a_part_of_a_tensor(dtype: torch.dtype, wide: int) -> None:
    generator = torch.Generator().manual_seed(3)
    row, weight = (torch.randn(n, wide, generator=generator).to(dtype) for n in (1, 5))
    for bias in (None, torch.randn(5, generator=generator).to(dtype)):
        into = torch.zeros(9, dtype=dtype)
        found = row_mapped(row[0], weight, bias, into[2:7])
        assert found.data_ptr() == into[2:].data_ptr()
        torch.testing.assert_close(found, functional.linear(row, weight, bias)[0])
        assert into[:2].tolist() == into[7:].tolist() == [0, 0]


def test_weights_that_do_not_lie_row_by_row() -> None:
    generator = torch.Generator().manual_seed(4)
    wide = torch.randn(64, 96, generator=generator).bfloat16()
    row = torch.randn(64, generator=generator).bfloat16()
    for weight in (wide.T, wide[:, :64], wide[::2, :64]):
        torch.testing.assert_close(
            row_mapped(row, weight), functional.linear(row[None], weight)[0], rtol=0.02, atol=0.1
        )
