"""Items in an order that is the same for everybody, as a source of candidates: the popular ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adwright.delivery.stages.protocols import CallCost, Shortlist
from adwright.delivery.stages.request_batch import RequestBatch

__all__ = ["RankedSource"]


class RankedSource:
    """The items of the highest score. score: [N + 1] of the item codes; of code 0 it counts for
    nothing. Equal scores: the lower code first."""

    def __init__(self, score: NDArray[np.floating] | NDArray[np.integer]) -> None:
        self._order = 1 + np.argsort(-score[1:], kind="stable")

    def find(self, batch: RequestBatch, k: int) -> Shortlist:
        """The first k, for each user."""
        codes = self._order[:k]
        return Shortlist(
            np.tile(codes, len(batch)), len(codes) * np.arange(len(batch) + 1, dtype=np.int64)
        )

    def cost(self, batch: RequestBatch, k: int) -> CallCost:
        """A copy of the codes."""
        return CallCost(0.0, 8.0 * len(batch) * min(k, len(self._order)))
