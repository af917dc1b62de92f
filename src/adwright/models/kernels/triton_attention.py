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
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from adwright.core.errors import ConfigError
from adwright.data.batches.jagged import lengths_to_offsets
from adwright.models.kernels.attention_spec import Bounds, Terms, time_cells

# --------------------------------------------------------------------------------------------------
# The loops of HSTU attention for CUDA, compiled by triton: forward, and backward in two.
#
# One program computes one head of one block of rows (or, for the gradients of k and v, of
# columns) of one sequence, and walks over the blocks that its mask does not empty. Nothing of
# the size of all pairs leaves the registers. Sums are float32. See `adwright.models.kernels.fused`
# for the formulas.
#
# `blocks` int64 [I, 2] are pairs of sequence and first row; `sequences` int64 [U, 5] its first
# token, length, contexts, where candidates begin, and what a window never hides.

# ruff: noqa: PLR0913, PLR0917 - a program of triton takes each address and size by itself


@triton.jit
def _load(x: Any, first: Any, i: Any, length: Any, h: Any, H: Any, D: Any, WIDTH: tl.constexpr):
    """Rows i of one head of x [E, H, D], zeros beyond the sequence and the width."""
    d = tl.arange(0, WIDTH)
    at = ((first + i)[:, None] * H + h) * D + d[None, :]
    return tl.load(x + at, mask=(i < length)[:, None] & (d < D)[None, :], other=0.0)


@triton.jit
def _store(
    x: Any, value: Any, first: Any, i: Any, length: Any, h: Any, H: Any, D: Any, WIDTH: tl.constexpr
):
    d = tl.arange(0, WIDTH)
    at = ((first + i)[:, None] * H + h) * D + d[None, :]
    tl.store(x + at, value.to(x.dtype.element_ty), mask=(i < length)[:, None] & (d < D)[None, :])


@triton.jit
def _needed(r0, c0, contexts, history, always, window, BLOCK: tl.constexpr):
    """Whether the mask may leave something of a block of rows and of columns."""
    near = tl.minimum(r0, history) - tl.minimum(c0 + BLOCK - 1, history)
    kept = (window == 0) | (near < window) | (c0 < always)
    kept = kept & (c0 < r0 + BLOCK) & ((c0 < history) | (r0 < c0 + BLOCK))
    return kept | ((r0 < contexts) & (c0 < contexts))


@triton.jit
def _pairs(i, j, length, contexts, history, always, window):
    """What is admitted, and the distance, of rows i and columns j."""
    row, column = i[:, None], j[None, :]
    distance = tl.minimum(row, history) - tl.minimum(column, history)
    seen = (column <= row) & ((column < history) | (column == row))
    seen = seen & ((window == 0) | (distance < window) | (column < always))
    seen = seen | ((row < contexts) & (column < contexts))
    return seen & (row < length) & (column < length), tl.maximum(distance, 0)


@triton.jit
def _buckets(first, i, j, length, query_time, time, starts, cells):
    """Bucket of the time between; a cell of float32 knows it up to rounding."""
    now = tl.load(query_time + first + i, mask=i < length, other=0)
    then = tl.load(time + first + j, mask=j < length, other=0)
    elapsed = tl.maximum(tl.abs(now[:, None] - then[None, :]), 1)
    cell = (elapsed.to(tl.float32).to(tl.int32, bitcast=True) >> 20) - 1016
    bucket = tl.load(cells + cell)
    later = (elapsed >= tl.load(starts + bucket + 1)).to(tl.int64)
    return bucket + later - (elapsed < tl.load(starts + bucket)).to(tl.int64)


@triton.jit
def _silu(
    q, k, alpha, distance, bucket, by_distance, N, by_bucket, NEAR: tl.constexpr, TIME: tl.constexpr
):
    """Scores x, and sigmoid(x)."""
    x = tl.dot(q, tl.trans(k), input_precision="ieee") * alpha
    if NEAR:
        x += tl.load(by_distance + tl.minimum(distance, N - 1))
    if TIME:
        x += tl.load(by_bucket + bucket)
    return x, tl.sigmoid(x)


@triton.jit
def forward(
    q, k, v, out, sequences, blocks, by_distance, by_bucket, starts, cells, query_time, time,
    alpha, scale, window, N, H, DQ, DV,
    BLOCK: tl.constexpr, WQ: tl.constexpr, WV: tl.constexpr, NEAR: tl.constexpr, TIME: tl.constexpr,
):  # fmt: skip
    """out [E, H, DV] of a block of rows."""
    u, r0 = tl.load(blocks + 2 * tl.program_id(0)), tl.load(blocks + 2 * tl.program_id(0) + 1)
    h, s = tl.program_id(1), sequences + 5 * u
    first, length, contexts = tl.load(s), tl.load(s + 1), tl.load(s + 2)
    history, always = tl.load(s + 3), tl.load(s + 4)
    i = r0 + tl.arange(0, BLOCK)
    queries = _load(q, first, i, length, h, H, DQ, WQ)
    total = tl.zeros((BLOCK, WV), tl.float32)
    for c0 in range(0, length, BLOCK):
        if _needed(r0, c0, contexts, history, always, window, BLOCK):
            j = c0 + tl.arange(0, BLOCK)
            keys = _load(k, first, j, length, h, H, DQ, WQ)
            values = _load(v, first, j, length, h, H, DV, WV)
            seen, distance = _pairs(i, j, length, contexts, history, always, window)
            bucket = distance
            if TIME:
                bucket = _buckets(first, i, j, length, query_time, time, starts, cells)
            x, gate = _silu(
                queries, keys, alpha, distance, bucket, by_distance, N, by_bucket, NEAR, TIME
            )
            weight = tl.where(seen, x * gate, 0.0).to(values.dtype)
            total += tl.dot(weight, values, input_precision="ieee")
    _store(out, total * scale, first, i, length, h, H, DV, WV)


@triton.jit
def backward_rows(
    q, k, v, above, d_q, sequences, blocks, by_distance, by_bucket, starts, cells, query_time, time,
    alpha, scale, window, N, H, DQ, DV,
    BLOCK: tl.constexpr, WQ: tl.constexpr, WV: tl.constexpr, NEAR: tl.constexpr, TIME: tl.constexpr,
):  # fmt: skip
    """d_q [E, H, DQ] of a block of rows."""
    u, r0 = tl.load(blocks + 2 * tl.program_id(0)), tl.load(blocks + 2 * tl.program_id(0) + 1)
    h, s = tl.program_id(1), sequences + 5 * u
    first, length, contexts = tl.load(s), tl.load(s + 1), tl.load(s + 2)
    history, always = tl.load(s + 3), tl.load(s + 4)
    i = r0 + tl.arange(0, BLOCK)
    queries = _load(q, first, i, length, h, H, DQ, WQ)
    given = _load(above, first, i, length, h, H, DV, WV)
    total = tl.zeros((BLOCK, WQ), tl.float32)
    for c0 in range(0, length, BLOCK):
        if _needed(r0, c0, contexts, history, always, window, BLOCK):
            j = c0 + tl.arange(0, BLOCK)
            keys = _load(k, first, j, length, h, H, DQ, WQ)
            values = _load(v, first, j, length, h, H, DV, WV)
            seen, distance = _pairs(i, j, length, contexts, history, always, window)
            bucket = distance
            if TIME:
                bucket = _buckets(first, i, j, length, query_time, time, starts, cells)
            x, gate = _silu(
                queries, keys, alpha, distance, bucket, by_distance, N, by_bucket, NEAR, TIME
            )
            d_weight = tl.dot(given, tl.trans(values), input_precision="ieee")
            d_x = tl.where(seen, d_weight * (gate + x * gate * (1 - gate)), 0.0)
            total += tl.dot(d_x.to(keys.dtype), keys, input_precision="ieee")
    _store(d_q, total * (alpha * scale), first, i, length, h, H, DQ, WQ)


@triton.jit
def backward_columns(
    q, k, v, above, d_k, d_v, d_distance, d_bucket, sequences, blocks, by_distance, by_bucket,
    starts, cells, query_time, time, alpha, scale, window, N, H, DQ, DV,
    BLOCK: tl.constexpr, WQ: tl.constexpr, WV: tl.constexpr, NEAR: tl.constexpr, TIME: tl.constexpr,
):  # fmt: skip
    """d_k [E, H, DQ] and d_v [E, H, DV] of a block of columns; adds to both tables' gradients."""
    u, c0 = tl.load(blocks + 2 * tl.program_id(0)), tl.load(blocks + 2 * tl.program_id(0) + 1)
    h, s = tl.program_id(1), sequences + 5 * u
    first, length, contexts = tl.load(s), tl.load(s + 1), tl.load(s + 2)
    history, always = tl.load(s + 3), tl.load(s + 4)
    j = c0 + tl.arange(0, BLOCK)
    keys = _load(k, first, j, length, h, H, DQ, WQ)
    values = _load(v, first, j, length, h, H, DV, WV)
    total_k, total_v = tl.zeros((BLOCK, WQ), tl.float32), tl.zeros((BLOCK, WV), tl.float32)
    for r0 in range(0, length, BLOCK):
        if _needed(r0, c0, contexts, history, always, window, BLOCK):
            i = r0 + tl.arange(0, BLOCK)
            queries = _load(q, first, i, length, h, H, DQ, WQ)
            given = _load(above, first, i, length, h, H, DV, WV)
            seen, distance = _pairs(i, j, length, contexts, history, always, window)
            bucket = distance
            if TIME:
                bucket = _buckets(first, i, j, length, query_time, time, starts, cells)
            x, gate = _silu(
                queries, keys, alpha, distance, bucket, by_distance, N, by_bucket, NEAR, TIME
            )
            weight = tl.where(seen, x * gate, 0.0).to(given.dtype)
            total_v += tl.dot(tl.trans(weight), given, input_precision="ieee")
            d_weight = tl.dot(given, tl.trans(values), input_precision="ieee")
            d_x = tl.where(seen, d_weight * (gate + x * gate * (1 - gate)), 0.0)
            if NEAR:
                tl.atomic_add(d_distance + tl.minimum(distance, N - 1), d_x * scale)
            if TIME:
                tl.atomic_add(d_bucket + bucket, d_x * scale)
            total_k += tl.dot(tl.trans(d_x.to(queries.dtype)), queries, input_precision="ieee")
    _store(d_k, total_k * (alpha * scale), first, j, length, h, H, DQ, WQ)
    _store(d_v, total_v * scale, first, j, length, h, H, DV, WV)


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

        q, k, v = (x.contiguous() for x in (q, k, v))
        ctx.save_for_backward(q, k, v, position_bias, time_bias)
        ctx.rest = offsets, terms
        out = torch.empty_like(v)
        _Call(q, v, offsets, terms).run(forward, q, k, v, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:

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
