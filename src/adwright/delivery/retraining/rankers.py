"""DIN, or another ranker of rows, trained anew; the newest rows test, those that came after the old
model.

One whose log said what was shown learns from impressions; one whose log did not, learns again from
what was taken and items that are drawn beside it, whatever the service has shown since.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact
from adwright.core.atomic import atomic_write_text
from adwright.core.config import from_jsonable
from adwright.data.features import FeatureSpec
from adwright.data.sources.log import save_log
from adwright.data.tasks.from_log import LogTaskConfig, build_log_task
from adwright.data.tasks.own.ranking import build_ranking_task
from adwright.data.tasks.task import Task
from adwright.delivery.joined_log import JoinedLog
from adwright.delivery.recommend.newest import moment_text
from adwright.delivery.retraining.retrained import NEW, OLD, OldModel, RetrainedModel
from adwright.metrics.reports.comparison import compare
from adwright.metrics.reports.report import EvaluationProtocol
from adwright.training.ranking.config import RunConfig, TaskConfig
from adwright.training.ranking.ranker import KIND as RANKER
from adwright.training.ranking.ranker import Ranker
from adwright.training.ranking.run import run

__all__ = ["retrain_ranker"]


def retrain_ranker(
    artifact: Artifact, config: dict[str, Any], joined: JoinedLog, old: OldModel, out: Path
) -> RetrainedModel:
    """As the run was trained; without one on the task that its features tell."""
    before = Ranker.load(artifact)
    settings = {name: value for name, value in config.items() if name != "model"}
    asked = from_jsonable(RunConfig, settings, source="config.json")
    asked = replace(asked, model=before.model.config)
    save_log(out / "log", joined.log)
    task = _task(asked.task, before, joined, out / "log")
    asked = replace(asked, task=TaskConfig(kind="folder", folder=task.folder), out=out)
    result = run(asked, task=task)
    rows = task.rows("test").collect()
    late = (rows["time"].dt.epoch("us") > old.after).to_numpy()
    user, label = rows["user_id"].rank("dense").to_numpy().astype(np.int64), result.label
    if old.artifact.kind != RANKER:
        why = f"a model of kind {old.artifact.kind!r} decides, which does not order what was shown"
        return RetrainedModel(RANKER, out / "ranker", None, why)
    if len(np.unique(label[late])) < 2:
        return old.nothing_new(RANKER, out / "ranker")
    probabilities: dict[str, NDArray[np.float64]] = {
        NEW: result.probabilities[result.comparison.subject],
        OLD: Ranker.load(old.artifact).score_rows(rows, pl.read_parquet(task.events_path("test"))),
    }
    rules = {
        name: found
        for name, found in result.probabilities.items()
        if name != result.comparison.subject
    }
    comparison = compare(
        label[late],
        {name: said[late] for name, said in (probabilities | rules).items()},
        user[late],
        subject=NEW,
        protocol=EvaluationProtocol(split=task.protocol),
        data_hash=task.data_hash,
        seed=asked.seed,
        draws=asked.draws,
    )
    atomic_write_text(out / "retrained.json", comparison.to_json())
    what = "impressions" if joined.shown else "rows"
    told = f"{int(late.sum()):,} {what} after {moment_text(old.after)}"
    return RetrainedModel(RANKER, out / "ranker", comparison, told)


def _task(asked: TaskConfig, old: Ranker, joined: JoinedLog, folder: Path) -> Task:
    """The task of the joined log, cut anew: dates of the old log would leave nothing new to
    test."""
    log = joined.log
    if joined.shown:
        about = asked.from_log if asked.kind == "log" else _log_task(old.spec, old)
        about = replace(about, valid_from=None, test_from=None)
        return build_log_task(log.events, log.catalogue, folder, about, name="task")
    about = replace(asked.from_log, valid_from=None, test_from=None)
    taken = log.events.filter(pl.col("kind").cast(pl.String) != "impression")
    return build_ranking_task(replace(log, events=taken), folder, about, name="task")


def _log_task(spec: FeatureSpec, ranker: Ranker) -> LogTaskConfig:
    """The task that a ranker of a log was trained on, as its features tell it."""
    counted = {"user_id", "popularity", "visible", "frequency"}
    rows = [f for f in spec.features if f.of == "context" and f.name not in counted]
    items = [f.name for f in spec.features if f.of == "item" and f.name != "item_id"]
    return LogTaskConfig(
        history=tuple(ranker.history_kinds),  # type: ignore[arg-type]
        context=tuple(f.name for f in rows if f.kind != "numeric"),
        numbers=tuple(f.name for f in rows if f.kind == "numeric"),
        item_features=tuple(items),
    )
