"""A saved model asked about what happened since it was fitted: how well does it do today?

Items and users that came after it are asked about, too: the items that it does not know are misses.
Popularity and item-item, counted until the same instant, stand beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from adwright.core.artifacts import load_artifact
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.sources.log import Log, open_log
from adwright.delivery.recommend.models import (
    ItemItemTop,
    PopularityTop,
    TopItems,
    Wanted,
    open_model,
)
from adwright.delivery.recommend.run import moment_text, newest_visits, ranks_of
from adwright.delivery.retraining.retrain import (
    compared_on,
    fitted_until,
    item_item_until,
    popularity_until,
    taken_of,
)
from adwright.delivery.training_log import model_folder
from adwright.metrics.reports.report import RankingComparison
from adwright.models.retrieval.rules import TITLES

MODEL = "this model"


@dataclass(frozen=True, eq=False)
class NewerReport:
    """comparison: of the model with rules that were counted until the same instant. asked: what
    was asked, in words. notes: what else is to be known."""

    comparison: RankingComparison
    asked: str
    notes: tuple[str, ...]


def evaluate_newer(
    model: str | Path,
    source: str | Path,
    *,
    draws: int = 500,
    seed: int = 0,
    offline: bool = False,
) -> NewerReport:
    """Measure a model on what a log holds after the last event that it was fitted on.

    model: its folder, or that of its run. source: a log of the same users and items that has gone
    on since, as every verb names it. Raises ConfigError where nothing of the log is unseen, or that
    cannot be told; and as `open_model`.
    """
    folder = model_folder(model)
    artifact = load_artifact(folder)
    until = fitted_until(artifact)
    path = Path(source)
    if until is None or (path / "sequences.txt").is_file() or (path / "task.json").is_file():
        raise ConfigError(
            "what the model has not seen of this log cannot be told, as there are no times",
            where=f"{folder}, {source}",
            hint="`adwright evaluate RUN` without --log shows what was measured in training",
        )
    log = open_log(source, offline=offline, tell=False)
    opened = open_model(folder, Wanted(log=str(source), stopped=False, offline=offline))
    taken, ids = taken_of(log)
    visits = newest_visits(taken, ids, until, unseen=opened.unseen, seed=seed)
    if not visits.users:
        raise ConfigError(
            f"nobody did anything new in this log after {moment_text(until)}, and until then the "
            "model may have seen it",
            where=f"{folder}, {source}",
            hint="name a log that goes on after that; `adwright evaluate RUN` without --log shows "
            "what was measured in training",
        )
    models: dict[str, TopItems] = {MODEL: opened.top, **_rules(log, until, opened.unseen, seed)}
    comparison = compared_on(
        visits,
        {name: ranks_of(top, visits) for name, top in models.items()},
        visits.user,
        visits.about,
        f"all items that each model knows, of the {len(ids):,} of the log",
        artifact.data_hash,
        seed=seed,
        draws=draws,
    )
    known = opened.top.items.rows(pa.array(ids, pa.string())) > 0
    strange = ~known[visits.targets - 1]
    notes = [f"fitted until {moment_text(until)}"]
    if strange.any():
        notes.append(
            f"{int(strange.sum()):,} of the {len(strange):,} things that were taken are of "
            f"{len(np.unique(visits.targets[strange])):,} items that the model does not know, and "
            "count as misses"
        )
    return NewerReport(comparison, visits.about, tuple(notes))


def _rules(log: Log, until: int, unseen: bool, seed: int) -> dict[str, TopItems]:
    """Simple rules, counted until the same instant; none where the log begins after it."""
    try:
        item_item, _ = item_item_until(log, until, repeats=not unseen, seed=seed)
        popular = popularity_until(log, until)
    except ValueInvalidError:
        return {}
    return {
        TITLES["popularity"]: PopularityTop(popular, unseen=unseen),
        TITLES["item-item"]: ItemItemTop(item_item, unseen=unseen),
    }
