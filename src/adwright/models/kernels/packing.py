"""Operands of one sequence in the orders that the products of the fused attention read.

Words are those of `adwright.models.kernels.silu`: one float32, or two bfloat16. Of x [L, H, D],
with L and D rounded up to 16 by zeros,

    rows    [H, L, D words]            a row after another: the left side of a product
    panels  [H, L / 16, D words, 16]   x transposed, 16 rows side by side: a right side
    steps   [H, L words, D]            rows as they are, or two rows as pairs: a right side

Filled again for each sequence, so that short ones stay in the cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from adwright.core.vector_code import LANES


class Numbers(NamedTuple):
    """x [E, H, D] as float32, or as the bits of bfloat16 in int16; the other one is empty."""

    floats: Any
    halves: Any


class SequenceBuffers(NamedTuple):
    """Flat int32 buffers for one sequence; and its D, D rounded up, and words per row."""

    rows: Any
    panels: Any
    steps: Any
    size: int
    width: int
    words: int


@numba.njit(nogil=True)
def packed(longest, heads, size, pairs):
    """Allocate buffers for sequences of at most `longest` tokens, a multiple of LANES."""
    width = (size + LANES - 1) // LANES * LANES
    words = width // 2 if pairs else width
    room = heads * longest * words
    rows, panels = np.zeros(room, np.int32), np.zeros(room, np.int32)
    steps = np.zeros(room, np.int32) if pairs else rows
    return SequenceBuffers(rows, panels, steps, size, width, words)


@numba.njit(nogil=True)
def _rows(into, x, heads, first, tokens, rounded, width):
    """Copy x's tokens to into [H, rounded, width], zeros after the last token."""
    for h in range(heads):
        for i in range(rounded):
            at = (h * rounded + i) * width
            row = into[at : at + x.shape[2]]
            if i < tokens:
                source = x[first + i, h]
                for c in range(len(row)):
                    row[c] = source[c]
            else:
                row[:] = 0


@numba.njit(nogil=True)
def pack(to, x, heads, first, tokens, rounded, pairs, panels, steps):
    """Fill `rows` with tokens from first on, and `panels` and `steps` where those are 1."""
    width, words = to.width, to.words
    if pairs:
        halves = to.rows.view(np.int16)
        _rows(halves, x.halves, heads, first, tokens, rounded, width)
        if steps:
            both = to.steps.view(np.int16)
            for i in range(0, heads * rounded, 2):
                upper, lower = halves[i * width : i * width + width], halves[i * width + width :]
                row = both[i * width : (i + 2) * width]
                for c in range(width):
                    row[2 * c] = upper[c]
                    row[2 * c + 1] = lower[c]
    else:
        _rows(to.rows.view(np.float32), x.floats, heads, first, tokens, rounded, width)
    if panels:
        for i in range(0, heads * rounded, LANES):
            block = to.rows[i * words : (i + LANES) * words]
            panel = to.panels[i * words : (i + LANES) * words]
            for c in range(words):
                for lane in range(LANES):
                    panel[c * LANES + lane] = block[lane * words + c]


@numba.njit(nogil=True)
def store(x, sums, h, first, tokens, width, factor, pairs):
    """Tokens first to first + tokens of x, head h: factor times sums float32 [tokens, width]."""
    if pairs:
        for i in range(tokens):
            row, source = x.halves[first + i, h], sums[i * width : (i + 1) * width]
            for c in range(len(row)):
                whole = np.int32(np.float32(source[c] * factor).view(np.int32))
                row[c] = np.int16(np.int32(whole + np.int32(0x8000)) >> np.int32(16))
    else:
        for i in range(tokens):
            target, source = x.floats[first + i, h], sums[i * width : (i + 1) * width]
            for c in range(len(target)):
                target[c] = source[c] * factor
