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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact, Fitted
from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.data.features import ItemTable
from adwright.data.history_kinds import Again
from adwright.data.schema import ACTION_KINDS
from adwright.data.sequences.datasets import NextLog, log_of_task
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.data.sequences.pasts import Pasts
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.time import MICROSECONDS_PER_DAY, MICROSECONDS_PER_SECOND
from adwright.delivery.calibrated import EPOCH, VISITS, calibrated, fit_calibration, fit_to_visits
from adwright.delivery.decision import Candidates, Deadline, Request
from adwright.delivery.popularity import Popularity, save_popularity
from adwright.delivery.stages.histories import Histories, packed
from adwright.delivery.stages.protocols import ExcludedCodes
from adwright.delivery.stages.sources import request_pasts
from adwright.metrics.ranking import ndcg
from adwright.metrics.reports.report import EvaluationProtocol, RankingComparison, compare_rankings
from adwright.models.calibration import ListCalibrator
from adwright.models.retrieval.item_item import ItemItem
from adwright.models.retrieval.rules import TITLES, NextRule, NextRules
from adwright.training.loop.stage_timer import Stages
from adwright.training.retrieval.item_item import (
    ItemItemArtifact,
    ItemItemSearch,
    fit_item_item,
    search_item_item,
)
from adwright.training.retrieval.rules import (
    HALF_LIVES,
    decayed_counts,
    fit_rules,
    new_targets,
    rule_ranks,
    rules_ranks,
)
from adwright.training.search import require_free, require_writable
from adwright.training.sequential.run import next_log
from adwright.training.sequential.runfile import SequenceData

# --------------------------------------------------------------------------------------------------
# The item-item rule, served: ready seconds after a log was read.
#
# An artifact of kind "item-item" (`training.retrieval.item_item`) with the histories of its users
# in it. What users do while it serves is history from the next request on.
#
#     recommend   by the neighbours of the user's latest items; after what these reach, and for
# users
#                 without an event, the most popular items

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_PART = "histories"
_SPARE = 20  # candidates beyond the places, for policies that skip some


class ItemItemRecommender:
    """A Recommender by item-item, over histories that grow.

    repeats: whether what a user had may be recommended again: the histories say, or else the rule.
    Raises ConfigError where the histories are of another catalogue.
    """

    def __init__(self, artifact: ItemItemArtifact, histories: Histories) -> None:
        histories.require_catalogue(artifact.ids, "item-item rule")
        self.model: ItemItem = artifact.model
        self.histories = histories
        self.repeats = not histories.leave_out(repeats=artifact.repeats)
        self.calibration = artifact.calibration
        self._ids = ("", *artifact.ids)
        self._excluded = ExcludedCodes(self._codes)
        self._share = self.model.count / max(int(self.model.count.sum()), 1)

    def recommend(self, request: Request) -> Candidates:
        """The best k + 20 that the request allows."""
        return self.recommend_many([request])[0]

    def recommend_many(
        self, requests: Sequence[Request], deadline: Deadline | None = None
    ) -> list[Candidates]:
        """As `recommend`, for each. Past the deadline the most popular items are answered, in stage
        "popularity"."""
        if not requests:
            return []
        if deadline is not None and deadline.passed():
            return [self._popular(request) for request in requests]
        pasts = request_pasts(self.histories.batch(requests))
        most = max(r.k + _SPARE + len(self._excluded.of(r.exclude)) for r in requests)
        most = min(most, self.model.items)
        codes, score = self.model.best(pasts, most, unseen=not self.repeats)
        answers = []
        for n, request in enumerate(requests):
            past = pasts.some(n, n + 1)
            if request.candidates is None:
                found = codes[n][codes[n] > 0]
                answers.append(self._answer(request, past, found, score[n][: len(found)]))
            else:
                answers.append(self._among(request, past))
        return answers

    def similar(self, item_id: str, k: int) -> list[tuple[str, float]] | None:
        """At most k neighbours of an item with their scores, nearest first; None for an item that
        is not known."""
        (code,) = self._codes([item_id]).tolist()
        if not code:
            return None
        codes, score = self.model.similar(code, k)
        return [(self._ids[c], s) for c, s in zip(codes.tolist(), score.tolist(), strict=True)]

    def _among(self, request: Request, past: Pasts) -> Candidates:
        """The order of the candidates that the request names, own ones too; unknown ones last."""
        asked = self._codes(request.candidates or ())
        known = np.unique(asked[asked > 0])
        found = self.model.pair_scores(past, np.zeros(len(known), np.int64), known)
        score = np.where(found > 0, found, self._share[known] - 1)
        order = np.lexsort((known, -score))
        ids = [self._ids[code] for code in known[order].tolist()]
        lost = [i for i, c in zip(request.candidates or (), asked.tolist(), strict=True) if not c]
        values = np.concatenate((score[order], np.full(len(lost), -1.0)))
        kept = [n for n, item_id in enumerate(ids + lost) if item_id not in request.exclude]
        chosen = tuple((ids + lost)[n] for n in kept)
        return calibrated(chosen, values[kept], "fine", self.calibration)

    def _answer(self, request: Request, past: Pasts, codes: Ints, score: Floats) -> Candidates:
        """The items that neighbours reach, then popular ones, up to k + 20."""
        barred = self._excluded.of(request.exclude)
        if not self.repeats:
            barred = np.concatenate((barred, past.barred.item))
        kept = ~np.isin(codes, barred)
        codes, score = codes[kept], score[kept].astype(np.float64)
        places = request.k + _SPARE
        lacking = places - len(codes)
        if lacking > 0:
            # Those that stand already, or may not, are at most so many of the first.
            more = self.model.popular[: lacking + len(codes) + len(barred)]
            more = more[~np.isin(more, codes) & ~np.isin(more, barred)][:lacking]
            codes = np.concatenate((codes, more))
            score = np.concatenate((score, self._share[more] - 1))
        return self._named(codes[:places], score[:places], "fine")

    def _popular(self, request: Request) -> Candidates:
        """The most popular items that the request allows; own ones too."""
        codes = self.model.popular
        if request.candidates is not None:
            codes = codes[np.isin(codes, self._codes(request.candidates))]
        barred = self._excluded.of(request.exclude)
        if not self.repeats and request.candidates is None:
            barred = np.concatenate((barred, *self.histories.batch([request]).barred()))
        codes = codes[: request.k + _SPARE + len(barred)]
        codes = codes[~np.isin(codes, barred)][: request.k + _SPARE]
        return self._named(codes, self._share[codes], "popularity")

    def _named(self, codes: Ints, score: Floats, stage: str) -> Candidates:
        ids = tuple(self._ids[code] for code in codes.tolist())
        return calibrated(ids, score, stage, self.calibration)

    def _codes(self, item_ids: Sequence[str]) -> Ints:
        return self.histories.items.rows(pa.array(item_ids, pa.string()))


def item_table(ids: Sequence[str]) -> ItemTable:
    """A catalogue of ids alone, for `Histories`."""
    return ItemTable(tuple(ids), {}, {}, np.zeros((len(ids) + 1, 0), np.float32))


def with_histories(artifact: ItemItemArtifact, histories: Histories) -> ItemItemArtifact:
    """The artifact with the histories in it. What they hold is personal."""
    _, files = packed({_PART: histories})
    return replace(artifact, files={**artifact.files, **files})


def load_item_item(source: Artifact) -> ItemItemRecommender:
    """The recommender of an artifact; without histories in it nobody is known at first.

    Raises what `ItemItemArtifact.load` and `Histories.load` raise.
    """
    artifact = ItemItemArtifact.load(source)
    items = item_table(artifact.ids)
    known = any(name.startswith(f"{_PART}/") for name in artifact.files)
    return ItemItemRecommender(
        artifact, Histories.load(source.part(_PART), items) if known else Histories(items)
    )


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
        about = data.sequences.protocol, "by popularity", data.sequences.data_hash
        comparison = _compared("item-item", rules, read, about, seed, draws)
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


def _compared(
    rule: NextRule,
    rules: NextRules,
    read: NextLog,
    about: tuple[str, str, str],
    seed: int,
    draws: int,
) -> RankingComparison:
    """A rule beside the others, on the test of a log. about: its split and how ties are parted, in
    words, and the hash of the data."""
    split, ties, data_hash = about
    asked = read.test if rules.repeats else new_targets(read, read.test)
    asked = asked.some(np.flatnonzero(np.diff(asked.offsets) > 0))
    ranks = rules_ranks(rules, read, asked, unseen=not rules.repeats, depth=DEPTH)
    protocol = EvaluationProtocol(
        split=split,
        candidates=f"all {read.items:,} items",
        ties=ties,
        seen_items="not removed" if rules.repeats else "removed",
        k=(10, DEPTH),
    )
    mine = TITLES[rule]
    return compare_rankings(
        {mine: ranks[mine], **ranks},
        asked.user,
        subject=mine,
        protocol=protocol,
        data_hash=data_hash,
        seed=seed,
        draws=draws,
    )


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


# --------------------------------------------------------------------------------------------------
# From a log to served popularity: of all time or of late, by what validation says.
#
#     OUT/
#       config.json      which log it was, and the half-life, for what trains again
#       report.json      beside the other simple rules, on the test
#       model            the artifact, kind "popularity"
#
# An event counts 1, or 1/2^(age / half-life). Validation visits choose, the test is asked once, and
# what is saved is counted from all events.

#: Validation visits that choose, and length of a list that is measured.
QUESTIONS = 1_000


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
        about = task.protocol, "by code", task.data_hash
        comparison = _compared(_rule(half_life), rules, read, about, seed, draws)
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
