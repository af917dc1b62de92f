"""From a run file to a saved ranker: build the task, fit, calibrate, measure, save.

    OUT/
      config.json      what was asked for
      defaults.txt     what followed from the data, and why
      runs/din         the training run (or runs/hstu; and runs/base), resumable
      ranker           the artifact, with report.json and comparison.json

Test rows enter no choice: training rows fit weights, validation rows stop the training, choose
between DIN, its base model and their mean (`models.ranking.mix`), and fit the calibrator; test rows
are scored once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.core.config import suggesting, to_jsonable
from adwright.core.errors import ResumeError
from adwright.data.tasks.task import Task
from adwright.metrics.reports.report import (
    Comparison,
    EvaluationProtocol,
    Report,
    compare,
    evaluate_response,
)
from adwright.models.calibration import Method, fit_calibrator, undo_negative_sampling, user_weights
from adwright.models.ranking.din import DIN, DINConfig
from adwright.models.ranking.union import (
    MIXED,
    RankerConfig,
    RankerModel,
    base_config,
    choose,
    is_mixable,
    mixed_model,
    ranker_model,
)
from adwright.training.loop.loop import LoopOptions, require_startable
from adwright.training.loop.run_folder import different_settings
from adwright.training.loop.stage_timer import Stages
from adwright.training.loop.threads import torch_threads
from adwright.training.loop.trainee import Callback
from adwright.training.ranking.config import (
    DecidedRun,
    RunConfig,
    TaskConfig,
    decide,
    open_task,
    ranker_search,
    task_of,
)
from adwright.training.ranking.fit import (
    FitConfig,
    FitResult,
    PartialFit,
    Predictions,
    fit,
    has_rules,
    predict,
    require_both_labels,
    rule_probabilities,
    run_folder,
)
from adwright.training.ranking.ranker import Ranker
from adwright.training.search import Defaults, SearchResult, begun_runs, require_open, seeded

Floats = NDArray[np.float64]
#: `fit_on_ray` with its workers: takes what builds the model, task folder, config, run and resume.
FitWith = Callable[..., tuple[Any, FitResult]]


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
    stop_now: bool = False,
    overwrite: bool = False,
    fit_with: FitWith | None = None,
    callbacks: Sequence[Callback] = (),
    clock: Clock | None = None,
    stages: Stages | None = None,
    tell: Callable[[str], None] | None = None,
    search: int = 0,
) -> RunResult:
    """Train, calibrate, measure and save the ranker of `config` in `config.out`/ranker.

    task: used instead of building `config.task`. resume: continue an interrupted run with the
    same config, or with more epochs; where there is none, a new one begins with a warning.
    stop_now: close the run that was begun: take no further step, measure and save what is best so
    far. overwrite: replace a ranker and its training runs that are there.
    fit_with: trains in other processes, as `fit_on_ray` does; None for `fit` in this one.
    callbacks: told how each of the trainings in this process goes.
    stages: collects the times, for a caller that has stages of its own. tell: takes each sentence
    about a setting that followed from the data, before the training. search: 0, or trials of a
    search for better settings on validation rows (`ranker_search`).
    Raises ResourceError where the ranker exists (without `overwrite`) or the folder cannot be
    written, ResumeError where a run cannot be taken up, and as the stages do.
    """
    done = Stages(clock) if stages is None else stages
    out, resume = config.out, resume or stop_now
    models, folders = models_of(config), _folders(config)
    require_open(out, "ranker", overwrite=overwrite)
    begun = begun_runs(folders, resume=resume, stop_now=stop_now)
    if begun:
        _require_same_model(config)
    if task is None:
        with done.stage("build the task"):
            task = open_task(config.task)
    replacing, told = overwrite and not resume, tell or (lambda _: None)
    decided, searched = _decided(config, task, begun, done, told, search, replacing=replacing)
    models = models_of(decided)
    rankers: dict[str, Ranker] = {}
    valid, probabilities = dict[str, Predictions](), dict[str, Floats]()
    for name in [one for one in models if one in begun or not stop_now]:
        if replacing:
            shutil.rmtree(folders[name], ignore_errors=True)
        make, started = partial(_fresh, models[name], config.seed), name in begun
        with done.stage(f"train {name}"), torch_threads(config.threads):
            place = (_seeded_fit(decided), folders[name])
            if fit_with is not None and not stop_now:
                model, fitted = fit_with(make, task.folder, *place, resume=started)
            else:
                model = make(task)
                how: LoopOptions = {"resume": started, "stop_now": stop_now, "callbacks": callbacks}
                fitted = fit(model, task, *place, **how)
            rankers[name], valid[name] = _calibrated(decided, task, model, fitted.valid)
        with done.stage(f"score {name}"), torch_threads(config.threads):
            scored = _predicted(rankers[name], task, "test")
            probabilities[name] = rankers[name].calibrator(scored.probability)
    subject, probabilities, decided = _mix(decided, task, rankers, valid, probabilities, done, told)
    comparison = _compared(decided, task, scored, probabilities, done, subject)
    files = {"comparison.json": comparison.to_json(), "defaults.txt": "\n".join(decided.why)}
    ranker = replace(
        rankers[comparison.subject],
        report=comparison.reports[comparison.subject],
        files={name: text.encode("utf-8") for name, text in files.items()},
    )
    with done.stage("save"):
        artifact = ranker.save(out / "ranker", overwrite=overwrite, clock=clock)
    measured = (ranker, comparison, probabilities, scored.label)
    return RunResult(*measured, dict(done.seconds), out, artifact, decided.why, searched)


def models_of(config: RunConfig) -> dict[str, RankerConfig]:
    """The models that a run trains, by name: the one that is saved, and the base model."""
    models: dict[str, RankerConfig] = {config.model.title: config.model}
    if config.base:
        base = base_config(config.model)
        models.setdefault(base.title, base)
    return models


@suggesting
def train(
    task: Task | str | Path,
    *,
    model: RankerConfig | None = None,
    fit: PartialFit | None = None,
    calibration: Method = "platt",
    base: bool = True,
    mix: bool = True,
    draws: int = 500,
    seed: int = 0,
    out: str | Path = "runs/ranker",
    overwrite: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Ranker:
    """Train, calibrate, measure and save a ranker on a task; see `RunConfig` and `run`.

    task: a task, the folder of one, or that of an imported log. What `model` and `fit` leave open
    follows from the data; why, stands in defaults.txt beside the saved ranker. callbacks: are told.
    Raises SchemaError for something else, ConfigError for a keyword that there is not.

    The Report of the test rows is `ranker.report`; comparison.json beside the saved ranker
    holds the simple rules too, and the base model unless `base` is False.
    """
    opened = task_of(task)
    config = RunConfig(
        task=TaskConfig(kind="folder", folder=opened.folder.resolve()),
        model=model or DINConfig(),
        fit=fit or PartialFit(),
        calibration=calibration,
        base=base,
        mix=mix,
        draws=draws,
        seed=seed,
        out=Path(out),
    )
    return run(config, task=opened, overwrite=overwrite, callbacks=callbacks).ranker


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
    config: RunConfig,
    task: Task,
    begun: Collection[str],
    done: Stages,
    tell: Callable[[str], None],
    search: int,
    *,
    replacing: bool,
) -> tuple[DecidedRun, SearchResult | None]:
    """The run with nothing left open, and its search; what was asked for, and why the rest is as it
    is, are written down, once nothing speaks against the run."""
    decided = decide(config, task)
    if not search:
        # What a training would refuse before its first step, while nothing is written yet.
        require_both_labels(task)
        for name, folder in _folders(decided).items() if not replacing else ():
            run = run_folder(task, _seeded_fit(decided), folder)
            require_startable(run, resume=name in begun)
    text = json.dumps(to_jsonable(config), indent=1) + "\n"
    atomic_write_text(config.out / "config.json", text)
    searched = None
    if search:
        with done.stage("search"), torch_threads(config.threads):
            before = Defaults(decided.model, decided.fit, decided.why)
            place = config.out / "search"
            found, searched = ranker_search(
                task, before, trials=search, folder=place, seed=config.seed
            )
            decided = replace(decided, model=found.model, fit=found.fit, why=found.why)
    atomic_write_text(config.out / "defaults.txt", "\n".join(decided.why) + "\n")
    for sentence in decided.why:
        tell(sentence)
    return decided, searched


def _folders(config: RunConfig) -> dict[str, Path]:
    """The folder of each training run."""
    return {name: config.out / "runs" / name.lower() for name in models_of(config)}


def _seeded_fit(config: DecidedRun) -> FitConfig:
    return replace(config.fit, seed=config.seed)


def _require_same_model(config: RunConfig) -> None:
    """Raise ResumeError where the run in the folder was begun with other settings of the model,
    of which the run's own checkpoints know the weights alone."""
    path = config.out / "config.json"
    try:
        before = json.loads(path.read_text("utf-8"))["model"]
        differing = different_settings(before, to_jsonable(config)["model"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    # A setting that one of them lacks came with another version.
    named = [f"{n} was {was!r} and is now {now!r}" for n, was, now in differing if was is not None]
    if named:
        raise ResumeError(
            f"the run was started with another model: {'; '.join(named)}",
            where=str(path),
            hint="resume with what it was started with, or begin a new run (--force)",
        )


def _mix(
    config: DecidedRun,
    task: Task,
    rankers: dict[str, Ranker],
    valid: Mapping[str, Predictions],
    probabilities: dict[str, Floats],
    done: Stages,
    tell: Callable[[str], None],
) -> tuple[str, dict[str, Floats], DecidedRun]:
    """Name of what is saved, test probabilities of all, and the run with a sentence that says why.

    The ranker of the mean of two models is added to `rankers` where it is saved.
    """
    subject = config.model.title
    if not (config.mix and is_mixable(config.model) and len(valid) == 2):
        return subject, probabilities, config
    with done.stage("choose"), torch_threads(config.threads):
        rows, said = valid[subject], {name: one.probability for name, one in valid.items()}
        subject, why = choose(rows.label, rows.user, said, draws=config.draws, seed=config.seed)
        if subject == MIXED:
            din, base = (cast("DIN", rankers[name].model) for name in valid)
            model = mixed_model(din, base, task.spec, task.item_table)
            rankers[subject], _ = _calibrated(config, task, model, None)
            mean = _predicted(rankers[subject], task, "test").probability
            probabilities = {subject: rankers[subject].calibrator(mean), **probabilities}
    decided = replace(config, why=(*config.why, why))
    atomic_write_text(config.out / "defaults.txt", "\n".join(decided.why) + "\n")
    tell(why)
    return subject, probabilities, decided


def _compared(
    config: DecidedRun,
    task: Task,
    found: Predictions,
    probabilities: dict[str, Floats],
    done: Stages,
    subject: str,
) -> Comparison:
    """The models and the rules, whose probabilities are added, on the test rows of `found`."""
    if has_rules(task):
        with done.stage("fit the rules"):
            probabilities |= rule_probabilities(task, seed=config.seed)
    with done.stage("compare"):
        return compare(
            found.label,
            probabilities,
            found.user,
            subject=subject,
            protocol=_protocol(task, config),
            data_hash=task.data_hash,
            seed=config.seed,
            draws=config.draws,
        )


def _fresh(model: RankerConfig, seed: int, task: Task) -> RankerModel:
    return seeded(seed, lambda: ranker_model(model, task.spec, task.item_table))


def _calibrated(
    config: DecidedRun, task: Task, model: RankerModel, said: Predictions | None
) -> tuple[Ranker, Predictions]:
    """A fitted and calibrated ranker, not yet measured; and what it says of the validation rows
    before it is calibrated. said: that, as training left it, None where it did not."""
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
    valid = _predicted(ranker, task, "valid") if said is None else _undone(ranker, said)
    rows = (valid.label, valid.probability)
    weights = user_weights(*rows, valid.user)
    calibrator = fit_calibrator(config.calibration, *rows, weights)
    return replace(ranker, calibrator=calibrator), valid


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
