"""The loops of M-FALCON, compiled by numba: candidates through one layer, a tile at a time.

What a tile of candidates needs between its input and its output, the four parts of its
projection, scores and sums, stays in the second cache; K, V and the weights lie in panels, as
`adwright.models.kernels.silu` reads them, and are streamed by. No token of the history is
anything but a column here, so there is no mask beside that of a window.

numba keeps what it compiled beside this file until this file changes. Who changes one that it
imports (`vector_code`, `matmul`, `silu`) must touch this one. Who renames the class of
an argument must move its loop to another line: numba reads the class names in an old cache, whose
file is named after the line, before it compares dates.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from adwright.core.vector_code import LANES
from adwright.models.kernels.silu import (
    add_pairs,
    add_words,
    set_pairs,
    set_words,
    weigh,
    weigh_pairs,
)

#: Candidates and tokens of a tile, at most.
ROWS, COLUMNS = 112, 224
EPS = np.float32(1e-6)
ZERO, ONE = np.float32(0), np.float32(1)


class LayerSizes(NamedTuple):
    """Of a layer: H, Dqk, Dv, D, whether A V is normed in each head, whether W2 reads [U, A,
    U * A], the factors alpha and 1 / N (float32), whether words are pairs of bfloat16."""

    heads: int
    q_size: int
    v_size: int
    width: int
    group: bool
    concat: bool
    alpha: Any
    scale: Any
    pairs: bool


class Weights(NamedTuple):
    """w1 [P, D] and w2 [D, G] in panels of 16 outputs, int32 [outputs / 16, words, 16]; own:
    float32, the bias of a candidate with itself."""

    w1: Any
    w2: Any
    own: Any


class Columns(NamedTuple):
    """Tokens of a history, n of them rounded up to 16 by zeros.

    k: int32 [n / 16, H, words, 16]. v: int32 [n, H, Dv rounded up], or [n / 2, ...] pairs of
    tokens. bias: float32 [n]. mask: float32 [n], read where masked. stretches: int64 [S, 2], the
    columns that are looked at, in multiples of 16.
    """

    k: Any
    v: Any
    bias: Any
    mask: Any
    masked: bool
    stretches: Any


@numba.njit(nogil=True, fastmath=True)
def _norm(to, x, size):
    """The first numbers of x less their mean, over sqrt(variance + eps)."""
    total, square = ZERO, ZERO
    for c in range(size):
        total += x[c]
    mean = total / np.float32(size)
    for c in range(size):
        square += (x[c] - mean) * (x[c] - mean)
    factor = ONE / np.sqrt(square / np.float32(size) + EPS)
    for c in range(size):
        to[c] = (x[c] - mean) * factor


@numba.njit(nogil=True)
def _round(to, to_row, x, x_row, rows, size):
    """The first numbers of x's rows as bfloat16; to_row, x_row: from a row to the next."""
    words = x.view(np.int32)
    for r in range(rows):
        target, source = to[r * to_row : r * to_row + size], words[r * x_row :]
        for c in range(size):
            target[c] = np.int16(np.int32(source[c] + np.int32(0x8000)) >> np.int32(16))


@numba.njit(nogil=True)
def _set(pairs, c, ldc, a, a_row, b, panel, m, n, steps):
    if pairs:
        set_pairs(c, ldc, a, a_row, 1, b, LANES, panel, m, n, steps)
    else:
        set_words(c, ldc, a, a_row, 1, b, LANES, panel, m, n, steps)


@numba.njit(nogil=True)
def _add(pairs, c, ldc, a, a_row, b, ldb, panel, m, n, steps):
    if pairs:
        add_pairs(c, ldc, a, a_row, 1, b, ldb, panel, m, n, steps)
    else:
        add_words(c, ldc, a, a_row, 1, b, ldb, panel, m, n, steps)


@numba.njit(nogil=True, fastmath=True)
def _product(a, b, size):
    total = ZERO
    for c in range(size):
        total += a[c] * b[c]
    return total


@numba.njit(nogil=True, fastmath=True)
def _add_own(to, sums, v, weight, scale, size):
    for c in range(size):
        to[c] = (sums[c] + weight * v[c]) * scale


@numba.njit(nogil=True, fastmath=True)
def _multiply(to, a, b, size):
    for c in range(size):
        to[c] = a[c] * b[c]


@numba.njit(nogil=True)
def _gate(to, total, rows, p, w, own):
    """A candidate's [U, A, U * A], or U * A alone, of its sums without the own term.

    total: [H, Dv rounded up]. rows: room for two of [H Dv], as loops over numbers are fast
    only from one array to another. p: the four parts of its projection.
    """
    size, step, wide = w.v_size, len(total) // w.heads, w.heads * w.v_size
    v, q = p[wide : 2 * wide], p[2 * wide : 2 * wide + w.heads * w.q_size]
    k, attended, normed = p[2 * wide + len(q) :], rows[0], rows[1]
    for h in range(w.heads):
        at, head = h * w.q_size, attended[h * size : (h + 1) * size]
        score = _product(q[at : at + w.q_size], k[at : at + w.q_size], w.q_size) * w.alpha + own
        weight = score / (ONE + np.exp(-score))
        _add_own(head, total[h * step :], v[h * size : (h + 1) * size], weight, w.scale, size)
        if w.group:
            _norm(normed[h * size : (h + 1) * size], head, size)
    if not w.group:
        _norm(normed, attended, wide)
    if w.concat:
        to[:wide] = p[:wide]
        to[wide : 2 * wide] = normed
        to = to[2 * wide :]
    _multiply(to, normed, p, wide)


@numba.njit(nogil=True)
def _project(p, halves, normed, x, r0, m, w, weights, constant):
    """SiLU(W1 LN(x)) of the tile's rows, to p [m, P]."""
    width, words, wide = x.shape[1], weights.w1.shape[1], len(weights.w1) * LANES
    for r in range(m):
        _norm(normed[r * width : (r + 1) * width], x[r0 + r], w.width)
    a, a_row = normed.ctypes.data, width
    if w.pairs:
        _round(halves, 2 * words, normed, width, m, w.width)
        a, a_row = halves.ctypes.data, words
    at, zero = p.ctypes.data, constant.ctypes.data
    _set(w.pairs, at, wide, a, a_row, weights.w1.ctypes.data, LANES * words, m, wide, words)
    weigh(at, zero, 0, zero + 4 * LANES, 0, ONE, at, m * wide)


@numba.njit(nogil=True)
def _attend(total, s, rounded, q, q_row, q_step, m, w, seen, constant):
    """sum_j SiLU(..) v_j of the tile's rows, to total [m, H, Dv rounded up].

    q: address of the first row's; q_row, q_step: words from a row and from a head to the next.
    """
    words, step = seen.k.shape[2], seen.v.shape[2]
    panel, row = LANES * words * w.heads, step * w.heads
    at, halves = s.ctypes.data, rounded.ctypes.data
    per_word = 2 if w.pairs else 1
    for part in range(len(seen.stretches)):
        end = seen.stretches[part, 1]
        for c0 in range(seen.stretches[part, 0], end, COLUMNS):
            n = min(COLUMNS, end - c0)
            bias, masked = seen.bias.ctypes.data + 4 * c0, np.int64(seen.masked)
            mask = constant.ctypes.data + 4 * LANES
            if masked:
                mask = seen.mask.ctypes.data + 4 * c0
            for h in range(w.heads):
                k = seen.k.ctypes.data + 4 * LANES * words * (c0 // LANES * w.heads + h)
                v = seen.v.ctypes.data + 4 * step * (c0 // per_word * w.heads + h)
                _set(w.pairs, at, n, q + 4 * q_step * h, q_row, k, panel, m, n, words)
                for r in range(m):
                    scores = at + 4 * r * n
                    if w.pairs:
                        weigh_pairs(scores, bias, 1, mask, masked, w.alpha, halves + 2 * r * n, n)
                    else:
                        weigh(scores, bias, 1, mask, masked, w.alpha, scores, n)
                a = halves if w.pairs else at
                steps, sums = n // per_word, total.ctypes.data + 4 * step * h
                _add(w.pairs, sums, row, a, steps, v, row, LANES, m, step, steps)


@numba.njit(nogil=True, cache=True)
def through_layer(x, w, weights, seen):
    """Candidates x float32 [m, D rounded up to 16] through a layer, in place.

    m: a multiple of 8. w, weights: of the layer. seen: what they see.
    """
    width, wide = x.shape[1], len(weights.w1) * LANES
    q_words, step, gated = seen.k.shape[2], seen.v.shape[2], weights.w2.shape[1]
    u_size, inner = w.heads * w.v_size, 2 * gated if w.pairs else gated
    p, s = np.zeros(ROWS * wide, np.float32), np.zeros(ROWS * COLUMNS, np.float32)
    normed, two = np.zeros(ROWS * width, np.float32), np.zeros((2, u_size), np.float32)
    total, gate = np.zeros(ROWS * w.heads * step, np.float32), np.zeros(ROWS * inner, np.float32)
    rows = ROWS if w.pairs else 0
    x_halves = np.zeros(rows * 2 * weights.w1.shape[1], np.int16)
    q_halves = np.zeros(rows * w.heads * 2 * q_words, np.int16)
    s_halves, g_halves = np.zeros(rows * COLUMNS, np.int16), np.zeros(rows * inner, np.int16)
    constant = np.zeros((2, LANES), np.float32)
    constant[1] = ONE
    for r0 in range(0, len(x), ROWS):
        m = min(ROWS, len(x) - r0)
        _project(p, x_halves, normed, x, r0, m, w, weights, constant)
        q, q_row, q_step = p.ctypes.data + 8 * u_size, wide, w.q_size
        if w.pairs:
            q, q_row, q_step = q_halves.ctypes.data, w.heads * q_words, q_words
            for h in range(w.heads):
                source = p[2 * u_size + h * w.q_size :]
                _round(q_halves[2 * h * q_words :], 2 * q_row, source, wide, m, w.q_size)
        total[:] = ZERO
        _attend(total, s, s_halves, q, q_row, q_step, m, w, seen, constant)
        for r in range(m):
            sums = total[r * w.heads * step : (r + 1) * w.heads * step]
            parts, to = p[r * wide : (r + 1) * wide], gate[r * inner : (r + 1) * inner]
            _gate(to, sums, two, parts, w, weights.own)
        a, a_row = gate.ctypes.data, inner
        if w.pairs:
            _round(g_halves, inner, gate, inner, m, inner)
            a, a_row = g_halves.ctypes.data, gated
        at, panels = x.ctypes.data + 4 * r0 * width, weights.w2.ctypes.data
        _add(w.pairs, at, width, a, a_row, panels, LANES, LANES * gated, m, width, gated)
