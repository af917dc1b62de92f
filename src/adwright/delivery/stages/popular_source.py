"""The most popular items as candidates, and as a coarse order: what finds items for a ranker that
serves alone, since a ranker orders what it is given and searches nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adwright.data.popularity import most_popular
from adwright.delivery.stages.protocols import CallCost, Shortlist
from adwright.delivery.stages.request_batch import RequestBatch
from adwright.training.retrieval.artifact import nearest_by_cosine

__all__ = ["PopularScorer", "PopularSource"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


class PopularSource:
    """The items that most events are of, the same for everybody.

    count: int64 [N + 1], events of each item code. vectors: float32 [N + 1, W] of the items under
    their codes, of any length, for comparing items with each other.
    """

    def __init__(self, count: Ints, vectors: Floats) -> None:
        self._popular = most_popular(count)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        self.item_vectors: Floats = (vectors / np.maximum(length, 1e-12)).astype(np.float32)

    def find(self, batch: RequestBatch, k: int) -> Shortlist:
        """The k most popular, for each user."""
        codes, users = self._popular[:k], len(batch)
        return Shortlist(np.tile(codes, users), len(codes) * np.arange(users + 1))

    def similar(self, code: int, k: int) -> tuple[Ints, Floats]:
        """The k other items nearest to an item: (codes [k], cosines [k]), best first."""
        return nearest_by_cosine(self.item_vectors, code, k)

    def cost(self, batch: RequestBatch, k: int) -> CallCost:
        """A copy of the codes."""
        return CallCost(0.0, 8.0 * len(batch) * min(k, len(self._popular)))


class PopularScorer:
    """A Scorer by how often a user had an item, and among equals by how popular it is.

    count: int64 [N + 1], events of each item code.
    """

    probability = False

    def __init__(self, count: Ints) -> None:
        # Below 1, so that one event of the user's own weighs more.
        self._share = count / max(int(count.sum()) + 1, 1)

    def score(self, batch: RequestBatch, items: Shortlist) -> NDArray[np.float64]:
        """Own events of each item, and its share of all events: [C]."""
        own = batch.counts(items.owner, items.codes).frequency
        score: NDArray[np.float64] = own + self._share[items.codes]
        return score

    def cost(self, batch: RequestBatch, items: Shortlist) -> CallCost:
        """A sort of the history."""
        return CallCost(float(len(items.codes)), 8.0 * (len(batch.item) + len(items.codes)))
