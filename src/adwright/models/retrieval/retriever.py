"""What all retrieval models share: user vectors, item vectors and a loss.

A retriever gives a user K vectors and an item one, so that the score of an item is the best of K
inner products and item vectors can be computed once for all users. Trained by softmax
over the distinct items of the batch, corrected for how often an item is such a candidate:

    s'(u, i) = s(u, i) / tau - log q_i
    L = - sum over (u, i) of log [ e^s'(u,i) / (e^s'(u,i) + sum over j of e^s'(u,j)) ]

q_i is the probability that item i is among the candidates (Yi et al., RecSys 2019, equation 3).
j runs over the candidates that u did not take: other items that u took are no negatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from adwright.data.batches.jagged import Jagged
from adwright.data.batches.queries import QueryBatch

__all__ = [
    "Retriever",
    "counts_tensor",
    "inclusion_log_probability",
    "layers",
    "log_share",
    "pool",
    "softmax_loss",
]


class Retriever(Protocol):
    """Protocol of a retrieval model (also an nn.Module)."""

    def queries(self, batch: QueryBatch) -> Tensor:
        """Vectors [U, K, D] of the users of a batch."""

    def item_vectors(self, codes: Tensor) -> Tensor:
        """Vectors [N, D] of item codes int64 [N]."""

    def loss(self, batch: QueryBatch) -> Tensor:
        """Loss [] summed over the batch's pairs of query and target."""


def softmax_loss(logits: Tensor, positive: Jagged) -> Tensor:
    """The loss above, summed over the pairs.

    logits: [U, C] scores s' of the C candidates. positive: for each query its own candidates,
    as columns of `logits`.
    """
    rows, columns = positive.owner(), positive.values
    taken = torch.zeros(logits.shape, dtype=torch.bool)
    taken[rows, columns] = True
    others = torch.logsumexp(logits.masked_fill(taken, -torch.inf), 1)
    # log(e^s + e^o) - s, without overflow; a query that took every candidate has no negative.
    return functional.softplus(others[rows] - logits[rows, columns]).sum()


def inclusion_log_probability(count: Tensor, codes: Tensor, draws: int) -> Tensor:
    """log q [C] of items `codes` int64 [C]: of being among the distinct items of `draws`
    training events.

    count: training events of every item code, float [N + 1]. q = 1 - exp(-draws count / total).
    """
    share = count[codes] / count.sum()
    return torch.log(-torch.expm1(-draws * share.clamp(min=1e-12)))


def pool(vectors: Tensor, weight: Tensor, lists: Jagged) -> Tensor:
    """Weighted sums [U, D] of each list's vectors [E, D] with weights [E]."""
    sums = vectors.new_zeros(len(lists), vectors.shape[1])
    return sums.index_add(0, lists.owner(), vectors * weight[:, None])


def layers(widths: Sequence[int]) -> torch.nn.Sequential:
    """An MLP of these widths, the input first: ReLU between the layers, none at the end."""
    parts: list[torch.nn.Module] = []
    for before, after in pairwise(widths):
        parts += [torch.nn.Linear(before, after), torch.nn.ReLU()]
    return torch.nn.Sequential(*parts[:-1])


def log_share(count: NDArray[np.int64]) -> Tensor:
    """Log of each item's share of the training events, one added to each: float [N + 1]."""
    return torch.log((counts_tensor(count) + 1) / (int(count.sum()) + len(count)))


def counts_tensor(count: NDArray[np.int64]) -> Tensor:
    """Training events of each item code as float [N + 1]."""
    return torch.from_numpy(count.astype(np.float32))
