"""HSTU and SASRec, trained anew on the joined log; its test visits, which the new one's training
leaves out, are asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from adwright.core.artifacts import Artifact
from adwright.core.config import from_jsonable
from adwright.data.sources.log import save_log
from adwright.data.tasks.own.next_item import NextItemConfig
from adwright.delivery.joined_log import JoinedLog
from adwright.delivery.recommend.newest import held_visits
from adwright.delivery.recommend.opened import Wanted, open_model
from adwright.delivery.retraining.retrained import OldModel, RetrainedModel, judged
from adwright.training.sequential.artifact import KIND as SEQUENCE
from adwright.training.sequential.artifact import SequenceArtifact
from adwright.training.sequential.run import run_sequence
from adwright.training.sequential.runfile import (
    SequenceDataConfig,
    SequenceRun,
    default_run,
    sequence_data,
)

__all__ = ["retrain_sequence"]


def retrain_sequence(
    folder: Path,
    artifact: Artifact,
    config: dict[str, Any],
    joined: JoinedLog,
    old: OldModel,
    out: Path,
) -> RetrainedModel:
    """As the run was trained; without one the model keeps its sizes."""
    before = SequenceArtifact.load(artifact)
    if config:
        # A run names its model by a table without a kind, which the artifact says.
        table = {"kind": before.model.config.kind, **config.get("model", {})}
        source = f"{folder.parent}/config.json"
        asked = from_jsonable(SequenceRun, {**config, "model": table}, source=source)
    else:
        asked = replace(default_run(before.model.config.kind, own=True), model=before.model.config)
        # Its sizes are the old ones, though they may be those of `default_run`.
        asked = replace(asked, from_data=tuple(n for n in asked.from_data if "model." not in n))
    save_log(out / "log", joined.log)
    repeats = asked.data.allow_repeats
    data = SequenceDataConfig(
        kind="events", path=out / "log", allow_repeats=repeats, split=asked.data.split
    )
    about = NextItemConfig(repeats=repeats, split=asked.data.split)
    found = old.task(out / "log", joined.log, about)
    run_sequence(replace(asked, data=data, out=out), data=sequence_data(found))
    new = open_model(out / "model", Wanted(log=str(out / "log")))
    visits = held_visits(found.task, old.after, unseen=new.unseen)
    return judged(SEQUENCE, out / "model", [(new.top, visits)], old, out, asked.seed)
