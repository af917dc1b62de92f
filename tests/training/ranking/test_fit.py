from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from adwright.core.clock import FixedClock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError, ResumeError, ValueInvalidError
from adwright.data.batches.stream import PartialStream, StreamConfig
from adwright.data.tasks.split import SPLITS
from adwright.data.tasks.task import Task, write_task
from adwright.metrics.classification import group_auc, log_loss
from adwright.models.ranking.din import DIN
from adwright.training.loop.distributed import RowWise
from adwright.training.ranking import fit as fit_module
from adwright.training.ranking.fit import (
    FitConfig,
    PartialFit,
    as_begun,
    fit,
    load_best,
    open_stream,
    predict,
)
from adwright.training.ranking.frames import training_counts

Make = Callable[..., DIN]
MakeLogistic = Callable[..., nn.Module]
Config = Callable[..., FitConfig]


def metrics(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "time"} for line in lines]


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def without_noise(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """One row of the activation unit sees nothing but 1 - 1, the difference of two constants.

    Its gradient is zero up to rounding, and Adam makes steps of full size of that.
    """
    if "unit.first" in weights:
        weights["unit.first"][2, -1] = 0
    return weights


@pytest.mark.parametrize(
    ("clip", "decay", "interest"), [(0.0, 0.0, "sum"), (0.05, 0.5, "attention")]
)
def test_an_epoch_equals_a_literal_loop(
    task: Task,
    make_din: Make,
    config: Config,
    tmp_path: Path,
    compare: Any,
    clip: float,
    decay: float,
    interest: str,
) -> None:
    settings = config(clip_norm=clip, decay=decay, seed=3)
    model = make_din(task, interest=interest)
    fit(model, task, settings, tmp_path / "run")

    other = make_din(task, interest=interest).train()
    tables = [m.weight for m in other.modules() if isinstance(m, nn.Embedding)]
    dense = [p for p in other.parameters() if all(p is not table for table in tables)]
    adam = torch.optim.Adam(dense, lr=settings.learning_rate)
    counts = training_counts(other, task)
    rows = RowWise(tables, learning_rate=0.05, decay=decay, counts=counts)
    for batch, _ in open_stream(task, "train", replace(settings.stream, seed=3)).epoch():
        other.zero_grad()
        (other.loss(batch) / len(batch)).backward()
        if clip:
            norm = math.sqrt(sum(float((p.grad**2).sum()) for p in dense if p.grad is not None))
            assert norm > clip
            for p in dense:
                if p.grad is not None:
                    p.grad *= clip / norm
        adam.step()
        rows.step()
    ours, theirs = (without_noise(state(m)) for m in (model, other))
    assert compare.distance(ours, theirs) < 1e-4


def test_metrics_are_those_of_the_validation(
    task: Task, make_din: Make, config: Config, tmp_path: Path, clock: FixedClock
) -> None:
    settings = config(epochs=2, stream={"negative_rate": 0.5})
    model, run = make_din(task), tmp_path / "run"
    found = fit(model, task, settings, run, clock=clock)
    first, second = metrics(run)
    assert found.metrics == run / "metrics.jsonl"
    assert json.loads(found.metrics.read_text().splitlines()[0])["time"].startswith("2024-01-01T00")
    assert (first["epoch"], second["epoch"]) == (1, 2)
    assert second["batches"] == found.batches
    rows, positives = (task.meta["splits"]["train"][key] for key in ("rows", "positives"))
    assert second["rows"] == pytest.approx(2 * (positives + 0.5 * (rows - positives)), rel=0.05)
    for line in (first, second):
        (*_, (last, _)) = line["train_curve"]
        assert last == line["batches"]
        assert len(line["train_curve"]) == 3
    # The best weights are back in place: what they score is what was reported.
    valid = predict(model, task, "valid")
    assert found.gauc == group_auc(valid.label, valid.probability, valid.user)
    best = max((first, second), key=lambda line: line["valid_gauc"])
    assert found.gauc == best["valid_gauc"]
    assert found.epoch == best["epoch"]
    # Half of the negatives were trained on: the odds are twice too high.
    odds = valid.probability / (1 - valid.probability) / 2
    assert best["valid_log_loss"] == pytest.approx(log_loss(valid.label, odds / (1 + odds)))
    assert found.log_loss == best["valid_log_loss"]
    weights = np.where(valid.label == 1, 1.0, 0.5)
    losses = -np.log(np.where(valid.label == 1, valid.probability, 1 - valid.probability))
    assert best["valid_loss"] == pytest.approx(np.average(losses, weights=weights))


@pytest.mark.draws_curves
def test_the_folder_of_a_run(
    task: Task, make_din: Make, config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[int] = []
    run = tmp_path / "a" / "run"
    found = fit(make_din(task), task, config(), run, on_step=seen.append)
    assert seen == list(range(1, found.batches + 1))
    assert (run / "curves.svg").read_text().startswith("<svg")
    names = {path.name for path in run.iterdir()} - {f"checkpoint-{found.batches:09d}-0002"}
    assert names == {"config.json", "metrics.jsonl", "curves.svg"}
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "epoch 1/1: 2,866 rows in " in shown.err
    assert " rows/s)" in shown.err
    with pytest.raises(ConfigError, match=r"already holds a run"):
        fit(make_din(task), task, config(), run)


def test_stops_when_validation_does_not_improve(
    task: Task, make_logistic: MakeLogistic, config: Config, tmp_path: Path
) -> None:
    # Steps too small to change the order of any two rows.
    still = config(epochs=5, learning_rate=1e-12, patience=2)
    found = fit(make_logistic(), task, still, tmp_path / "a")
    assert len(metrics(tmp_path / "a")) == 3
    assert (found.epoch, found.stopped_early) == (1, True)
    found = fit(make_logistic(), task, replace(still, epochs=3), tmp_path / "b")
    assert len(metrics(tmp_path / "b")) == 3
    assert not found.stopped_early


class Interrupted(Exception):
    pass


def stop_at(number: int) -> Callable[[int], None]:
    def on_step(batches: int) -> None:
        if batches == number:
            raise Interrupted

    return on_step


@pytest.mark.parametrize("stop", [3, 23, 24, 40])
def test_resumed_with_dropout_is_the_same(
    task: Task, make_logistic: MakeLogistic, config: Config, tmp_path: Path, compare: Any, stop: int
) -> None:
    settings = config(epochs=2, checkpoint_every=5, validations_per_epoch=2)
    whole = make_logistic(dropout=0.5)
    expected = fit(whole, task, settings, tmp_path / "whole")
    run = tmp_path / "run"
    with pytest.raises(Interrupted):
        fit(make_logistic(dropout=0.5), task, settings, run, on_step=stop_at(stop))
    resumed = make_logistic(dropout=0.5, seed=9)
    found = fit(resumed, task, settings, run, resume=True)
    assert compare.equal(state(whole), state(resumed))
    assert replace(found, metrics=expected.metrics) == expected
    assert metrics(run) == metrics(tmp_path / "whole")
    # Once more: there is nothing left to do.
    again = make_logistic(seed=8, dropout=0.5)
    assert fit(again, task, settings, run, resume=True) == found
    assert compare.equal(state(whole), state(again))
    assert metrics(run) == metrics(tmp_path / "whole")


def test_resume_is_refused_where_it_would_be_another_run(
    task: Task, make_din: Make, make_logistic: MakeLogistic, config: Config, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(ResumeError, match="holds no run"):
        fit(make_din(task), task, config(), run, resume=True)
    with pytest.raises(Interrupted):
        fit(make_din(task), task, config(), run, on_step=stop_at(2))
    with pytest.raises(ResumeError, match=r"learning_rate was 0.005 and is now 0.1"):
        fit(make_din(task), task, config(learning_rate=0.1), run, resume=True)
    with pytest.raises(ResumeError, match="is of another model"):
        fit(make_logistic(), task, config(), run, resume=True)
    other = Task(task.folder)
    other.meta["id"] = "another"
    with pytest.raises(ResumeError, match=r"task was .* and is now .another"):
        fit(make_din(task), other, config(), run, resume=True)
    with pytest.raises(ResumeError, match="no validation yet"):
        load_best(make_din(task), run)


def test_the_best_validation_and_its_weights_come_along(
    task: Task, make_din: Make, config: Config, tmp_path: Path, compare: Any
) -> None:
    model = make_din(task)
    # Steps this large get worse at some point: the last validation is not the best.
    asked = config(epochs=5, learning_rate=0.3, patience=5)
    found = fit(model, task, asked, tmp_path / "run")
    assert not model.training
    assert found.epoch < 5
    assert found.valid is not None
    again = predict(model, task, "valid")
    assert np.array_equal(found.valid.probability, again.probability)
    assert np.array_equal(found.valid.label, again.label)
    resumed = fit(make_din(task), task, asked, tmp_path / "run", resume=True)
    assert resumed.valid is None
    assert resumed == found
    other = make_din(task, seed=5)
    assert load_best(other, tmp_path / "run") == found
    assert not other.training
    assert compare.equal(state(model), state(other))


def test_bf16_is_close_and_keeps_weights_in_float32(
    task: Task, make_din: Make, config: Config, tmp_path: Path
) -> None:
    losses = {}
    for precision in ("fp32", "bf16"):
        for interest in ("sum", "attention"):
            model, name = make_din(task, interest=interest), f"{precision}-{interest}"
            fit(model, task, config(precision=precision), tmp_path / name)
            assert all(p.dtype == torch.float32 for p in model.parameters())
            losses[name] = metrics(tmp_path / name)[0]["train_loss"]
    for interest in ("sum", "attention"):
        assert losses[f"fp32-{interest}"] != losses[f"bf16-{interest}"]
        assert losses[f"bf16-{interest}"] == pytest.approx(losses[f"fp32-{interest}"], rel=0.02)


FLIPS: dict[str, Any] = {
    "epochs": 2,
    "learning_rate": 1e-2,
    "embedding_learning_rate": 0.1,
    "embedding_rule": "adam",
    "decay": 1.0,
    "decay_counts": "events",
    "clip_norm": 0.01,
    "precision": "bf16",
    "patience": 1,
    "validations_per_epoch": 3,
    "checkpoint_every": 4,
    "seed": 1,
    "stream.groups_per_batch": 20,
    "stream.rows_per_group": 4,
    "stream.window": 3,
    "stream.negative_rate": 0.5,
    "stream.max_history": 3,
    "stream.shuffle": False,
}


@pytest.fixture(scope="module")
def observed(
    task: Task, make_din: Make, config: Config, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[str, ...]]:
    """What a run with these settings shows: weights, metrics, checkpoints, each as text."""

    def run(*, model: nn.Module | None = None, **changes: Any) -> tuple[str, ...]:
        folder = tmp_path_factory.mktemp("flip") / "run"
        checkpoints: list[list[str]] = []

        def look(_: int) -> None:
            checkpoints.append(sorted(path.name for path in folder.glob("checkpoint-*")))

        model = model or make_din(task, interest="sum")
        fit(model, task, config(**changes), folder, on_step=look)
        weights = {name: value.tolist() for name, value in state(model).items()}
        return json.dumps(weights), json.dumps(metrics(folder)), json.dumps(checkpoints)

    return run


def test_flipping_each_setting_changes_something(
    observed: Callable[..., tuple[str, ...]], make_logistic: MakeLogistic
) -> None:
    names = {f.name for f in fields(FitConfig) if f.name != "stream"}
    # The stream's own seed is refused, see below.
    names |= {f"stream.{f.name}" for f in fields(StreamConfig) if f.name != "seed"}
    assert set(FLIPS) == names
    base = observed()
    assert observed() == base
    for name, value in FLIPS.items():
        if name == "patience":  # It shows where validation does not improve.
            still = {"learning_rate": 1e-12, "epochs": 3}
            patient = observed(model=make_logistic(), **still)
            assert observed(model=make_logistic(), **still, patience=value) != patient
        elif name.startswith("stream."):
            assert observed(stream={name.removeprefix("stream."): value}) != base, name
        else:
            more = {"decay": 1.0} if name == "decay_counts" else {}
            assert observed(**more, **{name: value}) != (observed(**more) if more else base), name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 0}, r"epochs must be at least 1 \[0\]"),
        ({"patience": 0}, r"patience must be at least 1"),
        ({"validations_per_epoch": 0}, r"validations_per_epoch must be at least 1"),
        ({"learning_rate": 0.0}, r"learning_rate must be positive \[0.0\]"),
        ({"embedding_learning_rate": math.nan}, r"embedding_learning_rate must be positive"),
        ({"decay": -0.1}, r"decay must not be negative \[-0.1\]"),
        ({"clip_norm": -1.0}, r"clip_norm must not be negative"),
        ({"checkpoint_every": -1}, r"checkpoint_every must not be negative"),
        ({"seed": -1}, r"seed must not be negative"),
        ({"stream": StreamConfig(seed=4)}, r"takes the seed of the run \[stream.seed 4\]"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        FitConfig(**changes)


@pytest.mark.parametrize(
    ("n_windows", "wanted", "due"),
    [(3, 1, set()), (3, 2, {2}), (3, 3, {1, 2}), (3, 9, {1, 2}), (10, 4, {3, 5, 8}), (1, 5, set())],
)
def test_validations_are_spread_over_the_epoch(n_windows: int, wanted: int, due: set[int]) -> None:
    # The end of the epoch is always one, and is not among them.
    assert fit_module.validation_windows(n_windows, wanted) == due


@pytest.mark.parametrize(("per_epoch", "windows"), [(1, [3]), (2, [2, 3]), (7, [1, 2, 3])])
def test_validations_of_an_epoch(
    task: Task,
    make_logistic: MakeLogistic,
    config: Config,
    tmp_path: Path,
    per_epoch: int,
    windows: list[int],
) -> None:
    settings = config(validations_per_epoch=per_epoch, patience=9)
    fit(make_logistic(), task, settings, tmp_path / "run")
    lines = metrics(tmp_path / "run")
    assert np.cumsum([len(line["train_curve"]) for line in lines]).tolist() == windows
    assert [line["epoch"] for line in lines] == [1] * len(windows)
    assert sum(line["rows"] for line in lines[-1:]) == task.n_rows("train")


def relabelled(task: Task, folder: Path, label: pl.Expr) -> Task:
    parts = [task.rows(split).with_columns(split=pl.lit(split)) for split in SPLITS]
    events = [pl.read_parquet(task.events_path(split)) for split in SPLITS]
    return write_task(
        folder,
        name="tiny",
        protocol="made up",
        data_hash="1" * 64,
        rows=pl.concat(parts).drop("visible", "frequency").with_columns(label=label).collect(),
        events=pl.concat(events).unique(maintain_order=True),
        items=task.items,
        features=[replace(f, vocabulary=()) for f in task.spec.features],
    )


def test_a_validation_split_of_one_class_is_refused_before_training(
    task: Task, make_din: Make, config: Config, tmp_path: Path
) -> None:
    label = pl.when(pl.col("split") == "valid").then(0).otherwise(pl.col("label"))
    other = relabelled(task, tmp_path / "task", label)
    with pytest.raises(ValueInvalidError, match=r"both labels.*valid.rows.parquet.*0 of 456"):
        fit(make_din(other), other, config(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_epoch_may_end_in_a_window_without_rows(
    task: Task, make_logistic: MakeLogistic, config: Config, tmp_path: Path
) -> None:
    # Almost no negative is drawn, and the people of the last row groups have no positives.
    late = pl.col("user_id") >= "u100"
    label = pl.when((pl.col("split") == "train") & late).then(0).otherwise(pl.col("label"))
    other = relabelled(task, tmp_path / "task", label)
    stream = {"negative_rate": 1e-9, "window": 1, "shuffle": False}
    settings = config(epochs=2, stream=stream, validations_per_epoch=2)
    fit(make_logistic(), other, settings, tmp_path / "run")
    assert [line["epoch"] for line in metrics(tmp_path / "run")][-1] == 2


def test_a_terminal_shows_rows_per_second_and_time_left(
    task: Task,
    make_logistic: MakeLogistic,
    config: Config,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    # One bar after another: a bar inside a bar would be an error of the terminal library.
    fit(make_logistic(), task, config(validations_per_epoch=2), tmp_path / "run")
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    assert any("epoch 1/1" in line and "2,866 rows" in line and "rows/s" in line for line in lines)
    assert any("score valid" in line and "456/456 rows" in line for line in lines)


def test_what_is_given_wins_over_what_follows_from_the_data() -> None:
    default = FitConfig(epochs=7, decay=0.5, stream=StreamConfig(32, negative_rate=0.2))
    asked = PartialFit(decay=0.0, patience=4, stream=PartialStream(max_history=9))
    found = asked.over(default)
    assert type(found) is FitConfig
    assert type(found.stream) is StreamConfig
    assert (found.epochs, found.decay, found.patience) == (7, 0.0, 4)
    assert found.stream == StreamConfig(32, negative_rate=0.2, max_history=9)
    assert PartialFit().over(default) == default
    assert [one.is_complete for one in (asked, default, PartialFit())] == [False, True, False]
    assert FitConfig().over(default) == FitConfig()


def test_a_table_of_a_run_file_is_partial() -> None:
    asked = from_jsonable(PartialFit, {"epochs": 3, "stream": {"negative_rate": 0.5}})
    assert (asked.epochs, asked.learning_rate, asked.stream.negative_rate) == (3, None, 0.5)
    assert from_jsonable(PartialFit, to_jsonable(asked)) == asked


def test_the_stream_takes_the_seed_of_the_run() -> None:
    with pytest.raises(ConfigError, match="the seed of the run"):
        PartialFit(stream=PartialStream(seed=1))


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_a_run_of_a_version_that_counted_events_goes_on_so(
    task: Task,
    make_din: Make,
    config: Config,
    tmp_path: Path,
    compare: Any,
    caplog: pytest.LogCaptureFixture,
    decay: float,
) -> None:
    before = config(decay=decay, decay_counts="events", checkpoint_every=5)
    whole = make_din(task, interest="sum")
    fit(whole, task, before, tmp_path / "whole")
    run = tmp_path / "run"
    with pytest.raises(Interrupted):
        fit(make_din(task, interest="sum"), task, before, run, on_step=stop_at(7))
    assert "decay_counts" not in json.loads((run / "config.json").read_text())["fit"]
    resumed, now = make_din(task, interest="sum", seed=3), replace(before, decay_counts="rows")
    with caplog.at_level(logging.WARNING, "adwright"):
        fit(resumed, task, now, run, resume=True)
    assert ("goes on so" in caplog.text) == bool(decay)
    assert compare.equal(whole.state_dict(), resumed.state_dict())
    assert as_begun(now, tmp_path / "nowhere") == now


def test_a_run_that_counts_rows_says_so(
    task: Task, make_din: Make, config: Config, tmp_path: Path
) -> None:
    now = config(decay=0.5)
    fit(make_din(task, interest="sum"), task, now, tmp_path / "run")
    about = json.loads((tmp_path / "run" / "config.json").read_text())["fit"]
    assert about["decay_counts"] == "rows"
    assert as_begun(now, tmp_path / "run") == now
