"""The base's linear maps, of many rows or of one.

A single row is a product of a matrix and a vector, whose cost is that of reading the weights.
torch hands it to a kernel for matrices, which first packs 16 bits wide weights anew in each call;
that for vectors reads them as they lie, with sums in 32 bits as well.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["mapped"]

_HALF = (torch.bfloat16, torch.float16)


def mapped(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`functional.linear` without a gradient: x [..., in], weight [out, in] to [..., out]."""
    one = x.numel() == x.shape[-1]
    if not one or weight.dtype not in _HALF or not weight.is_cpu or x.dtype != weight.dtype:
        return functional.linear(x, weight, bias)
    row = x.reshape(-1)
    y = torch.mv(weight, row) if bias is None else torch.addmv(bias, weight, row)
    return y.view(*x.shape[:-1], -1)
