"""From a next-basket task to a saved retriever: train two towers or HCN, measure, save.

    OUT/
      config.json      what was asked for, and the settings that followed from the data
      run              the training run, resumable
      report.json      the model beside the simple rules, on the test
      model            the artifact, kind "retriever"

Training visits fit the weights, validation stops the training, the test is measured once.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import polars as pl
import torch

from adwright.core.config import settings, to_jsonable
from adwright.core.errors import ConfigError, DataError
from adwright.core.hashing import content_hash
from adwright.data.features import Feature, FeatureSpec
from adwright.data.sequences.datasets import log_of_task
from adwright.data.tasks.next_basket import CONTEXT, NextBasket, build_visits
from adwright.data.time import MICROSECONDS_PER_DAY
from adwright.metrics.ranking import recall
from adwright.metrics.reports.report import EvaluationProtocol, RankingComparison, compare_rankings
from adwright.models.calibration import EmbeddingConfig
from adwright.models.retrieval.multi_interest import HCNConfig
from adwright.models.retrieval.two_tower import FeatureMasks, TwoTower, TwoTowerConfig, UnseenItems
from adwright.training.loop.stage_timer import Stages
from adwright.training.loop.threads import torch_threads
from adwright.training.loop.trainee import WritesDown
from adwright.training.retrieval.fit import (
    RetrievalConfig,
    RetrieverArtifact,
    RetrieverConfig,
    RetrieverModel,
    catalogue_vectors,
    fit_retriever,
    retrieved_ranks,
    retriever_for,
)
from adwright.training.retrieval.rules import fit_rules, rules_ranks
from adwright.training.search import (
    Defaults,
    SearchResult,
    Settings,
    TrainedRun,
    begun_runs,
    near_power_of_two,
    require_open,
    saved_run,
    search,
    search_defaults,
    seeded,
    within,
)

# --------------------------------------------------------------------------------------------------
# Defaults of two towers and of HCN, counted from the next-basket task.
#
#     batch        visits that have about 2,500 targets together: these are each other's negatives
#     history      what 95 of 100 training visits see whole, from 50 to 500 events
#     epochs       so many that training sees 2.5 million targets, from 2 to 20; 1,500 validation
#                  visits stop it earlier
#     half-lives   1.5 and 10 times the gap between two visits of a user, a day at least (what is
# done
#              in one sitting is about one thing), beside no decay; where the log has no times,
#              places stand for days
#     embeddings   32 numbers an item, 16 for lists and for what has more than a thousand values, 8
#                  for the rest
#
# Complete Journey, where a visit takes ten items and users come every few days, gets about what the
# models' own defaults say.

TARGETS_A_BATCH, TARGETS = 2_500, 2_500_000
#: What the searches try: factors of the rates and of the width, and the temperature.
RETRIEVER_SPACE = {
    "learning_rate": (0.3, 1.0, 3.0),
    "embedding_learning_rate": (0.3, 1.0, 3.0),
    "temperature": (0.05, 0.07, 0.1),
    "width": (0.5, 1.0, 2.0),
}

RetrieverDefaults: TypeAlias = Defaults[RetrieverConfig, RetrievalConfig]


class _Visits(NamedTuple):
    """Of the training visits: how many, targets of all, events that 95 of 100 see, days between
    two of a user (0 where nobody comes twice; 1 for places that stand for days); and what the gaps
    are counted in."""

    visits: int
    targets: int
    history: int
    gap: float
    unit: str


def two_tower_defaults(task: NextBasket) -> Defaults[TwoTowerConfig, RetrievalConfig]:
    """Two towers without a second task, and their training."""
    found = _counted(task)
    # Of the decayed sums, in days, the longer one first.
    half_lives = (10 * found.gap, 1.5 * found.gap) if found.gap else (30.0, 5.0)
    model = TwoTowerConfig(embedding=_embedding(task.spec), days=(0.0, *half_lives))
    return Defaults(model, *_fit(found, f"half-lives of {_lengths(model.days[1:], found.unit)}"))


def hcn_defaults(task: NextBasket) -> Defaults[HCNConfig, RetrievalConfig]:
    """HCN and its training: what is recent is five gaps between visits old at most."""
    found = _counted(task)
    recent = 5 * found.gap or HCNConfig().short_days
    model = HCNConfig(embedding=_embedding(task.spec), short_days=recent)
    reach = _lengths((recent,), found.unit)
    return Defaults(model, *_fit(found, f"the short history reaches back {reach}"))


def retriever_search(
    task: NextBasket,
    defaults: RetrieverDefaults,
    *,
    trials: int,
    folder: Path,
    seed: int = 0,
) -> tuple[RetrieverDefaults, SearchResult]:
    """Look for better settings by the recall of validation visits; see `search`. folder: of the
    trials. Returns the defaults changed by the best trial, with a sentence that says so."""

    def measure(tried: RetrieverDefaults) -> float:
        model = seeded(seed, lambda: retriever_for(tried.model, task))
        return fit_retriever(model, task, replace(tried.fit, seed=seed)).recall

    return search_defaults(
        defaults,
        _changed,
        measure,
        RETRIEVER_SPACE,
        trials=trials,
        folder=folder,
        about={"task": task.data_hash, "model": type(defaults.model).__name__},
        goal=f"recall@{defaults.fit.k}",
        seed=seed,
    )


def _changed(defaults: RetrieverDefaults, settings: Settings, epochs: int) -> RetrieverDefaults:
    fit, model = defaults.fit, defaults.model
    return Defaults(
        replace(
            model,
            temperature=float(settings.get("temperature", model.temperature)),
            width=round(model.width * settings.get("width", 1.0)),
        ),
        replace(
            fit,
            epochs=epochs,
            learning_rate=fit.learning_rate * settings.get("learning_rate", 1.0),
            embedding_learning_rate=fit.embedding_learning_rate
            * settings.get("embedding_learning_rate", 1.0),
        ),
        defaults.why,
    )


def _counted(task: NextBasket) -> _Visits:
    visits = task.visits("train")
    number = task.target_offsets[visits + 1] - task.target_offsets[visits]
    seen = task.visit_end[visits] - task.user_offsets[task.visit_user[visits]]
    user, time = task.visit_user[visits], task.visit_time[visits]
    order = np.lexsort((time, user))
    gaps = np.diff(time[order])[np.diff(user[order]) == 0]
    gaps = gaps[gaps > 0]
    gap = max(float(np.median(gaps)) / MICROSECONDS_PER_DAY, 1.0) if len(gaps) else 0.0
    return _Visits(
        len(visits),
        int(number.sum()),
        int(np.quantile(seen, 0.95)) if len(seen) else 0,
        min(gap, 1.0) if task.timeless else gap,
        "places" if task.timeless else "days",
    )


def _fit(found: _Visits, of_time: str) -> tuple[RetrievalConfig, tuple[str, ...]]:
    each = found.targets / max(found.visits, 1)
    config = RetrievalConfig(
        epochs=within(TARGETS / max(found.targets, 1), 2, 20),
        batch=near_power_of_two(TARGETS_A_BATCH / max(each, 1), 128, 1024),
        max_history=within(found.history / 50, 1, 10) * 50,
        k=50,
    )
    return config, (
        f"at most {config.epochs} epochs of {found.visits:,} visits with {found.targets:,} "
        f"targets, fewer when {config.patience} validations are no better",
        f"batches of {config.batch} visits, {each:.1f} targets each",
        f"histories: the latest {config.max_history} events; 95 of 100 visits see at most "
        f"{found.history:,}",
        of_time,
    )


def _lengths(lengths: tuple[float, ...], unit: str) -> str:
    return " and ".join(f"{length:.2g} {unit}" for length in lengths)


def _embedding(spec: FeatureSpec) -> EmbeddingConfig:
    wide = {"item_id": 32}
    for feature in spec.features:
        if feature.name not in wide and (feature.kind == "multi" or feature.cardinality > 1_000):
            wide[feature.name] = 16
    return EmbeddingConfig(width=8, widths=tuple(wide.items()), scale=0.1)


# --------------------------------------------------------------------------------------------------
# Whether two towers get a second task on their items, and how heavy it is.
#
#     labels    distinct items that training visits take, all together
#     few       fewer than ten labels an item of the catalogue: then correlated views of weights .3
#               and 1 are tried beside none, by the recall of validation visits, in a search that
#               leaves the worse ones early (`training.search`); the best is taken
#     enough    no second task: an item's own labels teach more than its features
#     ids       after training with views, items without an event are ranked with the id that the
#               table has for unknown ones, or with the default embedding that stands for a hidden
#               one: by validation, the former where they are alike
#
# Views cost as much again as the main loss, so that a trial where labels are few costs little.

#: Labels an item, below which a second task is tried.
FEW_LABELS = 10
WEIGHTS = (0.3, 1.0)
TEMPERATURE = 0.1
#: Validation visits that are asked at most for the ids of items without an event.
ASKED = 1_500

Towers = Defaults[TwoTowerConfig, RetrievalConfig]


def second_task(task: NextBasket) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Ask the rule; trains nothing. Returns the weights to be tried beside none, empty where there
    is nothing to try, and why, a sentence each."""
    each = float(task.count[1:].sum()) / max(len(task.items) - 1, 1)
    told = f"{each:.1f} labels an item"
    if each >= FEW_LABELS:
        return (), (f"no second task: {told}, and it is for fewer than {FEW_LABELS}",)
    try:
        masks = FeatureMasks.of("correlated", task.items)
    except ConfigError as error:
        return (), (f"no second task: {error.what}",)
    tried = " and ".join(f"{weight:g}" for weight in WEIGHTS)
    said = (
        f"a second task, correlated views of items, is tried with weights {tried}, and "
        f"without, on validation: {told}, fewer than {FEW_LABELS}"
    )
    return WEIGHTS, (said, *masks.notes())


def with_second_task(
    task: NextBasket,
    defaults: Towers,
    *,
    folder: Path,
    seed: int = 0,
    weight: float | None = None,
) -> Towers:
    """The defaults with the second task that validation favours where the rule tries one.

    weight: of the second task, 0 for none, with nothing tried; None asks the rule. folder: where
    trials are kept, so that a run that was cut off does not repeat them.
    Raises ConfigError for views of items that have fewer than two features.
    """
    if weight is not None:
        told = f"a second task of weight {weight:g}" if weight else "no second task"
        return _second_task_changed(defaults, weight, (f"{told}, as asked",))
    weights, why = second_task(task)
    if not weights:
        return replace(defaults, why=(*defaults.why, *why))

    def measure(settings: Settings, epochs: int) -> float:
        tried = _second_task_changed(defaults, settings.get("weight", 0.0))
        model = seeded(seed, lambda: TwoTower(tried.model, task.spec, task.items, task.count))
        k = min(tried.fit.k, len(task.items) - 1)
        return fit_retriever(model, task, replace(tried.fit, seed=seed, epochs=epochs, k=k)).recall

    about = {
        "task": task.data_hash,
        "model": to_jsonable(defaults.model),
        "fit": to_jsonable(defaults.fit),
    }
    key = content_hash({"about": about, "space": list(weights), "seed": seed})
    found = search(
        measure,
        {"weight": weights},
        trials=1 + len(weights),
        epochs=defaults.fit.epochs,
        file=folder / f"second-task-{key[:12]}.json",
        about=about,
        goal=f"recall@{defaults.fit.k}",
        seed=seed,
    )
    best = found.best.settings.get("weight", 0.0)
    taken = f"a second task of weight {best:g} is" if best else "no second task is"
    return _second_task_changed(defaults, best, (*why, f"{taken} best; {found.sentence()}"))


def choose_unseen(model: TwoTower, task: NextBasket) -> str:
    """Rank items without a training event, in `model`, by the id that serves validation better;
    returns a sentence, empty where there is nothing to choose: no views, or no such item."""
    asked = task.visits("valid")
    unseen = int((task.count[1:] == 0).sum())
    if model.config.views not in ("random", "correlated") or not unseen or not len(asked):
        return ""
    if len(asked) > ASKED:
        asked = np.sort(np.random.default_rng(0).choice(asked, ASKED, replace=False))
    k, found = min(50, len(task.items) - 1), {}
    choices: tuple[UnseenItems, ...] = ("own", "default")
    model.eval()
    for choice in choices:
        model.rank_unseen_by(choice)
        ranks = retrieved_ranks(catalogue_vectors(model, task), task, asked, depth=k).ranks()
        found[choice] = recall(ranks, k)
    best = max(choices, key=lambda choice: found[choice])
    model.rank_unseen_by(best)
    ids = "their ids are hidden" if best == "default" else "the id of an unknown item stands"
    return (
        f"{unseen:,} items without a training event: {ids}, recall@{k} of validation "
        f"{found['own']:.4f} with it, {found['default']:.4f} hidden"
    )


def _second_task_changed(defaults: Towers, weight: float, why: tuple[str, ...] = ()) -> Towers:
    """Views of that weight, as many items a batch as there are visits; 0 for none."""
    model = replace(defaults.model, views="none")
    if weight:
        model = replace(
            model,
            views="correlated",
            alpha=weight,
            view_temperature=TEMPERATURE,
            view_items=defaults.fit.batch,
        )
    return Defaults(model, defaults.fit, (*defaults.why, *why))


RetrieverKind = Literal["two-tower", "hcn"]
TITLES: Mapping[RetrieverKind, str] = {"two-tower": "Two towers", "hcn": "HCN"}
#: Length of a list that is measured.
DEPTH = 50


@settings
class RetrieverRun:
    """What is asked for. model: of what kind. epochs: at most so many; None for what the data say.
    search: trials of better settings on validation, 0 for none. second_task: weight of two towers'
    second task, 0 for none; None for what validation favours. draws: of the bootstrap. seed: of
    all of it. threads: of torch, 0 for as many as it likes. out: the folder to write. log: how the
    log is called, kept for what trains again."""

    model: RetrieverKind = "two-tower"
    epochs: int | None = None
    search: int = 0
    second_task: float | None = None
    draws: int = 500
    seed: int = 0
    threads: int = 0
    out: Path = Path("runs/two-tower")
    log: str = ""

    def __post_init__(self) -> None:
        low = min(self.search, self.seed, self.threads)
        if low < 0 or self.draws < 1 or (self.epochs is not None and self.epochs < 1):
            raise ConfigError(
                "epochs and draws are at least 1, the other numbers not negative",
                where=f"epochs {self.epochs}, draws {self.draws}, search {self.search}",
            )
        if self.second_task is not None and (self.second_task < 0 or self.model != "two-tower"):
            raise ConfigError(
                "second_task is a weight of two towers, not negative",
                where=f"{self.second_task} of {self.model}",
            )


def run_retriever(
    config: RetrieverRun,
    task: NextBasket,
    *,
    repeats: bool,
    resume: bool = False,
    overwrite: bool = False,
    tell: Callable[[str], None] | None = None,
) -> TrainedRun[RetrieverArtifact]:
    """Train, measure and save the model of `config` in `config.out`/model.

    repeats: whether what a user had stays a candidate (`NextItemChoices.repeats`). resume: continue
    an interrupted run with the same config. overwrite: replace a model and its run that are there.
    tell: takes each sentence about a setting that followed from the data, before the training.
    Raises ResourceError where the model exists (without `overwrite`), ResumeError where a run
    cannot be taken up, and as `fit_retriever`.
    """
    done, out, name = Stages(), config.out, TITLES[config.model]
    require_open(out, "model", overwrite=overwrite)
    begun = begun_runs({name: out / "run"}, resume=resume, stop_now=False)
    if overwrite and not resume and (out / "run").exists():
        shutil.rmtree(out / "run")
    with done.stage("settings"), torch_threads(config.threads):
        model, fit, why, searched = _settings(config, task)
    for sentence in why:
        if tell is not None:
            tell(sentence)
    asked = {
        "run": to_jsonable(config),
        "model": to_jsonable(model.config),
        "fit": to_jsonable(fit),
        "why": list(why),
        "data_hash": task.data_hash,
    }
    text = json.dumps(asked, indent=1) + "\n"
    with done.stage(f"train {name}"), torch_threads(config.threads):
        begins = (WritesDown(out / "config.json", text),)
        fit_retriever(model, task, fit, out / "run", resume=name in begun, callbacks=begins)
        unseen = choose_unseen(model, task) if isinstance(model, TwoTower) else ""
    if unseen:
        why = (*why, unseen)
        if tell is not None:
            tell(unseen)
    with done.stage("measure"), torch_threads(config.threads):
        comparison = _compared(name, model, config, task, repeats=repeats)
    artifact = RetrieverArtifact.of(model, task, seed=config.seed)
    return saved_run(artifact, comparison, out, done, overwrite=overwrite, why=why, search=searched)


def settings_of(config: RetrieverRun, task: NextBasket) -> tuple[str, ...]:
    """The settings that follow from the data, a sentence each; nothing is tried."""
    if config.model == "two-tower":
        if config.second_task is None:
            return (*two_tower_defaults(task).why, *second_task(task)[1])
        return _towers(config, task).why
    return _settings(replace(config, search=0), task)[2]


def _towers(config: RetrieverRun, task: NextBasket) -> Defaults[TwoTowerConfig, RetrievalConfig]:
    """The defaults of two towers, with their second task."""
    return with_second_task(
        task,
        two_tower_defaults(task),
        folder=config.out / "search",
        seed=config.seed,
        weight=config.second_task,
    )


def _settings(
    config: RetrieverRun, task: NextBasket
) -> tuple[RetrieverModel, RetrievalConfig, tuple[str, ...], SearchResult | None]:
    """A model with first weights, how it is trained, and why so."""
    searched, seed = None, config.seed
    found: RetrieverDefaults
    found = _towers(config, task) if config.model == "two-tower" else hcn_defaults(task)
    if config.search:
        folder = config.out / "search"
        found, searched = retriever_search(
            task, found, trials=config.search, folder=folder, seed=seed
        )
    model = seeded(seed, lambda: retriever_for(found.model, task))
    fit, why = found.fit, found.why
    fit = replace(fit, seed=seed, k=min(fit.k, len(task.items) - 1))
    return model, replace(fit, epochs=config.epochs or fit.epochs), why, searched


def _compared(
    name: str, model: RetrieverModel, config: RetrieverRun, task: NextBasket, *, repeats: bool
) -> RankingComparison:
    """The model and the rules on the test."""
    log, visits, depth = log_of_task(task), task.visits("test"), min(DEPTH, len(task.items) - 1)
    model.eval()
    score = catalogue_vectors(model, task)
    ranks = retrieved_ranks(score, task, visits, depth=depth, unseen=not repeats).ranks()
    rules = fit_rules(log, repeats=repeats, seed=config.seed)
    others = rules_ranks(rules, log, log.test, unseen=not repeats, depth=DEPTH)
    return compare_rankings(
        {name: ranks, **others},
        task.visit_user[visits],
        subject=name,
        protocol=EvaluationProtocol(
            split=task.protocol,
            candidates=f"all {len(task.items) - 1:,} items",
            ties="by a hash of visit and item",
            seen_items="not removed" if repeats else "removed",
            k=(10, DEPTH),
        ),
        data_hash=task.data_hash,
        seed=config.seed,
        draws=config.draws,
    )


# --------------------------------------------------------------------------------------------------
# Retrain on a log's past and the events that a service has logged since.
#
# The two-tower retriever is trained on the purchases before the start and on those that the service
# wrote, and is measured on later baskets of the log, which neither contains. What the log has of
# the
# weeks in which the service ran is left out: the written events replace it.
#
# The budget is small by default: it shows that the loop closes. A model for use is trained with
# `fit_retriever` and its own settings.


@dataclass(frozen=True)
class RetrainConfig:
    """model, fit: of the two towers. test_visits: at most so many later baskets are measured. k: of
    the recall."""

    model: TwoTowerConfig = field(default_factory=TwoTowerConfig)
    fit: RetrievalConfig = field(
        default_factory=lambda: RetrievalConfig(
            epochs=1, visits_per_epoch=20_000, validation_visits=0, max_history=100
        )
    )
    test_visits: int = 1_000
    k: int = 50


@dataclass(frozen=True)
class Retrained:
    """before, written: purchases that were trained on, of the log and of the service. recall:
    at k over all items, of the model; popular: of the most popular items; both on `visits`
    later baskets, None where the log ends before. seconds: of training and measuring."""

    before: int
    written: int
    visits: int
    k: int
    recall: float | None
    popular: float | None
    seconds: float


def retrain_two_tower(
    log: pl.DataFrame,
    written: pl.DataFrame,
    items: pl.DataFrame,
    *,
    start: datetime,
    end: datetime,
    config: RetrainConfig | None = None,
    run: str | Path | None = None,
) -> Retrained:
    """Train on `log` before the start and on `written`, measure on `log` from the end on.

    log, written: in EVENT_SCHEMA; purchases count. items: of the catalogue, its text columns
    become features. run: folder of the training run; None keeps nothing.
    Raises DataError without purchases before the start, and what `fit_retriever` raises.
    """
    config = config or RetrainConfig()
    began = time.monotonic()
    task = joined_task(log, written, items, start=start, end=end)
    asked = config.model
    model = seeded(config.fit.seed, lambda: TwoTower(asked, task.spec, task.items, task.count))
    fit_retriever(model, task, config.fit, run)
    visits = task.visits("test")
    if len(visits) > config.test_visits:
        rng = np.random.default_rng(config.fit.seed)
        visits = np.sort(rng.choice(visits, config.test_visits, replace=False))
    k = min(config.k, len(task.items) - 1)
    found = popular = None
    if len(visits):
        ranks = retrieved_ranks(catalogue_vectors(model, task), task, visits, depth=k).ranks()
        count = torch.from_numpy(task.count.astype(np.float32))
        most = retrieved_ranks(lambda some: count.repeat(len(some), 1), task, visits, depth=k)
        found, popular = recall(ranks, k), recall(most.ranks(), k)
    purchases = [_purchases(log).filter(pl.col("time") < start).height, _purchases(written).height]
    return Retrained(
        before=purchases[0],
        written=purchases[1],
        visits=len(visits),
        k=k,
        recall=found,
        popular=popular,
        seconds=time.monotonic() - began,
    )


def joined_task(
    log: pl.DataFrame,
    written: pl.DataFrame,
    items: pl.DataFrame,
    *,
    start: datetime,
    end: datetime,
) -> NextBasket:
    """Build the next-basket task of both: the log before the start and the written events train,
    the log from the end on tests."""
    before, after = pl.col("time") < start, pl.col("time") >= end
    parts = [
        _purchases(log).filter(before).with_columns(split=pl.lit("train")),
        _purchases(written).with_columns(split=pl.lit("train")),
        _purchases(log).filter(after).with_columns(split=pl.lit("test")),
    ]
    if not parts[0].height:
        raise DataError(
            "the log has no purchase before the start",
            column="time",
            value=start.isoformat(),
            hint="start later",
        )
    time_ = pl.col("time")
    events = pl.concat(parts).with_columns(
        weekday=time_.dt.weekday().cast(pl.String), hour=time_.dt.hour().cast(pl.String)
    )
    catalogue = items.join(events.select("item_id").unique(), on="item_id", how="semi")
    features = [Feature("item_id", "categorical", "item")]
    for name, dtype in catalogue.schema.items():
        if name != "item_id" and dtype == pl.String:
            features.append(Feature(name, "categorical", "item", min_count=2))
    hashes = [str(int(part.hash_rows(0).sum())) for part in parts]
    return build_visits(
        events,
        catalogue,
        name="retrained",
        protocol=f"Next basket over {catalogue.height:,} items: the log before "
        f"{start:%Y-%m-%d %H:%M} UTC and what was written since train, the log from "
        f"{end:%Y-%m-%d %H:%M} UTC on tests. No sampled negatives.",
        data_hash=content_hash({"parts": hashes}),
        features=(*features, *CONTEXT),
    )


def _purchases(events: pl.DataFrame) -> pl.DataFrame:
    kept = events.filter(pl.col("kind") == "purchase")
    return kept.select("user_id", "request_id", "item_id", "time")
