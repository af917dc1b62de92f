"""The loops of the fused HSTU attention, compiled by numba: forward and backward over tiles.

A tile is a block of queries times a block of keys of one sequence. Its mask, its bias and its
time buckets are made once for all heads; what a head then needs stays in the first two caches.
`adwright.models.kernels.fused` hands over the batch and says which blocks to compute.

numba keeps what it compiled beside this file until this file changes. Who changes one that it
imports (`vector_code`, `packing`, `matmul`, `silu`) must touch this one. Who renames the class of
an argument must move its loop to another line: numba reads the class names in an old cache, whose
file is named after the line, before it compares dates.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from adwright.core.vector_code import LANES
from adwright.models.kernels.packing import pack, packed, store
from adwright.models.kernels.silu import (
    add_pairs,
    add_words,
    set_pairs,
    set_words,
    slope,
    slope_pairs,
    weigh,
    weigh_pairs,
)

#: Rows and columns of a tile, at most: two tiles of float32 and what goes into them fit in the
#: second cache. Odd multiples of 16, so that columns do not fall on the same lines of a cache.
LEAST, MOST = 48, 112
AREA = MOST * MOST
ZERO, ONE = np.float32(0), np.float32(1)


class AttentionBatch(NamedTuple):
    """sequences int64 [U, 7]: first token, length, that rounded up to LANES, rows and columns
    of its tiles, contexts, where candidates begin, what a window never hides. Then sizes, the
    factors alpha and scale (float32), and whether words are pairs."""

    sequences: Any
    longest: int
    heads: int
    q_size: int
    v_size: int
    window: int
    alpha: Any
    scale: Any
    pairs: bool


class Biases(NamedTuple):
    """by_distance float32 [2 Z + 1], from distance Z down to -Z (empty: none); by_bucket
    float32 [129] (empty: none), starts int64 [130], cells int64 [512], the bucket of each
    eighth of a power of two; query_time and time int64 [E]."""

    by_distance: Any
    by_bucket: Any
    starts: Any
    cells: Any
    query_time: Any
    time: Any


@numba.njit(nogil=True)
def _state(r0, r1, c0, c1, contexts, history, always, window):
    """0: nothing of the tile is admitted; 2: all; 1: some, or not worth knowing."""
    if r1 <= contexts and c1 <= contexts:
        return 2
    first, last = min(r0, history), min(r1 - 1, history)
    if not (r0 < contexts and c0 < contexts):
        if c0 >= r1 or (c0 >= history and r0 >= c1):
            return 0
        if window and c0 >= always and first - (min(c1 - 1, history)) >= window:
            return 0
    if c1 - 1 > r0 or c1 > history:
        return 1
    return 2 if not window or last - c0 < window or c1 <= always else 1


@numba.njit(nogil=True)
def _fill_mask(mask, r0, m, c0, n, contexts, history, always, window):
    for i in range(m):
        row = r0 + i
        place = min(row, history)
        for j in range(n):
            column = c0 + j
            seen = column <= row and (column < history or column == row)
            if window:
                seen = seen and (place - min(column, history) < window or column < always)
            seen = seen or (row < contexts and column < contexts)
            mask[i * n + j] = ONE if seen else ZERO


@numba.njit(nogil=True)
def _bucket(elapsed, starts, cells):
    """Exact: a cell knows its bucket up to rounding."""
    bucket = cells[(np.float32(elapsed).view(np.int32) >> 20) - 1016]
    return bucket + (elapsed >= starts[bucket + 1]) - (elapsed < starts[bucket])


@numba.njit(nogil=True)
def _fill_buckets(buckets, n, now, then, starts, cells):
    """Buckets of now times then, in rows of n; the only bucket there is, or -1."""
    low, high = now.min() - then.max(), now.max() - then.min()
    most = max(abs(low), abs(high))
    least = 0 if low <= 0 <= high else min(abs(low), abs(high))
    first, last = _bucket(max(1, least), starts, cells), _bucket(max(1, most), starts, cells)
    if first == last:
        return first
    for i in range(len(now)):
        row = buckets[i * n : i * n + len(then)]
        if last - first > 12:
            for j in range(len(row)):
                row[j] = _bucket(max(1, abs(now[i] - then[j])), starts, cells)
        else:
            row[:] = first
            for b in range(first + 1, last + 1):
                for j in range(len(row)):
                    row[j] += np.int32(abs(now[i] - then[j]) >= starts[b])
    return -1


@numba.njit(nogil=True)
def _fill_bias(bias, buckets, first, tokens, r0, m, c0, n, history, biases):
    """Both biases of a tile, for all heads; the only bucket of the tile, or -1."""
    only = -1
    if len(biases.by_bucket):
        now = biases.query_time[first + r0 : first + min(r0 + m, tokens)]
        then = biases.time[first + c0 : first + min(c0 + n, tokens)]
        only = _fill_buckets(buckets, n, now, then, biases.starts, biases.cells)
    constant = biases.by_bucket[only] if only >= 0 else ZERO
    zero = len(biases.by_distance) // 2
    for i in range(m):
        row = bias[i * n : (i + 1) * n]
        if zero:
            shift = zero - min(r0 + i, history)
            source = biases.by_distance[shift + c0 : shift + c0 + n]
            if c0 + n - 1 <= history:
                for j in range(n):
                    row[j] = source[j] + constant
            else:
                for j in range(n):
                    row[j] = biases.by_distance[shift + min(c0 + j, history)] + constant
        else:
            row[:] = constant
        if len(biases.by_bucket) and only < 0:
            chosen = buckets[i * n : (i + 1) * n]
            for j in range(n):
                row[j] += biases.by_bucket[chosen[j]]
    return only


@numba.njit(nogil=True)
def _collect_bias(d_bias, buckets, only, r0, m, c0, n, history, d_distance, d_bucket):
    """Add the gradient of a tile to that of both tables."""
    zero = len(d_distance) // 2
    for i in range(m):
        row = d_bias[i * n : (i + 1) * n]
        if zero:
            shift = zero - min(r0 + i, history)
            if c0 + n - 1 <= history:
                target = d_distance[shift + c0 : shift + c0 + n]
                for j in range(n):
                    target[j] += row[j]
            else:
                for j in range(n):
                    d_distance[shift + min(c0 + j, history)] += row[j]
        if only >= 0:
            total = ZERO
            for j in range(n):
                total += row[j]
            d_bucket[0, only] += total
        elif d_bucket.shape[0]:
            # Neighbours fall into one bucket: four sums each, so that none waits for another.
            chosen = buckets[i * n : (i + 1) * n]
            for j in range(0, n, 4):
                d_bucket[0, chosen[j]] += row[j]
                d_bucket[1, chosen[j + 1]] += row[j + 1]
                d_bucket[2, chosen[j + 2]] += row[j + 2]
                d_bucket[3, chosen[j + 3]] += row[j + 3]


@numba.njit(nogil=True)
def _floats(value, size):
    """float32 [2, size]: one that stays at its value, and one to be filled."""
    return np.full((2, size), value, np.float32)


@numba.njit(nogil=True)
def _scores(pairs, s, a, b, steps, row, column, m, n):
    """s [m, n] = a's rows times b's panels; row and column count over the heads."""
    at, by = a.rows.ctypes.data + 4 * row * a.words, b.panels.ctypes.data + 4 * column * b.words
    if pairs:
        set_pairs(s, n, at, a.words, 1, by, LANES, LANES * a.words, m, n, (steps + 1) // 2)
    else:
        set_words(s, n, at, a.words, 1, by, LANES, LANES * a.words, m, n, steps)


@numba.njit(nogil=True)
def _add(pairs, c, c_row, a, a_row, a_step, b, b_row, m, steps):
    """c's rows from c_row on [m, width] += a [m, steps] times b's rows from b_row on."""
    to = c.ctypes.data + 4 * c_row * b.width
    by = b.steps.ctypes.data + 4 * b_row * b.words
    if pairs:
        add_pairs(to, b.width, a, a_row, a_step, by, b.width, LANES, m, b.width, steps // 2)
    else:
        add_words(to, b.width, a, a_row, a_step, by, b.width, LANES, m, b.width, steps)


@numba.njit(nogil=True, cache=True)
def forward(w, biases, q, k, v, out, items):
    """Fill out (Numbers, [E, H, Dv]) for items int64 [I, 2], (sequence, first row)."""
    heads, pairs, longest = w.heads, w.pairs, w.longest
    scores, mask, bias = _floats(ZERO, AREA), _floats(ONE, AREA), _floats(ZERO, AREA)
    buckets, rounded = np.zeros(AREA, np.int32), np.empty(AREA, np.int16)
    biased = np.int64(len(biases.by_distance) + len(biases.by_bucket) > 0)
    qs, ks = packed(longest, heads, w.q_size, pairs), packed(longest, heads, w.q_size, pairs)
    vs = packed(longest, heads, w.v_size, pairs)
    total = np.zeros(heads * MOST * vs.width, np.float32)
    now = np.int64(-1)
    for item in range(len(items)):
        first, tokens, length, step, contexts, history, always = w.sequences[items[item, 0]]
        r0 = items[item, 1]
        m = min(step, length - r0)
        # Addresses are taken where the arrays are still in use: numba frees them after that.
        s, halves = scores.ctypes.data, rounded.ctypes.data
        if items[item, 0] != now:
            now = items[item, 0]
            pack(qs, q, heads, first, tokens, length, pairs, 0, 0)
            pack(ks, k, heads, first, tokens, length, pairs, 1, 0)
            pack(vs, v, heads, first, tokens, length, pairs, 0, 1)
        total[:] = ZERO
        for c0 in range(0, length, step):
            n = min(step, length - c0)
            state = _state(r0, r0 + m, c0, c0 + n, contexts, history, always, w.window)
            if state == 0:
                continue
            masked = np.int64(state == 1)
            if masked:
                _fill_mask(mask[1], r0, m, c0, n, contexts, history, always, w.window)
            if biased:
                _fill_bias(bias[1], buckets, first, tokens, r0, m, c0, n, history, biases)
            by, seen = bias[biased].ctypes.data, mask[masked].ctypes.data
            for h in range(heads):
                row, column = h * length + r0, h * length + c0
                _scores(pairs, s, qs, ks, w.q_size, row, column, m, n)
                if pairs:
                    weigh_pairs(s, by, biased, seen, masked, w.alpha, halves, m * n)
                    _add(pairs, total, h * MOST, halves, n // 2, 1, vs, column, m, n)
                else:
                    weigh(s, by, biased, seen, masked, w.alpha, halves, m * n)
                    _add(pairs, total, h * MOST, s, n, 1, vs, column, m, n)
        for h in range(heads):
            sums = total[h * MOST * vs.width :]
            store(out, sums, h, first + r0, min(m, tokens - r0), vs.width, w.scale, pairs)


@numba.njit(nogil=True)
def _store_block(x, sums, heads, first, tokens, height, width, factor, pairs):
    """The tokens of every head, of which sums [H, height, width] holds the first ones."""
    for h in range(heads):
        store(x, sums[h * height * width :], h, first, tokens, width, factor, pairs)


@numba.njit(nogil=True, cache=True)
def backward(w, biases, q, k, v, above, d_q, d_k, d_v, d_distance, d_bucket, items):
    """Gradients (Numbers) for items int64 [I, 2], (sequence, first column), in order.

    d_q of a sequence is what the items at hand give of it: calls for parts of one sequence
    need one each, to be added up. d_distance float64 [2 Z + 1] and d_bucket float64 [4, 129],
    whose sum over its rows is meant, are added to, both still without the factor scale.
    """
    heads, pairs, longest = w.heads, w.pairs, w.longest
    scores, slopes, mask = _floats(ZERO, AREA), _floats(ZERO, AREA), _floats(ONE, AREA)
    bias, buckets = _floats(ZERO, AREA), np.zeros(AREA, np.int32)
    words, rounded = np.empty((2, AREA // 2), np.int32), np.empty(AREA, np.int16)
    d_bias = slopes[0]
    biased = np.int64(len(biases.by_distance) + len(biases.by_bucket) > 0)
    qs, ks = packed(longest, heads, w.q_size, pairs), packed(longest, heads, w.q_size, pairs)
    vs, os = packed(longest, heads, w.v_size, pairs), packed(longest, heads, w.v_size, pairs)
    dq = np.zeros(heads * longest * qs.width, np.float32)
    dk = np.zeros(heads * MOST * qs.width, np.float32)
    dv = np.zeros(heads * MOST * vs.width, np.float32)
    factor = w.alpha * w.scale
    now, only = np.int64(-1), np.int64(-1)
    for item in range(len(items)):
        first, tokens, length, step, contexts, history, always = w.sequences[items[item, 0]]
        c0 = items[item, 1]
        n = min(step, length - c0)
        s, dp, halves = scores[0].ctypes.data, scores[1].ctypes.data, rounded.ctypes.data
        across, d_across = words[0].ctypes.data, words[1].ctypes.data
        if items[item, 0] != now:
            now = items[item, 0]
            sides = ((qs, q, 0, 1), (ks, k, 1, 1), (vs, v, 1, 0), (os, above, 0, 1))
            for room, x, panels, steps in sides:
                pack(room, x, heads, first, tokens, length, pairs, panels, steps)
            dq[: heads * length * qs.width] = ZERO
        dk[:], dv[:] = ZERO, ZERO
        for r0 in range(0, length, step):
            m = min(step, length - r0)
            state = _state(r0, r0 + m, c0, c0 + n, contexts, history, always, w.window)
            if state == 0:
                continue
            masked = np.int64(state == 1)
            if masked:
                _fill_mask(mask[1], r0, m, c0, n, contexts, history, always, w.window)
            if biased:
                only = _fill_bias(bias[1], buckets, first, tokens, r0, m, c0, n, history, biases)
                d_bias[: m * n] = ZERO
            by, seen = bias[biased].ctypes.data, mask[masked].ctypes.data
            to = d_bias.ctypes.data
            for h in range(heads):
                row, column = h * length + r0, h * length + c0
                _scores(pairs, s, qs, ks, w.q_size, row, column, m, n)
                _scores(pairs, dp, os, vs, w.v_size, row, column, m, n)
                p, ds, ds_rows, row_words = s, dp, dp, n  # the left sides of the products
                if pairs:
                    p, ds, ds_rows, row_words = across, d_across, halves, n // 2
                    slope_pairs(s, dp, to, by, biased, seen, masked, w.alpha, p, ds, halves, m, n)
                else:
                    slope(s, dp, to, by, biased, seen, masked, w.alpha, m * n)
                _add(pairs, dv, h * MOST, p, 1, n, os, row, n, m)
                _add(pairs, dk, h * MOST, ds, 1, n, qs, row, n, m)
                _add(pairs, dq, row, ds_rows, row_words, 1, ks, column, m, n)
            if biased:
                _collect_bias(d_bias, buckets, only, r0, m, c0, n, history, d_distance, d_bucket)
        real = min(n, tokens - c0)
        _store_block(d_k, dk, heads, first + c0, real, MOST, qs.width, factor, pairs)
        _store_block(d_v, dv, heads, first + c0, real, MOST, vs.width, w.scale, pairs)
        if item + 1 == len(items) or items[item + 1, 0] != now:
            _store_block(d_q, dq, heads, first, tokens, length, qs.width, factor, pairs)
