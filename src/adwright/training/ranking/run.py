"""From a run file to a saved ranker: build the task, fit, calibrate, measure, save.

    OUT/
      config.json      what was asked for
      defaults.txt     what followed from the data, and why
      runs/din         the training run (or runs/hstu; and runs/base), resumable
      ranker           the artifact, with report.json and comparison.json

Test rows enter no choice: training rows fit weights, validation rows stop the training and fit the
calibrator, test rows are scored once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray
from torch import nn

from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.core.config import to_jsonable
from adwright.data.tasks.task import Task
from adwright.metrics.reports.comparison import Comparison, compare
from adwright.metrics.reports.report import EvaluationProtocol, Report, evaluate_response
from adwright.models.calibration import Method, fit_calibrator, undo_negative_sampling
from adwright.models.ranking.din import DINConfig
from adwright.models.ranking.union import RankerConfig, RankerModel, base_config, ranker_model
from adwright.training.defaults import Defaults
from adwright.training.loop.stage_timer import Stages
from adwright.training.loop.threads import torch_threads
from adwright.training.ranking.baselines import has_rules, rule_probabilities
from adwright.training.ranking.config import DecidedRun, RunConfig, decide, open_task
from adwright.training.ranking.defaults import ranker_search
from adwright.training.ranking.fit import FitResult, fit
from adwright.training.ranking.fit_config import PartialFit
from adwright.training.ranking.predict import Predictions, predict
from adwright.training.ranking.ranker import Ranker
from adwright.training.run_settings import require_free, seeded
from adwright.training.search import SearchResult

__all__ = ["RunResult", "measure", "run", "train"]

Floats = NDArray[np.float64]
#: `fit_on_ray` with its workers: takes what builds the model, task folder, config, run and resume.
FitWith = Callable[..., tuple[nn.Module, FitResult]]


@dataclass(frozen=True, eq=False)
class RunResult:
    """What `run` trained and measured.

    ranker: the saved one. comparison: on the test rows, the ranker's model first.
    probabilities: model -> calibrated probabilities [N] of the test rows; label: int8 [N].
    why: the settings that followed from the data, a sentence each. search: its trials, if any.
    stages: name -> seconds. folder: of the run. artifact: its id.
    """

    ranker: Ranker
    comparison: Comparison
    probabilities: Mapping[str, Floats]
    label: NDArray[np.int8]
    stages: Mapping[str, float]
    folder: Path
    artifact: str
    why: tuple[str, ...] = ()
    search: SearchResult | None = None


def run(
    config: RunConfig,
    *,
    task: Task | None = None,
    resume: bool = False,
    overwrite: bool = False,
    fit_with: FitWith | None = None,
    clock: Clock | None = None,
    stages: Stages | None = None,
    tell: Callable[[str], None] | None = None,
    search: int = 0,
) -> RunResult:
    """Train, calibrate, measure and save the ranker of `config` in `config.out`/ranker.

    task: used instead of building `config.task`. resume: continue an interrupted run with the
    same config. overwrite: replace a ranker and its training runs that are there.
    fit_with: trains in other processes, as `fit_on_ray` does; None for `fit` in this one.
    stages: collects the times, for a caller that has stages of its own. tell: takes each sentence
    about a setting that followed from the data, before the training. search: 0, or trials of a
    search for better settings on validation rows (`ranker_search`).
    Raises ResourceError where the ranker exists (without `overwrite`), ResumeError where a run
    cannot be taken up, and as the stages do.
    """
    done = Stages(clock) if stages is None else stages
    out = config.out
    if not overwrite:
        require_free(out / "ranker", "a ranker")
    if task is None:
        with done.stage("build the task"):
            task = open_task(config.task)
    decided, searched = _decided(config, task, done, tell or (lambda _: None), search)
    subject = decided.model.title
    rankers: dict[str, Ranker] = {}
    probabilities: dict[str, Floats] = {}
    for name, model in _models(decided).items():
        folder = out / "runs" / name.lower()
        if overwrite and not resume and folder.exists():
            shutil.rmtree(folder)
        with done.stage(f"train {name}"), torch_threads(decided.threads):
            fitted = _fitted(decided, model, task, folder, fit_with, resume=resume)
            rankers[name] = _calibrated(decided, task, *fitted)
        with done.stage(f"score {name}"), torch_threads(decided.threads):
            found = _predicted(rankers[name], task, "test")
            probabilities[name] = rankers[name].calibrator(found.probability)
    if has_rules(task):
        with done.stage("fit the rules"):
            rules = rule_probabilities(task, seed=decided.seed, calibration=decided.calibration)
            probabilities |= rules
    with done.stage("compare"):
        comparison = compare(
            found.label,
            probabilities,
            found.user,
            subject=subject,
            protocol=_protocol(task, decided),
            data_hash=task.data_hash,
            seed=decided.seed,
            draws=decided.draws,
        )
    files = {"comparison.json": comparison.to_json(), "defaults.txt": "\n".join(decided.why)}
    ranker = replace(
        rankers[subject],
        report=comparison.reports[subject],
        files={name: text.encode("utf-8") for name, text in files.items()},
    )
    with done.stage("save"):
        artifact = ranker.save(out / "ranker", overwrite=overwrite, clock=clock)
    measured = (ranker, comparison, probabilities, found.label)
    return RunResult(*measured, dict(done.seconds), out, artifact, decided.why, searched)


def train(
    task: Task,
    *,
    model: RankerConfig | None = None,
    fit: PartialFit | None = None,
    calibration: Method = "platt",
    base: bool = False,
    draws: int = 500,
    seed: int = 0,
    out: str | Path = "runs/ranker",
    overwrite: bool = False,
) -> Ranker:
    """Train, calibrate, measure and save a ranker on a task; see `RunConfig` and `run`.

    What `model` and `fit` leave open follows from the data; why, stands in defaults.txt beside the
    saved ranker.

    The Report of the test rows is `ranker.report`; comparison.json beside the saved ranker
    holds the simple rules too, and the base model where `base` asks for it.
    """
    config = RunConfig(
        model=model or DINConfig(),
        fit=fit or PartialFit(),
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


def _decided(
    config: RunConfig, task: Task, done: Stages, tell: Callable[[str], None], trials: int
) -> tuple[DecidedRun, SearchResult | None]:
    """The run with nothing left open, by the data and a search of so many trials; what was asked
    for and what was decided are written to its folder."""
    out = config.out
    atomic_write_text(out / "config.json", json.dumps(to_jsonable(config), indent=1) + "\n")
    decided, searched = decide(config, task), None
    if trials:
        before = Defaults(decided.model, decided.fit, decided.why)
        with done.stage("search"), torch_threads(config.threads):
            found, searched = ranker_search(
                task, before, trials=trials, folder=out / "search", seed=config.seed
            )
        decided = replace(decided, model=found.model, fit=found.fit, why=found.why)
    atomic_write_text(out / "defaults.txt", "\n".join(decided.why) + "\n")
    for sentence in decided.why:
        tell(sentence)
    return decided, searched


def _models(config: RunConfig) -> dict[str, RankerConfig]:
    """By title: the one that is asked for, and its base model where that is."""
    models: dict[str, RankerConfig] = {config.model.title: config.model}
    if config.base:
        base = base_config(config.model)
        models.setdefault(base.title, base)
    return models


def _fitted(
    config: DecidedRun,
    model: RankerConfig,
    task: Task,
    folder: Path,
    fit_with: FitWith | None,
    *,
    resume: bool,
) -> tuple[RankerModel, FitResult]:
    fit_config, make = replace(config.fit, seed=config.seed), partial(_fresh, model, config.seed)
    resume = resume and folder.exists()
    if fit_with is not None:
        network, found = fit_with(make, task.folder, fit_config, folder, resume=resume)
        return cast("RankerModel", network), found
    fresh = make(task)
    return fresh, fit(fresh, task, fit_config, folder, resume=resume)


def _fresh(model: RankerConfig, seed: int, task: Task) -> RankerModel:
    return seeded(seed, lambda: ranker_model(model, task.spec, task.item_table))


def _calibrated(config: DecidedRun, task: Task, model: RankerModel, fitted: FitResult) -> Ranker:
    """A fitted and calibrated ranker, not yet measured."""
    ranker = Ranker(
        model=model,
        spec=task.spec,
        catalogue=task.items,
        negative_rate=config.fit.stream.negative_rate,
        max_history=config.fit.stream.max_history,
        history_kinds=task.history_kinds,
        popularity_kinds=task.popularity_kinds,
        data_hash=task.data_hash,
        seed=config.seed,
    )
    if config.calibration == "none":
        return ranker
    if fitted.valid is None:
        valid = _predicted(ranker, task, "valid")
    else:
        valid = _undone(ranker, fitted.valid)
    return replace(
        ranker, calibrator=fit_calibrator(config.calibration, valid.label, valid.probability)
    )


def _predicted(ranker: Ranker, task: Task, split: Literal["valid", "test"]) -> Predictions:
    """Predictions of a split with the sampling undone, not calibrated."""
    found = predict(ranker.model, task, split, max_history=ranker.max_history)
    return _undone(ranker, found)


def _undone(ranker: Ranker, found: Predictions) -> Predictions:
    undone = undo_negative_sampling(found.probability, ranker.negative_rate)
    return replace(found, probability=undone)


def _protocol(task: Task, config: DecidedRun) -> EvaluationProtocol:
    rate = config.fit.stream.negative_rate
    sampling = (
        "none: every row is used"
        if rate == 1
        else f"training kept a share of {rate:g} of the negatives, undone before calibration; "
        "every validation and test row is scored"
    )
    return EvaluationProtocol(split=task.protocol, sampling=sampling)
