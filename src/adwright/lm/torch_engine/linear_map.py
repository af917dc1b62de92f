"""The base's linear maps, of many rows or of one.

A single row is a product of a matrix and a vector, whose cost is that of reading the weights.
torch hands it to a kernel for matrices, which first packs 16 bits wide weights anew in each call;
those for vectors read them as they lie, with sums in 32 bits as well. Ours (`row_product`), for one
thread, reads them fastest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["mapped", "row_mapped"]

_HALF = (torch.bfloat16, torch.float16)
#: What `row_product` multiplies at a time.
_PIECE = 32


def mapped(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`functional.linear` without a gradient: x [..., in], weight [out, in] to [..., out]."""
    one = x.numel() == x.shape[-1]
    if not one or weight.dtype not in _HALF or not weight.is_cpu or x.dtype != weight.dtype:
        return functional.linear(x, weight, bias)
    return row_mapped(x.reshape(-1), weight, bias).view(*x.shape[:-1], -1)


def row_mapped(
    row: Tensor, weight: Tensor, bias: Tensor | None = None, out: Tensor | None = None
) -> Tensor:
    """`mapped` of one row [in] of the weight's type, written to `out` [out], contiguous, where
    there is one."""
    product = _compiled() if weight.dtype == torch.bfloat16 and weight.is_cpu else None
    rows, size = weight.shape
    lies_well = size % _PIECE == 0 and weight.is_contiguous()
    if product is None or not lies_well or torch.get_num_threads() > 1:
        if bias is None:
            return torch.mv(weight, row, out=out)
        return torch.addmv(bias, weight, row, out=out)
    row = row.contiguous()
    y = row.new_empty(rows) if out is None else out
    product(y.data_ptr(), weight.data_ptr(), row.data_ptr(), rows, size)
    return y if bias is None else y.add_(bias)


@cache
def _compiled() -> Callable[[int, int, int, int, int], None] | None:
    """The product in compiled code; None without numba, or for another processor."""
    if find_spec("numba") is None:
        return None
    from adwright.core.vector_code import has_pairs
    from adwright.lm.torch_engine.row_product import row_product

    product: Callable[[int, int, int, int, int], None] = row_product
    return product if has_pairs() else None
