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

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.data.popularity import most_popular
from adwright.data.ranges import run_starts
from adwright.data.sequences.pasts import Pasts
from adwright.models.retrieval.neighbours import NeighbourConfig, Neighbours

Ints = NDArray[np.int64]
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
