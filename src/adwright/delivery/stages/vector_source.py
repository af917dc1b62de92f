"""Candidate generation: items near a person's vector, and items the person had before.

Groceries repeat: half of a basket was bought before, so a person's own past is a source of its
own beside the vectors, and costs nothing. Where nothing repeats, leave it out.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.errors import ConfigError
from adwright.data.batches.jagged import Jagged
from adwright.data.batches.queries import QueryBatch
from adwright.data.tasks.next_basket import DAY
from adwright.delivery.index.index import Index, IndexConfig, IndexKind, build_index, search_many
from adwright.delivery.stages.histories import Crowd, Histories
from adwright.delivery.stages.profile import ProfileCodes
from adwright.delivery.stages.protocols import Cost, Shortlist
from adwright.delivery.stages.vector_cache import KeptVectors
from adwright.training.retrieval.artifact import RetrieverArtifact
from adwright.training.sequential.artifact import SequenceArtifact

__all__ = ["PastSource", "QueryVectors", "VectorSource", "catalogue_index"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
HOUR = 3_600_000_000


class QueryVectors:
    """The vectors of people, kept until their history or the hour changes.

    A query's moment is cut to the hour: within an hour the same history, profile and context
    give the same vectors, up to rounding, whether they were kept or are computed again. Ages
    are short by an hour at most.

    keep: vectors of so many people; those asked for longest ago go first.
    Raises ConfigError where the retriever's catalogue is not that of `histories`.
    """

    def __init__(
        self, artifact: RetrieverArtifact, histories: Histories, *, keep: int = 100_000
    ) -> None:
        if artifact.items.ids != histories.items.ids:
            raise ConfigError(
                "the retriever and the histories count different items",
                where=f"{len(artifact.items.ids)} and {len(histories.items.ids)} items",
                hint="train the stages of a cascade on one catalogue",
            )
        self.artifact = artifact
        self._profile = ProfileCodes(artifact.spec.coded_rows, histories)
        self._kept = KeptVectors(keep)

    def __call__(self, crowd: Crowd) -> Floats:
        """Vectors [U, K, D] of the crowd."""
        profile = self._profile.codes(crowd)
        columns = crowd.version, np.diff(crowd.offsets), crowd.at // HOUR
        numbers = zip(*(column.tolist() for column in columns), strict=True)
        keys = [(*n, row.tobytes()) for n, row in zip(numbers, profile, strict=True)]
        found = self._kept.of(
            crowd.person.tolist(),
            keys,
            lambda missing: self._computed(crowd.some(missing), profile[missing]),
        )
        shape = len(crowd), self.artifact.interests, self.artifact.vectors.shape[1]
        return np.array(found, np.float32).reshape(shape)

    def _computed(self, crowd: Crowd, profile: Ints) -> Floats:
        at = np.repeat(crowd.at // HOUR * HOUR, np.diff(crowd.offsets))
        age = np.maximum((at - crowd.time) / DAY, 0).astype(np.float32)
        history = Jagged(torch.from_numpy(crowd.item), torch.from_numpy(crowd.offsets))
        return self.artifact.query_vectors(
            QueryBatch.serving(history, torch.from_numpy(age), torch.from_numpy(profile))
        )


class VectorSource:
    """Items of the highest inner product with a person's vectors, from an index.

    index: holds the retriever's item vectors under their codes; exact by default.
    """

    def __init__(self, queries: QueryVectors, index: Index | None = None) -> None:
        self.queries = queries
        self.index = catalogue_index(queries.artifact) if index is None else index

    def find(self, crowd: Crowd, k: int) -> Shortlist:
        """The k nearest items a person."""
        vectors = self.queries(crowd)
        k = min(k, len(self.index))
        if vectors.shape[1] == 1:
            found = self.index.search(vectors[:, 0], k)
        else:
            found = search_many(self.index, vectors, k)
        return Shortlist.of([codes[codes > 0] for codes in found.ids])

    def cost(self, crowd: Crowd, k: int) -> Cost:
        """Of the exact product; an approximate index takes less."""
        n, width = self.queries.artifact.vectors.shape
        people = len(crowd) * self.queries.artifact.interests
        return Cost(2.0 * people * n * width, 4.0 * n * width)

    def similar(self, code: int, k: int) -> tuple[Ints, Floats]:
        """The k other items nearest to an item: (codes [k], cosines [k]), best first."""
        return self.queries.artifact.similar(code, k)


class PastSource:
    """The items that a person had before, the most frequent first (ties: the latest)."""

    def find(self, crowd: Crowd, k: int) -> Shortlist:
        """At most k items a person."""
        lists = []
        for start, end in pairwise(crowd.offsets.tolist()):
            # Latest first, so that `first` is the place of an item's latest event.
            codes, first, times = np.unique(
                crowd.item[start:end][::-1], return_index=True, return_counts=True
            )
            if len(codes) > k:
                codes = codes[np.lexsort((first, -times))[:k]]
            lists.append(codes[codes > 0])
        return Shortlist.of(lists)

    def cost(self, crowd: Crowd, k: int) -> Cost:
        """A sort of the history."""
        return Cost(0.0, 8.0 * len(crowd.item))


def catalogue_index(
    artifact: RetrieverArtifact | SequenceArtifact, kind: IndexConfig | IndexKind = "exact"
) -> Index:
    """An index of the retriever's items under their codes, the unknown item left out."""
    index = build_index(kind, artifact.vectors.shape[1])
    index.add(np.arange(1, len(artifact.vectors)), artifact.vectors[1:])
    return index
