"""From a log to served popularity: of all time or of late, by what validation says.

    OUT/
      config.json      which log it was, and the half-life, for what trains again
      report.json      beside the other simple rules, on the test
      model            the artifact, kind "popularity"

An event counts 1, or 1/2^(age / half-life). Validation visits choose, the test is asked once, and
what is saved is counted from all events.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.data.sequences.next_log import NextLog, log_of_task
from adwright.data.tasks.next_basket import NextBasket
from adwright.delivery.calibrated import fit_to_visits
from adwright.delivery.popularity import Popularity, save_popularity
from adwright.metrics.ranking import ndcg
from adwright.metrics.reports.comparison import RankingComparison, compare_rankings
from adwright.metrics.reports.report import EvaluationProtocol
from adwright.models.retrieval.rules import TITLES, NextRule, NextRules
from adwright.training.loop.stage_timer import Stages
from adwright.training.retrieval.rules import (
    HALF_LIVES,
    decayed_counts,
    fit_rules,
    new_targets,
    rule_ranks,
    rules_ranks,
)
from adwright.training.run_settings import require_free

__all__ = ["PopularityResult", "train_popularity"]

Floats = NDArray[np.float64]
#: Validation visits that choose, and length of a list that is measured.
QUESTIONS, DEPTH = 1_000, 50


@dataclass(frozen=True, eq=False)
class PopularityResult:
    """What `train_popularity` made. half_life: in days, None where all events count alike. why: how
    it was chosen, in a sentence. comparison: on the test, popularity first. stages: name ->
    seconds. folder: of the run. id: of the artifact."""

    half_life: float | None
    why: str
    comparison: RankingComparison
    stages: Mapping[str, float]
    folder: Path
    id: str


def train_popularity(
    task: NextBasket,
    out: str | Path,
    *,
    repeats: bool,
    log: str = "",
    seed: int = 0,
    draws: int = 500,
    overwrite: bool = False,
    clock: Clock | None = None,
) -> PopularityResult:
    """Count, measure and save the popularity of a task's items in OUT/model.

    repeats: whether what a user had stays a candidate (`NextItemChoices.repeats`). log: how the log
    is called, kept for what trains again. seed: of the visits that choose and of the bootstrap's
    `draws`. Raises ResourceError where the model exists (without `overwrite`).
    """
    folder, done = Path(out), Stages(clock)
    if not overwrite:
        require_free(folder / "model", "a model")
    read = log_of_task(task)
    with done.stage("choose and measure"):
        rules = fit_rules(read, repeats=repeats, seed=seed)
        half_life, why, rules = _chosen(read, rules, seed)
        mine = TITLES[_rule(half_life)]
        asked = read.test if repeats else new_targets(read, read.test)
        asked = asked.some(np.flatnonzero(np.diff(asked.offsets) > 0))
        ranks = rules_ranks(rules, read, asked, unseen=not repeats, depth=DEPTH)
        comparison = compare_rankings(
            {mine: ranks[mine], **ranks},
            asked.user,
            subject=mine,
            protocol=EvaluationProtocol(
                split=task.protocol,
                candidates=f"all {read.items:,} items",
                ties="by code",
                seen_items="not removed" if repeats else "removed",
                k=(10, DEPTH),
            ),
            data_hash=task.data_hash,
            seed=seed,
            draws=draws,
        )
    with done.stage("calibrate what serves"):
        weight = read.count if half_life is None or rules.lately is None else rules.lately
        counted = Popularity(read.ids, weight[1:].astype(np.float64))
        calibration = fit_to_visits(counted, task, seed=seed)
    with done.stage("count all events and save"):
        identity = save_popularity(
            folder / "model",
            read.ids,
            _weights(read, half_life)[1:],
            calibration=calibration,
            data_hash=task.data_hash,
            seed=seed,
            fitted=task.fitted(whole=True),
            overwrite=overwrite,
            clock=clock,
        )
        atomic_write_text(folder / "report.json", comparison.to_json())
        kept = {"log": log, "half_life": half_life, "seed": seed, "draws": draws}
        atomic_write_text(folder / "config.json", json.dumps(kept, indent=1) + "\n")
    return PopularityResult(half_life, why, comparison, dict(done.seconds), folder, identity)


def _chosen(log: NextLog, rules: NextRules, seed: int) -> tuple[float | None, str, NextRules]:
    """The half-life of the highest NDCG@10 on validation, why, and the rules with it."""
    few = np.random.default_rng(seed).permutation(len(log.valid))[:QUESTIONS]
    asked = log.valid.some(np.sort(few))
    if log.time is None or not len(asked):
        return None, "all events count alike, as the log has no times to go by", rules
    place, _ = log.training
    found: list[tuple[float, float | None, NextRules]] = []
    for days in (None, *HALF_LIVES):
        tried, rule = rules, _rule(days)
        if days is not None:
            counts = decayed_counts(log.item[place], log.time[place], log.items, days)
            tried = replace(rules, lately=counts)
        ranks = rule_ranks(tried, rule, log, asked, unseen=not rules.repeats)
        goal = ndcg(ranks, 10) if len(ranks.ranks) else 0.0
        found.append((goal, days, tried))
    best = max(found, key=lambda one: one[0])
    said = ", ".join(
        f"{'all alike' if days is None else f'half-life {days:g} days'} {goal:.4f}"
        for goal, days, _ in found
    )
    what = "all events count alike" if best[1] is None else f"half-life {best[1]:g} days"
    return best[1], f"{what}: NDCG@10 on {len(asked):,} validation visits: {said}", best[2]


def _rule(half_life: float | None) -> NextRule:
    return "popularity" if half_life is None else "lately"


def _weights(log: NextLog, half_life: float | None) -> Floats:
    """What the items of the whole log count: [N + 1]."""
    if half_life is None or log.time is None:
        return log.whole.count.astype(np.float64)
    return decayed_counts(log.item, log.time, log.items, half_life)
