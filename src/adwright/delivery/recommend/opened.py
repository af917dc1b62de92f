"""A saved model made ready to recommend: with its catalogue, its users and their histories."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from adwright.core.artifacts import Artifact, load_artifact
from adwright.core.errors import ArtifactError, ConfigError, ValueInvalidError
from adwright.data.features import ItemTable
from adwright.data.history_kinds import REPEAT_SHARE, final_kinds, learn_again
from adwright.data.schema import ACTION_KINDS
from adwright.delivery import popularity, served
from adwright.delivery.cascade import deployment
from adwright.delivery.funnel.funnel import Funnel, load_cascade
from adwright.delivery.item_item import item_table
from adwright.delivery.popularity import load_popularity
from adwright.delivery.recommend.item_item_top import ItemItemTop
from adwright.delivery.recommend.models import (
    CascadeTop,
    PopularityTop,
    RetrieverTop,
    SequenceTop,
    TopItems,
)
from adwright.delivery.recommend.people import People, people_of_histories, people_of_log
from adwright.delivery.recommend.shown import ShownTop, stopped_in_log
from adwright.delivery.served import ALONE, ServedModel, as_trained, catalogue_of, history_kinds_of
from adwright.delivery.stages.histories import Histories, microseconds
from adwright.delivery.training_log import HistoryLog, model_folder, open_history, training_log
from adwright.training.ranking.ranker import Ranker
from adwright.training.retrieval.artifact import RetrieverArtifact
from adwright.training.retrieval.item_item import KIND as ITEM_ITEM
from adwright.training.retrieval.item_item import ItemItemArtifact
from adwright.training.sequential.artifact import SequenceArtifact

__all__ = ["RECOMMENDING", "Opened", "Wanted", "open_model"]

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
    match artifact.kind:
        case popularity.KIND:
            return _popularity(artifact, wanted)
        case deployment.KIND:
            return _cascade(artifact, wanted)
        case kind if kind == ITEM_ITEM:
            return _item_item(artifact, wanted)
        case kind if kind == served.KIND or kind in ALONE:
            return _alone(artifact, wanted)
        case kind:
            raise ArtifactError(
                f"a model of kind {kind!r} recommends nothing to everybody",
                where=str(folder),
                hint=f"those of kind {', '.join(RECOMMENDING)} do",
            )


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
