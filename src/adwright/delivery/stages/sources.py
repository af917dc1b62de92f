"""A retriever's vectors as a source of candidates and as a coarse order; and the user's own past.

A user's K vectors meet the vectors of the candidates in one small product, K x D by D x C; item
vectors are computed when training ends, and a user's vectors are kept until the history changes.

Groceries repeat: half of a basket was bought before, so a user's own past is a source of its own
beside the vectors, and costs nothing. Where nothing repeats, leave it out.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from adwright.core.errors import ValueInvalidError
from adwright.data.batches.batch import QueryBatch
from adwright.data.batches.jagged import Jagged
from adwright.data.features import Feature
from adwright.data.sequences.pasts import Pasts, moment_numbers
from adwright.data.tasks.next_basket import moment
from adwright.data.time import MICROSECONDS_PER_DAY
from adwright.delivery.decision import Request
from adwright.delivery.index.index import Index, IndexConfig, IndexKind, build_index, search_many
from adwright.delivery.stages.histories import Histories, RequestBatch
from adwright.delivery.stages.protocols import HistoryAlone, Scorer, Shortlist
from adwright.models.retrieval.item_item import ItemItem
from adwright.models.retrieval.multi_interest import combine
from adwright.training.retrieval.fit import RetrieverArtifact, nearest_by_cosine
from adwright.training.sequential.artifact import SequenceArtifact

# --------------------------------------------------------------------------------------------------
# Codes of a request's user and context features: the same text as in training, put through the
# same FeatureSpec.
#
# A user feature is read off the user's profile, a context feature off the request's own
# context, else off its time (`next_basket.moment`). What is not known is code 0.

Ints = NDArray[np.int64]


class ProfileCodes:
    """Codes of the `features` (categorical or hashed) of requests.

    Profiles are encoded here once, so a profile that comes later is not seen: build anew.
    """

    def __init__(self, features: Sequence[Feature], histories: Histories) -> None:
        self.features = tuple(features)
        profiles = histories.profiles.to_arrow()
        self._of_user = {
            f.name: np.append(0, f.codes(profiles[f.name]))
            for f in self.features
            if f.of == "user" and f.name in profiles.column_names
        }

    def codes(self, batch: RequestBatch) -> Ints:
        """int64 [U, F], one column per feature."""
        found = np.zeros((len(batch), len(self.features)), np.int64)
        moments = [moment(request.time) for request in batch.requests]
        for column, feature in enumerate(self.features):
            if feature.of == "user":
                found[:, column] = self._profile(feature, batch)
            else:
                values = [
                    _said(request, feature.name, at)
                    for request, at in zip(batch.requests, moments, strict=True)
                ]
                found[:, column] = feature.codes(pa.array(values, pa.string()))
        return found

    def _profile(self, feature: Feature, batch: RequestBatch) -> Ints:
        if feature.name == "user_id":
            users = [request.user_id for request in batch.requests]
            return feature.codes(pa.array(users, pa.string()))
        table = self._of_user.get(feature.name, np.zeros(1, np.int64))
        return table[np.where(batch.user < len(table), batch.user, 0)]


def _said(request: Request, name: str, at: dict[str, str]) -> str | None:
    value = request.context.get(name, at.get(name))
    return None if value is None else str(value)


# --------------------------------------------------------------------------------------------------
# The most popular items as candidates, and as a coarse order: what finds items for a ranker that
# serves alone, since a ranker orders what it is given and searches nothing.

Vectors = NDArray[np.float32]


class RankedSource(HistoryAlone):
    """The items of the highest score. score: [N + 1] of the item codes; of code 0 it counts for
    nothing. Equal scores: the lower code first."""

    def __init__(self, score: NDArray[np.floating] | NDArray[np.integer]) -> None:
        self._order = 1 + np.argsort(-score[1:], kind="stable")

    def find(self, batch: RequestBatch, k: int) -> Shortlist:
        """The first k, for each user."""
        codes = self._order[:k]
        return Shortlist(
            np.tile(codes, len(batch)), len(codes) * np.arange(len(batch) + 1, dtype=np.int64)
        )


class PopularSource(RankedSource):
    """The items that most events are of, the same for everybody.

    count: int64 [N + 1], events of each item code. vectors: float32 [N + 1, W] of the items under
    their codes, of any length, for comparing items with each other.
    """

    def __init__(self, count: Ints, vectors: Vectors) -> None:
        super().__init__(count)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        self.item_vectors: Vectors = (vectors / np.maximum(length, 1e-12)).astype(np.float32)

    def similar(self, code: int, k: int) -> tuple[Ints, Vectors]:
        """The k other items nearest to an item: (codes [k], cosines [k]), best first."""
        return nearest_by_cosine(self.item_vectors, code, k)


class PopularScorer:
    """A Scorer by how often a user had an item, and among equals by how popular it is.

    count: int64 [N + 1], events of each item code.
    """

    probability = False

    def __init__(self, count: Ints) -> None:
        # Below 1, so that one event of the user's own weighs more.
        self._share = count / max(int(count.sum()) + 1, 1)

    def score(self, batch: RequestBatch, items: Shortlist) -> NDArray[np.float64]:
        """Own events of each item, and its share of all events: [C]."""
        own = batch.counts(items.owner, items.codes).frequency
        score: NDArray[np.float64] = own + self._share[items.codes]
        return score


# --------------------------------------------------------------------------------------------------
# The item-item rule as a source of candidates, and as an order.
#
# It needs no training and no vectors, and an event counts from the next request on. Users without
# an event get nothing from it: the popular items are for the cascade to add.


def request_pasts(batch: RequestBatch) -> Pasts:
    """The histories of requests by moment: events of one time are one moment."""
    moment = moment_numbers(batch.offsets, batch.time)
    had = batch.had if batch.leaves else None
    return Pasts.between(batch.item, moment, batch.offsets[:-1], batch.offsets[1:], had)


class NeighbourSource(HistoryAlone):
    """A CandidateSource of the items that the neighbours of a user's latest items reach.

    repeats: whether items that the user had are among them.
    """

    def __init__(self, model: ItemItem, *, repeats: bool = True) -> None:
        self.model, self.repeats = model, repeats

    def find(self, batch: RequestBatch, k: int) -> Shortlist:
        """At most k items per user, the best of them."""
        pasts = request_pasts(batch)
        codes, _ = self.model.best(pasts, min(k, self.model.items), unseen=not self.repeats)
        return Shortlist.of([row[row > 0] for row in codes])

    def similar(self, code: int, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """At most k neighbours of an item: (codes, scores), best first."""
        return self.model.similar(code, k)


class NeighbourScorer(HistoryAlone):
    """A Scorer by the same sums."""

    probability = False

    def __init__(self, model: ItemItem) -> None:
        self.model = model

    def score(self, batch: RequestBatch, items: Shortlist) -> NDArray[np.float64]:
        """The scores [C]; 0 where no neighbour reaches."""
        return self.model.pair_scores(request_pasts(batch), items.owner, items.codes)


# --------------------------------------------------------------------------------------------------
# The coarse order, blended with how often this user had this very item.
#
# A user's vector and an item's are made apart, so their product says how near they are and not
# that one is the other's weekly milk; where things repeat that is most of what the fine ranker
# goes by. Four features of the pair are added up,
#
#     s = a v + b log(1 + frequency) + c log(1 + recent) + d [had before]
#
# v the product of the vectors, the counts those of `data.personal`. The weights are fitted to the
# fine ranker's logits y on the items that the sources find, by least squares within each user
# (only differences between the items of one user matter) in which an item weighs as much as the
# fine ranker's probability that it is taken: the top has to be right.

Floats = NDArray[np.float64]
#: Probabilities nearer to 0 or 1 than this count as this near.
_LEAST = 1e-6
_TOGETHER = 16


@dataclass(frozen=True)
class Blend:
    """a, b, c and d of the module's formula."""

    vector: float = 1.0
    frequency: float = 0.0
    recent: float = 0.0
    had: float = 0.0


class BlendedScorer:
    """A Scorer that adds the counts of the user's own past to another one's scores."""

    probability = False

    def __init__(self, vectors: Scorer, blend: Blend) -> None:
        self.vectors, self.blend = vectors, blend

    def score(self, batch: RequestBatch, items: Shortlist) -> Floats:
        """s of each item: [C]."""
        score: Floats = _parts(self.vectors, batch, items) @ np.array(astuple(self.blend))
        return score


def fit_blend(vectors: Scorer, fine: Scorer, batch: RequestBatch, items: Shortlist) -> Blend:
    """The weights under which `vectors` comes nearest to `fine` on these users and items.

    fine: its scores must be probabilities. Raises ValueInvalidError where they are not, or
    where no user has two items to compare.
    """
    if not fine.probability:
        raise ValueInvalidError(
            "a blend is fitted to probabilities", hint="pass the fine stage, not a coarse one"
        )
    if not (np.diff(items.offsets) > 1).any():
        raise ValueInvalidError(
            "nobody has two items to compare", hint="fit on users with a history"
        )
    p = np.clip(_piecewise(fine, batch, items), _LEAST, 1 - _LEAST)
    weight = np.sqrt(p)[:, None]
    parts = _within(_parts(vectors, batch, items), p, items)
    logit = _within(np.log(p / (1 - p))[:, None], p, items)
    found, *_ = np.linalg.lstsq(weight * parts, weight * logit, rcond=None)
    return Blend(*(float(x) for x in found[:, 0]))


def _piecewise(scorer: Scorer, batch: RequestBatch, items: Shortlist) -> Floats:
    """Score some users at a time: hundreds of items each would take much memory."""
    starts = range(0, len(batch), _TOGETHER)
    pieces = [range(a, min(a + _TOGETHER, len(batch))) for a in starts]
    return np.concatenate([scorer.score(batch.some(n), items.some(n)) for n in pieces])


def _parts(vectors: Scorer, batch: RequestBatch, items: Shortlist) -> Floats:
    """The four features of each item [C, 4]."""
    counts = batch.counts(items.owner, items.codes)
    columns: list[NDArray[Any]] = [
        vectors.score(batch, items),
        np.log1p(counts.frequency),
        np.log1p(counts.recent),
        counts.frequency > 0,
    ]
    return np.stack([column.astype(np.float64) for column in columns], 1)


def _within(values: Floats, weight: Floats, items: Shortlist) -> Floats:
    """Values [C, F] less their weighted mean over the items of the same user."""
    owner, users = items.owner, len(items)
    total = np.bincount(owner, weight, minlength=users)
    sums = [np.bincount(owner, weight * column, minlength=users) for column in values.T]
    means = np.stack(sums, 1) / np.maximum(total, _LEAST)[:, None]
    centred: Floats = values - means[owner]
    return centred


# --------------------------------------------------------------------------------------------------
# LRU cache of what was computed of a user.
#
# One entry per user, under a key that says all that it depends on: another key replaces it.

Kept = TypeVar("Kept")


class KeptByUser(Generic[Kept]):
    """Keeps what was computed of at most `keep` users; safe for several threads."""

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self._kept: OrderedDict[int, tuple[Hashable, Kept]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Users of whom something is kept."""
        return len(self._kept)

    def of(
        self,
        users: Sequence[int],
        keys: Sequence[Hashable | None],
        compute: Callable[[list[int]], Iterable[Kept]],
        worth: Callable[[Kept], bool] = lambda _: True,
    ) -> list[Kept]:
        """What is known of U requests, each of a user (by number) and with a key, None for what is
        never kept.

        compute: gives what the M requests that are not kept have, by their rows. worth: what of
        it is kept.
        """
        with self._lock:
            kept = self._kept
            found = {
                n: had[1]
                for n, (user, key) in enumerate(zip(users, keys, strict=True))
                if key is not None and (had := kept.get(user)) is not None and had[0] == key
            }
            for n in found:
                kept.move_to_end(users[n])
        missing = [n for n in range(len(users)) if n not in found]
        if missing:
            fresh = list(compute(missing))
            with self._lock:
                for n, one in zip(missing, fresh, strict=True):
                    found[n] = one
                    if keys[n] is not None and worth(one):
                        kept[users[n]] = keys[n], one
                        kept.move_to_end(users[n])
                while len(kept) > self.keep:
                    kept.popitem(last=False)
        return [found[n] for n in range(len(users))]


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
        self._kept = KeptByUser[Vectors](keep)

    def __call__(self, batch: RequestBatch) -> Vectors:
        """Vectors [U, K, D] of the batch."""
        profile = self._profile.codes(batch)
        found = self._kept.of(
            batch.user.tolist(),
            batch.keys(self._read(batch, profile)),
            lambda missing: self._computed(batch.some(missing), profile[missing]),
        )
        shape = len(batch), self.artifact.interests, self.artifact.vectors.shape[1]
        return np.array(found, np.float32).reshape(shape)

    def reads(self, batch: RequestBatch) -> Sequence[Hashable]:
        """The hour, and the codes of profile and context."""
        return self._read(batch, self._profile.codes(batch))

    def source(self, index: Index | None = None) -> VectorSource:
        """The source that searches `index` (see VectorSource) with these vectors."""
        return VectorSource(self, index)

    def scorer(self) -> VectorScorer:
        """The order by products with these vectors."""
        return VectorScorer(self)

    def _read(self, batch: RequestBatch, profile: Ints) -> Sequence[Hashable]:
        return [
            (hour, one.tobytes()) for hour, one in zip(batch.hour.tolist(), profile, strict=True)
        ]

    def _computed(self, batch: RequestBatch, profile: Ints) -> Vectors:
        at = np.repeat(batch.hourly().at, batch.lengths)
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
        self.reads = queries.reads

    def find(self, batch: RequestBatch, k: int) -> Shortlist:
        """The k nearest items per user."""
        vectors = self.queries(batch)
        k = min(k, len(self.index))
        if vectors.shape[1] == 1:
            found = self.index.search(vectors[:, 0], k)
        else:
            found = search_many(self.index, vectors, k)
        return Shortlist.of([codes[codes > 0] for codes in found.ids])

    @property
    def item_vectors(self) -> Vectors:
        """[N + 1, W] of the items under their codes, for comparing items with each other: the
        tower's, without how popular they are."""
        return self.queries.artifact.tower

    def similar(self, code: int, k: int) -> tuple[Ints, Vectors]:
        """The k other items nearest to an item: (codes [k], cosines [k]), best first."""
        return self.queries.artifact.similar(code, k)


class VectorScorer:
    """A Scorer of inner products with a retriever's vectors."""

    probability = False

    def __init__(self, queries: QueryVectors) -> None:
        self.queries = queries
        self.reads = queries.reads

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


class PastSource(HistoryAlone):
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


def catalogue_index(
    artifact: RetrieverArtifact | SequenceArtifact, kind: IndexConfig | IndexKind = "exact"
) -> Index:
    """An index of the retriever's items under their codes, the unknown item left out."""
    index = build_index(kind, artifact.vectors.shape[1])
    index.add(np.arange(1, len(artifact.vectors)), artifact.vectors[1:])
    return index
