from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from adwright.core.artifacts import load_artifact
from adwright.core.config import from_jsonable
from adwright.core.errors import ConfigError, ResourceError, ResumeError, SchemaError
from adwright.data.batches.stream import PartialStream
from adwright.data.sources.log import save_log
from adwright.data.tasks.task import Task
from adwright.metrics.reports.report import Comparison
from adwright.models.ranking.union import MIXED
from adwright.training.loop.trainee import Callback, RunBegins, StepDone
from adwright.training.ranking import run as pipeline
from adwright.training.ranking.config import RunConfig, decide, ranker_defaults, task_of
from adwright.training.ranking.fit import FitConfig, PartialFit, fit
from adwright.training.ranking.ranker import Ranker
from adwright.training.ranking.run import RunResult, measure, run, train
from tests.broken.cases import contents
from tests.support.data.ranking_task import FIT, MODEL, shop_run, shop_task, small_log


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shop")


@pytest.fixture(scope="module")
def result(folder: Path) -> RunResult:
    return shop_run(folder)


def small(out: Path, **more: object) -> RunConfig:
    config = RunConfig(model=MODEL, fit=FIT, draws=20, base=False, out=out)
    return replace(config, **more)  # type: ignore[arg-type]


def test_everything_is_measured_on_the_same_rows(result: RunResult, folder: Path) -> None:
    names = ["DIN", "Base", "popularity", "frequency", "item-item", "logistic"]
    assert list(result.probabilities) == list(result.comparison.reports) == names
    n_rows = Task.open(folder / "task").n_rows("test")
    assert all(len(found) == n_rows for found in result.probabilities.values())
    assert result.comparison.subject == "DIN"
    assert result.ranker.report == result.comparison.reports["DIN"]
    assert "0.5 of the negatives" in result.comparison.reports["DIN"].protocol.sampling


def test_the_saved_ranker_is_the_one_measured(result: RunResult, folder: Path) -> None:
    task = Task.open(folder / "task")
    loaded = Ranker.load(folder / "run" / "ranker")
    assert np.array_equal(loaded.score(task, "test"), result.probabilities["DIN"])
    assert loaded.report == result.ranker.report
    assert load_artifact(folder / "run" / "ranker").id == result.artifact
    text = loaded.files["comparison.json"].decode()
    assert Comparison.from_json(text) == result.comparison


def test_the_folder_tells_how_it_was_made(result: RunResult, folder: Path) -> None:
    asked = json.loads((folder / "run" / "config.json").read_text())
    assert from_jsonable(RunConfig, asked).seed == 3
    assert (folder / "run" / "runs" / "base" / "metrics.jsonl").exists()
    assert list(result.stages) == [
        "train DIN",
        "score DIN",
        "train Base",
        "score Base",
        "fit the rules",
        "compare",
        "save",
    ]


def test_a_ranker_is_not_replaced_by_accident(result: RunResult, folder: Path) -> None:
    task = Task.open(folder / "task")
    with pytest.raises(ResourceError, match="already holds a ranker"):
        run(small(folder / "run"), task=task)


def test_runs_are_repeatable_and_every_choice_counts(folder: Path, tmp_path: Path) -> None:
    task = shop_task(tmp_path / "task", users=10)
    state = torch.get_rng_state()
    first = run(small(tmp_path / "a"), task=task)
    assert torch.equal(state, torch.get_rng_state())
    again = run(small(tmp_path / "a"), task=task, overwrite=True)
    other = run(small(tmp_path / "b", seed=1), task=task)
    isotonic = run(small(tmp_path / "c", calibration="isotonic"), task=task)
    raw = run(small(tmp_path / "d", calibration="none"), task=task)
    base = run(small(tmp_path / "e", model=replace(MODEL, interest="sum")), task=task)
    scores = [r.probabilities.get("DIN") for r in (first, again, other, isotonic, raw)]
    assert np.array_equal(scores[0], scores[1])
    for left in (scores[2], scores[3], scores[4]):
        assert not np.array_equal(scores[0], left)
    assert base.comparison.subject == "Base"
    assert "Base" not in first.probabilities


def test_a_run_that_was_cut_off_is_taken_up(tmp_path: Path) -> None:
    task = shop_task(tmp_path / "task", users=10)
    whole = run(small(tmp_path / "a"), task=task)
    (tmp_path / "a" / "ranker").rename(tmp_path / "gone")
    with pytest.raises(ConfigError, match="already holds a run"):
        run(small(tmp_path / "a"), task=task)
    resumed = run(small(tmp_path / "a"), task=task, resume=True)
    assert np.array_equal(whole.probabilities["DIN"], resumed.probabilities["DIN"])


def test_threads_are_those_asked_for_and_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = shop_task(tmp_path / "task", users=4)
    seen: list[int] = []
    real = pipeline.fit

    def watched(*arguments: Any, **more: Any) -> Any:
        seen.append(torch.get_num_threads())
        return real(*arguments, **more)

    monkeypatch.setattr(pipeline, "fit", watched)
    before = torch.get_num_threads()
    for threads in (1, 2, 0):
        run(small(tmp_path / f"t{threads}", threads=threads), task=task)
    assert seen == [1, 2, before]
    assert torch.get_num_threads() == before


def test_train_is_run_with_its_defaults(tmp_path: Path) -> None:
    task = shop_task(tmp_path / "task", users=10)
    ranker = train(task, model=MODEL, fit=FIT, base=False, draws=20, out=tmp_path / "out")
    expected = run(small(tmp_path / "same"), task=task).ranker
    assert np.array_equal(ranker.score(task, "test"), expected.score(task, "test"))
    with pytest.raises(ResourceError):
        train(task, model=MODEL, fit=FIT, draws=20, out=tmp_path / "out")
    found = train(task, model=MODEL, fit=FIT, draws=20, out=tmp_path / "out", overwrite=True)
    expected = run(small(tmp_path / "both", base=True), task=task).ranker
    assert np.array_equal(found.score(task, "test"), expected.score(task, "test"))


def test_measure_takes_any_task_with_the_columns(result: RunResult, folder: Path) -> None:
    task = Task.open(folder / "task")
    again = measure(result.ranker, task, draws=50, seed=3)
    assert result.ranker.report is not None
    assert again.metrics == result.ranker.report.metrics
    assert measure(result.ranker, task, draws=50, seed=4).metrics != again.metrics
    assert measure(result.ranker, task, split="valid").protocol.split.startswith("valid rows")
    other = shop_task(folder / "other", users=15, seed=5)
    assert other.spec != result.ranker.spec
    assert measure(result.ranker, other, draws=10).rows == other.n_rows("test")


def test_on_ray_the_workers_build_and_train_the_same_network(tmp_path: Path) -> None:
    task, given = shop_task(tmp_path / "task", users=10), dict[str, Any]()
    alone = run(small(tmp_path / "alone"), task=task)

    def fit_on_ray(make: Any, at: Path, config: FitConfig, where: Path, **rest: Any) -> Any:
        given.update(rest, folder=at)
        # It travels to the workers.
        assert pickle.dumps(make)
        model = make(Task.open(at))
        found = fit(model, task, config, where)
        return model, replace(found, valid=None)

    there = run(small(tmp_path / "ray"), task=task, fit_with=fit_on_ray)
    assert given == {"resume": False, "folder": task.folder}
    assert np.array_equal(there.probabilities["DIN"], alone.probabilities["DIN"])


def test_what_is_left_open_follows_from_the_data(tmp_path: Path) -> None:
    task = shop_task(tmp_path / "task", users=10)
    told: list[str] = []
    config = RunConfig(
        model=MODEL,
        fit=PartialFit(epochs=1, stream=PartialStream(max_history=9)),
        draws=20,
        base=False,
        out=tmp_path / "run",
    )
    found = run(config, task=task, tell=told.append)
    assert tuple(told) == found.why == ranker_defaults(task, config.fit, MODEL).why
    assert found.ranker.max_history == 9
    assert found.ranker.negative_rate == 1
    assert (tmp_path / "run" / "defaults.txt").read_text().splitlines() == told
    assert "defaults.txt" in Ranker.load(tmp_path / "run" / "ranker").files
    # The same by Python in one call, and by a config in which nothing is open.
    fit = config.fit
    again = train(task, model=MODEL, fit=fit, base=False, draws=20, out=tmp_path / "again")
    decided = replace(config, fit=decide(config, task).fit, out=tmp_path / "decided")
    assert run(decided, task=task).ranker.report == found.ranker.report == again.report


def test_a_search_comes_before_the_training(tmp_path: Path) -> None:
    task = shop_task(tmp_path / "task", users=8)
    found = run(small(tmp_path / "run"), task=task, search=2)
    assert found.search is not None
    assert len(found.search.trials) == 2
    assert found.why[-1].startswith("searched 2 trainings on validation")
    assert (tmp_path / "run" / "search" / "trials.json").exists()
    assert "search" in found.stages


class Stop(Callback):
    """Stops a run after so many steps, as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, step: StepDone) -> None:
        if step.step == self.step:
            raise KeyboardInterrupt


def test_a_run_is_closed_with_what_it_has(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    task, config = shop_task(tmp_path / "task", users=10), small(tmp_path / "run", base=True)
    with pytest.raises(ResumeError, match="no run to close"):
        run(config, task=task, stop_now=True)
    assert not (tmp_path / "run").exists()
    with pytest.raises(KeyboardInterrupt):
        run(config, task=task, callbacks=[Stop(3)])
    found = run(config, task=task, stop_now=True)
    assert list(found.probabilities) == ["DIN", "popularity", "frequency", "item-item", "logistic"]
    assert "Base was not begun" in caplog.text
    assert Ranker.load(tmp_path / "run" / "ranker").report == found.ranker.report
    whole = run(replace(config, out=tmp_path / "whole"), task=task)
    assert not np.array_equal(found.probabilities["DIN"], whole.probabilities["DIN"])
    # And it may go on after all.
    on = run(config, task=task, resume=True, overwrite=True)
    assert np.array_equal(on.probabilities["DIN"], whole.probabilities["DIN"])
    assert np.array_equal(on.probabilities["Base"], whole.probabilities["Base"])


@pytest.mark.parametrize("subject", ["DIN", "Base", MIXED])
def test_what_validation_rows_say_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subject: str
) -> None:
    task, told = shop_task(tmp_path / "task", users=10), list[str]()
    monkeypatch.setattr(pipeline, "choose", lambda *_, **__: (subject, f"it is {subject}"))
    found = run(small(tmp_path / "run", base=True), task=task, tell=told.append)
    assert found.comparison.subject == subject
    assert told[-1] == found.why[-1] == f"it is {subject}"
    assert (tmp_path / "run" / "defaults.txt").read_text().splitlines() == told
    loaded = Ranker.load(tmp_path / "run" / "ranker")
    assert loaded.model.config.title == subject
    assert np.array_equal(loaded.score(task, "test"), found.probabilities[subject])
    assert loaded.report == found.comparison.reports[subject]
    plain = run(small(tmp_path / "plain", base=True, mix=False), task=task)
    assert plain.comparison.subject == "DIN"
    assert np.array_equal(plain.probabilities["DIN"], found.probabilities["DIN"])


def test_more_epochs_are_taken_up(tmp_path: Path) -> None:
    task, config = shop_task(tmp_path / "task", users=10), small(tmp_path / "run")
    longer = replace(config, fit=replace(FIT, epochs=2))
    run(config, task=task)
    on = run(longer, task=task, resume=True, overwrite=True)
    whole = run(replace(longer, out=tmp_path / "whole"), task=task)
    assert np.array_equal(on.probabilities["DIN"], whole.probabilities["DIN"])


def test_another_model_is_named_before_anything_is_written(tmp_path: Path) -> None:
    task, config = shop_task(tmp_path / "task", users=10), small(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        run(config, task=task, callbacks=[Stop(3)])
    before = contents(tmp_path)
    other = replace(config, model=replace(MODEL, mlp_hidden=(8,)))
    with pytest.raises(ResumeError, match=r"mlp_hidden was \[16, 8\] and is now \[8\]"):
        run(other, task=task, resume=True)
    other = replace(config, fit=replace(FIT, decay=0.5, clip_norm=1.0))
    with pytest.raises(ResumeError, match=r"clip_norm was 10.0 .*fit.decay was 0.0"):
        run(other, task=task, resume=True)
    assert contents(tmp_path) == before


def test_each_training_is_told_to_the_callbacks(tmp_path: Path) -> None:
    task, names = shop_task(tmp_path / "task", users=10), list[str]()

    class Names(Callback):
        def on_begin(self, run: RunBegins) -> None:
            names.append(run.name)

    run(small(tmp_path / "run", base=True), task=task, callbacks=[Names()])
    train(task, model=MODEL, fit=FIT, draws=20, out=tmp_path / "out", callbacks=[Names()])
    assert names == ["din", "base", "din", "base"]


def test_train_takes_folders_and_says_what_it_does_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = shop_task(tmp_path / "task", users=10)
    asked = {"model": MODEL, "fit": FIT, "mix": False, "draws": 20}
    ranker = train(str(task.folder), out=tmp_path / "out", **asked)  # type: ignore[arg-type]
    assert ranker.data_hash == task.data_hash
    monkeypatch.setenv("ADWRIGHT_CACHE", str(tmp_path / "cache"))
    save_log(tmp_path / "log", small_log())
    logged = task_of(tmp_path / "log")
    assert (logged.items.height, logged.n_rows("train")) == (40, 48)
    assert task_of(logged) is logged
    for wrong in (pl.DataFrame({"a": [1]}), None, 3):
        with pytest.raises(SchemaError, match=r"trained on a task, not on .*data import"):
            train(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"did you mean fit=PartialFit\(epochs=...\)\?"):
        train(task, epochs=1)  # type: ignore[call-arg]
    assert "DIN: " in repr(ranker)
    assert "40 items" in repr(ranker)
    assert "<table>" in ranker._repr_html_()
