"""A sequential model as the source of candidates, and as a coarse order.

The model reads what `training.sequential.visit_ranks` gives it for a visit: the latest events,
and after them the moment of the request. A user's query vector is kept until something changes
that the model reads: the events, or the bucket of seconds since any of them, which for events of
yesterday stays the same for hours. A kept vector is therefore the vector of now, and a new event
counts from the next request on.

Own items (those of the user's history) score their product with the query plus a term; all of
them are added to what the index finds, so that with an exact index the k best are exactly those
of the model. The terms depend on the second and are computed for each request.

Users without an event get popular items: by the model's own bias where it has `popularity`, else
by the items' training events.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.errors import ConfigError
from adwright.data.batches.jagged import Jagged
from adwright.data.features import ItemTable
from adwright.data.popularity import most_popular
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.data.tasks.negatives import Draws, popular_share
from adwright.data.time import MICROSECONDS_PER_SECOND
from adwright.delivery.index.index import Index
from adwright.delivery.stages.histories import Histories, RequestBatch
from adwright.delivery.stages.protocols import Shortlist
from adwright.delivery.stages.sources import KeptByUser, catalogue_index
from adwright.models.kernels.attention_spec import time_bucket
from adwright.models.sequential.hstu_ranker import HSTURanker
from adwright.models.sequential.mfalcon import Falcon
from adwright.training.retrieval.fit import nearest_by_cosine
from adwright.training.sequential.artifact import VISITS_FILE, SequenceArtifact
from adwright.training.sequential.fit import people_of

# --------------------------------------------------------------------------------------------------
# Requests as the sequences that a sequential model reads.

Ints = NDArray[np.int64]


class AskedHistories(Protocol):
    """What is read of U users, as `RequestBatch` has it."""

    @property
    def item(self) -> Ints:
        """int64 [E], item codes."""

    @property
    def time(self) -> Ints:
        """int64 [E], microseconds since 1970."""

    @property
    def at(self) -> Ints:
        """int64 [U], the moment that each is asked at."""

    def latest(self, most: int) -> tuple[Ints, Ints]:
        """Places of the latest events of each, and their offsets."""


def sequence_batch(
    batch: AskedHistories,
    longest: int,
    *,
    timed: bool = True,
    by_moment: bool = False,
    acted: bool = False,
) -> SequenceBatch:
    """The latest `longest` events of each request, asked at its time, in whole seconds.

    timed: with times. by_moment: what follows an event is the next instant, see
    `ItemSequences.by_moment`. acted: each event was something taken, action 1.
    """
    place, offsets = batch.latest(longest)
    items = torch.from_numpy(batch.item[place])
    return SequenceBatch.serving(
        Jagged(items, torch.from_numpy(offsets)),
        time=torch.from_numpy(batch.time[place] // MICROSECONDS_PER_SECOND) if timed else None,
        request_time=torch.from_numpy(batch.at // MICROSECONDS_PER_SECOND) if timed else None,
        action=torch.ones_like(items) if acted else None,
        by_moment=by_moment,
    )


def items_of(artifact: SequenceArtifact) -> ItemTable:
    """The model's catalogue for `Histories`: its ids, and no features."""
    return ItemTable(artifact.ids, {}, {}, np.zeros((len(artifact.count), 0), np.float32))


def require_catalogue(artifact: SequenceArtifact, histories: Histories) -> None:
    """Raise ConfigError where the model's items are not those of the histories, or where it
    reads a context, which a request does not supply."""
    histories.require_catalogue(artifact.ids, "sequential model")
    if artifact.context_sizes:
        raise ConfigError(
            "a request has no context for a sequential model",
            where=f"{len(artifact.context_sizes)} features",
            hint="train it with context=False",
        )


Vectors = NDArray[np.float32]


class SequenceQueries:
    """The query vectors of users, kept as the module says, and the terms of their own items.

    artifact: an HSTU or SASRec retriever. keep: how many users' vectors are kept; the least
    recently asked for go first.
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
        self._reads_now = model.config.reads_request_time
        self._kept = KeptByUser[Vectors](keep)
        share = artifact.count / max(int(artifact.count.sum()), 1)
        self._popularity = np.log(np.maximum(share, 1e-12)).astype(np.float32)

    @property
    def repeats(self) -> bool:
        """Whether own items have a term."""
        return self._model.repeats is not None

    def __call__(self, batch: RequestBatch) -> Vectors:
        """Query vectors [U, D] of the batch; their product with `artifact.vectors` is the score
        of what is not an own item."""
        found = self._kept.of(
            batch.user.tolist(),
            batch.keys(self.reads(batch)),
            lambda n: self._computed(batch.some(n)),
        )
        return np.array(found, np.float32).reshape(len(batch), self.artifact.vectors.shape[1])

    def own(self, batch: RequestBatch, queries: Vectors) -> tuple[Ints, Ints, Vectors]:
        """What is added to the scores of own items: (place in the batch [M], rising, item codes
        [M], rising within a user, terms [M]). queries: [U, D] of the batch."""
        with torch.inference_mode():
            rows, codes, terms = self._model.own_terms(
                self.inputs(batch), torch.from_numpy(queries)
            )
        known = (codes > 0).numpy()
        return rows.numpy()[known], codes.numpy()[known], terms.float().numpy()[known]

    def inputs(self, batch: RequestBatch) -> SequenceBatch:
        """What the model reads of the batch."""
        longest, artifact = self._model.max_length, self.artifact
        return sequence_batch(batch, longest, timed=artifact.timed, by_moment=artifact.by_moment)

    def popularity(self, batch: RequestBatch) -> list[Vectors | None]:
        """For each request, log shares [N + 1] of the training events of the items where they
        are all that there is to go by, else None."""
        silent = (batch.lengths == 0) & (self._model.bias is None)
        return [self._popularity if one else None for one in silent.tolist()]

    def reads(self, batch: RequestBatch) -> Sequence[Hashable]:
        """The moment, where the model reads it: as seconds since each event, and these only by
        their bucket."""
        if not self._reads_now:
            return [()] * len(batch)
        inputs = self.inputs(batch)
        if inputs.time is None:
            return [()] * len(batch)
        now = torch.from_numpy(batch.at // MICROSECONDS_PER_SECOND)[inputs.items.owner()]
        bucket = time_bucket(now - inputs.time).to(torch.uint8).numpy()
        return [bucket[a:b].tobytes() for a, b in pairwise(inputs.items.offsets.tolist())]

    def source(self, index: Index | None = None) -> SequenceSource:
        """The source that searches `index` (see SequenceSource) with these vectors."""
        return SequenceSource(self, index)

    def scorer(self) -> SequenceScorer:
        """The order by the model's own scores."""
        return SequenceScorer(self)

    def _computed(self, batch: RequestBatch) -> Vectors:
        with torch.inference_mode():
            found: Vectors = self._model.queries(self.inputs(batch)).float().numpy()
        return found


class SequenceSource:
    """The items of the highest score by a sequential model.

    index: holds the model's item vectors under their codes; exact by default.
    """

    def __init__(self, queries: SequenceQueries, index: Index | None = None) -> None:
        self.queries = queries
        self.index = catalogue_index(queries.artifact) if index is None else index
        self._popular = most_popular(queries.artifact.count)
        self.reads = queries.reads

    def find(self, batch: RequestBatch, k: int) -> Shortlist:
        """The k best items per user."""
        vectors = self.queries(batch)
        k = min(k, len(self.index))
        found = self.index.search(vectors, k)
        lists = [codes[codes > 0] for codes in found.ids]
        if self.queries.repeats:
            scores = [s[c > 0] for s, c in zip(found.scores, found.ids, strict=True)]
            lists = self._with_own(batch, vectors, lists, scores, k)
        known = self.queries.popularity(batch)
        pairs = zip(lists, known, strict=True)
        return Shortlist.of([a if share is None else self._popular[:k] for a, share in pairs])

    @property
    def item_vectors(self) -> Vectors:
        """[N + 1, W] of the items under their codes, for comparing items with each other: without
        how popular they are."""
        artifact = self.queries.artifact
        return artifact.vectors[:, : artifact.model.config.width]

    def similar(self, code: int, k: int) -> tuple[Ints, Vectors]:
        """The k other items nearest to an item: (codes [k], cosines [k]), best first."""
        return nearest_by_cosine(self.item_vectors, code, k)

    def _with_own(
        self,
        batch: RequestBatch,
        vectors: Vectors,
        lists: list[Ints],
        scores: list[Vectors],
        k: int,
    ) -> list[Ints]:
        """The k best of what was found and of the own items, whose scores are higher by their
        terms. No other item can be among them: own items only rise."""
        row, code, term = self.queries.own(batch, vectors)
        bounds = np.searchsorted(row, np.arange(len(batch) + 1)).tolist()
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
        self.reads = queries.reads

    def score(self, batch: RequestBatch, items: Shortlist) -> NDArray[np.float64]:
        """Products with the query, and the terms of own items: [C]."""
        vectors, table = self.queries(batch), self.queries.artifact.vectors
        score = np.empty(len(items.codes), np.float32)
        known = self.queries.popularity(batch)
        for user, (start, end) in enumerate(items.bounds()):
            codes, share = items.codes[start:end], known[user]
            score[start:end] = table[codes] @ vectors[user] if share is None else share[codes]
        if self.queries.repeats and len(score):
            row, code, term = self.queries.own(batch, vectors)
            # Codes of pairs of user and item, rising for the own ones.
            own, asked = row * len(table) + code, items.owner * len(table) + items.codes
            hit = np.isin(asked, own)
            score[hit] += term[np.searchsorted(own, asked[hit])]
        return score.astype(np.float64)


# --------------------------------------------------------------------------------------------------
# The fine stage with M-FALCON: candidates meet a history that was read before.
#
# K and V of a user's history are kept under the user id (`mfalcon`): all candidates of a request,
# and of the user's later requests, share one reading, and new events alone are read onto it. The
# ranker reads the latest `max_length` - 1 events. Of a user who has more, each new event pushes the
# oldest one out; every place moves by that, so the history is read anew. Give the model a
# `max_length` above what most users have.
#
# The ranker's choices had drawn negatives; `Draws` turns the logits into the odds of the catalogue,
# item by item, as in `row_ranker`. What counts as had before is what the ranker reads: from that
# the own negatives were drawn (`models.sequential.choice_ranker`).
#
# A ranker of choices never saw anybody without an event, so of those not it but the training events
# speak: the share of the training visits in which an item was taken.

Floats = NDArray[np.float64]


class FalconRanker:
    """A Scorer that asks an HSTU ranker for its first task. Several threads may ask.

    artifact: its catalogue must be that of `histories`. draws: of the choices that it was trained
    on; None for a ranker of actions, whose probabilities are taken as they are.
    capacity: histories that are kept, see `Falcon`.
    Raises ConfigError for another model or catalogue, or one that reads context.
    """

    probability = True

    def __init__(
        self,
        artifact: SequenceArtifact,
        histories: Histories,
        draws: Draws | None = None,
        *,
        capacity: int = 1024,
    ) -> None:
        if not isinstance(artifact.model, HSTURanker):
            raise ConfigError(
                "the fine stage needs a ranker, not a retriever",
                where=artifact.name,
                hint="train an HSTURankerConfig",
            )
        require_catalogue(artifact, histories)
        self.artifact, self.draws = artifact, draws
        self.model = artifact.model
        self.falcon = Falcon(self.model, capacity=capacity)
        self._share = popular_share(artifact.count)
        visits = _visits(artifact)
        self._taken = np.minimum(artifact.count / max(visits, 1), 1.0)

    def score(self, batch: RequestBatch, items: Shortlist) -> Floats:
        """Probabilities [C] that each item is taken."""
        inputs = sequence_batch(batch, self.model.config.max_length - 1, acted=True)
        logits = np.zeros(len(items.codes))
        unread = (inputs.items.lengths.numpy() == 0) & (self.draws is not None)
        for n, (start, end) in enumerate(items.bounds()):
            if start < end and not unread[n]:
                logits[start:end] = self._logits(batch, inputs, n, items.codes[start:end])
        if self.draws is None:
            return _sigmoid(logits)
        had, distinct = _had(inputs, items, len(self._share))
        logits += self.draws.log_expected(
            self._share[items.codes], items=len(self._share) - 1, had=had, distinct=distinct
        )
        return np.where(unread[items.owner], self._taken[items.codes], _sigmoid(logits))

    def _logits(self, batch: RequestBatch, inputs: SequenceBatch, n: int, codes: Ints) -> Floats:
        """Of the first task [m], for request n."""
        found = self.falcon.score(
            people_of(inputs, np.array([n])),
            torch.from_numpy(codes),
            request_time=int(batch.at[n]) // MICROSECONDS_PER_SECOND,
            key=batch.requests[n].user_id,
        )
        logits: Floats = found[:, 0].double().numpy()
        return logits


def _had(inputs: SequenceBatch, items: Shortlist, width: int) -> tuple[NDArray[np.bool_], Ints]:
    """Whether each item's user had it, and distinct items of the user: both [C]."""
    own = np.unique(inputs.items.owner().numpy() * width + inputs.items.values.numpy())
    own = own[own % width > 0]
    distinct = np.bincount(own // width, minlength=len(inputs)).astype(np.int64)
    return np.isin(items.owner * width + items.codes, own), distinct[items.owner]


def _visits(artifact: SequenceArtifact) -> int:
    """Training visits; where the artifact does not say, its training events."""
    if VISITS_FILE not in artifact.files:
        return int(artifact.count.sum())
    return int(json.loads(artifact.files[VISITS_FILE])["visits"])


def _sigmoid(logits: Floats) -> Floats:
    probability: Floats = 1 / (1 + np.exp(-logits))
    return probability
