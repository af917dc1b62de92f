"""Ranks of the items that users took among all items of the catalogue.

A scorer scores every item for some visits; the best `depth` of them are found by a partial sort,
and a target beyond that depth counts as not found. No candidate is sampled away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adwright.data.ranges import ranges
from adwright.data.tasks.next_basket import NextBasket
from adwright.metrics.ranks import Ranks
from adwright.models.retrieval.retriever import Retriever

__all__ = ["Retrieved", "Scorer", "catalogue_vectors", "query_scores", "retrieved_ranks"]

Ints = NDArray[np.int64]
_BLOCK = 8192
#: Visits int64 [B] to scores of every item code [B, N + 1].
Scorer = Callable[[Ints], Tensor]


@dataclass(frozen=True)
class Retrieved:
    """Ranks of the targets of V visits.

    item: int64 [P], item codes of the targets; offsets: int64 [V + 1]. rank: float64 [P] from
    1, `depth` + 1 where the target is not among the first `depth`.
    visits: int64 [V].
    """

    visits: Ints
    item: Ints
    offsets: Ints
    rank: NDArray[np.float64]
    depth: int

    def where(self, chosen: NDArray[np.bool_]) -> Retrieved:
        """Keep only the targets `chosen` [P]; visits that lose all of theirs stay, with none."""
        total = np.concatenate(([0], np.cumsum(chosen)))
        return Retrieved(
            self.visits, self.item[chosen], total[self.offsets], self.rank[chosen], self.depth
        )

    def ranks(self) -> Ranks:
        """Convert for the measures of `metrics.ranking`, up to k = depth; a visit counts as a
        user."""
        owner = np.repeat(np.arange(len(self.visits)), np.diff(self.offsets))
        order = np.lexsort((self.rank, owner))
        tied = np.zeros(len(self.rank), dtype=bool)
        return Ranks(self.rank[order], self.offsets, tied, "hash")


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
        best = torch.topk(scores, min(depth, scores.shape[1]), dim=1).indices.numpy()
        found_at = _places(best, owner, item[mine], len(task.items))
        rank[mine] = np.where(found_at > best.shape[1], depth + 1, found_at)
    found = Retrieved(visits, item, offsets, rank, depth)
    return found.where(keep) if unseen else found


def _places(best: Ints, owner: Ints, item: Ints, width: int) -> NDArray[np.float64]:
    """Rank from 1 of (owner, item) in the rows of `best` [B, depth]; depth + 1 where absent."""
    depth = best.shape[1]
    keys: Any = (np.arange(len(best))[:, None] * width + best).ravel()
    order = np.argsort(keys)
    wanted = owner * width + item
    at = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
    hit = keys[order[at]] == wanted
    rank: NDArray[np.float64] = np.where(hit, order[at] % depth + 1, depth + 1).astype(np.float64)
    return rank
