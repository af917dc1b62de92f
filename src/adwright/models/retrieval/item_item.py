"""Item-item: what is taken next, by what the user's latest items are usually taken with.

    score(j) = sum over events e of the history of
               recency^back(e) (s(item(e), j) + own [item(e) = j])

back(e) counts the moments from the event to the latest one of the history, s is that of
`neighbours` (only the n best of each item), and own says how much it counts that the user had j:
where things repeat, a large value makes this the user's own recent frequency, and 0 leaves it to
what the items around it say. Events whose recency^back is below 1/100 do not count.

Where what was had is left out, own is 0, and yet an item that was only looked at may be wanted:
such an event counts for its own item as much as for the best of its neighbours.

Nothing is trained: the model is a table of counts, and a user who takes something is answered by
it from the next request on. Weights that fall with the place in the history are those of
session-based neighbours (Ludewig and Jannach, UMUAI 2018).

The sums of some histories are added up in one table, in which only the cells are looked at, and
emptied again, that an event reaches: what it costs follows from the events, not from the catalogue.
For many users compiled loops do the same, where numba is installed (the extra `fast`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.config import Ge, Le, settings
from adwright.core.errors import ConfigError
from adwright.data.popularity import most_popular
from adwright.data.ranges import ranges, run_starts
from adwright.data.sequences.pasts import Pasts

# --------------------------------------------------------------------------------------------------
# Which items are taken near each other: the counts behind the item-item rule.
#
#     c(i, j) = sum over pairs of events of one user, i in moment m and j in moment n, of w(n - m)
#     w(d)    = decay^d for d = 0 .. window,  backward decay^-d for d = -window .. -1,  else 0
#     s(i, j) = c(i, j) / (n_i^source n_j^target + shrink)
#
# n_i counts the events of i. With source = target = 1/2 and without distances this is the cosine
# of item-based collaborative filtering (Sarwar et al., WWW 2001; Linden et al., IEEE Internet
# Computing 2003), other powers are those of Deshpande and Karypis (TOIS 2004); pairs in order,
# weighted by distance, are the sequential rules of Ludewig and Jannach (UMUAI 2018). Ours is one
# formula for both. What is in one moment, such as a basket, has no order: such pairs count once
# for i and once for j.
#
# The sum runs over blocks of items: for each, the pairs become one integer each, are sorted, and
# runs are counted. Time and memory follow the number of pairs, at most 2 * REACH for each event,
# and not the square of the catalogue. Equal scores are ordered by code, so the same log gives the
# same neighbours on every machine.

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
        keep_best(row, other, value, codes[start:stop], score[start:stop])
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


def keep_best(
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


Floats = NDArray[np.float32]
#: Events of a smaller weight do not count.
_LEAST = 0.01
#: Numbers that are added up at once; cells of the table, and its rows at least: what is held in
#: the processor's own memory. Histories that are sorted at once, as a power of two.
ENTRIES, CELLS, ROWS, GROUP = 1 << 18, 1 << 18, 16, 12
#: From so many numbers on, compiled loops are loaded where numba is installed.
LOOPS_FROM, _LOOPS = 1 << 21, "adwright.models.retrieval.item_item_loops"


@settings
class ItemItemConfig:
    """neighbours: how the table is counted. recency, own: see the module. Raises ConfigError
    for values out of range."""

    neighbours: NeighbourConfig = field(default_factory=NeighbourConfig)
    recency: float = 0.8
    own: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.recency <= 1 or self.own < 0:
            raise ConfigError(
                "recency lies in (0, 1], own is not negative",
                where=f"recency {self.recency}, own {self.own}",
            )

    @property
    def moments(self) -> int:
        """The latest moments of a history that count; a large number where all do."""
        if self.recency == 1:
            return 1 << 62
        return 1 + int(np.log(_LEAST) / np.log(self.recency))


@dataclass(frozen=True, eq=False)
class ItemItem:
    """The rule over a catalogue of N items. count: int64 [N + 1], training events of each item,
    by which items stand that no neighbour reaches."""

    config: ItemItemConfig
    neighbours: Neighbours
    count: Ints

    @property
    def items(self) -> int:
        """N."""
        return len(self.count) - 1

    @cached_property
    def popular(self) -> Ints:
        """Item codes, the most popular first."""
        return most_popular(self.count)

    def scores(self, pasts: Pasts) -> NDArray[np.float64]:
        """Scores of all items: [B, N + 1]; column 0 is 0."""
        space = np.zeros(len(pasts) * self._width, np.float32)
        for part in self._reached(pasts, len(pasts)):
            cells = part.cells + part.start * self._width
            np.add.at(space, cells.ravel(), part.values.ravel())
        return space.reshape(len(pasts), self._width).astype(np.float64)

    def pair_scores(self, pasts: Pasts, owner: Ints, asked: Ints) -> NDArray[np.float64]:
        """Scores of the items `asked` (int64 [C]) for the histories `owner` (int64 [C], rising):
        [C]."""
        found, width = np.zeros(len(asked)), self._width
        rows = self._rows(pasts)
        space = np.zeros(rows * width, np.float32)
        for part in self._reached(pasts, rows):
            np.add.at(space, part.cells.ravel(), part.values.ravel())
            first, end = np.searchsorted(owner, (part.start, part.stop))
            found[first:end] = space[(owner[first:end] - part.start) * width + asked[first:end]]
            space[part.cells.ravel()] = 0
        return found

    def best(self, pasts: Pasts, k: int, *, unseen: bool = False) -> tuple[Ints, Floats]:
        """The k best items of each history: (codes int64 [B, k], scores float32 [B, k]), best
        first, ties by code; code 0 and score 0 where the neighbours reach fewer.

        unseen: items that the history had are left out, also those of events that do not count.
        """
        codes = np.zeros((len(pasts), k), np.int64)
        score = np.zeros((len(pasts), k), np.float32)
        if self._loops_pay(pasts):
            self._compiled(pasts, codes, score, unseen=unseen)
            return codes, score
        together = 1 << min(GROUP, 32 - self._width.bit_length())
        for start in range(0, len(pasts), together):
            some = pasts.some(start, min(start + together, len(pasts)))
            row, item, value = _sorted(*self._among_best(some, k, unseen), self._width)
            place = np.arange(len(row)) - np.searchsorted(row, np.arange(len(some)))[row]
            first = place < k
            cells = start + row[first], place[first]
            codes[cells], score[cells] = item[first], value[first]
        return codes, score

    def _loops_pay(self, pasts: Pasts) -> bool:
        """Whether there is more to add up than loading compiled loops takes, of the extra `fast`,
        or they are there already."""
        if self._wanted(pasts) is not None:
            return False
        if _LOOPS in sys.modules:
            return True
        entries = len(pasts.item) * self.neighbours.codes.shape[1]
        return entries >= LOOPS_FROM and find_spec("numba") is not None

    def _compiled(self, pasts: Pasts, codes: Ints, score: Floats, *, unseen: bool) -> None:
        """`best` by compiled loops, which write into codes and score."""
        best_sums = import_module(_LOOPS).best_sums
        counted = pasts.until(self.config.moments)
        had = pasts.barred if unseen else pasts.until(0)
        best_sums(
            (counted.offsets, counted.item, self._weight(counted)),
            (had.offsets, had.item),
            (self.neighbours.codes, self.neighbours.score),
            np.float32(self.config.own),
            codes,
            score,
        )

    def _weight(self, counted: Pasts) -> Floats:
        """recency^back of each event: float32 [E]."""
        return (self.config.recency ** counted.back.astype(np.float64)).astype(np.float32)

    def _among_best(self, pasts: Pasts, k: int, unseen: bool) -> tuple[Ints, Ints, Floats]:
        """What can be among the k best of each history, once for each event that reaches it:
        (history, item, score), each [C], in no order."""
        rows, width = self._rows(pasts), self._width
        space, found = np.zeros(rows * width, np.float32), []
        for part in self._reached(pasts, rows):
            cells = part.cells.ravel()
            np.add.at(space, cells, part.values.ravel())
            if unseen:
                some = pasts.some(part.start, part.stop).barred
                space[some.owner * width + some.item] = 0
            sums = space.take(part.cells, mode="wrap")
            space[cells] = 0
            kept = np.flatnonzero(sums >= _least(part, sums, k)[part.owner][:, None])
            row = part.owner[kept // sums.shape[1]]
            found.append((part.start + row, cells[kept] - row * width, sums.ravel()[kept]))
        none = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
        row, item, value = (np.concatenate(each) for each in zip(none, *found, strict=True))
        return row, item, value

    def similar(self, code: int, k: int) -> tuple[Ints, Floats]:
        """The at most k best neighbours of an item: (codes, s), best first."""
        codes = self.neighbours.codes[code].astype(np.int64)
        known = int((codes > 0).sum())
        return codes[: min(k, known)], self.neighbours.score[code, : min(k, known)]

    @property
    def _width(self) -> int:
        return self.items + 1

    @cached_property
    def _table(self) -> tuple[NDArray[np.int32], Floats]:
        """What an event of each item adds, also to itself: codes and numbers [N + 1, n]."""
        table = self.neighbours
        if not self.config.own:
            return table.codes, table.score
        mine = np.arange(self._width, dtype=np.int32)[:, None]
        own = np.full(mine.shape, self.config.own, np.float32)
        own[0] = 0
        return (
            np.concatenate((table.codes, mine), axis=1),
            np.concatenate((table.score, own), axis=1),
        )

    def _wanted(self, pasts: Pasts) -> NDArray[np.bool_] | None:
        """Events that count for their own item, [E]; None where there are none."""
        if pasts.had is None or self.config.own or pasts.had.all():
            return None
        return ~pasts.had & (pasts.item > 0)

    def _rows(self, pasts: Pasts) -> int:
        """Histories whose scores are held at once."""
        return min(max(CELLS // self._width, ROWS), max(len(pasts), 1))

    def _reached(self, pasts: Pasts, rows: int) -> Iterator[_Reached]:
        """What the events of some histories at a time reach. rows: histories of one part."""
        counted, (codes, score) = pasts.until(self.config.moments), self._table
        owner, wide = counted.owner, codes.shape[1]
        weight = self._weight(counted)
        start = 0
        while start < len(pasts):
            full = counted.offsets[start] + ENTRIES // wide
            stop = int(np.searchsorted(counted.offsets, full, side="right")) - 1
            stop = min(max(stop, start + 1), start + rows, len(pasts))
            some = slice(counted.offsets[start], counted.offsets[stop])
            mine = owner[some] - start
            cells = codes[counted.item[some]] + (mine * self._width)[:, None]
            values = score[counted.item[some]]
            if (wanted := self._wanted(counted)) is not None:
                mine_too = (counted.item[some] + mine * self._width)[:, None]
                cells = np.concatenate((cells, mine_too), axis=1)
                best = np.where(wanted[some], values[:, 0], np.float32(0))[:, None]
                values = np.concatenate((values, best), axis=1)
            values *= weight[some][:, None]
            yield _Reached(start, stop, mine, cells, values)
            start = stop


@dataclass(frozen=True, eq=False)
class _Reached:
    """What the E events of the histories `start` to `stop` reach, n items each. owner: int64 [E],
    the history of each event, from 0; cells: int64 [E, n], owner * (N + 1) + item; values: float32
    [E, n], what is added there."""

    start: int
    stop: int
    owner: Ints
    cells: Ints
    values: Floats


def _least(part: _Reached, sums: Floats, k: int) -> Floats:
    """A score that k items of each history of the part reach at least, above 0: of those that its
    latest event reaches, k do. sums: float32 [E, n], in the cells of the part."""
    owner, wide = part.owner, sums.shape[1]
    found = np.full(part.stop - part.start, np.finfo(np.float32).tiny)
    if k <= wide and len(owner):
        latest = np.append(np.flatnonzero(owner[1:] != owner[:-1]), len(owner) - 1)
        reached = np.partition(sums[latest], wide - k, axis=1)[:, wide - k]
        found[owner[latest]] = np.maximum(reached, found[0])
    return found


def _sorted(row: Ints, item: Ints, value: Floats, width: int) -> tuple[Ints, Ints, Floats]:
    """The same once each, by history, greatest score first, ties by item. value: above 0. width:
    N + 1. A history, a score and an item make one integer."""
    bits = int(width).bit_length()
    # The bits of positive floats rise with them.
    number = np.uint64(0xFFFFFFFF) - value.view(np.uint32).astype(np.uint64)
    key = ((row.astype(np.uint64) << np.uint64(32)) | number) << np.uint64(bits)
    key |= item.astype(np.uint64)
    key.sort()
    key = key[run_starts(key)[:-1]]
    item = (key & np.uint64((1 << bits) - 1)).astype(np.int64)
    key >>= np.uint64(bits)
    number = np.uint64(0xFFFFFFFF) - (key & np.uint64(0xFFFFFFFF))
    return (
        (key >> np.uint64(32)).astype(np.int64),
        item,
        number.astype(np.uint32).view(np.float32),
    )


# --------------------------------------------------------------------------------------------------
# Item-item by regression: what is taken near an item, less what the items around it explain.
#
#     B = (G + shrink I)^-1 C,    s(i, j) = max(B_ij, 0) / n_j^target
#
#     C_ij   how often j is taken near i: the c of `neighbours`, also for j = i
#     G_ij   how often i and j stand in one history, worth memory^d at a distance of d moments, and
#            G_ii beside this how often i is taken
#
# Item-item adds up what each item of a history is usually taken with, as if it stood alone: two
# items
# that are always taken together then count twice. B is the ridge regression of what comes near on
# all that was there, which shares it out among them. With all pairs of a user in C and G, whatever
# their distance, this is SLIM's least squares in closed form (Ning and Karypis, ICDM 2011; EASE of
# Steck, WWW 2019, without its rule for the diagonal); with distances it is the linear session model
# of Choi et al. (SLIST, WWW 2021).
#
# Only the n best of each item are kept, as a table of `item_item`: it is saved, asked and served as
# that is. Items beyond the MOST most frequent have no row: a regression needs them often, and its
# cost grows with their number to the third power.
#
# Letters: M items that have a row, E events.

#: Items that have a row, at most: 5,000 take some ten seconds of one core and half a gigabyte.
MOST = 5_000
#: A pair that is worth less counts for nothing.


@dataclass(frozen=True, eq=False)
class LinearCounts:
    """kept: int64 [M], codes of the items that have a row, rising. near, together: C and G of the
    module, float32 [M, M]. count: int64 [N + 1], events of each item."""

    kept: Ints
    near: Floats
    together: Floats
    count: Ints


def count_linear(
    item: Ints,
    moment: Ints,
    offsets: Ints,
    items: int,
    config: NeighbourConfig,
    *,
    memory: float,
    most: int = MOST,
) -> LinearCounts:
    """C and G of the events of U users over N = `items` items.

    item: int64 [E], codes from 1; moment: int64 [E], rising, see `moment_numbers`; user u has the
    events offsets[u] to offsets[u + 1]. config: window, decay and backward of C. memory: of G, in
    [0, 1]. An event meets at most REACH others on each side, the nearest.
    """
    count = np.bincount(item, minlength=items + 1)
    count[0] = 0
    first = np.argsort(-count, kind="stable")[:most]
    kept = np.sort(first[count[first] > 0])
    row = np.full(items + 1, -1)
    row[kept] = np.arange(len(kept))
    near, together = (np.zeros((len(kept), len(kept)), np.float32) for _ in range(2))
    code, owner = row[item], np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    reach = max(config.window, _linear_reach(memory))
    for step in range(1, REACH + 1):
        apart = moment[step:] - moment[:-step]
        close = (owner[step:] == owner[:-step]) & (apart <= reach)
        if not close.any():
            break
        close &= (code[step:] >= 0) & (code[:-step] >= 0)
        early, late, apart = code[:-step][close], code[step:][close], apart[close]
        _add(together, early, late, memory ** apart.astype(np.float32))
        inside = apart <= config.window
        worth = (config.decay ** apart.astype(np.float32))[inside]
        early, late, apart = early[inside], late[inside], apart[inside]
        _add(near, early, late, worth)
        # What is in one moment has no order.
        _add(near, late, early, np.where(apart == 0, 1, config.backward * worth))
    together += together.T.copy()
    together[np.diag_indices(len(kept))] += count[kept]
    return LinearCounts(kept, near, together, count)


def regression(counts: LinearCounts, shrink: float) -> Floats:
    """B: [M, M]. shrink: above 0, in events."""
    whole = torch.from_numpy(counts.together).clone()
    whole.diagonal().add_(shrink)
    factor, failed = torch.linalg.cholesky_ex(whole)
    if failed:
        # Pairs beyond REACH lack in the sums, which are then those of no histories quite.
        solved = torch.linalg.solve(whole.double(), torch.from_numpy(counts.near).double()).float()
    else:
        solved = torch.cholesky_solve(torch.from_numpy(counts.near), factor)
    found: Floats = solved.numpy()
    return found


def linear_neighbours(
    counts: LinearCounts, weights: Floats, neighbours: int, *, target: float
) -> Neighbours:
    """The best of each row of B [M, M], positive ones alone, as s of the module; ties by code. No
    item is its own neighbour: how much an own one counts is a setting of `item_item`."""
    scale = counts.count[counts.kept].astype(np.float32) ** np.float32(target)
    score = np.maximum(weights / scale, 0)
    score[np.diag_indices(len(score))] = 0
    size = min(neighbours, len(counts.kept))
    codes = np.zeros((len(counts.count), neighbours), np.int32)
    best = np.zeros((len(counts.count), neighbours), np.float32)
    if size:
        # The best first by partition: to sort whole rows takes ten times as long.
        order = np.sort(np.argpartition(-score, size - 1, axis=1)[:, :size], axis=1)
        value = np.take_along_axis(score, order, 1)
        place = np.argsort(-value, axis=1, kind="stable")
        order, value = (np.take_along_axis(one, place, 1) for one in (order, value))
        codes[counts.kept, :size] = np.where(value > 0, counts.kept[order], 0)
        best[counts.kept, :size] = value
    return Neighbours(codes, best)


def _linear_reach(memory: float) -> int:
    """The largest distance at which a pair of G is worth something."""
    if memory == 0:
        return 0
    if memory == 1:
        return 1 << 30
    return int(np.log(_LEAST) / np.log(memory))


def _add(table: Floats, row: Ints, column: Ints, worth: NDArray[np.floating]) -> None:
    """Add up the numbers of pairs in their cells of `table` [M, M]."""
    np.add.at(table.reshape(-1), row * table.shape[1] + column, worth.astype(np.float32))
