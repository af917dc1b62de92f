"""The sums of the item-item rule for many histories, compiled by numba.

The same additions in the same order as in `item_item`, to the bit; what is saved is memory that
goes to and fro. numba keeps what it compiled beside this file until this file changes.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def best_sums(events, had, table, own, codes, score):
    """Write the best sums of each of B histories into codes int64 [B, k] and score float32 [B, k],
    best first, ties by item.

    events: offsets int64 [B + 1], items int64 [E] and weights float32 [E]. had: offsets int64
    [B + 1] and items that are no answers, int64 [H]. table: neighbours int32 [N + 1, n] and their
    scores float32 [N + 1, n]. own: float32, what an event adds to its own item.
    """
    offsets, items, weights = events
    barred, out = had
    near, near_score = table
    width, wide = near.shape
    sums, reached = np.zeros(width, np.float32), np.empty(width + wide + 2, np.int32)
    least = np.finfo(np.float32).tiny
    for row in range(len(codes)):
        number = 0
        for event in range(offsets[row], offsets[row + 1]):
            item, weight = items[event], weights[event]
            # Sums that are no longer 0 are never counted twice; a product of 0 might be.
            number = min(number, width)
            for place in range(wide):
                other = near[item, place]
                if other == 0:
                    break
                # Without a branch: whether an item was reached before cannot be foreseen.
                reached[number] = other
                number += sums[other] == 0
                sums[other] += weight * near_score[item, place]
            if own > 0 and item > 0:
                reached[number] = item
                number += sums[item] == 0
                sums[item] += weight * own
        for event in range(barred[row], barred[row + 1]):
            sums[out[event]] = 0
        held, bound = 0, least
        kept, kept_score = codes[row], score[row]
        for place in range(number):
            item = reached[place]
            value = sums[item]
            sums[item] = 0
            # Most are no answers, and leave here.
            if value >= bound:
                held = _keep(kept, kept_score, held, item, value)
                if held == len(kept):
                    bound = kept_score[0]
        _in_order(kept, kept_score, held)


@numba.njit(nogil=True)
def _keep(codes, score, held, item, value):
    """Put an item into the heap of the k best, whose first is the worst; how many it holds."""
    if held < len(codes):
        place = held
        while place > 0:
            above = (place - 1) // 2
            if not _worse(value, item, score[above], codes[above]):
                break
            codes[place], score[place] = codes[above], score[above]
            place = above
        codes[place], score[place] = item, value
        return held + 1
    if _worse(score[0], codes[0], value, item):
        _sink(codes, score, held, item, value)
    return held


@numba.njit(nogil=True)
def _sink(codes, score, held, item, value):
    """Put an item into the first place of a heap of `held`, and let it sink to its own."""
    place = 0
    while True:
        below = 2 * place + 1
        if below >= held:
            break
        if below + 1 < held and _worse(
            score[below + 1], codes[below + 1], score[below], codes[below]
        ):
            below += 1
        if not _worse(score[below], codes[below], value, item):
            break
        codes[place], score[place] = codes[below], score[below]
        place = below
    codes[place], score[place] = item, value


@numba.njit(nogil=True)
def _in_order(codes, score, held):
    """Turn the heap into a list, best first."""
    while held > 1:
        held -= 1
        item, value = codes[held], score[held]
        codes[held], score[held] = codes[0], score[0]
        _sink(codes, score, held, item, value)


@numba.njit(nogil=True)
def _worse(value, item, other_value, other):
    """Whether an item stands behind another one."""
    return value < other_value or (value == other_value and item > other)
