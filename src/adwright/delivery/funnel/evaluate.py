"""Measure a saved model on the visits of a task: a cascade of either form, two towers, HCN, HSTU,
SASRec, item-item or popularity; also one of these as it was published.

A model alone is measured as a funnel of one order: what it finds, in its own order. A cascade of
three fixed stages is measured as it serves.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact, load_artifact
from adwright.core.errors import ArtifactError, ConfigError
from adwright.data.sequences.next_log import log_of_task
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.tasks.split import Split
from adwright.delivery.cascade.deployment import KIND as CASCADE
from adwright.delivery.cascade.deployment import Deployment
from adwright.delivery.funnel.build import fit_log_rules
from adwright.delivery.funnel.choice import RULES
from adwright.delivery.funnel.funnel import Funnel, Serving, load_cascade
from adwright.delivery.funnel.measure import SIZES, measure_cascade, measure_funnel
from adwright.delivery.funnel.mixture import ScoreMixture
from adwright.delivery.funnel.parts import FunnelParts, SourceName
from adwright.delivery.funnel.report import FunnelReport
from adwright.delivery.popularity import KIND as POPULARITY
from adwright.delivery.popularity import Popularity, load_popularity
from adwright.delivery.served import KIND as SERVED
from adwright.delivery.stages.histories import Histories
from adwright.models.retrieval.hcn import HCNConfig
from adwright.training.retrieval.artifact import KIND as RETRIEVER
from adwright.training.retrieval.artifact import RetrieverArtifact
from adwright.training.retrieval.item_item_artifact import KIND as ITEM_ITEM
from adwright.training.retrieval.item_item_artifact import ItemItemArtifact
from adwright.training.sequential.artifact import KIND as SEQUENCE
from adwright.training.sequential.artifact import SequenceArtifact

__all__ = ["EVALUATED", "evaluate_model"]

#: Kinds of artifacts that are measured here.
EVALUATED = (CASCADE, RETRIEVER, SEQUENCE, ITEM_ITEM, POPULARITY)
#: Sources that order, too.
_OneModel = Literal["two-tower", "hcn", "sequence", "item-item", "popularity"]
_log = logging.getLogger("adwright")


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
    log = log_of_task(task)
    rules, _ = fit_log_rules(log, repeats=repeats, seed=seed)
    ids = log.ids
    if artifact.kind == CASCADE:
        saved = load_cascade(artifact)
        if isinstance(saved, Deployment):
            cascade = saved.cascade(Histories.of_task(task))
            return measure_cascade(
                cascade, rules, log, task, split=split, most=most, draws=draws, seed=seed
            )
        _require_items(saved.parts.ids, ids, folder)
        _warn_of_test(int(saved.parts.count.sum()), task, folder)
        funnel = replace(saved, parts=replace(saved.parts, repeats=repeats))
        return measure_funnel(
            funnel, rules, log, task, split=split, most=most, draws=draws, seed=seed
        )
    counted = ItemItemArtifact(rules.item_item, ids, repeats)
    name, parts = _alone(artifact, FunnelParts(ids, task.count, repeats), counted, task, folder)
    sources: dict[SourceName, int] = {name: SIZES[name], "popularity": SIZES["popularity"]}
    serving = Serving(sources, ScoreMixture.of(name))
    funnel = Funnel(parts, serving, data_hash=artifact.data_hash, seed=artifact.seed)
    about = f"{RULES[name]} alone serves. " if name in ("item-item", "popularity") else ""
    return measure_funnel(
        funnel, rules, log, task, split=split, most=most, draws=draws, seed=seed, about=about
    )


def _alone(
    artifact: Artifact,
    parts: FunnelParts,
    counted: ItemItemArtifact,
    task: NextBasket,
    folder: Path,
) -> tuple[_OneModel, FunnelParts]:
    """The funnel of one model, and how the model is called in it. counted: the rule of the log,
    which says what is alike where the model does not."""
    ids = parts.ids
    match artifact.kind:
        case kind if kind == RETRIEVER:
            towers = RetrieverArtifact.load(artifact)
            _require_items(tuple(towers.items.ids), ids, folder)
            if isinstance(towers.model.config, HCNConfig):
                return "hcn", replace(parts, hcn=towers)
            return "two-tower", replace(parts, two_tower=towers)
        case kind if kind == SEQUENCE:
            sequence = SequenceArtifact.load(artifact)
            _require_items(sequence.ids, ids, folder)
            return "sequence", replace(parts, sequence=sequence)
        case kind if kind == ITEM_ITEM:
            item_item = ItemItemArtifact.load(artifact)
            _require_items(item_item.ids, ids, folder)
            _warn_of_test(int(item_item.model.count.sum()), task, folder)
            return "item-item", replace(parts, item_item=item_item)
        case kind if kind == POPULARITY:
            popular = load_popularity(artifact)[0]
            _require_items(tuple(sorted(popular.item_ids)), tuple(sorted(ids)), folder)
            _warn_of_test(int(popular.weight.sum()), task, folder)
            return "popularity", replace(parts, count=_places(popular, ids), item_item=counted)
        case kind:
            raise ArtifactError(
                f"a model of kind {kind!r} is not measured on the visits of a log",
                where=str(folder),
                hint=f"those of kind {', '.join(EVALUATED)} are; a ranker is with --task",
            )


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


def _require_items(mine: tuple[str, ...], ids: tuple[str, ...], folder: Path) -> None:
    if mine != ids:
        raise ConfigError(
            f"the model knows {len(mine):,} items, and the log has {len(ids):,} others",
            where=str(folder),
            hint="measure it on the log that it was trained on",
        )


def _warn_of_test(counted: int, task: NextBasket, folder: Path) -> None:
    """Say where what was counted holds more than the training of the task."""
    if counted > int(task.count.sum()):
        _log.warning(
            "%s was counted from %s events, the training of this log has %s: it has seen what it "
            "is asked, and is measured too well. The report of its own run was made before",
            folder,
            f"{counted:,}",
            f"{int(task.count.sum()):,}",
        )
