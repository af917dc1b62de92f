"""What is known of a candidate, as numbers: what an order adds up.

    popularity   log(1 + training events of the item)
    lately       log(share of the decayed training events)
    category     popularity within the categories of the user's latest items
    frequency    log(1 + the user's events of the item)
    recent       log(1 + those of them in the last `data.tasks.personal.RECENT_DAYS` days)
    again        1 / (1 + days since the last of them), 0 without one
    item-item, linear, sequence, two-tower, hcn, fine
                 the score of the model of this name

More of each speaks for the item, but only the candidates of one request are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from adwright.delivery.stages.neighbour_source import request_pasts
from adwright.delivery.stages.protocols import CallCost, Scorer, Shortlist
from adwright.delivery.stages.request_batch import RequestBatch
from adwright.models.retrieval.rules import LATEST

__all__ = [
    "CandidateColumns",
    "CategoryColumn",
    "ColumnName",
    "ItemColumns",
    "OwnColumns",
    "ScorerColumn",
    "stacked",
]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
ColumnName = Literal[
    "popularity",
    "lately",
    "category",
    "frequency",
    "recent",
    "again",
    "item-item",
    "linear",
    "sequence",
    "two-tower",
    "hcn",
    "fine",
]


class CandidateColumns(Protocol):
    """Numbers of the candidates of requests."""

    @property
    def names(self) -> tuple[ColumnName, ...]:
        """What the columns are called."""

    def values(self, batch: RequestBatch, items: Shortlist) -> Floats:
        """Finite numbers [C, columns]."""

    def cost(self, batch: RequestBatch, items: Shortlist) -> CallCost:
        """What `values` takes."""


class ItemColumns:
    """Numbers that an item has for everybody. tables: name -> float64 [N + 1]."""

    def __init__(self, tables: Mapping[ColumnName, Floats]) -> None:
        self.names = tuple(tables)
        self._table = np.stack(list(tables.values()), 1)

    def values(self, batch: RequestBatch, items: Shortlist) -> Floats:
        """Their rows."""
        found: Floats = self._table[items.codes]
        return found

    def cost(self, batch: RequestBatch, items: Shortlist) -> CallCost:
        """Of reading them."""
        return CallCost(0.0, 8.0 * len(items.codes) * len(self.names))


class OwnColumns:
    """What the user's own history says of the item."""

    names: tuple[ColumnName, ...] = ("frequency", "recent", "again")

    def values(self, batch: RequestBatch, items: Shortlist) -> Floats:
        """The three numbers."""
        counts = batch.counts(items.owner, items.codes)
        again = 1 / (1 + np.where(np.isnan(counts.recency), np.inf, counts.recency))
        return np.stack([np.log1p(counts.frequency), np.log1p(counts.recent), again], 1)

    def cost(self, batch: RequestBatch, items: Shortlist) -> CallCost:
        """A sort of the history."""
        return CallCost(8.0 * len(items.codes), 8.0 * (len(batch.item) + len(items.codes)))


class CategoryColumn:
    """The item's share of its category's events, by the share that the category has of the items
    of the user's latest moments.

    category: int64 [N + 1], a code per item, 0 for none. count: int64 [N + 1], training events.
    """

    names: tuple[ColumnName, ...] = ("category",)

    def __init__(self, category: Ints, count: Ints) -> None:
        self._category = category
        whole = np.bincount(category, count)
        self._share = count / np.maximum(whole[category], 1)
        self._size = len(whole)

    def values(self, batch: RequestBatch, items: Shortlist) -> Floats:
        """Of each item: [C, 1]."""
        latest = request_pasts(batch).until(LATEST)
        kind = self._category[latest.item]
        known = kind > 0
        cells = latest.owner[known] * self._size + kind[known]
        # Of some users and many categories only few cells are met.
        met, times = np.unique(cells, return_counts=True)
        total = np.bincount(met // self._size, times, minlength=len(batch))
        asked = items.owner * self._size + self._category[items.codes]
        place = np.minimum(np.searchsorted(met, asked), max(len(met) - 1, 0))
        hit = met[place] == asked if len(met) else np.zeros(len(asked), np.bool_)
        mine = np.where(hit, times[place] if len(met) else 0, 0)
        share: Floats = mine / np.maximum(total[items.owner], 1) * self._share[items.codes]
        return share[:, None]

    def cost(self, batch: RequestBatch, items: Shortlist) -> CallCost:
        """Of the latest events and the candidates."""
        return CallCost(4.0 * len(items.codes), 16.0 * len(items.codes))


class ScorerColumn:
    """The score of a model."""

    def __init__(self, name: ColumnName, scorer: Scorer) -> None:
        self.names = (name,)
        self._scorer = scorer

    def values(self, batch: RequestBatch, items: Shortlist) -> Floats:
        """The scores [C, 1]; of a model of probabilities their logits."""
        score = self._scorer.score(batch, items)
        if self._scorer.probability:
            p = np.clip(score, 1e-12, 1 - 1e-12)
            score = np.log(p) - np.log1p(-p)
        return score[:, None]

    def cost(self, batch: RequestBatch, items: Shortlist) -> CallCost:
        """That of the model."""
        return self._scorer.cost(batch, items)


def stacked(
    columns: Sequence[CandidateColumns], batch: RequestBatch, items: Shortlist
) -> tuple[tuple[ColumnName, ...], Floats]:
    """All columns side by side: (their names, [C, columns])."""
    names = tuple(name for one in columns for name in one.names)
    values = [np.zeros((len(items.codes), 0)), *(one.values(batch, items) for one in columns)]
    return names, np.concatenate(values, axis=1)
