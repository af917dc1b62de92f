"""Measure a saved model on the visits of a task: a cascade of either form, two towers, HCN, HSTU,
SASRec, item-item or popularity; also one of these as it was published.

A model alone is measured as a funnel of one order: what it finds, in its own order. A cascade of
three fixed stages is measured as it serves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact, load_artifact
from adwright.core.errors import ArtifactError, ConfigError
from adwright.data.sequences.datasets import log_of_task
from adwright.data.tasks.next_basket import NextBasket, reordered
from adwright.data.tasks.split import Split
from adwright.delivery.cascade.build import KIND as CASCADE
from adwright.delivery.cascade.build import Deployment
from adwright.delivery.funnel.build import fit_log_rules
from adwright.delivery.funnel.choice import RULES
from adwright.delivery.funnel.columns import ScoreMixture
from adwright.delivery.funnel.funnel import Funnel, FunnelParts, Serving, SourceName, load_cascade
from adwright.delivery.funnel.measure import (
    SIZES,
    Asking,
    FunnelReport,
    measure_cascade,
    measure_funnel,
)
from adwright.delivery.popularity import KIND as POPULARITY
from adwright.delivery.popularity import Popularity, load_popularity
from adwright.delivery.served import KIND as SERVED
from adwright.delivery.stages.histories import Histories
from adwright.models.retrieval.multi_interest import HCNConfig
from adwright.training.retrieval.fit import KIND as RETRIEVER
from adwright.training.retrieval.fit import RetrieverArtifact
from adwright.training.retrieval.item_item import KIND as ITEM_ITEM
from adwright.training.retrieval.item_item import ItemItemArtifact
from adwright.training.sequential.artifact import KIND as SEQUENCE
from adwright.training.sequential.artifact import SequenceArtifact

#: Sources that order, too.
_OneModel = Literal["two-tower", "hcn", "sequence", "item-item", "popularity"]
_Alone: TypeAlias = RetrieverArtifact | SequenceArtifact | ItemItemArtifact | Popularity
_LOADERS: Mapping[str, Callable[[Artifact], _Alone | Deployment | Funnel]] = {
    CASCADE: load_cascade,
    RETRIEVER: RetrieverArtifact.load,
    SEQUENCE: SequenceArtifact.load,
    ITEM_ITEM: ItemItemArtifact.load,
    POPULARITY: lambda artifact: load_popularity(artifact)[0],
}
#: Kinds of artifacts that are measured here.
EVALUATED = tuple(_LOADERS)


def evaluate_model(
    model: str | Path,
    task: NextBasket,
    *,
    repeats: bool,
    split: Split = "test",
    most: int = 5_000,
    draws: int = 500,
    seed: int = 0,
) -> FunnelReport:
    """The report of a saved model beside the rules, which are fitted on the task's training.

    model: folder of the artifact, or of the run which made it. repeats: whether what a user had
    stays a candidate. most: visits of `split`, 0 for all. A rule that was counted from events of
    the test too is measured with a warning.
    Raises ArtifactError for an artifact of another kind, ConfigError for one of other items.
    """
    folder = _artifact_folder(Path(model))
    artifact = load_artifact(folder)
    if artifact.kind == SERVED:
        artifact = artifact.part("model")
    saved = _loaded(artifact, folder)
    task = _in_order(task, saved, folder)
    _require_unseen(artifact, saved, task, split)
    log = log_of_task(task)
    rules, _ = fit_log_rules(log, repeats=repeats, seed=seed)
    asking = Asking(split, most, draws, seed)
    if isinstance(saved, Deployment):
        cascade = saved.cascade(Histories.of_task(task))
        return measure_cascade(cascade, rules, log, task, asking)
    if isinstance(saved, Funnel):
        funnel = replace(saved, parts=replace(saved.parts, repeats=repeats))
        return measure_funnel(funnel, rules, log, task, asking)
    counted = ItemItemArtifact(rules.item_item, log.ids, repeats)
    name, parts = _alone(saved, FunnelParts(log.ids, task.count, repeats), counted)
    sources: dict[SourceName, int] = {name: SIZES[name], "popularity": SIZES["popularity"]}
    serving = Serving(sources, ScoreMixture.of(name))
    funnel = Funnel(parts, serving, data_hash=artifact.data_hash, seed=artifact.seed)
    about = f"{RULES[name]} alone serves. " if name in ("item-item", "popularity") else ""
    return measure_funnel(funnel, rules, log, task, asking, about=about)


def _loaded(artifact: Artifact, folder: Path) -> _Alone | Deployment | Funnel:
    """The model of an artifact."""
    if artifact.kind not in _LOADERS:
        raise ArtifactError(
            f"a model of kind {artifact.kind!r} is not measured on the visits of a log",
            where=str(folder),
            hint=f"those of kind {', '.join(EVALUATED)} are; a ranker is with --task",
        )
    return _LOADERS[artifact.kind](artifact)


def _in_order(task: NextBasket, saved: _Alone | Deployment | Funnel, folder: Path) -> NextBasket:
    """The task with its items in the order of the model. Raises ConfigError for other items."""
    match saved:
        case Deployment():
            return task
        case Funnel():
            ids = saved.parts.ids
        case RetrieverArtifact():
            ids = tuple(saved.items.ids)
        case SequenceArtifact() | ItemItemArtifact():
            ids = saved.ids
        case Popularity():
            # It has no codes: only the items must be the same.
            ids = task.items.ids
            if set(ids) != set(saved.item_ids):
                ids = tuple(saved.item_ids)
    try:
        return reordered(task, ids)
    except ConfigError as error:
        raise ConfigError(error.what, where=str(folder), hint=error.hint) from error


def _alone(
    saved: _Alone, parts: FunnelParts, counted: ItemItemArtifact
) -> tuple[_OneModel, FunnelParts]:
    """The funnel of one model, and how the model is called in it. counted: the rule of the log,
    which says what is alike where the model does not."""
    name: _OneModel = "two-tower"
    match saved:
        case Popularity():
            found = parts.with_models({"item-item": counted})
            return "popularity", replace(found, count=_places(saved, parts.ids))
        case RetrieverArtifact() if isinstance(saved.model.config, HCNConfig):
            name = "hcn"
        case SequenceArtifact():
            name = "sequence"
        case ItemItemArtifact():
            name = "item-item"
    return name, parts.with_models({name: saved})


def _artifact_folder(path: Path) -> Path:
    """The artifact of a folder: itself, or what a run keeps under this name."""
    for name in (".", "deployment", "model"):
        if (path / name / "manifest.json").is_file():
            return path / name
    return path


def _places(popular: Popularity, ids: tuple[str, ...]) -> NDArray[np.int64]:
    """Numbers that order the items as a saved popularity does: int64 [N + 1]."""
    place = {item_id: len(popular) - n for n, item_id in enumerate(popular.item_ids)}
    return np.array([0, *(place[one] for one in ids)], np.int64)


def _require_unseen(
    artifact: Artifact, saved: _Alone | Deployment | Funnel, task: NextBasket, split: Split
) -> None:
    """Raise ConfigError where the model may have been fitted on what it is asked."""
    fitted, training = artifact.fitted, task.fitted()
    if fitted is None:
        counted = _counted(saved)
        if counted is None or counted <= training.events:
            return
        said = f"{counted:,} events"
    else:
        asked = task.visit_time[task.visits(split)].min(initial=np.iinfo(np.int64).max)
        later = fitted.until is not None and fitted.until < asked
        if later or (fitted.events <= training.events and artifact.data_hash == task.data_hash):
            return
        said = fitted.text()
    raise ConfigError(
        f"the model was fitted to {said}, and {training.text()} train in this log: it has seen "
        "what it would be asked",
        where=str(artifact.folder),
        hint="`adwright evaluate RUN` without --log shows what was measured before; with the log "
        "of a later day it measures what came since",
    )


def _counted(saved: _Alone | Deployment | Funnel) -> int | None:
    """How many events a model was fitted to, as it tells that was saved by an earlier version."""
    match saved:
        case Deployment():
            return None
        case Funnel():
            return int(saved.parts.count.sum())
        case ItemItemArtifact():
            return int(saved.model.count.sum())
        case Popularity():
            # Where they count for less the older they are, their number is not known.
            whole = np.array_equal(saved.weight, np.round(saved.weight))
            return int(saved.weight.sum()) if whole else np.iinfo(np.int64).max
        case RetrieverArtifact() | SequenceArtifact():
            return int(saved.count.sum())
