"""From a log to a served item-item rule: search its settings, measure it, count all of it, save.

    OUT/
      config.json      which log it was, for what trains again
      report.json      the rule beside the other simple rules, on the test
      model            the artifact, with the histories of the log's users in it

Validation questions choose the settings, the test is asked once of a table that is counted from
training events, and what is saved is counted from all events.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.artifacts import Fitted
from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.data.history_kinds import Again
from adwright.data.schema import ACTION_KINDS
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.data.sequences.next_log import NextLog
from adwright.data.time import MICROSECONDS_PER_DAY, MICROSECONDS_PER_SECOND
from adwright.delivery.calibrated import EPOCH, VISITS, fit_calibration
from adwright.delivery.decision import Request
from adwright.delivery.item_item import ItemItemRecommender, item_table, with_histories
from adwright.delivery.stages.histories import Histories
from adwright.metrics.reports.comparison import RankingComparison, compare_rankings
from adwright.metrics.reports.report import EvaluationProtocol
from adwright.models.calibration import ListCalibrator
from adwright.models.retrieval.rules import TITLES
from adwright.training.loop.stage_timer import Stages
from adwright.training.retrieval.item_item import (
    ItemItemArtifact,
    ItemItemSearch,
    fit_item_item,
    search_item_item,
)
from adwright.training.retrieval.rules import fit_rules, new_targets, rules_ranks
from adwright.training.run_settings import require_free, require_writable
from adwright.training.sequential.run import next_log
from adwright.training.sequential.runfile import SequenceData

__all__ = ["ItemItemResult", "sequence_histories", "train_item_item"]

#: Length of a list that is measured.
DEPTH = 50


@dataclass(frozen=True, eq=False)
class ItemItemResult:
    """What `train_item_item` made. artifact: the saved one. comparison: on the test, the rule
    first. search: of its settings. stages: name -> seconds. folder: of the run. id: of the
    artifact. again: of each kind of event, whether its item is taken again."""

    artifact: ItemItemArtifact
    comparison: RankingComparison
    search: ItemItemSearch
    stages: Mapping[str, float]
    folder: Path
    id: str
    again: Mapping[str, Again]


def train_item_item(
    data: SequenceData,
    out: str | Path,
    *,
    log: str = "",
    events: pl.DataFrame | None = None,
    seed: int = 0,
    draws: int = 500,
    search: ItemItemSearch | None = None,
    overwrite: bool = False,
    clock: Clock | None = None,
) -> ItemItemResult:
    """Make, measure and save the rule of `data` in OUT/model.

    log: how the log is called, kept for what trains again. events: user_id, item_id, time and kind
    of the log, for the histories that serve; None for those of `data`, which know whole seconds.
    seed: of the search and of the bootstrap's `draws`. search: whose settings are taken, where they
    were searched already. Raises ResourceError where the model exists
    (without `overwrite`) or the folder cannot be written.
    """
    folder, done = Path(out), Stages(clock)
    if not overwrite:
        require_free(folder / "model", "a model")
    require_writable(folder)
    read, repeats = next_log(data), data.allow_repeats
    with done.stage("search the settings"):
        search = search or search_item_item(read, repeats=repeats, seed=seed)
    with done.stage("measure"):
        rules = fit_rules(read, repeats=repeats, item_item=search.config, seed=seed)
        asked = read.test if repeats else new_targets(read, read.test)
        asked = asked.some(np.flatnonzero(np.diff(asked.offsets) > 0))
        ranks = rules_ranks(rules, read, asked, unseen=not repeats, depth=DEPTH)
        mine = TITLES["item-item"]
        comparison = compare_rankings(
            {mine: ranks[mine], **ranks},
            asked.user,
            subject=mine,
            protocol=EvaluationProtocol(
                split=data.sequences.protocol,
                candidates=f"all {read.items:,} items",
                ties="by popularity",
                seen_items="not removed" if repeats else "removed",
                k=(10, DEPTH),
            ),
            data_hash=data.sequences.data_hash,
            seed=seed,
            draws=draws,
        )
    known = _histories(data.sequences, events)
    with done.stage("calibrate what serves"):
        counted = ItemItemArtifact(rules.item_item, read.ids, repeats)
        calibration = _calibration(counted, read, data.sequences, seed)
    with done.stage("count all events and save"):
        artifact = ItemItemArtifact(
            fit_item_item(read.whole, search.config),
            read.ids,
            repeats,
            data.sequences.name,
            data.sequences.data_hash,
            seed,
            fitted=Fitted.of(len(read.item), _last(data.sequences, events)),
            calibration=calibration,
        )
        artifact = with_histories(artifact, known)
        identity = artifact.save(folder / "model", overwrite=overwrite, clock=clock)
        atomic_write_text(folder / "report.json", comparison.to_json())
        asked_for = {"log": log, "seed": seed, "draws": draws}
        atomic_write_text(folder / "config.json", json.dumps(asked_for, indent=1) + "\n")
    seconds, again = dict(done.seconds), known.again or {}
    return ItemItemResult(artifact, comparison, search, seconds, folder, identity, again)


def _histories(sequences: ItemSequences, events: pl.DataFrame | None) -> Histories:
    if events is None:
        return sequence_histories(sequences)
    return Histories.from_events(events, item_table(sequences.ids), kinds=ACTION_KINDS)


def _calibration(
    counted: ItemItemArtifact, log: NextLog, sequences: ItemSequences, seed: int
) -> dict[str, ListCalibrator]:
    """What the scores of the rule as it was counted from training are worth, on validation."""
    known = sequence_histories(sequences)
    asked = log.valid.some(np.random.default_rng(seed).permutation(len(log.valid))[:VISITS])
    time = _microseconds(sequences)
    requests = [
        Request(f"question-{n}", log.users[user], EPOCH + timedelta(microseconds=int(time[end])))
        for n, (user, end) in enumerate(zip(asked.user, asked.end, strict=True))
    ]
    bounds = pairwise(asked.offsets.tolist())
    taken = [{log.ids[code - 1] for code in asked.targets[a:b].tolist()} for a, b in bounds]
    return fit_calibration(ItemItemRecommender(counted, known), requests, taken)


def _last(sequences: ItemSequences, events: pl.DataFrame | None) -> int | None:
    """Microseconds of the last event, None without times."""
    if events is not None and events.height:
        time = events["time"]
        return int((time if time.dtype.is_integer() else time.dt.epoch("us")).max())  # type: ignore[arg-type]
    if sequences.time is None:
        return None
    return int(sequences.time.max(initial=0)) * MICROSECONDS_PER_SECOND


def sequence_histories(sequences: ItemSequences) -> Histories:
    """What the users of sequences did; where there are no times the position stands for the day.
    Events of every kind that is an action are taken as history later on."""
    lengths = np.diff(sequences.offsets)
    events = pl.DataFrame(
        {
            "user_id": pl.Series(sequences.users).gather(
                np.repeat(np.arange(len(lengths)), lengths)
            ),
            "item_id": pl.Series(sequences.ids).gather(sequences.item - 1),
            "time": _microseconds(sequences),
        }
    )
    found = Histories.from_events(events, item_table(sequences.ids))
    found.kinds = tuple(ACTION_KINDS)
    return found


def _microseconds(sequences: ItemSequences) -> NDArray[np.int64]:
    """Times of all events, or places in days."""
    if sequences.time is not None:
        return sequences.time * MICROSECONDS_PER_SECOND
    lengths = np.diff(sequences.offsets)
    place = np.arange(len(sequences.item)) - np.repeat(sequences.offsets[:-1], lengths)
    return place * MICROSECONDS_PER_DAY
