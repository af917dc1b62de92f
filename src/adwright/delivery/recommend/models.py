"""The k best items of many users at once, by each kind of model that can be served.

Models that score by products of vectors score the whole catalogue, some dozens of users in one
matrix product, and keep the best of each row (`top`): nothing is approximated and no user is
looked at alone. A cascade, and a ranker with its popular candidates, answer requests as they do
when they serve.

Letters: U users, N items, D width, K interests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from adwright.core.errors import ConfigError
from adwright.data.batches.jagged import Jagged
from adwright.data.batches.queries import QueryBatch
from adwright.data.features import Feature, ItemTable
from adwright.data.time import MICROSECONDS_PER_DAY
from adwright.delivery.cascade.cascade import Cascade
from adwright.delivery.decision import Request
from adwright.delivery.item_item import item_table
from adwright.delivery.popularity import Popularity
from adwright.delivery.recommend.people import People
from adwright.delivery.recommend.top import top_of_rows
from adwright.delivery.stages.sequence_batch import items_of, sequence_batch
from adwright.models.retrieval.multi_interest import combine
from adwright.models.sequential.hstu_ranker import HSTURanker
from adwright.training.retrieval.artifact import RetrieverArtifact
from adwright.training.sequential.artifact import SequenceArtifact

__all__ = [
    "Best",
    "CascadeTop",
    "PopularityTop",
    "RetrieverTop",
    "SequenceTop",
    "TopItems",
]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Scores of one product, 16 MB: of fewer users at a time, laying out the items costs too much.
_SCORES = 1 << 22
#: Users whose histories are read in one pass of a network.
_READ = 512
#: Requests that a cascade answers together.
_REQUESTS = 64


class Best(NamedTuple):
    """codes int64 [U, k], best first, -1 where there is nothing more; scores float32 [U, k]."""

    codes: Ints
    scores: Floats


class TopItems(Protocol):
    """A model that says the best items of many users."""

    @property
    def items(self) -> ItemTable:
        """The catalogue whose codes are meant."""

    def best(self, people: People, k: int) -> Best:
        """The k best items of each user, of the whole catalogue."""


class SequenceTop:
    """HSTU or SASRec. unseen: items that a user had are left out.

    Raises ConfigError for a ranker of sequences, and for a model that reads context.
    """

    def __init__(self, artifact: SequenceArtifact, *, unseen: bool) -> None:
        if isinstance(artifact.model, HSTURanker) or artifact.context_sizes:
            raise ConfigError(
                "this model cannot search the catalogue for everybody",
                where=artifact.name,
                hint="train a retriever of the next item, without context",
            )
        self.items = items_of(artifact)
        self._artifact, self._model, self._unseen = artifact, artifact.model, unseen
        share = artifact.count / max(int(artifact.count.sum()), 1)
        self._popularity = np.log(np.maximum(share, 1e-12)).astype(np.float32)

    def best(self, people: People, k: int) -> Best:
        """The k best items of each user."""
        return _in_parts(self._read, people, k)

    def _read(self, people: People, k: int) -> Best:
        artifact = self._artifact
        batch = sequence_batch(
            people, self._model.max_length, timed=artifact.timed, by_moment=artifact.by_moment
        )
        with torch.inference_mode():
            queries = self._model.queries(batch)
            rows, codes, terms = self._model.own_terms(batch, queries)
        own = rows.numpy(), codes.numpy(), terms.float().numpy()
        vectors = queries.float().numpy()
        silent = np.flatnonzero(people.lengths == 0) if self._model.bias is None else own[0][:0]

        def score(start: int, end: int, out: Floats) -> None:
            np.matmul(vectors[start:end], artifact.vectors.T, out=out)
            first, last = np.searchsorted(own[0], (start, end))
            mine = slice(first, last)
            out[own[0][mine] - start, own[1][mine]] += own[2][mine]
            out[silent[(silent >= start) & (silent < end)] - start] = self._popularity

        return _best_of_products(score, people, len(self.items), k, unseen=self._unseen)


class RetrieverTop:
    """Two towers or HCN. unseen: items that a user had are left out."""

    def __init__(self, artifact: RetrieverArtifact, *, unseen: bool) -> None:
        self.items = artifact.items
        self._artifact, self._unseen = artifact, unseen

    def best(self, people: People, k: int) -> Best:
        """The k best items of each user."""
        return _in_parts(self._read, people, k)

    def _read(self, people: People, k: int) -> Best:
        artifact = self._artifact
        age = (people.at[people.owner] - people.time) / MICROSECONDS_PER_DAY
        batch = QueryBatch.serving(
            Jagged(torch.from_numpy(people.item), torch.from_numpy(people.offsets)),
            torch.from_numpy(np.maximum(age, 0).astype(np.float32)),
            torch.from_numpy(_profile(artifact.spec.coded_rows, people)),
        )
        queries = artifact.query_vectors(batch)
        weighting, sharpness = artifact.weighting

        def score(start: int, end: int, out: Floats) -> None:
            part = queries[start:end]
            if part.shape[1] == 1:
                np.matmul(part[:, 0], artifact.vectors.T, out=out)
                return
            products = torch.from_numpy(part @ artifact.vectors.T)
            out[:] = combine(products, weighting, sharpness, dim=1).numpy()

        return _best_of_products(score, people, len(self.items), k, unseen=self._unseen)


class PopularityTop:
    """One order for everybody. unseen: items that a user had are left out."""

    def __init__(self, popularity: Popularity, *, unseen: bool) -> None:
        self.items = item_table(popularity.item_ids)
        self._weight = popularity.weight.astype(np.float32)
        self._unseen = unseen

    def best(self, people: People, k: int) -> Best:
        """The k best items of each user; in the catalogue of this class they have the lowest
        codes, so no more than those and what a user had is looked at."""
        return _in_parts(self._read, people, k)

    def _read(self, people: People, k: int) -> Best:
        had = int(people.lengths.max(initial=0)) if self._unseen else 0
        looked = min(len(self._weight), k + had)
        scores = np.full((len(people), looked + 1), -np.inf, np.float32)
        scores[:, 1:] = self._weight[:looked]
        if self._unseen:
            near = people.item <= looked
            near &= True if people.had is None else people.had
            scores[people.owner[near], people.item[near]] = -np.inf
        return Best(*top_of_rows(scores, k))


class CascadeTop:
    """A cascade of any form, or a single ranker, that answers as it serves, only more requests at
    a time. cascade: its histories hold what the users did. unseen: items that a user had are left
    out."""

    def __init__(self, cascade: Cascade, *, unseen: bool) -> None:
        self.items = cascade.histories.items
        self._cascade = cascade
        cascade.config = replace(cascade.config, unseen=unseen, together=_REQUESTS)

    def best(self, people: People, k: int) -> Best:
        """The k best items of each user, as far as the cascade lets so many through."""
        codes = np.full((len(people), k), -1, np.int64)
        scores = np.full((len(people), k), -np.inf, np.float32)
        for start in range(0, len(people), _REQUESTS):
            part = people.some(start, min(start + _REQUESTS, len(people)))
            asked = zip(part.users.to_list(), part.at.tolist(), strict=True)
            requests = [
                Request(f"user-{user}", user, _EPOCH + timedelta(microseconds=at), k=k)
                for user, at in asked
            ]
            for row, found in enumerate(self._cascade.recommend_many(requests), start):
                ids = pl.Series(found.item_ids[:k], dtype=pl.String)
                codes[row, : len(ids)] = self.items.rows(ids.to_arrow())
                scores[row, : len(ids)] = found.score[:k]
        return Best(codes, scores)


class _Read(Protocol):
    def __call__(self, people: People, k: int) -> Best: ...


class _Score(Protocol):
    def __call__(self, start: int, end: int, out: Floats) -> None:
        """Write the scores of users `start` to before `end` into out [end - start, N + 1]."""


def _in_parts(read: _Read, people: People, k: int) -> Best:
    """What `read` finds of some hundred users at a time."""
    starts = range(0, len(people), _READ)
    parts = [read(people.some(a, min(a + _READ, len(people))), k) for a in starts]
    codes, scores = np.zeros((0, k), np.int64), np.zeros((0, k), np.float32)
    return Best(
        np.concatenate([codes, *(part.codes for part in parts)]),
        np.concatenate([scores, *(part.scores for part in parts)]),
    )


def _best_of_products(score: _Score, people: People, items: int, k: int, *, unseen: bool) -> Best:
    """The k best of scores that are computed some rows at a time. items: N + 1."""
    rows = min(max(_SCORES // items, 8), max(len(people), 1))
    # Written again and again: new memory would cost more than the product.
    space = np.empty((rows, items), np.float32)
    codes = np.full((len(people), k), -1, np.int64)
    found = np.full((len(people), k), -np.inf, np.float32)
    owner = people.owner
    for start in range(0, len(people), rows):
        end = min(start + rows, len(people))
        out = space[: end - start]
        score(start, end, out)
        out[:, 0] = -np.inf
        if unseen:
            mine = np.arange(people.offsets[start], people.offsets[end])
            mine = mine if people.had is None else mine[people.had[mine]]
            out[owner[mine] - start, people.item[mine]] = -np.inf
        codes[start:end], found[start:end] = top_of_rows(out, k)
    return Best(codes, found)


def _profile(features: Sequence[Feature], people: People) -> Ints:
    """Codes of the user and context features [U, F]; what is not known is 0."""
    moment = pl.from_epoch(pl.Series(people.at), "us")
    known: dict[str, pl.Series] = {
        "weekday": moment.dt.weekday().cast(pl.String),
        "hour": moment.dt.hour().cast(pl.String),
    }
    if people.profiles is not None:
        known |= {name: people.profiles[name] for name in people.profiles.columns}
    known["user_id"] = people.users
    codes = np.zeros((len(people), len(features)), np.int64)
    for column, feature in enumerate(features):
        if feature.name in known:
            codes[:, column] = feature.codes(known[feature.name].to_arrow())
    return codes
