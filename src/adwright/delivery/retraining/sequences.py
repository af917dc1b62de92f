"""HSTU and SASRec, trained anew on the joined log; its test visits, which the new one's training
leaves out, are asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from adwright.core.artifacts import Artifact
from adwright.core.config import from_jsonable
from adwright.data.sources.log import save_log
from adwright.data.tasks.own.next_item import NextItemConfig, open_next_item
from adwright.delivery.joined_log import JoinedLog
from adwright.delivery.recommend.newest import held_visits
from adwright.delivery.recommend.opened import Wanted, open_model
from adwright.delivery.retraining.retrained import NEW, OLD, RetrainedModel, measured
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
    folder: Path, artifact: Artifact, config: dict[str, Any], joined: JoinedLog, out: Path
) -> RetrainedModel:
    """As the run was trained; without one the model keeps its sizes."""
    old = SequenceArtifact.load(artifact)
    if config:
        # A run names its model by a table without a kind, which the artifact says.
        table = {"kind": old.model.config.kind, **config.get("model", {})}
        source = f"{folder.parent}/config.json"
        asked = from_jsonable(SequenceRun, {**config, "model": table}, source=source)
    else:
        asked = replace(default_run(old.model.config.kind, own=True), model=old.model.config)
        # Its sizes are the old ones, though they may be those of `default_run`.
        asked = replace(asked, from_data=tuple(n for n in asked.from_data if "model." not in n))
    save_log(out / "log", joined.log)
    repeats = asked.data.allow_repeats
    data = SequenceDataConfig(
        kind="events", path=out / "log", allow_repeats=repeats, split=asked.data.split
    )
    found = open_next_item(out / "log", NextItemConfig(repeats=repeats, split=asked.data.split))
    result = run_sequence(replace(asked, data=data, out=out), data=sequence_data(found))
    report = result.artifact.report
    unseen = report is not None and report.protocol.seen_items == "removed"
    asking = Wanted(log=str(out / "log"), unseen=unseen)
    models = {NEW: open_model(out / "model", asking).top, OLD: open_model(folder, asking).top}
    visits = held_visits(found.task, joined.since, unseen=unseen)
    return measured(SEQUENCE, out / "model", models, visits, out, asked.seed)
