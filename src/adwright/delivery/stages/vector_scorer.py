"""The coarse stage: some hundred items a person, ordered by vectors that exist already.

A person's K vectors meet the vectors of the candidates in one small product, K x D by D x C;
HCN's item vectors are computed when training ends, and a person's vectors are kept until the
history changes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.delivery.stages.histories import Crowd
from adwright.delivery.stages.protocols import Cost, Shortlist
from adwright.delivery.stages.vector_source import QueryVectors
from adwright.models.retrieval.multi_interest import combine

__all__ = ["VectorScorer"]


class VectorScorer:
    """A Scorer of inner products with a retriever's vectors."""

    probability = False

    def __init__(self, queries: QueryVectors) -> None:
        self.queries = queries

    def score(self, crowd: Crowd, items: Shortlist) -> NDArray[np.float64]:
        """The model's own combination of the K products: [C]."""
        artifact = self.queries.artifact
        vectors = self.queries(crowd)
        products = np.empty((len(items.codes), vectors.shape[1]), np.float32)
        for person, (start, end) in enumerate(items.bounds()):
            np.dot(
                artifact.vectors[items.codes[start:end]],
                vectors[person].T,
                out=products[start:end],
            )
        weighting, sharpness = artifact.weighting
        score = combine(torch.from_numpy(products), weighting, sharpness, dim=1)
        return score.double().numpy()

    def cost(self, crowd: Crowd, items: Shortlist) -> Cost:
        """One product a person."""
        width = self.queries.artifact.vectors.shape[1]
        return Cost(
            2.0 * len(items.codes) * self.queries.artifact.interests * width,
            4.0 * len(items.codes) * width,
        )
