"""HSTU attention on CUDA, in blocks that stay in registers; see `triton_loops`.

Triton comes with torch for CUDA. Without a GPU its interpreter runs the same loops slowly, for
tests: set TRITON_INTERPRET=1 before the first import of triton. So far they have been checked
there alone, not compiled for a GPU nor timed on one.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from adwright.core.errors import ConfigError
from adwright.data.batches.jagged import lengths_to_offsets
from adwright.models.kernels.attention_spec import Bounds, Terms, time_cells

#: Rows and columns of a block.
BLOCK = 32
TYPES = (torch.float32, torch.bfloat16, torch.float16)


def triton_for(x: Tensor) -> bool:
    """Whether there is a triton kernel for x here: its type, a GPU or the interpreter."""
    interpreted = x.device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"
    here = find_spec("triton") is not None
    return here and x.dtype in TYPES and (x.device.type == "cuda" or interpreted)


def on_triton(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, terms: Terms) -> Tensor:
    """Arguments and result as of `silu_attention`, whose checks have been made.

    Raises ConfigError where triton is not installed, or cannot compute on the tensors' device.
    """
    if not triton_for(q):
        raise ConfigError(
            f"the triton kernel cannot compute {q.dtype} on {q.device.type} here",
            where="kernel",
            hint='it needs CUDA and the triton that comes with torch for it; kernel="auto"',
        )
    out: Tensor = _TritonAttention.apply(  # type: ignore[no-untyped-call]
        q, k, v, terms.position_bias, terms.time_bias, offsets, terms
    )
    return out


class _Call:
    """What all three loops are called with."""

    def __init__(self, q: Tensor, v: Tensor, offsets: Tensor, terms: Terms) -> None:
        bounds, device = Bounds.of(offsets, terms.spec), q.device
        blocks = (bounds.length + BLOCK - 1) // BLOCK
        sequence = torch.repeat_interleave(torch.arange(len(blocks)), blocks)
        number = torch.arange(len(sequence)) - lengths_to_offsets(blocks)[sequence]
        items = torch.stack([sequence, number * BLOCK], 1)
        starts, cells = time_cells()
        none = torch.zeros(1, device=device)
        position, time = terms.position_bias, terms.time_bias
        near, late = position is not None, time is not None
        sequences = torch.stack(list(bounds), 1)
        tables = [
            position.detach().float().contiguous() if position is not None else none,
            time.detach().float().contiguous() if time is not None else none,
        ]
        now, then = (none if x is None else x.contiguous() for x in (terms.query_time, terms.time))
        self.grid = (len(items), q.shape[1])
        self.before = [x.to(device) for x in (sequences, items, *tables, starts, cells)]
        self.after = [now, then, terms.alpha, terms.scale, terms.spec.window]
        self.after += [len(position) if position is not None else 1, *q.shape[1:], v.shape[2]]
        self.constants = {
            "BLOCK": BLOCK,
            "WQ": max(16, 1 << (q.shape[2] - 1).bit_length()),
            "WV": max(16, 1 << (v.shape[2] - 1).bit_length()),
            "NEAR": near,
            "TIME": late,
        }

    def run(self, loop: Any, *tensors: Tensor) -> None:
        """loop on every block and head."""
        if self.grid[0]:
            loop[self.grid](*tensors, *self.before, *self.after, **self.constants)


class _TritonAttention(torch.autograd.Function):
    """[E, H, Dv], as of `adwright.models.kernels.fused`."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        position_bias: Tensor | None,
        time_bias: Tensor | None,
        offsets: Tensor,
        terms: Terms,
    ) -> Tensor:
        from adwright.models.kernels.triton_loops import forward

        q, k, v = (x.contiguous() for x in (q, k, v))
        ctx.save_for_backward(q, k, v, position_bias, time_bias)
        ctx.rest = offsets, terms
        out = torch.empty_like(v)
        _Call(q, v, offsets, terms).run(forward, q, k, v, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        from adwright.models.kernels.triton_loops import backward_columns, backward_rows

        (q, k, v, position_bias, time_bias), (offsets, terms) = ctx.saved_tensors, ctx.rest
        above = above.contiguous()
        d_q, d_k, d_v = (torch.empty_like(x) for x in (q, k, v))
        tables = [
            torch.zeros(1 if x is None else len(x), device=q.device)
            for x in (position_bias, time_bias)
        ]
        call = _Call(q, v, offsets, terms)
        call.run(backward_rows, q, k, v, above, d_q)
        call.run(backward_columns, q, k, v, above, d_k, d_v, *tables)
        d_position, d_time = (
            None if x is None else table.to(x.dtype)
            for x, table in zip((position_bias, time_bias), tables, strict=True)
        )
        return d_q, d_k, d_v, d_position, d_time, None, None
