"""Two towers, HCN and cascades, trained anew on the visits of the joined log.

Both models are asked for test visits that came after the old one: the training of the new one
leaves those out. A cascade is judged with its counts of all that came before the test.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from adwright.core.artifacts import Artifact
from adwright.core.config import from_jsonable
from adwright.data.sources.log import save_log
from adwright.delivery.cascade.deployment import KIND as CASCADE
from adwright.delivery.funnel.build import FunnelConfig, build_funnel
from adwright.delivery.joined_log import JoinedLog
from adwright.delivery.recommend.models import CascadeTop
from adwright.delivery.recommend.newest import held_visits
from adwright.delivery.recommend.opened import Wanted, open_model
from adwright.delivery.retraining.retrained import OldModel, RetrainedModel, judged, taken_of
from adwright.delivery.stages.histories import Histories
from adwright.models.retrieval.multi_interest import HCNConfig
from adwright.training.retrieval.artifact import KIND as RETRIEVER
from adwright.training.retrieval.artifact import RetrieverArtifact
from adwright.training.retrieval.run import RetrieverKind, RetrieverRun, run_retriever

__all__ = ["retrain_cascade", "retrain_retriever"]

_log = logging.getLogger("adwright")


def retrain_retriever(
    folder: Path,
    artifact: Artifact,
    config: dict[str, Any],
    joined: JoinedLog,
    old: OldModel,
    out: Path,
) -> RetrainedModel:
    """As the run was trained; its sizes and epochs follow from the joined log as they did from the
    old one."""
    before = RetrieverArtifact.load(artifact).model.config
    kind: RetrieverKind = "hcn" if isinstance(before, HCNConfig) else "two-tower"
    asked = RetrieverRun(model=kind, seed=artifact.seed)
    if "run" in config:
        source = f"{folder.parent}/config.json"
        asked = from_jsonable(RetrieverRun, config["run"], source=source)
    save_log(out / "log", joined.log)
    found = old.task(out / "log", joined.log)
    run_retriever(
        replace(asked, out=out, log=str(out / "log")),
        found.task,
        repeats=found.choices.repeats,
        tell=_log.info,
    )
    new = open_model(out / "model", Wanted(log=str(out / "log")))
    visits = held_visits(found.task, old.after, unseen=new.unseen)
    return judged(RETRIEVER, out / "model", [(new.top, visits)], old, out, asked.seed)


def retrain_cascade(
    folder: Path,
    artifact: Artifact,
    config: dict[str, Any],
    joined: JoinedLog,
    old: OldModel,
    out: Path,
) -> RetrainedModel:
    """As it was built: in as many minutes, of the same models; what serves is chosen anew."""
    asked = FunnelConfig(seed=artifact.seed)
    if "config" in config:
        source = f"{folder.parent}/config.json"
        asked = from_jsonable(FunnelConfig, config["config"], source=source)
    save_log(out / "log", joined.log)
    found = old.task(out / "log", joined.log)
    built = build_funnel(
        found.task,
        out,
        asked,
        repeats=found.choices.repeats,
        log=str(out / "log"),
        events=taken_of(joined.log)[0].events,
        tell=_log.info,
    )
    known = Histories.from_events(taken_of(joined.log)[0].events, found.task.items)
    # What is saved knows the test.
    unseen = known.leave_out(repeats=found.choices.repeats)
    new = CascadeTop(built.before_test().cascade(known), unseen=unseen)
    visits = held_visits(found.task, old.after, unseen=unseen)
    return judged(CASCADE, out / "deployment", [(new, visits)], old, out, asked.seed)
