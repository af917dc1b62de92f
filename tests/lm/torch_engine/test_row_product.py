"""The compiled product of a matrix and one row, against one in float64."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("numba")

from adwright.core.vector_code import has_pairs
from adwright.lm.torch_engine.row_product import row_product

pytestmark = pytest.mark.skipif(not has_pairs(), reason="no pairs of bfloat16 here")


@pytest.mark.parametrize(("rows", "size"), [(1, 32), (3, 64), (4, 32), (11, 576), (64, 1536)])
def test_is_the_product_rounded_once(rows: int, size: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    w = torch.randn(rows, size, generator=generator).bfloat16()
    x = torch.randn(size, generator=generator).bfloat16()
    y = torch.full((rows + 2,), 7.0).bfloat16()
    row_product(y.data_ptr() + 2, w.data_ptr(), x.data_ptr(), rows, size)
    exact = w.double() @ x.double()
    # Half a step of rounding, and sums in 32 bits.
    allowed = 2**-8 * exact.abs() + 1e-6 * (w.double().abs() @ x.double().abs())
    assert ((y[1:-1].double() - exact).abs() <= allowed).all()
    assert y[0] == y[-1] == 7  # nothing beside it is written


def test_what_is_not_finite_stays_so() -> None:
    w = torch.ones(4, 32).bfloat16()
    w[0, 3], w[2, 5] = torch.nan, torch.inf
    x, y = torch.ones(32).bfloat16(), torch.zeros(4).bfloat16()
    row_product(y.data_ptr(), w.data_ptr(), x.data_ptr(), 4, 32)
    assert y.isnan().tolist() == [True, False, False, False]
    assert y[1:].tolist() == [32, torch.inf, 32]
