"""Train a model again, with the same settings, on its log and on what a service has written since,
and hold the new one up to the old one on the newest part.

    OUT/log       both logs joined, as any log is kept
    OUT/...       the run, as the training of that kind leaves it, and its model
    OUT/retrained.json   what was compared

A model of the next item is asked for what users did next, a ranker for the newest impressions: of
these only for what neither model was fitted on. Where that is too little, no verdict is given. What
was learned is not published by this.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from adwright.core.artifacts import Artifact, load_artifact
from adwright.core.errors import ConfigError
from adwright.delivery import popularity
from adwright.delivery.cascade.deployment import KIND as CASCADE
from adwright.delivery.joined_log import JoinedLog
from adwright.delivery.retraining.counted import retrain_item_item, retrain_popularity
from adwright.delivery.retraining.newer import fitted_until
from adwright.delivery.retraining.rankers import retrain_ranker
from adwright.delivery.retraining.retrained import MARGIN, OldModel, RetrainedModel
from adwright.delivery.retraining.sequences import retrain_sequence
from adwright.delivery.retraining.visits import retrain_cascade, retrain_retriever
from adwright.delivery.served import KIND as SERVED
from adwright.delivery.training_log import model_folder, training_log
from adwright.training.ranking.ranker import KIND as RANKER
from adwright.training.retrieval.artifact import KIND as RETRIEVER
from adwright.training.retrieval.item_item import KIND as ITEM_ITEM
from adwright.training.run_settings import require_free
from adwright.training.sequential.artifact import KIND as SEQUENCE

__all__ = ["RETRAINABLE", "retrain"]

#: Kinds of models that are trained again.
RETRAINABLE = (popularity.KIND, ITEM_ITEM, RANKER, SEQUENCE, RETRIEVER, CASCADE)
_log = logging.getLogger("adwright")


def retrain(
    model: str | Path,
    joined: JoinedLog,
    out: str | Path,
    *,
    against: str | Path | None = None,
    margin: float = MARGIN,
) -> RetrainedModel:
    """Train the model of a folder again on a joined log, in the new folder `out`.

    model: its folder, or that of the run which made it, whose config.json has the settings;
    without that file the defaults of its training are taken, and of HSTU, SASRec and DIN the
    model's own sizes. against: the model that the new one is compared with, by default the same.
    margin: what the new one may lose of its value, see `RetrainedModel`.
    Raises ConfigError for a kind that is not trained here, ResourceError where `out` is there, and
    as the trainings do.
    """
    folder, out = model_folder(model), Path(out)
    require_free(out, "something")
    artifact = _unpacked(load_artifact(folder))
    _require_kind(artifact, folder)
    config = _config_of(folder)
    old = _old(folder if against is None else model_folder(against), joined)
    match artifact.kind:
        case popularity.KIND:
            found = retrain_popularity(artifact, config, joined, old, out)
        case kind if kind == ITEM_ITEM:
            found = retrain_item_item(artifact, config, joined, old, out)
        case kind if kind == RANKER:
            found = retrain_ranker(artifact, config, joined, old, out)
        case kind if kind == SEQUENCE:
            found = retrain_sequence(folder, artifact, config, joined, old, out)
        case kind if kind == RETRIEVER:
            found = retrain_retriever(folder, artifact, config, joined, old, out)
        case _:
            found = retrain_cascade(folder, artifact, config, joined, old, out)
    return replace(found, margin=margin)


def _unpacked(artifact: Artifact) -> Artifact:
    """The model alone, without the histories that it was published with."""
    return artifact.part("model") if artifact.kind == SERVED else artifact


def _old(folder: Path, joined: JoinedLog) -> OldModel:
    """The model that is compared; it may have seen the whole log that a service has added to."""
    artifact = load_artifact(folder)
    model = _unpacked(artifact)
    until = joined.until
    if model.fitted is not None or training_log(folder) is None:
        until = max(until, fitted_until(artifact) or 0)
    return OldModel(folder, model, until)


def _require_kind(artifact: Artifact, folder: Path) -> None:
    """Raise ConfigError for a kind that is not trained again."""
    if artifact.kind == CASCADE and "funnel" not in artifact.config:
        raise ConfigError(
            "a cascade of three fixed stages cannot be trained again by this command",
            where=str(folder),
            hint="build one with `adwright train cascade LOG`, which chooses its own stages",
        )
    if artifact.kind not in RETRAINABLE:
        raise ConfigError(
            f"a model of kind {artifact.kind!r} cannot be trained again by this command",
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
            "%s is not there, so how the model was trained is not known: the defaults are taken",
            path,
        )
        return {}
    return values if isinstance(values, dict) else {}
