"""Two towers, HCN and cascades, trained anew on the visits of the joined log.

Both models are asked for the last test visit of each user: the training of the new one, which goes
by the same rules as the old one's, leaves those out.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from adwright.core.artifacts import Artifact
from adwright.core.config import from_jsonable
from adwright.data.sources.log import save_log
from adwright.data.tasks.own.next_item import NextItem, open_next_item
from adwright.delivery.cascade.deployment import KIND as CASCADE
from adwright.delivery.funnel.build import FunnelConfig, build_funnel
from adwright.delivery.joined_log import JoinedLog
from adwright.delivery.recommend.newest import held_visits
from adwright.delivery.recommend.opened import Wanted, open_model
from adwright.delivery.retraining.retrained import NEW, OLD, RetrainedModel, measured, taken_of
from adwright.models.retrieval.hcn import HCNConfig
from adwright.training.retrieval.artifact import KIND as RETRIEVER
from adwright.training.retrieval.artifact import RetrieverArtifact
from adwright.training.retrieval.run import RetrieverKind, RetrieverRun, run_retriever

__all__ = ["retrain_cascade", "retrain_retriever"]

_log = logging.getLogger("adwright")


def retrain_retriever(
    folder: Path, artifact: Artifact, config: dict[str, Any], joined: JoinedLog, out: Path
) -> RetrainedModel:
    """As the run was trained; its sizes and epochs follow from the joined log as they did from the
    old one."""
    old = RetrieverArtifact.load(artifact).model.config
    kind: RetrieverKind = "hcn" if isinstance(old, HCNConfig) else "two-tower"
    asked = RetrieverRun(model=kind, seed=artifact.seed)
    if "run" in config:
        source = f"{folder.parent}/config.json"
        asked = from_jsonable(RetrieverRun, config["run"], source=source)
    found = _task(joined, out)
    run_retriever(
        replace(asked, out=out, log=str(out / "log")),
        found.task,
        repeats=found.choices.repeats,
        tell=_log.info,
    )
    return _compared(RETRIEVER, folder, out / "model", found, joined, out, asked.seed)


def retrain_cascade(
    folder: Path, artifact: Artifact, config: dict[str, Any], joined: JoinedLog, out: Path
) -> RetrainedModel:
    """As it was built: in as many minutes, of the same models; what serves is chosen anew."""
    asked = FunnelConfig(seed=artifact.seed)
    if "config" in config:
        source = f"{folder.parent}/config.json"
        asked = from_jsonable(FunnelConfig, config["config"], source=source)
    found = _task(joined, out)
    build_funnel(
        found.task,
        out,
        asked,
        repeats=found.choices.repeats,
        log=str(out / "log"),
        events=taken_of(joined.log)[0].events,
        tell=_log.info,
    )
    return _compared(CASCADE, folder, out / "deployment", found, joined, out, asked.seed)


def _task(joined: JoinedLog, out: Path) -> NextItem:
    save_log(out / "log", joined.log)
    return open_next_item(out / "log")


def _compared(
    kind: str, old: Path, new: Path, found: NextItem, joined: JoinedLog, out: Path, seed: int
) -> RetrainedModel:
    unseen = not found.choices.repeats
    asking = Wanted(log=str(out / "log"), unseen=unseen)
    models = {NEW: open_model(new, asking).top, OLD: open_model(old, asking).top}
    visits = held_visits(found.task, joined.since, unseen=unseen)
    return measured(kind, new, models, visits, out, seed)
