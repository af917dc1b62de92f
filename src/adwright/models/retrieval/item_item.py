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

A few histories at a time share one row of scores each, so that one item's neighbours are added
by one indexed sum; what is looked at is cleared afterwards, and no row is ever sorted whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.errors import ConfigError
from adwright.data.popularity import most_popular
from adwright.data.ranges import ranges
from adwright.data.sequences.pasts import Pasts
from adwright.models.retrieval.neighbours import NeighbourConfig, Neighbours

__all__ = ["ItemItem", "ItemItemConfig"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
#: Events of a smaller weight do not count.
_LEAST = 0.01
#: Scores held at once, 8 MB: they stay in the cache of a core.
_CELLS = 1 << 21
#: Neighbours of one block of histories, all their events together.
_ENTRIES = 1 << 19


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
        for block in self._blocks(pasts):
            np.add.at(found[block.rows].reshape(-1), block.keys, block.values)
        found[:, 0] = 0
        return found

    def pair_scores(self, pasts: Pasts, owner: Ints, asked: Ints) -> NDArray[np.float64]:
        """Scores of the items `asked` (int64 [C]) for the histories `owner` (int64 [C], rising):
        [C]."""
        found = np.zeros(len(asked))
        buffer = np.zeros(self._together(pasts) * (self.items + 1), np.float32)
        for block in self._blocks(pasts):
            np.add.at(buffer, block.keys, block.values)
            first, end = np.searchsorted(owner, (block.rows.start, block.rows.stop))
            mine = slice(first, end)
            cells = (owner[mine] - block.rows.start) * (self.items + 1) + asked[mine]
            found[mine] = buffer[cells]
            buffer[block.keys] = 0
        return np.where(asked > 0, found, 0.0)

    def best(self, pasts: Pasts, k: int, *, seen: Pasts | None = None) -> tuple[Ints, Floats]:
        """The k best items of each history: (codes int64 [B, k], scores float32 [B, k]), best
        first, ties by code; code 0 and score 0 where the neighbours reach fewer.

        seen: histories of the same users whose items are left out, or None.
        """
        codes = np.zeros((len(pasts), k), np.int64)
        score = np.zeros((len(pasts), k), np.float32)
        buffer = np.zeros(self._together(pasts) * (self.items + 1), np.float32)
        order = np.empty(len(buffer), np.int32)
        # Histories of one length together: the table that the best are taken from is as wide as
        # the longest of them.
        pasts = pasts.until(self.config.moments)
        people = np.argsort(np.diff(pasts.offsets), kind="stable")
        pasts, seen = pasts.take(people), None if seen is None else seen.take(people)
        for block in self._blocks(pasts):
            keys = block.keys
            np.add.at(buffer, keys, block.values)
            if seen is not None:
                had = seen.some(block.rows.start, block.rows.stop)
                barred = had.owner * (self.items + 1) + had.item
                buffer[barred] = 0
            # Several events reach one item: of its entries the last one written stands for all.
            entry = np.arange(len(keys), dtype=np.int32)
            order[keys] = entry
            value = np.where(order[keys] == entry, buffer[keys], 0)
            top = _top(value, keys % (self.items + 1), block.offsets, k)
            rows = people[block.rows]
            codes[rows], score[rows] = top
            buffer[keys] = 0
        return codes, score

    def similar(self, code: int, k: int) -> tuple[Ints, Floats]:
        """The at most k best neighbours of an item: (codes, s), best first."""
        codes = self.neighbours.codes[code].astype(np.int64)
        known = int((codes > 0).sum())
        return codes[: min(k, known)], self.neighbours.score[code, : min(k, known)]

    def _blocks(self, pasts: Pasts) -> Iterator[_Block]:
        """The entries of some histories at a time."""
        pasts = pasts.until(self.config.moments)
        table, width = self.neighbours, self.items + 1
        per = table.codes.shape[1] + 1
        most = self._together(pasts)
        start = 0
        while start < len(pasts):
            full = pasts.offsets[start] + _ENTRIES // per
            stop = int(np.searchsorted(pasts.offsets, full, side="right")) - 1
            stop = min(start + most, max(start + 1, stop), len(pasts))
            some = pasts.some(start, stop)
            owner = some.owner
            weight = (self.config.recency ** some.back.astype(np.float64)).astype(np.float32)
            codes = np.concatenate((table.codes[some.item], some.item[:, None]), axis=1)
            keys = owner[:, None] * width + codes
            value = np.empty(codes.shape, np.float32)
            np.multiply(table.score[some.item], weight[:, None], out=value[:, :-1])
            value[:, -1] = weight * self.config.own
            yield _Block(
                slice(start, stop),
                keys.reshape(-1),
                value.reshape(-1),
                some.offsets * per,
            )
            start = stop

    def _together(self, pasts: Pasts) -> int:
        """Histories of one block, at most."""
        return max(1, min(len(pasts), _CELLS // (self.items + 1)))


@dataclass(frozen=True, eq=False)
class _Block:
    """Entries of the histories `rows`: cell `keys` of their scores [rows, N + 1] gains `values`;
    those of a history lie between two of `offsets`."""

    rows: slice
    keys: Ints
    values: Floats
    offsets: Ints


def _top(value: Floats, codes: Ints, offsets: Ints, k: int) -> tuple[Ints, Floats]:
    """The k best entries of each history that are above 0: (codes [R, k], values [R, k]).

    value: [E], codes: int64 [E], of which 0 is passed over.
    """
    lengths = np.diff(offsets)
    longest = max(int(lengths.max(initial=0)), k)
    table = np.zeros((len(lengths), longest), np.float32)
    place, _ = ranges(np.arange(len(lengths)) * longest, lengths)
    table.reshape(-1)[place] = np.where(codes > 0, value, 0)
    found = torch.topk(torch.from_numpy(table), k, dim=1, sorted=False)
    best, which = found.values.numpy(), found.indices.numpy()
    if not len(codes):
        return np.zeros(best.shape, np.int64), best
    entry = np.minimum(offsets[:-1, None] + which, len(codes) - 1)
    chosen = np.where(best > 0, codes[entry], 0)
    order = np.lexsort((chosen, -best))
    return np.take_along_axis(chosen, order, 1), np.take_along_axis(best, order, 1)
