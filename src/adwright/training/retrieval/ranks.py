"""Ranks of the items that users took among all items of the catalogue.

A scorer scores every item for some visits; the best `depth` of them are found by a partial sort,
and a target beyond that depth counts as not found. No candidate is sampled away. Items of equal
scores stand in the order of a hash of visit and item, as in `metrics.ranking`: items that nothing
is known of share one vector, and no order of the catalogue may favour one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adwright.data.ranges import ranges
from adwright.data.tasks.next_basket import NextBasket
from adwright.metrics.arrays import hash_order
from adwright.metrics.ranking import Ranks
from adwright.models.retrieval.retriever import Retriever

Ints = NDArray[np.int64]
_BLOCK = 8192
#: Scores compared at once, where there are ties.
_CELLS = 4_000_000
#: Visits int64 [B] to scores of every item code [B, N + 1].
Scorer = Callable[[Ints], Tensor]


@dataclass(frozen=True)
class Retrieved:
    """Ranks of the targets of V visits.

    item: int64 [P], item codes of the targets; offsets: int64 [V + 1]. rank: float64 [P] from
    1, `depth` + 1 where the target is not among the first `depth`.
    tied: bool [P], found, and another candidate has the same score. visits: int64 [V].
    """

    visits: Ints
    item: Ints
    offsets: Ints
    rank: NDArray[np.float64]
    tied: NDArray[np.bool_]
    depth: int

    def where(self, chosen: NDArray[np.bool_]) -> Retrieved:
        """Keep only the targets `chosen` [P]; visits that lose all of theirs stay, with none."""
        total = np.concatenate(([0], np.cumsum(chosen)))
        return Retrieved(
            self.visits,
            self.item[chosen],
            total[self.offsets],
            self.rank[chosen],
            self.tied[chosen],
            self.depth,
        )

    def ranks(self) -> Ranks:
        """Convert for the measures of `metrics.ranking`, up to k = depth; a visit counts as a
        user."""
        owner = np.repeat(np.arange(len(self.visits)), np.diff(self.offsets))
        order = np.lexsort((self.rank, owner))
        return Ranks(self.rank[order], self.offsets, self.tied[order])


def catalogue_vectors(model: nn.Module, task: NextBasket) -> Scorer:
    """Make the scorer of a trained Retriever; item vectors are computed once, here."""
    retriever = cast("Retriever", model)
    with torch.no_grad():
        parts = torch.split(torch.arange(len(task.items)), _BLOCK)
        vectors = torch.cat([retriever.item_vectors(part) for part in parts])

    def score(visits: Ints) -> Tensor:
        with torch.no_grad():
            return query_scores(retriever.queries(task.batch(visits)), vectors)

    return score


def query_scores(queries: Tensor, vectors: Tensor) -> Tensor:
    """Best inner product of each item over a user's K vectors: [U, K, D], [N, D] to [U, N]."""
    if queries.shape[1] == 1:
        return queries[:, 0] @ vectors.T
    best = queries[:, 0] @ vectors.T
    for k in range(1, queries.shape[1]):
        torch.maximum(best, queries[:, k] @ vectors.T, out=best)
    return best


def retrieved_ranks(
    score: Scorer,
    task: NextBasket,
    visits: Ints,
    *,
    depth: int = 500,
    unseen: bool = False,
    chunk: int = 256,
) -> Retrieved:
    """Ranks of the targets of `visits` (int64 [V]) among all items.

    unseen: rank only items that the user never had before; targets had before are left out.
    """
    start = task.target_offsets[visits]
    place, offsets = ranges(start, task.target_offsets[visits + 1] - start)
    item = task.targets[place]
    rank = np.full(len(item), float(depth + 1))
    tied = np.zeros(len(item), dtype=bool)
    keep = np.ones(len(item), dtype=bool)
    for at in range(0, len(visits), chunk):
        part = visits[at : at + chunk]
        scores = score(part)
        scores[:, 0] = -torch.inf
        mine = slice(offsets[at], offsets[at + len(part)])
        owner = np.repeat(np.arange(len(part)), np.diff(offsets[at : at + len(part) + 1]))
        if unseen:
            seen, bounds = task.seen(part)
            rows = np.repeat(np.arange(len(part)), np.diff(bounds))
            scores[torch.from_numpy(rows), torch.from_numpy(seen)] = -torch.inf
            width = len(task.items)
            keep[mine] = ~np.isin(owner * width + item[mine], rows * width + seen)
        rank[mine], tied[mine] = _places(scores, part, owner, item[mine], depth)
    found = Retrieved(visits, item, offsets, rank, tied, depth)
    return found.where(keep) if unseen else found


def _places(
    scores: Tensor, visits: Ints, owner: Ints, item: Ints, depth: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Rank from 1 of each (owner, item) in the rows of `scores` [B, V], `depth` + 1 beyond it; and
    whether it ties. visits: int64 [B], for the hash."""
    best = torch.topk(scores, min(depth, scores.shape[1]), dim=1).values
    row = torch.from_numpy(owner)
    own = scores[row, torch.from_numpy(item)]
    rank = 1 + (best[row] > own[:, None]).sum(1).numpy()
    found = (own >= best[row, -1]).numpy()
    # Those of the last score may tie with what the partial sort left out.
    several = (best[row] == own[:, None]).sum(1).numpy() > 1
    asked = np.flatnonzero(found & (several | (own == best[row, -1]).numpy()))
    tied = np.zeros(len(item), dtype=bool)
    width = scores.shape[1]
    for part in np.array_split(asked, max(1, len(asked) * width // _CELLS)):
        at, other = np.nonzero((scores[row[part]] == own[part, None]).numpy())
        visit = visits[owner[part]]
        mine = hash_order(visit * width + item[part], seed=0)
        before = hash_order(visit[at] * width + other, seed=0) < mine[at]
        rank[part] += np.bincount(at, before, minlength=len(part)).astype(np.int64)
        tied[part] = np.bincount(at, minlength=len(part)) > 1
    return np.where(found & (rank <= depth), rank, depth + 1).astype(np.float64), tied
