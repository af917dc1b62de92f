"""A sequential model as the source of candidates, and as a coarse order.

It is asked what `training.visit_ranks` asks of a visit: the latest events that it reads, and
after them the moment of the request. A person's query vector is kept until something changes that
the model reads of it: the events, or the bucket of seconds since any of them (`hstu_spec`), which
for events of yesterday stays the same for hours. A kept vector is therefore what the model would
say now, and a new event is seen with the next request.

Own items (`models.repeats`) are scored above their product with the query; all of them are
added to what the index finds, so that with an exact index the k best are exactly those of the
model. Their terms depend on the second and are computed for each request.

Of somebody without an event the model says how popular items are, where it has `popularity`;
without, the training events of the items say it.
"""

from __future__ import annotations

from collections.abc import Hashable
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.errors import ConfigError
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.delivery.index.index import Index
from adwright.delivery.stages.histories import Crowd, Histories
from adwright.delivery.stages.protocols import Cost, Shortlist
from adwright.delivery.stages.sequence_batch import SECOND, require_catalogue, sequence_batch
from adwright.delivery.stages.vector_cache import KeptVectors
from adwright.delivery.stages.vector_source import catalogue_index
from adwright.models.kernels.attention_spec import time_bucket
from adwright.models.sequential.hstu import HSTU
from adwright.models.sequential.hstu_ranker import HSTURanker
from adwright.training.retrieval.artifact import nearest_by_cosine
from adwright.training.sequential.artifact import SequenceArtifact

__all__ = ["SequenceQueries", "SequenceScorer", "SequenceSource"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


class SequenceQueries:
    """The query vectors of people, kept as the module says, and the terms of their own items.

    artifact: an HSTU or SASRec retriever. keep: vectors of so many people; those asked for
    longest ago go first.
    Raises ConfigError for a ranker, for another catalogue than that of `histories`, and for a
    model that reads context.
    """

    def __init__(
        self, artifact: SequenceArtifact, histories: Histories, *, keep: int = 100_000
    ) -> None:
        model = artifact.model
        if isinstance(model, HSTURanker):
            raise ConfigError(
                "a ranker of actions cannot search the catalogue",
                where=artifact.name,
                hint="use it as the fine stage, and an HSTU or SASRec retriever here",
            )
        require_catalogue(artifact, histories)
        self.artifact, self._model = artifact, model
        self._reads_now = (
            isinstance(model, HSTU) and model.config.time and model.config.request_time == "known"
        )
        self._kept = KeptVectors(keep)
        share = artifact.count / max(int(artifact.count.sum()), 1)
        self._popularity = np.log(np.maximum(share, 1e-12)).astype(np.float32)

    @property
    def repeats(self) -> bool:
        """Whether own items have a term."""
        return self._model.repeats is not None

    def __call__(self, crowd: Crowd) -> Floats:
        """Query vectors [U, D] of the crowd; their product with `artifact.vectors` is the score
        of what is not an own item."""
        found = self._kept.of(
            crowd.person.tolist(), self._keys(crowd), lambda n: self._computed(crowd.some(n))
        )
        return np.array(found, np.float32).reshape(len(crowd), self.artifact.vectors.shape[1])

    def own(self, crowd: Crowd, queries: Floats) -> tuple[Ints, Ints, Floats]:
        """What is added to the scores of own items: (place in the crowd [M], rising, item codes
        [M], rising within a person, terms [M]). queries: [U, D] of the crowd."""
        with torch.inference_mode():
            rows, codes, terms = self._model.own_terms(self.batch(crowd), torch.from_numpy(queries))
        known = (codes > 0).numpy()
        return rows.numpy()[known], codes.numpy()[known], terms.float().numpy()[known]

    def batch(self, crowd: Crowd) -> SequenceBatch:
        """What the model reads of the crowd."""
        return sequence_batch(
            crowd,
            self._model.max_length,
            timed=self.artifact.timed,
            by_moment=self.artifact.by_moment,
        )

    def popularity(self, crowd: Crowd) -> list[Floats | None]:
        """For each request, log shares [N + 1] of the training events of the items where they
        are all that there is to go by, else None."""
        silent = (np.diff(crowd.offsets) == 0) & (self._model.bias is None)
        return [self._popularity if one else None for one in silent.tolist()]

    def _keys(self, crowd: Crowd) -> list[Hashable]:
        numbers = zip(crowd.version.tolist(), np.diff(crowd.offsets).tolist(), strict=True)
        if not self._reads_now:
            return list(numbers)
        batch = self.batch(crowd)
        if batch.time is None:
            return list(numbers)
        # The moment is read as seconds since each event, and these only by their bucket.
        now = torch.from_numpy(crowd.at // SECOND)[batch.items.owner()]
        bucket = time_bucket(now - batch.time).to(torch.uint8).numpy()
        bounds = batch.items.offsets.tolist()
        seen = [bucket[a:b].tobytes() for a, b in pairwise(bounds)]
        return [(*n, what) for n, what in zip(numbers, seen, strict=True)]

    def _computed(self, crowd: Crowd) -> Floats:
        with torch.inference_mode():
            found: Floats = self._model.queries(self.batch(crowd)).float().numpy()
        return found


class SequenceSource:
    """The items of the highest score by a sequential model.

    index: holds the model's item vectors under their codes; exact by default.
    """

    def __init__(self, queries: SequenceQueries, index: Index | None = None) -> None:
        self.queries = queries
        self.index = catalogue_index(queries.artifact) if index is None else index
        self._popular = 1 + np.argsort(-queries.artifact.count[1:], kind="stable")

    def find(self, crowd: Crowd, k: int) -> Shortlist:
        """The k best items a person."""
        vectors = self.queries(crowd)
        k = min(k, len(self.index))
        found = self.index.search(vectors, k)
        lists = [codes[codes > 0] for codes in found.ids]
        if self.queries.repeats:
            scores = [s[c > 0] for s, c in zip(found.scores, found.ids, strict=True)]
            lists = self._with_own(crowd, vectors, lists, scores, k)
        known = self.queries.popularity(crowd)
        return Shortlist.of(
            [
                mine if share is None else self._popular[:k]
                for mine, share in zip(lists, known, strict=True)
            ]
        )

    def similar(self, code: int, k: int) -> tuple[Ints, Floats]:
        """The k other items nearest to an item: (codes [k], cosines [k]), best first; how popular
        they are says nothing."""
        artifact = self.queries.artifact
        return nearest_by_cosine(artifact.vectors[:, : artifact.model.config.width], code, k)

    def cost(self, crowd: Crowd, k: int) -> Cost:
        """Of the exact product, for vectors that are kept; an approximate index takes less."""
        n, width = self.queries.artifact.vectors.shape
        return Cost(2.0 * len(crowd) * n * width, 4.0 * n * width)

    def _with_own(
        self,
        crowd: Crowd,
        vectors: Floats,
        lists: list[Ints],
        scores: list[Floats],
        k: int,
    ) -> list[Ints]:
        """The k best of what was found and of the own items, whose scores are higher by their
        terms. No other item can be among them: own items only rise."""
        row, code, term = self.queries.own(crowd, vectors)
        bounds = np.searchsorted(row, np.arange(len(crowd) + 1)).tolist()
        table, best = self.queries.artifact.vectors, []
        for n, (codes, score) in enumerate(zip(lists, scores, strict=True)):
            mine = slice(bounds[n], bounds[n + 1])
            own = code[mine]
            other = ~np.isin(codes, own)
            every = np.concatenate([codes[other], own])
            total = np.concatenate([score[other], table[own] @ vectors[n] + term[mine]])
            best.append(every[np.lexsort((every, -total))[:k]])
        return best


class SequenceScorer:
    """A Scorer of a sequential model's own scores."""

    probability = False

    def __init__(self, queries: SequenceQueries) -> None:
        self.queries = queries

    def score(self, crowd: Crowd, items: Shortlist) -> NDArray[np.float64]:
        """Products with the query, and the terms of own items: [C]."""
        vectors, table = self.queries(crowd), self.queries.artifact.vectors
        score = np.empty(len(items.codes), np.float32)
        known = self.queries.popularity(crowd)
        for person, (start, end) in enumerate(items.bounds()):
            codes, share = items.codes[start:end], known[person]
            score[start:end] = table[codes] @ vectors[person] if share is None else share[codes]
        if self.queries.repeats and len(score):
            row, code, term = self.queries.own(crowd, vectors)
            # Numbers of pairs of person and item, rising for the own ones.
            own, asked = row * len(table) + code, items.owner * len(table) + items.codes
            hit = np.isin(asked, own)
            score[hit] += term[np.searchsorted(own, asked[hit])]
        return score.astype(np.float64)

    def cost(self, crowd: Crowd, items: Shortlist) -> Cost:
        """One product a person."""
        width = self.queries.artifact.vectors.shape[1]
        return Cost(2.0 * len(items.codes) * width, 4.0 * len(items.codes) * width)
