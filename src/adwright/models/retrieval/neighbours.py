"""Which items are taken near each other: the counts behind the item-item rule.

    c(i, j) = sum over pairs of events of one user, i in moment m and j in moment n, of w(n - m)
    w(d)    = decay^d for d = 0 .. window,  backward decay^-d for d = -window .. -1,  else 0
    s(i, j) = c(i, j) / (n_i^source n_j^target + shrink)

n_i counts the events of i. With source = target = 1/2 and without distances this is the cosine
of item-based collaborative filtering (Sarwar et al., WWW 2001; Linden et al., IEEE Internet
Computing 2003), other powers are those of Deshpande and Karypis (TOIS 2004); pairs in order,
weighted by distance, are the sequential rules of Ludewig and Jannach (UMUAI 2018). Ours is one
formula for both. What is in one moment, such as a basket, has no order: such pairs count once
for i and once for j.

The sum runs over blocks of items: for each, the pairs become one integer each, are sorted, and
runs are counted. Time and memory follow the number of pairs, at most 2 * REACH for each event,
and not the square of the catalogue. Equal scores are ordered by code, so the same log gives the
same neighbours on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import Ge, Le, settings
from adwright.core.errors import ConfigError
from adwright.data.ranges import ranges, run_starts

Ints = NDArray[np.int64]
#: An event meets at most so many events on each side, the nearest: bounds what a basket of
#: thousands costs.
REACH = 64
#: Pairs and items of a block. A block's scores are sorted as 64-bit integers that hold the row, 32
#: bits of the score and the place.
PAIRS, BLOCK_ITEMS = 1 << 20, 1 << 11


@settings
class NeighbourConfig:
    """The settings of the module's formula. neighbours: so many are kept for each item, those of
    the highest s. Raises ConfigError for values out of range."""

    window: int = 5
    decay: Annotated[float, Ge(0), Le(1)] = 0.7
    backward: Annotated[float, Ge(0), Le(1)] = 1.0
    source: Annotated[float, Ge(0), Le(1)] = 0.5
    target: Annotated[float, Ge(0), Le(1)] = 0.5
    shrink: float = 0.0
    neighbours: int = 100

    def __post_init__(self) -> None:
        for name, least in (("window", 0), ("neighbours", 1), ("shrink", 0)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"{name} is at least {least}", where=f"{name} {getattr(self, name)}"
                )

    def weights(self) -> NDArray[np.float64]:
        """w(d) for d = -window .. window: [2 window + 1]."""
        steps = np.arange(-self.window, self.window + 1)
        found: NDArray[np.float64] = self.decay ** np.abs(steps).astype(np.float64)
        return np.where(steps < 0, self.backward * found, found)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """codes: int32 [N + 1, n], the neighbours of each item, best first, 0 where there are no
    more. score: float32 [N + 1, n], s; 0 where there are none. Row 0, the unknown item, has
    none."""

    codes: NDArray[np.int32]
    score: NDArray[np.float32]


def count_neighbours(
    item: Ints, moment: Ints, offsets: Ints, items: int, config: NeighbourConfig
) -> Neighbours:
    """The neighbours of each of `items` items.

    item: int64 [E], codes from 1 to `items` (0 is passed over); moment: int64 [E], rising, see
    `moment_numbers`; user u has the events offsets[u] to offsets[u + 1]. An item that comes
    twice in a moment counts once there.
    """
    item, moment, offsets = _distinct(item, moment, offsets, items + 1)
    number = np.bincount(item, minlength=items + 1)
    first, end = _reach(moment, offsets, config)
    order = np.argsort(item, kind="stable")
    pairs = np.bincount(item, (end - first).astype(np.float64), minlength=items + 1)
    bounds = np.concatenate(([0], np.cumsum(number)))
    source, target = (number.astype(np.float64) ** p for p in (config.source, config.target))
    weights = config.weights()
    # A pair is one integer: the row, the other item, and the step from the one to the other. Half
    # of it is of the one event, half of the other.
    steps = len(weights).bit_length()
    tail = (item << steps) + moment + len(weights) // 2
    codes = np.zeros((items + 1, config.neighbours), np.int32)
    score = np.zeros((items + 1, config.neighbours), np.float32)
    for start, stop in _blocks(pairs.astype(np.int64)):
        events = order[bounds[start] : bounds[stop]]
        if not len(events):
            continue
        head = ((item[events] - start) << (steps + items.bit_length())) - moment[events]
        place, _ = ranges(first[events], (end - first)[events])
        key = tail[place] + np.repeat(head, (end - first)[events])
        row, other, weight = _counted_pairs(key, weights, items.bit_length(), start)
        scale = source[row + start] * target[other]
        value = (weight / (scale + config.shrink)).astype(np.float32)
        _keep_best(row, other, value, codes[start:stop], score[start:stop])
    return Neighbours(codes, score)


def _distinct(item: Ints, moment: Ints, offsets: Ints, width: int) -> tuple[Ints, Ints, Ints]:
    """The events less those of code 0 and those that a moment has already; in their order."""
    known = np.flatnonzero(item > 0)
    _, kept = np.unique(moment[known] * width + item[known], return_index=True)
    place = known[np.sort(kept)]
    return item[place], moment[place], np.searchsorted(place, offsets)


def _reach(moment: Ints, offsets: Ints, config: NeighbourConfig) -> tuple[Ints, Ints]:
    """For each event, the first and the end of the places that it makes pairs with, its own
    among them: int64 [E] each."""
    place = np.arange(len(moment))
    back = config.window if config.backward else 0
    first = np.searchsorted(moment, moment - back)
    end = np.searchsorted(moment, moment + config.window, side="right")
    lengths = np.diff(offsets)
    first = np.maximum(first, np.repeat(offsets[:-1], lengths))
    end = np.minimum(end, np.repeat(offsets[1:], lengths))
    return np.maximum(first, place - REACH), np.minimum(end, place + REACH + 1)


def _blocks(pairs: Ints) -> list[tuple[int, int]]:
    """Stretches of items of about PAIRS pairs and at most BLOCK_ITEMS items; pairs: [N + 1]."""
    part = np.cumsum(pairs) // PAIRS
    cuts = np.flatnonzero(np.diff(part)) + 1
    cuts = np.union1d(cuts, np.arange(0, len(pairs), BLOCK_ITEMS))
    bounds = [*np.union1d(cuts, [0]).tolist(), len(pairs)]
    return list(pairwise(bounds))


def _counted_pairs(
    key: Ints, weights: NDArray[np.float64], bits: int, start: int
) -> tuple[Ints, Ints, NDArray[np.float64]]:
    """c of a block: (item less `start`, other item, c), sorted by the two, of other items only.

    key: int64 [P], the pairs as integers. bits: of the other item in them.
    """
    steps = len(weights).bit_length()
    if key.max() < 1 << 32:
        key = key.astype(np.uint32)
    key.sort()
    runs = run_starts(key)
    cell = key[runs[:-1]].astype(np.int64)
    mass = np.diff(runs) * weights[cell & ((1 << steps) - 1)]
    pair = cell >> steps
    starts = run_starts(pair)[:-1]
    total, pair = np.add.reduceat(mass, starts), pair[starts]
    row, other = pair >> bits, pair & ((1 << bits) - 1)
    some = (total > 0) & (other != row + start)
    return row[some], other[some], total[some]


def _keep_best(
    row: Ints,
    other: Ints,
    value: NDArray[np.float32],
    codes: NDArray[np.int32],
    score: NDArray[np.float32],
) -> None:
    """Write the best of each row into codes and score [R, n]; ties by code.

    row, other: int64 [E], sorted by the two; value: float32 [E], positive.
    """
    if not len(row):
        return
    index_bits, row_bits = len(row).bit_length(), int(row[-1] + 1).bit_length()
    spare = max(0, index_bits + row_bits - 32)
    # The bits of positive floats rise with them.
    bits = (np.uint64(0xFFFFFFFF) - value.view(np.uint32).astype(np.uint64)) >> np.uint64(spare)
    key = row.astype(np.uint64) << np.uint64(64 - row_bits)
    key |= bits << np.uint64(index_bits)
    key |= np.arange(len(row), dtype=np.uint64)
    key.sort()
    order = (key & np.uint64((1 << index_bits) - 1)).astype(np.int64)
    starts = np.searchsorted(row, np.arange(len(codes)))
    rank = np.arange(len(row)) - starts[row]
    kept = rank < codes.shape[1]
    best = order[kept]
    codes[row[kept], rank[kept]] = other[best]
    score[row[kept], rank[kept]] = value[best]
