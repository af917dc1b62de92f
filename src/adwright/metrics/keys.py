"""Sort keys: group, score and label of a row packed into one 64-bit integer.

Sorting values is several times faster than sorting indices (numpy sorts plain integers with
AVX-512), so everything a measure needs after the sort travels inside the key:

    bit 63 ............ 33 | 32 ............... 1 | 0
    code of the group      | order of the score   | label

The order of a score is its float32 bit pattern, changed so that unsigned comparison of the
bits agrees with comparison of the numbers. Rounding float64 to float32 never reverses an
order, but it can merge two scores; `dense_order` is the exact, slower substitute.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from adwright.metrics.arrays import Array

__all__ = ["dense_order", "float_order", "hash_order", "is_lossless", "pack", "run_starts"]

_SIGN = np.uint32(0x80000000)


def float_order(scores: Array) -> npt.NDArray[np.uint32]:
    """float32 order of scores [N] as uint32: a < b exactly where order(a) < order(b).

    -0.0 and 0.0 get the same order. float64 scores are rounded to float32 first.
    """
    with np.errstate(over="ignore", under="ignore"):
        single = scores.astype(np.float32) + np.float32(0)  # + 0 turns -0.0 into 0.0
    bits = single.view(np.uint32)
    # All ones for a negative number (flip everything), the sign bit alone for the others.
    flip = (single.view(np.int32) >> 31).view(np.uint32) | _SIGN
    bits ^= flip
    return bits


def is_lossless(scores: Array) -> bool:
    """Whether float32 holds every one of the scores [N] exactly."""
    if scores.dtype == np.float32:
        return True
    with np.errstate(over="ignore", under="ignore"):
        return bool((scores.astype(np.float32) == scores).all())


def dense_order(scores: Array) -> npt.NDArray[np.uint32]:
    """Dense ranks of scores [N], from 0: equal scores share a rank, exact for float64."""
    order = np.argsort(scores)
    ordered = scores[order]
    new = np.empty(len(scores), np.uint32)
    new[:1] = 0
    new[1:] = ordered[1:] != ordered[:-1]
    ranks = np.empty(len(scores), np.uint32)
    ranks[order] = np.cumsum(new, dtype=np.uint32)
    return ranks


def pack(
    codes: Array, order: npt.NDArray[np.uint32], labels: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint64]:
    """Keys [N] of (group code below 2**31, score order, label), as drawn above."""
    keys = codes.astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= order
    keys <<= np.uint64(1)
    keys |= labels
    return keys


def run_starts(ordered: Array) -> npt.NDArray[np.int64]:
    """Positions at which a run of equal values starts in a sorted array [N]."""
    if len(ordered) == 0:
        return np.zeros(0, np.int64)
    inner = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    return np.concatenate((np.zeros(1, np.int64), inner))


def hash_order(positions: Array, *, seed: int = 0) -> npt.NDArray[np.uint64]:
    """A fixed pseudo-random order of row positions [N], to break ties without a preference.

    The finaliser of SplitMix64 (Steele, Lea and Flood 2014), a bijection of 64-bit numbers:
    two positions never collide, and the same seed gives the same order everywhere.
    """
    start = (seed * 0xBF58476D1CE4E5B9 + 0x9E3779B97F4A7C15) % 2**64
    mixed = positions.astype(np.uint64) + np.uint64(start)  # wraps around, as intended
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed
