"""The loops of HSTU attention for CUDA, compiled by triton: forward, and backward in two.

One program computes one head of one block of rows (or, for the gradients of k and v, of
columns) of one sequence, and walks over the blocks that its mask does not empty. Nothing of
the size of all pairs leaves the registers. Sums are float32. See `adwright.models.kernels.fused`
for the formulas.

`blocks` int64 [I, 2] are pairs of sequence and first row; `sequences` int64 [U, 5] its first
token, length, contexts, where candidates begin, and what a window never hides.
"""

# ruff: noqa: PLR0913, PLR0917 - a program of triton takes each address and size by itself
from __future__ import annotations

from typing import Any

import triton
import triton.language as tl


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
