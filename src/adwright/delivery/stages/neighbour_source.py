"""The item-item rule as a source of candidates, and as an order.

It needs no training and no vectors, and an event counts from the next request on. Users without
an event get nothing from it: the popular items are for the cascade to add.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adwright.data.sequences.pasts import Pasts, moment_numbers
from adwright.delivery.stages.protocols import CallCost, Shortlist
from adwright.delivery.stages.request_batch import RequestBatch
from adwright.models.retrieval.item_item import ItemItem

__all__ = ["NeighbourScorer", "NeighbourSource", "request_pasts"]


def request_pasts(batch: RequestBatch) -> Pasts:
    """The histories of requests by moment: events of one time are one moment."""
    moment = moment_numbers(batch.offsets, batch.time)
    had = batch.had if batch.leaves else None
    return Pasts.between(batch.item, moment, batch.offsets[:-1], batch.offsets[1:], had)


class NeighbourSource:
    """A CandidateSource of the items that the neighbours of a user's latest items reach.

    repeats: whether items that the user had are among them.
    """

    def __init__(self, model: ItemItem, *, repeats: bool = True) -> None:
        self.model, self.repeats = model, repeats

    def find(self, batch: RequestBatch, k: int) -> Shortlist:
        """At most k items per user, the best of them."""
        pasts = request_pasts(batch)
        codes, _ = self.model.best(pasts, min(k, self.model.items), unseen=not self.repeats)
        return Shortlist.of([row[row > 0] for row in codes])

    def cost(self, batch: RequestBatch, k: int) -> CallCost:
        """Of the sums over the neighbours of each event, and of reading them."""
        return _cost(self.model, batch)

    def similar(self, code: int, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """At most k neighbours of an item: (codes, scores), best first."""
        return self.model.similar(code, k)


class NeighbourScorer:
    """A Scorer by the same sums."""

    probability = False

    def __init__(self, model: ItemItem) -> None:
        self.model = model

    def score(self, batch: RequestBatch, items: Shortlist) -> NDArray[np.float64]:
        """The scores [C]; 0 where no neighbour reaches."""
        return self.model.pair_scores(request_pasts(batch), items.owner, items.codes)

    def cost(self, batch: RequestBatch, items: Shortlist) -> CallCost:
        """As of the source."""
        return _cost(self.model, batch)


def _cost(model: ItemItem, batch: RequestBatch) -> CallCost:
    entries = float(len(batch.item) * model.neighbours.codes.shape[1])
    return CallCost(2.0 * entries, 8.0 * entries)
