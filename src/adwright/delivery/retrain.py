"""Train a model again, with the same settings, on its log and on what a service has written since,
and hold the new one up to the old one on the newest part.

    OUT/log       both logs joined, as any log is kept
    OUT/...       the run, as the training of that kind leaves it, and its model
    OUT/retrained.json   what was compared

A model of the next item is asked for what users did last, which neither model was trained on; a
ranker for the newest impressions. What was learned is not published by this.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact, load_artifact
from adwright.core.atomic import atomic_write_text
from adwright.core.config import from_jsonable
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash
from adwright.data.features import FeatureSpec
from adwright.data.schema import ACTION_KINDS
from adwright.data.sources.log import Log, save_log
from adwright.data.tasks.from_log import LogTaskConfig, build_log_task
from adwright.delivery import popularity
from adwright.delivery.joined_log import JoinedLog
from adwright.delivery.popularity import Popularity, save_popularity
from adwright.delivery.recommend.models import PopularityTop, TopItems
from adwright.delivery.recommend.newest import NewestVisits, newest_visits, ranks_of
from adwright.delivery.recommend.opened import Wanted, open_model
from adwright.delivery.served import KIND as SERVED
from adwright.delivery.training_log import HistoryLog, model_folder
from adwright.metrics.bootstrap import Interval
from adwright.metrics.reports.comparison import Comparison, compare, compare_rankings
from adwright.metrics.reports.report import EvaluationProtocol
from adwright.training.ranking.config import RunConfig, TaskConfig
from adwright.training.ranking.ranker import KIND as RANKER
from adwright.training.ranking.ranker import Ranker
from adwright.training.ranking.run import run
from adwright.training.run_settings import require_free
from adwright.training.sequential.artifact import KIND as SEQUENCE
from adwright.training.sequential.artifact import SequenceArtifact
from adwright.training.sequential.run import run_sequence
from adwright.training.sequential.runfile import SequenceDataConfig, SequenceRun, default_run

__all__ = ["RETRAINABLE", "RetrainedModel", "retrain"]

#: Kinds of models that are trained again.
RETRAINABLE = (popularity.KIND, RANKER, SEQUENCE)
OLD, NEW = "old", "new"
_log = logging.getLogger("adwright")


@dataclass(frozen=True, eq=False)
class RetrainedModel:
    """kind: of both models. model: folder of the new one. comparison: of the new one with the old
    one and with simple rules, on the newest part. measured: what that was, in words."""

    kind: str
    model: Path
    comparison: Comparison
    measured: str

    @property
    def lead(self) -> Interval:
        """New minus old, in the measure that leads the table."""
        return self.comparison.differences[OLD][self.comparison.LEAD]

    @property
    def is_worse(self) -> bool:
        """Whether the new model is behind the old one by more than chance."""
        return self.lead.high < 0

    def verdict(self) -> str:
        """Which is better, in a sentence."""
        measure = self.comparison.MEASURES[self.comparison.LEAD]
        lead = self.lead.text("+.4f")
        if self.lead.low > 0:
            return f"the new model is better: {measure} {lead}"
        if self.is_worse:
            return f"the new model is worse: {measure} {lead}; keep the old one"
        return f"no difference beyond chance: {measure} {lead}"


def retrain(model: str | Path, joined: JoinedLog, out: str | Path) -> RetrainedModel:
    """Train the model of a folder again on a joined log, in the new folder `out`.

    model: its folder, or that of the run which made it, whose config.json has the settings;
    without that file the model's own sizes are taken, and the defaults of its training.
    Raises ConfigError for a kind that is not trained here, ResourceError where `out` is there, and
    as the trainings do.
    """
    folder, out = model_folder(model), Path(out)
    require_free(out, "something")
    artifact = load_artifact(folder)
    if artifact.kind == SERVED:
        artifact = artifact.part("model")
    config = _config_of(folder)
    match artifact.kind:
        case kind if kind == RANKER:
            return _ranker(artifact, config, joined, out)
        case kind if kind == SEQUENCE:
            return _sequence(folder, artifact, config, joined, out)
        case popularity.KIND:
            return _popularity(folder, joined, out)
        case kind:
            raise ConfigError(
                f"a model of kind {kind!r} cannot be trained again by this command",
                where=str(folder),
                hint=f"those of kind {', '.join(RETRAINABLE)} can; train this one with "
                "`adwright train` on the log that `adwright store events` or `compact` writes",
            )


def _config_of(folder: Path) -> dict[str, Any]:
    """What the run beside a model was asked for; empty where there is none."""
    path = folder.resolve().parent / "config.json"
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        _log.warning(
            "%s is not there: the model keeps its sizes, and is trained with the defaults", path
        )
        return {}
    return values if isinstance(values, dict) else {}


def _sequence(
    folder: Path, artifact: Artifact, config: dict[str, Any], joined: JoinedLog, out: Path
) -> RetrainedModel:
    """HSTU or SASRec; the last event of each user tests, as in every training on own data."""
    old = SequenceArtifact.load(artifact)
    if config:
        # A run names its model by a table without a kind, which the artifact says.
        table = {"kind": old.model.config.kind, **config.get("model", {})}
        source = f"{folder.parent}/config.json"
        asked = from_jsonable(SequenceRun, {**config, "model": table}, source=source)
    else:
        asked = replace(default_run(old.model.config.kind, own=True), model=old.model.config)
    save_log(out / "log", joined.log)
    repeats = asked.data.allow_repeats
    data = SequenceDataConfig(kind="events", path=out / "log", allow_repeats=repeats)
    result = run_sequence(replace(asked, data=data, out=out))
    report = result.artifact.report
    unseen = report is not None and report.protocol.seen_items == "removed"
    asking = Wanted(log=str(out / "log"), unseen=unseen)
    models = {NEW: open_model(out / "model", asking).top, OLD: open_model(folder, asking).top}
    visits = newest_visits(*_taken(joined.log), joined.since, unseen=unseen)
    return _measured(SEQUENCE, out / "model", models, visits, out, asked.seed)


def _popularity(folder: Path, joined: JoinedLog, out: Path) -> RetrainedModel:
    """The most popular items; for the comparison without what is asked for."""
    save_log(out / "log", joined.log)
    taken, ids = _taken(joined.log)
    save_popularity(out / "model", ids, _counts(taken.events["item_id"], ids))
    visits = newest_visits(taken, ids, joined.since)
    asked = pl.Series(["", *ids], dtype=pl.String).gather(visits.targets)
    past = _counts(taken.events["item_id"], ids) - _counts(asked, ids)
    asking = Wanted(log=str(out / "log"), unseen=visits.unseen)
    models = {
        NEW: PopularityTop(Popularity(ids, past), unseen=visits.unseen),
        OLD: open_model(folder, asking).top,
    }
    return _measured(popularity.KIND, out / "model", models, visits, out, 0)


def _measured(
    kind: str,
    model: Path,
    models: Mapping[str, TopItems],
    visits: NewestVisits,
    out: Path,
    seed: int,
) -> RetrainedModel:
    """Ask both models for what users did last."""
    comparison = compare_rankings(
        {name: ranks_of(top, visits) for name, top in models.items()},
        np.arange(len(visits.people)),
        subject=NEW,
        protocol=EvaluationProtocol(
            split=visits.about,
            candidates=f"all {len(visits.ids):,} items",
            ties="as a partial sort leaves them",
            seen_items="removed" if visits.unseen else "not removed",
            k=(10, 50),
        ),
        data_hash=content_hash(
            {"targets": visits.targets.tolist(), "users": visits.people.users.to_list()}
        ),
        seed=seed,
    )
    atomic_write_text(out / "retrained.json", comparison.to_json())
    return RetrainedModel(kind, model, comparison, visits.about)


def _ranker(
    artifact: Artifact, config: dict[str, Any], joined: JoinedLog, out: Path
) -> RetrainedModel:
    """DIN or another ranker of impressions; the newest of them test."""
    old = Ranker.load(artifact)
    settings = {name: value for name, value in config.items() if name != "model"}
    asked = from_jsonable(RunConfig, settings, source="config.json")
    asked = replace(asked, model=old.model.config)
    save_log(out / "log", joined.log)
    about = asked.task.from_log if asked.task.kind == "log" else _log_task(old.spec, old)
    # Dates of the old log would leave nothing new to test.
    about = replace(about, valid_from=None, test_from=None)
    task = build_log_task(joined.log.events, joined.log.catalogue, out / "log", about, name="task")
    asked = replace(asked, task=TaskConfig(kind="folder", folder=task.folder), out=out)
    result = run(asked, task=task)
    rows = task.rows("test").collect()
    events = pl.read_parquet(task.events_path("test"))
    probabilities: dict[str, NDArray[np.float64]] = {
        NEW: result.probabilities[asked.model.title],
        OLD: old.score_rows(rows, events),
    }
    rules = {
        name: found for name, found in result.probabilities.items() if name != asked.model.title
    }
    comparison = compare(
        result.label,
        probabilities | rules,
        rows["user_id"].rank("dense").to_numpy().astype(np.int64),
        subject=NEW,
        protocol=EvaluationProtocol(split=task.protocol),
        data_hash=task.data_hash,
        seed=asked.seed,
        draws=asked.draws,
    )
    atomic_write_text(out / "retrained.json", comparison.to_json())
    first = rows["time"].sort().to_list()[0]
    measured = f"{rows.height:,} impressions from {first:%Y-%m-%d %H:%M} UTC on"
    return RetrainedModel(RANKER, out / "ranker", comparison, measured)


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


def _taken(log: Log) -> tuple[HistoryLog, list[str]]:
    """What users did, and the ids of all items."""
    kinds = pl.col("kind").is_in(list(ACTION_KINDS))
    taken = log.events.filter(kinds).select("user_id", "item_id", "time")
    ids = log.catalogue.items["item_id"].to_list()
    return HistoryLog(taken.collect(engine="streaming"), None), ids


def _counts(items: pl.Series, ids: list[str]) -> NDArray[np.float64]:
    """How often each of `ids` is among the items [N]."""
    counts = items.alias("item_id").to_frame().group_by("item_id").len()
    asked = pl.DataFrame({"item_id": ids}).join(counts, on="item_id", how="left")
    return asked["len"].fill_null(0).to_numpy().astype(np.float64)
