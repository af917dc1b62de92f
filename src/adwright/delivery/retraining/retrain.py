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
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact, Fitted, load_artifact
from adwright.core.atomic import atomic_write_text
from adwright.core.config import from_jsonable
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash
from adwright.data.features import FeatureSpec
from adwright.data.schema import ACTION_KINDS
from adwright.data.sources.log import Log, save_log
from adwright.data.tasks.from_log import LogTaskConfig, build_log_task
from adwright.data.tasks.own.drawn import build_ranking_task
from adwright.data.tasks.own.next_item import (
    NextItem,
    NextItemConfig,
    build_next_item,
    open_next_item,
)
from adwright.data.tasks.task import Task
from adwright.data.time import MICROSECONDS_PER_SECOND
from adwright.delivery import popularity
from adwright.delivery.cascade.build import KIND as CASCADE
from adwright.delivery.counted import item_table, train_item_item
from adwright.delivery.funnel.build import FunnelConfig, build_funnel
from adwright.delivery.joined_log import JoinedLog
from adwright.delivery.popularity import Popularity, load_popularity, save_popularity
from adwright.delivery.recommend.models import (
    CascadeTop,
    ItemItemTop,
    PopularityTop,
    TopItems,
    Wanted,
    open_model,
)
from adwright.delivery.recommend.people import People, people_of_log
from adwright.delivery.recommend.run import (
    FEWEST,
    NewestVisits,
    held_visits,
    moment_text,
    newest_visits,
    ranks_of,
)
from adwright.delivery.served import KIND as SERVED
from adwright.delivery.stages.histories import Histories, microseconds
from adwright.delivery.training_log import HistoryLog, model_folder, training_log
from adwright.metrics.bootstrap import Interval
from adwright.metrics.ranking import Ranks
from adwright.metrics.reports.report import (
    Comparison,
    EvaluationProtocol,
    RankingComparison,
    compare,
    compare_rankings,
)
from adwright.models.retrieval.multi_interest import HCNConfig
from adwright.training.ranking.config import RunConfig, TaskConfig
from adwright.training.ranking.ranker import KIND as RANKER
from adwright.training.ranking.ranker import Ranker
from adwright.training.ranking.run import run
from adwright.training.retrieval.fit import KIND as RETRIEVER
from adwright.training.retrieval.fit import RetrieverArtifact
from adwright.training.retrieval.item_item import KIND as ITEM_ITEM
from adwright.training.retrieval.item_item import (
    ItemItemArtifact,
    ItemItemSearch,
    fit_item_item,
    search_item_item,
)
from adwright.training.retrieval.rules import decayed_counts
from adwright.training.retrieval.run import RetrieverKind, RetrieverRun, run_retriever
from adwright.training.search import require_free
from adwright.training.sequential.artifact import KIND as SEQUENCE
from adwright.training.sequential.artifact import SequenceArtifact
from adwright.training.sequential.run import next_log, run_sequence
from adwright.training.sequential.runfile import (
    SequenceDataConfig,
    SequenceRun,
    default_run,
    open_sequences,
    sequence_data,
)

# --------------------------------------------------------------------------------------------------
# A new model beside the old one: what is compared, and whether the new one may take its place.
#
# Both are asked about what neither was fitted on. The new one takes the place of the old one where
# it is shown to be no worse: where the lower end of its lead, over people, lies above -2% of what
# the old one reaches. What is not known is not published.

OLD, NEW = "old", "new"
#: What a new model may lose of the old one's value.
MARGIN = 0.02
#: Of what is not tested so much trains, and the rest validates.
_TRAINING = 8 / 9
#: Blocks of what came after the old model; the first is learned from alone.
_BLOCKS = 5
Settings = TypeVar("Settings")
Decision = Literal["better", "no worse", "not known", "worse"]


@dataclass(frozen=True)
class OldModel:
    """What the new model is compared with. folder: of it. artifact: the model in it. after: until
    when it may have been fitted, in microseconds since 1970; only what came later is asked."""

    folder: Path
    artifact: Artifact
    after: int

    def halfway(self, log: Log) -> int | None:
        """The moment until which the new model is fitted to be judged: half of what came after the
        old one's lies before it. None where nothing came."""
        late = self._late(log)
        return int(late[(len(late) - 1) // 2]) if len(late) > 1 else None

    def _late(self, log: Log) -> pl.Series:
        """When things were taken after the old model, in order."""
        time = taken_of(log)[0].events["time"].dt.epoch("us").sort()
        return time.filter(time > self.after)

    def task(self, folder: Path, log: Log, config: NextItemConfig | None = None) -> NextItem:
        """The task of a log in `folder` whose test begins after what the old model was fitted on,
        where it is cut by time: at `halfway`, or at the usual tenth where that is later."""
        config = config or NextItemConfig()
        found, cut = open_next_item(folder, config), self.halfway(log)
        if cut is None or not found.choices.split.startswith("by time"):
            return found
        time = taken_of(log)[0].events["time"].dt.epoch("us").sort().to_numpy()
        usual = int(found.task.visit_time[found.task.visits("test")].min())
        before = time[time < max(cut + 1, usual)]
        dates = [
            datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(one))
            for one in (before[int(len(before) * _TRAINING)], max(cut + 1, usual))
        ]
        return open_next_item(folder, replace(config, valid_from=dates[0], test_from=dates[1]))

    def cuts(self, log: Log) -> tuple[int, ...]:
        """Five instants that part what came after the old model into as many blocks: a model that
        is counted in seconds is fitted until each, and asked about the block after it, so that no
        single moment decides. Empty where too little came."""
        late = self._late(log)
        if len(late) <= _BLOCKS:
            return ()
        return tuple(int(late[(n * len(late)) // _BLOCKS - 1]) for n in range(1, _BLOCKS + 1))

    def nothing_new(self, kind: str, model: Path) -> RetrainedModel:
        """What is said where there is no such moment."""
        why = (
            f"nobody did anything after {moment_text(self.after)}, until when the old model "
            "may have been fitted"
        )
        return RetrainedModel(kind, model, None, why)


@dataclass(frozen=True, eq=False)
class RetrainedModel:
    """kind: of the new model. model: its folder. comparison: of it with the old one and with simple
    rules, on what neither was fitted on; None where there is no such thing. measured: what that
    was, in words, or why it is not. margin: what may be lost, as a share of the old one's value."""

    kind: str
    model: Path
    comparison: Comparison | None
    measured: str
    margin: float = MARGIN

    @property
    def lead(self) -> Interval | None:
        """New minus old, in the measure that leads the table."""
        found = self.comparison
        return None if found is None else found.differences[OLD][found.LEAD]

    @property
    def lowest(self) -> float:
        """What the lower end of the lead must lie above."""
        found = self.comparison
        if found is None:
            return 0.0
        return -self.margin * max(found.reports[OLD].metrics[found.LEAD].value - found.CHANCE, 0.0)

    @property
    def decision(self) -> Decision:
        """What is known of the new model."""
        found, lead = self.comparison, self.lead
        if found is None or lead is None or self.users < FEWEST:
            return "not known"
        if lead.low > 0:
            return "better"
        if lead.low > self.lowest:
            return "no worse"
        return "worse" if lead.high < 0 else "not known"

    @property
    def publishable(self) -> bool:
        """Whether the new model may take the place of the old one."""
        return self.decision in ("better", "no worse")

    @property
    def users(self) -> int:
        """How many people were asked."""
        return 0 if self.comparison is None else self.comparison.reports[NEW].users

    def verdict(self) -> str:
        """Which is better, in a sentence, and what would be needed to know."""
        found, lead = self.comparison, self.lead
        if found is None or lead is None:
            return f"no verdict: {self.measured}"
        said = f"{found.MEASURES[found.LEAD]} {lead.text('+.4f')}"
        if self.users < FEWEST:
            return (
                f"no verdict: {self.users:,} users have done something since the old model was "
                f"fitted that the new one was not fitted on either, and fewer than {FEWEST} say "
                "nothing; train again when the service has run for longer"
            )
        limit = f"{-self.margin:.1%} of the old one's value ({self.lowest:+.4f})"
        match self.decision:
            case "better":
                return f"the new model is better: {said}"
            case "no worse":
                return f"the new model is no worse: {said}, whose lower end lies above {limit}"
            case "worse":
                return f"the new model is worse: {said}; keep the old one"
        return (
            f"the new model is not shown to be no worse: {said}, whose lower end should lie above "
            f"{limit}; {self._needed()}"
        )

    def _needed(self) -> str:
        """How many people would tell, if the lead stays what it is."""
        lead, lowest = self.lead, self.lowest
        if lead is None or lead.value <= lowest:
            return "keep the old one, and train again when the service has run for longer"
        share = (lead.value - lead.low) / (lead.value - lowest)
        more = math.ceil(self.users * share**2) - self.users
        return (
            f"were its lead to stay what it is, some {max(more, 1):,} more users than the "
            f"{self.users:,} that were asked would tell: train again when the service has run for "
            "longer"
        )


def judged(
    kind: str,
    model: Path,
    asked: Sequence[tuple[TopItems, NewestVisits]],
    old: OldModel,
    out: Path,
    seed: int,
) -> RetrainedModel:
    """Ask the new model and the old one, each as it serves, what users did next, and write
    OUT/retrained.json.

    asked: the new model, or one after the other as it was at some instants, and what each is asked.
    The users' histories are those of OUT/log.
    """
    asked = [one for one in asked if one[1].users]
    if not asked:
        return old.nothing_new(kind, model)
    before = open_model(old.folder, Wanted(log=str(out / "log"), stopped=False)).top
    user = np.concatenate([visits.user for _, visits in asked])
    about, visits = asked[0][1].about, asked[0][1]
    if len(asked) > 1:
        users = len(np.unique(user))
        about = (
            f"{len(user):,} moments of {users:,} users after {moment_text(old.after)}, in "
            f"{len(asked)} blocks of time that the new model was fitted before"
        )
    ranks = {
        NEW: _joined([ranks_of(top, visits) for top, visits in asked]),
        OLD: _joined([ranks_of(before, visits) for _, visits in asked]),
    }
    data_hash = content_hash(
        [{"targets": v.targets.tolist(), "users": v.people.users.to_list()} for _, v in asked]
    )
    every = f"all {len(visits.ids):,} items"
    comparison = compared_on(visits, ranks, user, about, every, data_hash, seed=seed)
    atomic_write_text(out / "retrained.json", comparison.to_json())
    return RetrainedModel(kind, model, comparison, about)


def compared_on(
    visits: NewestVisits,
    ranks: Mapping[str, Ranks],
    user: NDArray[np.int64],
    about: str,
    candidates: str,
    data_hash: str,
    *,
    seed: int,
    draws: int = 500,
) -> RankingComparison:
    """The first of several models beside the others, by the ranks of what visits took."""
    protocol = EvaluationProtocol(
        split=about,
        candidates=candidates,
        ties="as a partial sort leaves them",
        seen_items="removed" if visits.unseen else "not removed",
        k=(10, 50),
    )
    return compare_rankings(
        ranks,
        user,
        subject=next(iter(ranks)),
        protocol=protocol,
        data_hash=data_hash,
        seed=seed,
        draws=draws,
    )


def _joined(parts: Sequence[Ranks]) -> Ranks:
    """The ranks of several lists of questions, one after the other."""
    ends = np.cumsum([0, *(len(one.ranks) for one in parts)])
    offsets = [one.offsets[1:] + start for one, start in zip(parts, ends, strict=False)]
    return Ranks(
        np.concatenate([one.ranks for one in parts]),
        np.concatenate([[0], *offsets]),
        np.concatenate([one.tied for one in parts]),
    )


def fitted_until(artifact: Artifact) -> int | None:
    """Until when a model was fitted, in microseconds since 1970; None for a log without times.

    What an earlier version of adwright saved does not say: it saw nothing after it was made.
    """
    model = artifact.part("model") if artifact.kind == SERVED else artifact
    if model.fitted is not None:
        return model.fitted.until
    return microseconds(datetime.fromisoformat(model.manifest["created"]))


def taken_of(log: Log) -> tuple[HistoryLog, list[str]]:
    """What users did, and the ids of all items."""
    kinds = pl.col("kind").is_in(list(ACTION_KINDS))
    taken = log.events.filter(kinds).select("user_id", "item_id", "time", "kind")
    ids = log.catalogue.items["item_id"].to_list()
    return HistoryLog(taken.collect(engine="streaming"), log.users), ids


# --------------------------------------------------------------------------------------------------
# One function a kind of model: how it is trained anew, and what it is asked.


@dataclass(frozen=True, eq=False)
class _Retraining:
    """What is trained again. folder, artifact: the model. config: of the run that made it, empty
    where it is not known. old: what the new model is compared with."""

    folder: Path
    artifact: Artifact
    config: dict[str, Any]
    joined: JoinedLog
    old: OldModel
    out: Path

    def keep_log(self) -> Path:
        """Write OUT/log."""
        save_log(self.out / "log", self.joined.log)
        return self.out / "log"

    def of_run(self, kind: type[Settings], values: dict[str, Any]) -> Settings:
        """Settings of the run that made the model."""
        return from_jsonable(kind, values, source=f"{self.folder.parent}/config.json")

    def new_task(self, about: NextItemConfig | None = None) -> NextItem:
        """Write OUT/log; its task."""
        return self.old.task(self.keep_log(), self.joined.log, about)

    def judged_by_visits(
        self,
        model: Path,
        found: NextItem,
        seed: int,
        top: TopItems | None = None,
        *,
        unseen: bool = False,
    ) -> RetrainedModel:
        """Ask the new model for the test visits of its task that came after the old one: its
        training left those out. top: the new model, as it was before it knew the test;
        unseen: whether it leaves out what users had."""
        if top is None:
            opened = open_model(model, Wanted(log=str(self.out / "log")))
            top, unseen = opened.top, opened.unseen
        visits = held_visits(found.task, self.old.after, unseen=unseen)
        return judged(self.artifact.kind, model, [(top, visits)], self.old, self.out, seed)


# --------------------------------------------------------------------------------------------------
# Popularity and item-item, counted anew.
#
# What serves is counted from everything, also from what users did last. What is compared is counted
# until each of some instants since the old model, and asked about what came then: a model that was
# lucky once is not taken for a good one.

#: Questions of a block, at most.
_MOST = 2_500


def _popularity(it: _Retraining) -> RetrainedModel:
    """The most popular items, lately where the run says so."""
    it.keep_log()
    taken, ids = taken_of(it.joined.log)
    days = it.config.get("half_life")
    half_life = float(days) if isinstance(days, int | float) else None
    everybody = people_of_log(taken, item_table(ids))
    fitted = Fitted.of(len(everybody.item), int(everybody.time.max(initial=0)))
    weight = _weights(everybody, len(ids), half_life)
    # What a place is worth does not follow the counts: it is that of the model before.
    before, _, _ = load_popularity(it.artifact)
    calibration = before.calibration
    save_popularity(it.out / "model", ids, weight, calibration=calibration, fitted=fitted)
    asked = []
    for cut, end in pairwise(it.old.cuts(it.joined.log)):
        visits = newest_visits(taken, ids, cut, until=end, most=_MOST)
        past = popularity_until(it.joined.log, cut, half_life)
        asked.append((PopularityTop(past, unseen=visits.unseen), visits))
    return judged(popularity.KIND, it.out / "model", asked, it.old, it.out, 0)


def _item_item(it: _Retraining) -> RetrainedModel:
    """Item-item, with settings that are searched again, as in every training of it; those that
    were judged are those that serve."""
    log, source = it.joined.log, it.keep_log()
    repeats = ItemItemArtifact.load(it.artifact).repeats
    seed = int(it.config.get("seed", it.artifact.seed))
    taken, ids = taken_of(log)
    asked, search = [], None
    for cut, end in pairwise(it.old.cuts(log)):
        past, search = item_item_until(log, cut, repeats=repeats, seed=seed, search=search)
        visits = newest_visits(taken, ids, cut, until=end, most=_MOST)
        asked.append((ItemItemTop(past, unseen=visits.unseen), visits))
    data = open_sequences(SequenceDataConfig(kind="events", path=source, allow_repeats=repeats))
    train_item_item(data, it.out, log=str(source), events=taken.events, seed=seed, search=search)
    return judged(ITEM_ITEM, it.out / "model", asked, it.old, it.out, seed)


def log_until(log: Log, cut: int) -> Log:
    """What happened until an instant, in microseconds since 1970."""
    return replace(log, events=log.events.filter(pl.col("time").dt.epoch("us") <= cut))


def popularity_until(log: Log, cut: int, half_life: float | None = None) -> Popularity:
    """The popularity of a log's items as it was at an instant."""
    taken, ids = taken_of(log_until(log, cut))
    people = people_of_log(taken, item_table(ids))
    return Popularity(ids, _weights(people, len(ids), half_life))


def item_item_until(
    log: Log, cut: int, *, repeats: bool, seed: int, search: ItemItemSearch | None = None
) -> tuple[ItemItemArtifact, ItemItemSearch]:
    """Item-item as it would have been trained at an instant, and what was found for it; search:
    whose settings are taken."""
    data = sequence_data(build_next_item(log_until(log, cut), NextItemConfig(repeats=repeats)))
    read = next_log(data)
    found = search or search_item_item(read, repeats=repeats, seed=seed)
    model = fit_item_item(read.whole, found.config)
    return ItemItemArtifact(model, read.ids, repeats, seed=seed), found


def _weights(people: People, items: int, half_life: float | None) -> np.ndarray:
    """Events of each item [N], or those that count for more the later they are."""
    if half_life is None:
        return np.bincount(people.item, minlength=items + 1)[1:].astype(np.float64)
    seconds = people.time // MICROSECONDS_PER_SECOND
    return decayed_counts(people.item, seconds, items, half_life)[1:]


# --------------------------------------------------------------------------------------------------
# DIN, or another ranker of rows; the newest rows test, those that came after the old model.
#
# One whose log said what was shown learns from impressions; one whose log did not, learns again
# from what was taken and items that are drawn beside it, whatever the service has shown since.


def _ranker(it: _Retraining) -> RetrainedModel:
    """As the run was trained; without one on the task that its features tell."""
    before = Ranker.load(it.artifact)
    settings = {name: value for name, value in it.config.items() if name != "model"}
    asked = from_jsonable(RunConfig, settings, source="config.json")
    asked = replace(asked, model=before.model.config)
    task = _task(asked.task, before, it.joined, it.keep_log())
    asked = replace(asked, task=TaskConfig(kind="folder", folder=task.folder), out=it.out)
    result = run(asked, task=task)
    rows = task.rows("test").collect()
    late = (rows["time"].dt.epoch("us") > it.old.after).to_numpy()
    user, label = rows["user_id"].rank("dense").to_numpy().astype(np.int64), result.label
    decides = it.old.artifact
    if decides.kind != RANKER:
        why = f"a model of kind {decides.kind!r} decides, which does not order what was shown"
        return RetrainedModel(RANKER, it.out / "ranker", None, why)
    if len(np.unique(label[late])) < 2:
        return it.old.nothing_new(RANKER, it.out / "ranker")
    probabilities: dict[str, NDArray[np.float64]] = {
        NEW: result.probabilities[result.comparison.subject],
        OLD: Ranker.load(decides).score_rows(rows, pl.read_parquet(task.events_path("test"))),
    }
    rules = {n: p for n, p in result.probabilities.items() if n != result.comparison.subject}
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
    atomic_write_text(it.out / "retrained.json", comparison.to_json())
    what = "impressions" if it.joined.shown else "rows"
    told = f"{int(late.sum()):,} {what} after {moment_text(it.old.after)}"
    return RetrainedModel(RANKER, it.out / "ranker", comparison, told)


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


# --------------------------------------------------------------------------------------------------
# HSTU, SASRec, two towers, HCN and cascades. A cascade is judged with its counts of all that came
# before the test.

_log = logging.getLogger("adwright")


def _sequence(it: _Retraining) -> RetrainedModel:
    """As the run was trained; without one the model keeps its sizes."""
    before = SequenceArtifact.load(it.artifact)
    if it.config:
        # A run names its model by a table without a kind, which the artifact says.
        table = {"kind": before.model.config.kind, **it.config.get("model", {})}
        asked = it.of_run(SequenceRun, {**it.config, "model": table})
    else:
        asked = replace(default_run(before.model.config.kind, own=True), model=before.model.config)
        # Its sizes are the old ones, though they may be those of `default_run`.
        asked = replace(asked, from_data=tuple(n for n in asked.from_data if "model." not in n))
    repeats, split = asked.data.allow_repeats, asked.data.split
    found = it.new_task(NextItemConfig(repeats=repeats, split=split))
    data = SequenceDataConfig(
        kind="events", path=it.out / "log", allow_repeats=repeats, split=split
    )
    run_sequence(replace(asked, data=data, out=it.out), data=sequence_data(found))
    return it.judged_by_visits(it.out / "model", found, asked.seed)


def _retriever(it: _Retraining) -> RetrainedModel:
    """As the run was trained; its sizes and epochs follow from the joined log as they did from the
    old one."""
    before = RetrieverArtifact.load(it.artifact).model.config
    kind: RetrieverKind = "hcn" if isinstance(before, HCNConfig) else "two-tower"
    asked = RetrieverRun(model=kind, seed=it.artifact.seed)
    if "run" in it.config:
        asked = it.of_run(RetrieverRun, it.config["run"])
    found = it.new_task()
    run_retriever(
        replace(asked, out=it.out, log=str(it.out / "log")),
        found.task,
        repeats=found.choices.repeats,
        tell=_log.info,
    )
    return it.judged_by_visits(it.out / "model", found, asked.seed)


def _cascade(it: _Retraining) -> RetrainedModel:
    """As it was built: in as many minutes, of the same models; what serves is chosen anew."""
    asked = FunnelConfig(seed=it.artifact.seed)
    if "config" in it.config:
        asked = it.of_run(FunnelConfig, it.config["config"])
    found = it.new_task()
    taken, _ = taken_of(it.joined.log)
    built = build_funnel(
        found.task,
        it.out,
        asked,
        repeats=found.choices.repeats,
        log=str(it.out / "log"),
        events=taken.events,
        tell=_log.info,
    )
    known = Histories.from_events(taken.events, found.task.items)
    # What is saved knows the test.
    unseen = known.leave_out(repeats=found.choices.repeats)
    new = CascadeTop(built.before_test().cascade(known), unseen=unseen)
    return it.judged_by_visits(it.out / "deployment", found, asked.seed, new, unseen=unseen)


#: Kinds of models that are trained again.
_TRAINED = {
    popularity.KIND: _popularity,
    ITEM_ITEM: _item_item,
    RANKER: _ranker,
    SEQUENCE: _sequence,
    RETRIEVER: _retriever,
    CASCADE: _cascade,
}
RETRAINABLE = tuple(_TRAINED)


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
    it = _Retraining(folder, artifact, config, joined, old, out)
    return replace(_TRAINED[artifact.kind](it), margin=margin)


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
