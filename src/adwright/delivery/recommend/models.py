"""The k best items of many users at once, by each kind of model that can be served.

Models that score by products of vectors score the whole catalogue, some dozens of users in one
matrix product, and keep the best of each row (`top`): nothing is approximated and no user is
looked at alone. A cascade, and a ranker with its popular candidates, answer requests as they do
when they serve.

Letters: U users, N items, D width, K interests.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact, load_artifact
from adwright.core.errors import ArtifactError, ConfigError, ValueInvalidError
from adwright.data.batches.batch import QueryBatch
from adwright.data.batches.jagged import Jagged
from adwright.data.features import Feature, ItemTable
from adwright.data.history_kinds import REPEAT_SHARE, final_kinds, learn_again
from adwright.data.schema import ACTION_KINDS
from adwright.data.sequences.pasts import Pasts, moment_numbers
from adwright.data.sources.log import open_log
from adwright.data.stops import stopped
from adwright.data.time import MICROSECONDS_PER_DAY
from adwright.delivery import popularity, served
from adwright.delivery.cascade import build as deployment
from adwright.delivery.cascade.cascade import Cascade
from adwright.delivery.counted import item_table
from adwright.delivery.decision import Request
from adwright.delivery.funnel.funnel import Funnel, load_cascade
from adwright.delivery.popularity import Popularity, load_popularity
from adwright.delivery.recommend.people import People, people_of_histories, people_of_log
from adwright.delivery.served import ALONE, ServedModel, as_trained, catalogue_of, history_kinds_of
from adwright.delivery.stages.histories import Histories, microseconds
from adwright.delivery.stages.sequence import items_of, sequence_batch
from adwright.delivery.training_log import HistoryLog, model_folder, open_history, training_log
from adwright.models.retrieval.multi_interest import combine
from adwright.models.retrieval.rules import fill_places
from adwright.models.sequential.hstu_ranker import HSTURanker
from adwright.training.ranking.ranker import Ranker
from adwright.training.retrieval.fit import RetrieverArtifact
from adwright.training.retrieval.item_item import KIND as ITEM_ITEM
from adwright.training.retrieval.item_item import ItemItemArtifact
from adwright.training.sequential.artifact import SequenceArtifact

# --------------------------------------------------------------------------------------------------
# The k best columns of each row of a matrix of scores, in one pass over it.
#
# The columns are dealt into groups; the k best of a row lie in the k groups whose best columns are
# best, since each other group is beaten by k groups. So only the best of each group is compared,
# and
# then the columns of k groups: of 12,000 columns and k = 10 some 700, not all of them.

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
#: What a column of a chosen group costs more than a group, as measured.
_DEARER = 8


def top_of_rows(scores: Floats, k: int) -> tuple[Ints, Floats]:
    """(columns int64 [U, k], scores [U, k]), best first, of scores [U, N]; of equal scores the
    lower column stands first.

    Where a row has fewer than k columns above -inf, the rest is column -1 at -inf.

    >>> columns, found = top_of_rows(np.array([[1.0, 3.0, 2.0]], np.float32), 2)
    >>> columns.tolist(), found.tolist()
    ([[1, 2]], [[3.0, 2.0]])
    """
    users, number = scores.shape
    kept = min(k, number)
    columns, values, tied = _chosen(scores, kept)
    ids, found = np.full((users, k), -1, np.int64), np.full((users, k), -np.inf, np.float32)
    ids[:, :kept], found[:, :kept] = columns, values
    for row in np.flatnonzero(tied):
        ids[row, :kept] = np.argsort(-scores[row], kind="stable")[:kept]
        found[row, :kept] = scores[row, ids[row, :kept]]
    ids[found == -np.inf] = -1
    return ids, found


def _chosen(scores: Floats, kept: int) -> tuple[Ints, Floats, NDArray[np.bool_]]:
    """The best columns [U, kept] and their scores, best first, and the rows [U] in which equal
    scores may stand in another order, or others equal the last one."""
    users, number = scores.shape
    # As many groups as columns of the groups that are looked at, by what both cost.
    size = int(np.sqrt(number / (_DEARER * kept)))
    if size < 2:
        every, values = _sorted(scores, kept)
        return _checked(every, values, scores)
    groups, few = number // size, size * kept
    dealt = scores[:, : groups * size].reshape(users, size, groups)
    best = dealt.max(axis=1)
    first, _ = _sorted(best, kept)
    looked = np.take_along_axis(dealt, first[:, None, :], axis=2).reshape(users, few)
    looked = np.concatenate([looked, scores[:, groups * size :]], axis=1)
    place, values = _sorted(looked, kept)
    turn, which = np.divmod(np.minimum(place, few - 1), kept)
    columns = np.take_along_axis(first, which, axis=1) + groups * turn
    columns = np.where(place < few, columns, place - few + groups * size)
    columns, values, tied = _checked(columns, values, looked)
    # The best of another group that equals the last one found may be of a lower column.
    return columns, values, tied | ((best >= values[:, -1:]).sum(1) > kept)


def _sorted(values: Floats, kept: int) -> tuple[Ints, Floats]:
    """The best places [U, kept] of values [U, C] and what stands there, best first."""
    found = torch.topk(torch.from_numpy(values), kept, dim=1)
    return found.indices.numpy(), found.values.numpy()


def _checked(
    columns: Ints, values: Floats, among: Floats
) -> tuple[Ints, Floats, NDArray[np.bool_]]:
    """With the rows that hold equal scores, or of which more of `among` equal the last one."""
    equal = (values[:, 1:] == values[:, :-1]) & (values[:, 1:] > -np.inf)
    last = (among >= values[:, -1:]).sum(1) > values.shape[1]
    return columns, values, equal.any(1) | (last & (values[:, -1] > -np.inf))


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
        return _in_parts(lambda some: self._read(some, k), people, k, _READ)

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
        return _in_parts(lambda some: self._read(some, k), people, k, _READ)

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
        return _in_parts(lambda some: self._read(some, k), people, k, _READ)

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
        cascade.config = replace(cascade.config, unseen=unseen, together=_REQUESTS, kept=0)

    def best(self, people: People, k: int) -> Best:
        """The k best items of each user, as far as the cascade lets so many through."""
        return _in_parts(lambda some: self._read(some, k), people, k, _REQUESTS)

    def _read(self, people: People, k: int) -> Best:
        codes = np.full((len(people), k), -1, np.int64)
        scores = np.full((len(people), k), -np.inf, np.float32)
        requests = [
            Request(f"user-{user}", user, _EPOCH + timedelta(microseconds=at), k=k)
            for user, at in zip(people.users.to_list(), people.at.tolist(), strict=True)
        ]
        for row, found in enumerate(self._cascade.recommend_many(requests)):
            ids = pl.Series(found.item_ids[:k], dtype=pl.String)
            codes[row, : len(ids)] = self.items.rows(ids.to_arrow())
            scores[row, : len(ids)] = found.score[:k]
        return Best(codes, scores)


#: Writes the scores of users `start` to before `end` into out [end - start, N + 1].
_Score = Callable[[int, int, Floats], None]


def _in_parts(find: Callable[[People], Best], people: People, k: int, step: int) -> Best:
    """What is found of so many users at a time; less than k of each leave the rest empty."""
    codes = np.full((len(people), k), -1, np.int64)
    scores = np.full((len(people), k), -np.inf, np.float32)
    for start in range(0, len(people), step):
        end = min(start + step, len(people))
        codes[start:end], scores[start:end] = find(people.some(start, end))
    return Best(codes, scores)


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


# --------------------------------------------------------------------------------------------------
# The item-item rule for everybody at once: a few products of sparse rows, and no loop over users.
#
# What neighbours do not fill, popular items do, as where the rule serves.

#: Users whose lists are filled together: each has a row over the popular items.
FILLED = 1_024


class ItemItemTop:
    """A fitted rule. unseen: items that a user had are left out."""

    def __init__(self, artifact: ItemItemArtifact, *, unseen: bool) -> None:
        self.items = item_table(artifact.ids)
        self._model, self._unseen = artifact.model, unseen
        self._share = artifact.model.count / max(int(artifact.model.count.sum()), 1)

    def best(self, people: People, k: int) -> Best:
        """The k best items of each user."""
        moment = moment_numbers(people.offsets, people.time)
        pasts = Pasts.between(
            people.item, moment, people.offsets[:-1], people.offsets[1:], people.had
        )
        codes, score = self._model.best(pasts, k, unseen=self._unseen)
        lacking = np.flatnonzero(codes[:, -1] == 0)
        for start in range(0, len(lacking), FILLED):
            rows = lacking[start : start + FILLED]
            some, mine = codes[rows], score[rows]
            empty = some == 0
            fill_places(some, self._model.popular, self._taken(some, pasts.take(rows)), self._width)
            # Less than any sum of neighbours, as the rule scores them where it serves.
            mine[empty] = self._share[some[empty]] - 1
            codes[rows], score[rows] = some, mine
        none = codes == 0
        return Best(np.where(none, -1, codes), np.where(none, np.float32(-np.inf), score))

    @property
    def _width(self) -> int:
        return self._model.items + 1

    def _taken(self, codes: Ints, pasts: Pasts) -> Ints:
        """What no popular item may be: row * width + item."""
        row, place = np.nonzero(codes)
        taken: Ints = row * self._width + codes[row, place]
        if not self._unseen:
            return taken
        had = pasts.barred
        return np.union1d(taken, had.owner * self._width + had.item)


# --------------------------------------------------------------------------------------------------
# Any model that recommends to everybody, without the items that are stopped in its log.

#: Places of one call, some 25 MB: many users are asked about in parts.
PLACES = 1 << 21


class ShownTop:
    """A model whose `hidden` items are left out. They may be unknown to it.

    Costs as much as `len(hidden)` more places for each user.
    """

    def __init__(self, top: TopItems, hidden: Collection[str]) -> None:
        self.items = top.items
        self._top = top
        codes = top.items.rows(pa.array(sorted(hidden), pa.string()))
        self._hidden = codes[codes > 0]

    def best(self, people: People, k: int) -> Best:
        """The k best items of each user that are not hidden."""
        if not len(self._hidden):
            return self._top.best(people, k)
        step = max(1, PLACES // (k + len(self._hidden)))
        return _in_parts(lambda some: self._shown(some, k), people, k, step)

    def _shown(self, people: People, k: int) -> Best:
        found = self._top.best(people, k + len(self._hidden))
        gone = np.isin(found.codes, self._hidden)
        order = np.argsort(gone, axis=1, kind="stable")[:, :k]
        left = ~np.take_along_axis(gone, order, axis=1)
        codes, scores = (np.take_along_axis(values, order, axis=1) for values in found)
        return Best(np.where(left, codes, -1), np.where(left, scores, np.float32(-np.inf)))


def stopped_in_log(
    source: str | Path, at: datetime | None = None, *, offline: bool = False
) -> frozenset[str]:
    """The items that are stopped by the events of a log, or by those up to the moment `at`, in UTC.

    A folder of sequences or of a ranking task holds no such events. Raises as `open_log`.
    """
    path = Path(source)
    if (path / "sequences.txt").is_file() or (path / "task.json").is_file():
        return frozenset()
    log = open_log(source, offline=offline, tell=False)
    events = log.events.filter(pl.col("kind") == "stop").collect(engine="streaming")
    return stopped(events, log.catalogue.creatives, at).items


# --------------------------------------------------------------------------------------------------
# A saved model made ready to recommend: with its catalogue, its users and their histories.

_logger = logging.getLogger("adwright")
#: Share of events of unknown items from which on it is said.
_MOSTLY = 0.5
#: Kinds of artifacts that can recommend to everybody.
RECOMMENDING = (deployment.KIND, popularity.KIND, ITEM_ITEM, served.KIND, *ALONE)


@dataclass(frozen=True)
class Wanted:
    """For whom, and from what.

    users: text ids; None is everybody with an event. log: that says what they did, as every verb
    names it; None for the histories that the model was saved with, or the log that it was trained
    on. at: the moment that is asked about; None is just after the latest event. unseen: what a
    user had is left out, by an event of any kind; None does as the model serves, and where it does
    not say, lets the log decide by kind (`learn_again`). stopped: what the log has stopped is left
    out; a model that is judged on what users did until then keeps it, as do the rules beside it.
    offline: never download a public log.
    """

    users: tuple[str, ...] | None = None
    log: str | None = None
    at: datetime | None = None
    unseen: bool | None = None
    stopped: bool = True
    offline: bool = False


@dataclass(frozen=True, eq=False)
class Opened:
    """The model and its people. source: where the histories came from. identity: the id of the
    artifact. unseen: whether what a user had is left out. stopped: items that are left out because
    the log says so."""

    top: TopItems
    people: People
    kind: str
    identity: str
    source: str
    unseen: bool
    stopped: frozenset[str] = frozenset()


def open_model(model: str | Path, wanted: Wanted) -> Opened:
    """Load a model of a kind in `RECOMMENDING`, and the histories of those who are asked for.

    What the log has stopped, by its end or at the moment that is asked about, is left out. Where
    the histories come with the model, and no log is named, nothing is known of stops.

    model: its folder, or that of the run which made it.
    Raises ArtifactError for another kind, ConfigError where no log is known, and as
    `load_artifact` and `open_history`.
    """
    folder = model_folder(model)
    artifact = load_artifact(folder)
    opened = _of_kind(folder, artifact, wanted)
    if not wanted.stopped or opened.source not in (wanted.log, training_log(folder)):
        return opened
    hidden = stopped_in_log(opened.source, wanted.at, offline=wanted.offline)
    if not hidden:
        return opened
    return replace(opened, top=ShownTop(opened.top, hidden), stopped=hidden)


def _of_kind(folder: Path, artifact: Artifact, wanted: Wanted) -> Opened:
    found = _OPENED.get(artifact.kind)
    if found is None:
        raise ArtifactError(
            f"a model of kind {artifact.kind!r} recommends nothing to everybody",
            where=str(folder),
            hint=f"those of kind {', '.join(RECOMMENDING)} do",
        )
    return found(artifact, wanted)


def _popularity(artifact: Artifact, wanted: Wanted) -> Opened:
    found, _, _ = load_popularity(artifact)
    source = wanted.log or training_log(artifact.folder)
    items = item_table(found.item_ids)
    if source is None and wanted.users is not None:
        # The same for everybody, so that no log is needed.
        people, source = people_of_histories(Histories(items), users=wanted.users), "no log"
    else:
        source, known = _log(artifact, wanted, ACTION_KINDS)
        people = _people(known, items, wanted)
    return _opened(
        artifact, people, source, wanted, lambda unseen: PopularityTop(found, unseen=unseen)
    )


def _cascade(artifact: Artifact, wanted: Wanted) -> Opened:
    saved = load_cascade(artifact)
    known, source = saved.histories, "the histories of the model"
    again = None if known is None else known.again
    if wanted.log is not None or known is None:
        kinds = ACTION_KINDS if known is None else known.kinds
        source, log = _log(artifact, wanted, kinds)
        items = saved.cascade().histories.items
        models = saved.parts.models.values() if isinstance(saved, Funnel) else ()
        profiles = as_trained(log.profiles, *models)
        known = Histories.from_events(log.events, items, profiles=profiles, kinds=kinds)
        if again is not None or isinstance(saved, Funnel):
            known.again = again
    if wanted.unseen:
        known.again = None  # an event of any kind
    people = people_of_histories(known, users=wanted.users, at=_moment(wanted))
    cascade = saved.cascade(known)
    # One of three fixed stages does not say whether things come again; its log does.
    fixed = known.repeats >= REPEAT_SHARE or not known.events
    repeats = saved.parts.repeats if isinstance(saved, Funnel) else fixed
    return _opened(
        artifact,
        people,
        source,
        wanted,
        lambda unseen: CascadeTop(cascade, unseen=unseen),
        unseen=known.leave_out(repeats=repeats),
    )


def _item_item(artifact: Artifact, wanted: Wanted) -> Opened:
    saved = ItemItemArtifact.load(artifact)
    items = item_table(saved.ids)
    known = Histories(items)
    if any(name.startswith("histories/") for name in artifact.files):
        known = Histories.load(artifact.part("histories"), items)
    if wanted.log is None and len(known):
        source = "the histories of the model"
        people = people_of_histories(known, users=wanted.users, at=_moment(wanted))
    else:
        source, log = _log(artifact, wanted, ACTION_KINDS)
        moment = _moment(wanted)
        people = people_of_log(log, items, users=wanted.users, at=moment, final=known.final)
    return _opened(
        artifact,
        people,
        source,
        wanted,
        lambda unseen: ItemItemTop(saved, unseen=unseen),
        unseen=known.leave_out(repeats=saved.repeats),
    )


def _alone(artifact: Artifact, wanted: Wanted) -> Opened:
    saved = ServedModel.load(artifact)
    model, unseen, again = saved.model, None, saved.histories.again
    if artifact.kind == served.KIND and wanted.log is None:
        source = "the histories of the model"
        people = people_of_histories(saved.histories, users=wanted.users, at=_moment(wanted))
        unseen = saved.unseen
    else:
        source, log = _log(artifact, wanted, history_kinds_of(model))
        items, log = catalogue_of(model), log._replace(profiles=as_trained(log.profiles, model))
        people = _people(log, items, wanted, saved.histories.final)
        if isinstance(model, Ranker):
            saved = ServedModel.of_log(model, log.events, log.profiles)
            saved.histories.again = saved.histories.again if again is None else again
            unseen = bool(saved.histories.final)
    if wanted.unseen:
        saved.histories.again = None

    def top(unseen: bool) -> TopItems:
        match model:
            case SequenceArtifact():
                return SequenceTop(model, unseen=unseen)
            case RetrieverArtifact():
                return RetrieverTop(model, unseen=unseen)
            case Ranker():
                return CascadeTop(saved.cascade(), unseen=unseen)

    return _opened(artifact, people, source, wanted, top, unseen=unseen)


_OPENED = {
    popularity.KIND: _popularity,
    deployment.KIND: _cascade,
    ITEM_ITEM: _item_item,
    **dict.fromkeys((served.KIND, *ALONE), _alone),
}


def _people(
    log: HistoryLog, items: ItemTable, wanted: Wanted, final: Sequence[str] | None = None
) -> People:
    """The users of a log. final: the kinds that take an item off the list, None for what the log
    shows."""
    final = final_kinds(learn_again(log.events)) if final is None else final
    return people_of_log(log, items, users=wanted.users, at=_moment(wanted), final=final)


def _opened(
    artifact: Artifact,
    people: People,
    source: str,
    wanted: Wanted,
    top: Callable[[bool], TopItems],
    *,
    unseen: bool | None = None,
) -> Opened:
    """The model with its people; what a user had is left out as wanted, as it was saved, or as
    the log shows by kind. Raises ValueInvalidError where nobody and nothing of the log is known."""
    _require_known(people, source, wanted)
    if wanted.unseen is not None:
        unseen, people = wanted.unseen, replace(people, had=None)
    elif unseen is None:
        unseen = people.had is not None and bool(people.had.any())
    return Opened(top(unseen), people, artifact.kind, artifact.id, source, unseen)


def _require_known(people: People, source: str, wanted: Wanted) -> None:
    """Raise ValueInvalidError for a log of other items, and where all users are asked for and none
    has an event; warn of a log most of whose events are of unknown items."""
    if wanted.users is None and not len(people):
        raise ValueInvalidError(
            "nobody has an event before the moment that is asked about",
            file=source,
            column="time",
            value=wanted.at,
            hint="ask about a later one, or name users",
        )
    unknown = int((people.item == 0).sum())
    if unknown and unknown == len(people.item):
        raise ValueInvalidError(
            "no event of the log is of an item that the model knows",
            file=source,
            column="item_id",
            value=f"{unknown:,} events",
            hint="name the log of the catalogue that the model was trained on",
        )
    if unknown > _MOSTLY * len(people.item):
        _logger.warning(
            "%d of %d events of %s are of items that the model does not know: is it the log of "
            "another catalogue?",
            unknown,
            len(people.item),
            source,
        )


def _log(artifact: Artifact, wanted: Wanted, kinds: Sequence[str]) -> tuple[str, HistoryLog]:
    source = wanted.log or training_log(artifact.folder)
    if source is None:
        raise ConfigError(
            "no log is known that says what users did",
            where=str(artifact.folder),
            hint="name it with --events",
        )
    gone = "name it with --events" if wanted.log is None else ""
    return source, open_history(source, kinds, offline=wanted.offline, gone=gone)


def _moment(wanted: Wanted) -> int | None:
    return None if wanted.at is None else microseconds(wanted.at)
