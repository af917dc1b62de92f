"""Item-item: what is taken next, by what the user's latest items are usually taken with.

    score(j) = sum over events e of the history of
               recency^back(e) (s(item(e), j) + own [item(e) = j])

back(e) counts the moments from the event to the latest one of the history, s is that of
`neighbours` (only the n best of each item), and own says how much it counts that the user had j:
where things repeat, a large value makes this the user's own recent frequency, and 0 leaves it to
what the items around it say. Events whose recency^back is below 1/100 do not count.

Nothing is trained: the model is a table of counts, and a user who takes something is answered by
it from the next request on. Weights that fall with the place in the history are those of
session-based neighbours (Ludewig and Jannach, UMUAI 2018).

The sums of some thousand histories are one product of sparse rows: of each history its items with
their weights, of each item its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from adwright.core.config import checked
from adwright.core.errors import ConfigError
from adwright.data.popularity import most_popular
from adwright.data.sequences.pasts import Pasts
from adwright.models.retrieval.neighbours import NeighbourConfig, Neighbours
from adwright.models.retrieval.sparse_rows import SparseRows, sparse_table, times

__all__ = ["ItemItem", "ItemItemConfig"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
#: Events of a smaller weight do not count.
_LEAST = 0.01
#: Numbers that one product adds up, and scores that are held at once.
ENTRIES, CELLS = 1 << 19, 1 << 22
#: What an own item loses where it is no answer: more than any sum of neighbours.
_BARRED = np.float32(-1e9)


@checked
@dataclass(frozen=True)
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
        found = np.zeros((len(pasts), self.items + 1))
        for start, part in self._sums(pasts):
            found[start + part.owner, part.columns] = part.values
        return found

    def pair_scores(self, pasts: Pasts, owner: Ints, asked: Ints) -> NDArray[np.float64]:
        """Scores of the items `asked` (int64 [C]) for the histories `owner` (int64 [C], rising):
        [C]."""
        found, width = np.zeros(len(asked)), self.items + 1
        most = max(1, CELLS // width)
        buffer = np.zeros(min(most, len(pasts)) * width, np.float32)
        for start, part in self._sums(pasts, most=most):
            first, end = np.searchsorted(owner, (start, start + len(part)))
            cells = part.owner * width + part.columns
            buffer[cells] = part.values
            found[first:end] = buffer[(owner[first:end] - start) * width + asked[first:end]]
            buffer[cells] = 0
        return found

    def best(self, pasts: Pasts, k: int, *, unseen: bool = False) -> tuple[Ints, Floats]:
        """The k best items of each history: (codes int64 [B, k], scores float32 [B, k]), best
        first, ties by code; code 0 and score 0 where the neighbours reach fewer.

        unseen: items of the history are left out, also those of events that do not count.
        """
        codes = np.zeros((len(pasts), k), np.int64)
        score = np.zeros((len(pasts), k), np.float32)
        bits = int(self.items).bit_length()
        least = self._least(pasts, k, unseen=unseen)
        # The history, the score and the item make one integer of 64 bits.
        for start, part in self._sums(pasts, unseen=unseen, most=1 << (32 - bits)):
            kept = part.values >= np.repeat(least[start : start + len(part)], np.diff(part.offsets))
            row, column, value = _sorted(part, np.flatnonzero(kept), bits)
            place = np.arange(len(row)) - np.searchsorted(row, np.arange(len(part)))[row]
            first = place < k
            cells = start + row[first], place[first]
            codes[cells], score[cells] = column[first], value[first]
        return codes, score

    def _least(self, pasts: Pasts, k: int, *, unseen: bool) -> Floats:
        """A score that k items of each history reach at least: float32 [B], above 0.

        The neighbours of the latest event alone reach s: of the first k + h of them, in a history
        of h events that are left out, at least k are answers.
        """
        lengths = np.diff(pasts.offsets)
        filled = np.flatnonzero(lengths)
        latest = pasts.item[pasts.offsets[filled + 1] - 1]
        place = k - 1 + (lengths[filled] if unseen else np.zeros(len(filled), np.int64))
        table = self.neighbours.score
        there = place < table.shape[1]
        found = np.zeros(len(pasts), np.float32)
        found[filled[there]] = table[latest[there], place[there]]
        return np.maximum(found, np.finfo(np.float32).tiny)

    def similar(self, code: int, k: int) -> tuple[Ints, Floats]:
        """The at most k best neighbours of an item: (codes, s), best first."""
        codes = self.neighbours.codes[code].astype(np.int64)
        known = int((codes > 0).sum())
        return codes[: min(k, known)], self.neighbours.score[code, : min(k, known)]

    @cached_property
    def _table(self) -> Tensor:
        """The rows that are added up, [2 N + 2, N + 1]: neighbours and own weight of each item, and
        from N + 1 on what an item loses that is no answer."""
        table, width = self.neighbours, self.items + 1
        own = np.arange(width)
        columns, values = table.codes, table.score
        if self.config.own:
            weight = np.full((width, 1), self.config.own, np.float32)
            columns = np.concatenate((columns, own[:, None].astype(np.int32)), axis=1)
            values = np.concatenate((values, weight), axis=1)
        kept = columns > 0
        lengths = np.concatenate((kept.sum(1), np.ones(width, np.int64)))
        return sparse_table(
            SparseRows(
                np.concatenate(([0], np.cumsum(lengths))),
                np.concatenate((columns[kept], own)),
                np.concatenate((values[kept], np.full(width, _BARRED))),
            ),
            width,
        )

    def _sums(
        self, pasts: Pasts, *, unseen: bool = False, most: int = 1 << 62
    ) -> Iterator[tuple[int, SparseRows]]:
        """The scores of some histories at a time: the first of them, and their rows [R, N + 1] of
        what neighbours reach. most: histories of one part."""
        counted = pasts.until(self.config.moments)
        per = self.neighbours.codes.shape[1] + 1
        start = 0
        while start < len(pasts):
            full = counted.offsets[start] + ENTRIES // per
            stop = int(np.searchsorted(counted.offsets, full, side="right")) - 1
            stop = min(start + most, max(start + 1, stop), len(pasts))
            yield start, times(self._weighted(pasts, counted, start, stop, unseen), self._table)
            start = stop

    def _weighted(
        self, pasts: Pasts, counted: Pasts, start: int, stop: int, unseen: bool
    ) -> SparseRows:
        """Histories as rows over the items, and with `unseen` over what their items lose."""
        some = counted.some(start, stop)
        weight = (self.config.recency ** some.back.astype(np.float64)).astype(np.float32)
        if not unseen:
            return SparseRows(some.offsets, some.item, weight)
        had = pasts.some(start, stop)
        owner = np.concatenate((some.owner, had.owner))
        order = np.argsort(owner, kind="stable")
        items = np.concatenate((some.item, had.item + self.items + 1))
        weight = np.concatenate((weight, np.ones(len(had.item), np.float32)))
        return SparseRows(some.offsets + had.offsets, items[order], weight[order])


def _sorted(rows: SparseRows, kept: Ints, bits: int) -> tuple[Ints, Ints, Floats]:
    """The numbers `kept` (int64 [K] places, above 0) by row, greatest first, ties by column: (row,
    column, number), each [K]. bits: of a column."""
    row = (np.searchsorted(rows.offsets, kept, side="right") - 1).astype(np.uint64)
    # The bits of positive floats rise with them.
    number = np.uint64(0xFFFFFFFF) - rows.values[kept].view(np.uint32).astype(np.uint64)
    key = ((row << np.uint64(32)) | number) << np.uint64(bits)
    key |= rows.columns[kept].astype(np.uint64)
    key.sort()
    column = (key & np.uint64((1 << bits) - 1)).astype(np.int64)
    key >>= np.uint64(bits)
    value = (np.uint64(0xFFFFFFFF) - (key & np.uint64(0xFFFFFFFF))).astype(np.uint32)
    return (key >> np.uint64(32)).astype(np.int64), column, value.view(np.float32)
