"""A retriever's vectors as a source of candidates and as a coarse order; and the user's own past.

A user's K vectors meet the vectors of the candidates in one small product, K x D by D x C; item
vectors are computed when training ends, and a user's vectors are kept until the history changes.

Groceries repeat: half of a basket was bought before, so a user's own past is a source of its own
beside the vectors, and costs nothing. Where nothing repeats, leave it out.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.data.batches.jagged import Jagged
from adwright.data.batches.queries import QueryBatch
from adwright.data.time import MICROSECONDS_PER_DAY, MICROSECONDS_PER_HOUR
from adwright.delivery.index.index import Index, IndexConfig, IndexKind, build_index, search_many
from adwright.delivery.stages.histories import Histories
from adwright.delivery.stages.profile import ProfileCodes
from adwright.delivery.stages.protocols import CallCost, Shortlist
from adwright.delivery.stages.request_batch import RequestBatch
from adwright.delivery.stages.vector_cache import VectorCache
from adwright.models.retrieval.multi_interest import combine
from adwright.training.retrieval.artifact import RetrieverArtifact
from adwright.training.sequential.artifact import SequenceArtifact

__all__ = ["PastSource", "QueryVectors", "VectorScorer", "VectorSource", "catalogue_index"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


class QueryVectors:
    """The vectors of users, kept until their history or the hour changes.

    A query's moment is cut to the hour: within an hour the same history, profile and context
    give the same vectors, up to rounding, whether they were kept or are computed again. Ages
    are short by an hour at most.

    keep: how many users' vectors are kept; the least recently asked for go first.
    Raises ConfigError where the retriever's catalogue is not that of `histories`.
    """

    def __init__(
        self, artifact: RetrieverArtifact, histories: Histories, *, keep: int = 100_000
    ) -> None:
        histories.require_catalogue(artifact.items.ids, "retriever")
        self.artifact = artifact
        self._profile = ProfileCodes(artifact.spec.coded_rows, histories)
        self._kept = VectorCache(keep)

    def __call__(self, batch: RequestBatch) -> Floats:
        """Vectors [U, K, D] of the batch."""
        profile = self._profile.codes(batch)
        columns = batch.version, batch.lengths, batch.at // MICROSECONDS_PER_HOUR
        numbers = zip(*(column.tolist() for column in columns), strict=True)
        keys = [(*n, row.tobytes()) for n, row in zip(numbers, profile, strict=True)]
        found = self._kept.of(
            batch.user.tolist(),
            keys,
            lambda missing: self._computed(batch.some(missing), profile[missing]),
        )
        shape = len(batch), self.artifact.interests, self.artifact.vectors.shape[1]
        return np.array(found, np.float32).reshape(shape)

    def source(self, index: Index | None = None) -> VectorSource:
        """The source that searches `index` (see VectorSource) with these vectors."""
        return VectorSource(self, index)

    def scorer(self) -> VectorScorer:
        """The order by products with these vectors."""
        return VectorScorer(self)

    def _computed(self, batch: RequestBatch, profile: Ints) -> Floats:
        at = np.repeat(batch.at // MICROSECONDS_PER_HOUR * MICROSECONDS_PER_HOUR, batch.lengths)
        age = np.maximum((at - batch.time) / MICROSECONDS_PER_DAY, 0).astype(np.float32)
        history = Jagged(torch.from_numpy(batch.item), torch.from_numpy(batch.offsets))
        return self.artifact.query_vectors(
            QueryBatch.serving(history, torch.from_numpy(age), torch.from_numpy(profile))
        )


class VectorSource:
    """Items of the highest inner product with a user's vectors, from an index.

    index: holds the retriever's item vectors under their codes; exact by default.
    """

    def __init__(self, queries: QueryVectors, index: Index | None = None) -> None:
        self.queries = queries
        self.index = catalogue_index(queries.artifact) if index is None else index

    def find(self, batch: RequestBatch, k: int) -> Shortlist:
        """The k nearest items per user."""
        vectors = self.queries(batch)
        k = min(k, len(self.index))
        if vectors.shape[1] == 1:
            found = self.index.search(vectors[:, 0], k)
        else:
            found = search_many(self.index, vectors, k)
        return Shortlist.of([codes[codes > 0] for codes in found.ids])

    def cost(self, batch: RequestBatch, k: int) -> CallCost:
        """Cost of the exact product; an approximate index takes less."""
        n, width = self.queries.artifact.vectors.shape
        queries = len(batch) * self.queries.artifact.interests
        return CallCost(2.0 * queries * n * width, 4.0 * n * width)

    @property
    def item_vectors(self) -> Floats:
        """[N + 1, W] of the items under their codes, for comparing items with each other: the
        tower's, without how popular they are."""
        return self.queries.artifact.tower

    def similar(self, code: int, k: int) -> tuple[Ints, Floats]:
        """The k other items nearest to an item: (codes [k], cosines [k]), best first."""
        return self.queries.artifact.similar(code, k)


class VectorScorer:
    """A Scorer of inner products with a retriever's vectors."""

    probability = False

    def __init__(self, queries: QueryVectors) -> None:
        self.queries = queries

    def score(self, batch: RequestBatch, items: Shortlist) -> NDArray[np.float64]:
        """The model's own combination of the K products: [C]."""
        artifact = self.queries.artifact
        vectors = self.queries(batch)
        products = np.empty((len(items.codes), vectors.shape[1]), np.float32)
        for user, (start, end) in enumerate(items.bounds()):
            chosen = artifact.vectors[items.codes[start:end]]
            np.dot(chosen, vectors[user].T, out=products[start:end])
        weighting, sharpness = artifact.weighting
        score = combine(torch.from_numpy(products), weighting, sharpness, dim=1)
        return score.double().numpy()

    def cost(self, batch: RequestBatch, items: Shortlist) -> CallCost:
        """One product per user."""
        numbers = len(items.codes) * self.queries.artifact.vectors.shape[1]
        return CallCost(2.0 * numbers * self.queries.artifact.interests, 4.0 * numbers)


class PastSource:
    """The items that a user had before, the most frequent first (ties: the latest)."""

    def find(self, batch: RequestBatch, k: int) -> Shortlist:
        """At most k items per user."""
        lists = []
        for start, end in pairwise(batch.offsets.tolist()):
            # Latest first, so that `first` is the place of an item's latest event.
            codes, first, times = np.unique(
                batch.item[start:end][::-1], return_index=True, return_counts=True
            )
            if len(codes) > k:
                codes = codes[np.lexsort((first, -times))[:k]]
            lists.append(codes[codes > 0])
        return Shortlist.of(lists)

    def cost(self, batch: RequestBatch, k: int) -> CallCost:
        """A sort of the history."""
        return CallCost(0.0, 8.0 * len(batch.item))


def catalogue_index(
    artifact: RetrieverArtifact | SequenceArtifact, kind: IndexConfig | IndexKind = "exact"
) -> Index:
    """An index of the retriever's items under their codes, the unknown item left out."""
    index = build_index(kind, artifact.vectors.shape[1])
    index.add(np.arange(1, len(artifact.vectors)), artifact.vectors[1:])
    return index
