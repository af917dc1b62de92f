"""The item-item rule for everybody at once: a few products of sparse rows, and no loop over users.

What neighbours do not fill, popular items do, as where the rule serves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adwright.data.sequences.pasts import Pasts, moment_numbers
from adwright.delivery.item_item import item_table
from adwright.delivery.recommend.models import Best
from adwright.delivery.recommend.people import People
from adwright.models.retrieval.rules import fill_places
from adwright.training.retrieval.item_item import ItemItemArtifact

__all__ = ["ItemItemTop"]

Ints = NDArray[np.int64]
#: Users whose lists are filled together: each has a row over the popular items.
FILLED = 1_024


class ItemItemTop:
    """A fitted rule. unseen: items that a user had are left out."""

    def __init__(self, artifact: ItemItemArtifact, *, unseen: bool) -> None:
        self.items = item_table(artifact.ids)
        self._model, self._unseen = artifact.model, unseen
        self._share = artifact.model.count / max(int(artifact.model.count.sum()), 1)

    def best(self, people: People, k: int) -> Best:
        """The k best items of each user."""
        moment = moment_numbers(people.offsets, people.time)
        pasts = Pasts.between(
            people.item, moment, people.offsets[:-1], people.offsets[1:], people.had
        )
        codes, score = self._model.best(pasts, k, unseen=self._unseen)
        lacking = np.flatnonzero(codes[:, -1] == 0)
        for start in range(0, len(lacking), FILLED):
            rows = lacking[start : start + FILLED]
            some, mine = codes[rows], score[rows]
            empty = some == 0
            fill_places(some, self._model.popular, self._taken(some, pasts.take(rows)), self._width)
            # Less than any sum of neighbours, as the rule scores them where it serves.
            mine[empty] = self._share[some[empty]] - 1
            codes[rows], score[rows] = some, mine
        none = codes == 0
        return Best(np.where(none, -1, codes), np.where(none, np.float32(-np.inf), score))

    @property
    def _width(self) -> int:
        return self._model.items + 1

    def _taken(self, codes: Ints, pasts: Pasts) -> Ints:
        """What no popular item may be: row * width + item."""
        row, place = np.nonzero(codes)
        taken: Ints = row * self._width + codes[row, place]
        if not self._unseen:
            return taken
        had = pasts.barred
        return np.union1d(taken, had.owner * self._width + had.item)
