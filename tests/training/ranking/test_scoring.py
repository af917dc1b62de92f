"""?"""

from __future__ import annotations

import errno
import gzip
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from adwright.core.artifacts import load_artifact
from adwright.core.config import from_jsonable
from adwright.core.errors import (
    ConfigError,
    FileUnreadableError,
    ResourceError,
    ResumeError,
    SchemaError,
    ValueInvalidError,
)
from adwright.data.batches.stream import PartialStream, StreamConfig
from adwright.data.sources.log import save_log
from adwright.data.tasks.task import Task, write_task
from adwright.metrics.reports.report import Comparison
from adwright.models.ranking.din import DIN
from adwright.models.ranking.union import MIXED
from adwright.training.loop.trainee import Callback, RunBegins, StepDone
from adwright.training.ranking import run as pipeline
from adwright.training.ranking import scoring
from adwright.training.ranking.config import RunConfig, decide, ranker_defaults, task_of
from adwright.training.ranking.fit import (
    FitConfig,
    PartialFit,
    fit,
    open_stream,
    predict,
    predict_batches,
)
from adwright.training.ranking.ranker import Ranker
from adwright.training.ranking.run import RunResult, measure, run, train
from adwright.training.ranking.scoring import events_of, score_file
from tests.broken.cases import contents
from tests.support.data.ranking_task import FIT, MODEL, shop_run, shop_task, small_log, untrained


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


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return shop_task(tmp_path_factory.mktemp("shop") / "task")


@pytest.fixture(scope="module")
def ranker(task: Task) -> Ranker:
    return Ranker(untrained(task), task.spec, task.items)


@pytest.fixture(scope="module")
def rows(task: Task) -> pl.DataFrame:
    shuffled = task.rows("test").collect().sample(fraction=1, shuffle=True, seed=1)
    return shuffled.drop("visible", "frequency")


@pytest.fixture
def files(task: Task, rows: pl.DataFrame, tmp_path: Path) -> tuple[Path, Path]:
    rows.write_parquet(tmp_path / "rows.parquet", row_group_size=200)
    events = pl.read_parquet(task.events_path("test"))
    events.write_parquet(tmp_path / "events.parquet", row_group_size=100)
    return tmp_path / "rows.parquet", tmp_path / "events.parquet"


@pytest.mark.parametrize("chunk", [77, 100_000])
def test_scores_keep_the_order_of_the_rows(
    ranker: Ranker, rows: pl.DataFrame, files: tuple[Path, Path], tmp_path: Path, chunk: int
) -> None:
    out = tmp_path / "new" / "scores.parquet"
    assert score_file(ranker, *files, out, chunk=chunk) == rows.height
    found = pl.read_parquet(out)
    kept = ["user_id", "request_id", "time", "item_id", "label"]
    assert found.select(kept).equals(rows.select(kept))
    expected = ranker.score_rows(rows, pl.read_parquet(files[1]))
    np.testing.assert_allclose(found["probability"].to_numpy(), expected, atol=1e-6)
    assert found["known_item"].all()
    assert [path.name for path in out.parent.iterdir()] == ["scores.parquet"]


def test_csv_scores_like_parquet(
    ranker: Ranker, rows: pl.DataFrame, files: tuple[Path, Path], tmp_path: Path
) -> None:
    part = rows[:300]
    form = "%Y-%m-%dT%H:%M:%SZ"
    part.write_csv(tmp_path / "rows.csv", datetime_format=form)
    pl.read_parquet(files[1]).write_csv(tmp_path / "events.csv", datetime_format=form)
    score_file(ranker, tmp_path / "rows.csv", tmp_path / "events.csv", tmp_path / "s.parquet")
    found = pl.read_parquet(tmp_path / "s.parquet")["probability"].to_numpy()
    expected = ranker.score_rows(part, pl.read_parquet(files[1]))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_unknown_items_are_marked(
    ranker: Ranker, rows: pl.DataFrame, files: tuple[Path, Path], tmp_path: Path
) -> None:
    odd = rows[:3].with_columns(item_id=pl.Series(["i1", "new", "i2"]))
    odd.write_parquet(tmp_path / "odd.parquet")
    score_file(ranker, tmp_path / "odd.parquet", files[1], tmp_path / "s.parquet")
    assert pl.read_parquet(tmp_path / "s.parquet")["known_item"].to_list() == [True, False, True]


def test_bad_input_is_refused_by_place(
    ranker: Ranker, rows: pl.DataFrame, files: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "s.parquet"
    empty = pl.when(pl.int_range(pl.len()) != 150).then("item_id").alias("item_id")
    rows.with_columns(empty).write_parquet(tmp_path / "bad.parquet")
    with pytest.raises(ValueInvalidError, match=r"bad\.parquet, row 150, column item_id"):
        score_file(ranker, tmp_path / "bad.parquet", files[1], out, chunk=100)
    rows.drop("price").write_parquet(tmp_path / "less.parquet")
    with pytest.raises(SchemaError, match=r"less\.parquet, column price"):
        score_file(ranker, tmp_path / "less.parquet", files[1], out)
    pl.read_parquet(files[1]).drop("time").write_parquet(tmp_path / "timeless.parquet")
    with pytest.raises(SchemaError, match=r"missing: time .*timeless"):
        score_file(ranker, files[0], tmp_path / "timeless.parquet", out)
    with pytest.raises(FileUnreadableError, match="check the path"):
        score_file(ranker, tmp_path / "absent.parquet", files[1], out)
    with pytest.raises(FileUnreadableError, match="no such file"):
        score_file(ranker, tmp_path / "absent.csv", files[1], out)
    with pytest.raises(SchemaError, match="as Parquet"):
        score_file(ranker, *files, tmp_path / "s.csv")
    with pytest.raises(ConfigError, match="chunk"):
        score_file(ranker, *files, out, chunk=0)
    assert not out.exists()
    assert not list(tmp_path.glob(".s.parquet*"))


def test_an_existing_file_is_kept(ranker: Ranker, files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "s.parquet"
    out.write_text("mine")
    with pytest.raises(ResourceError, match="exists already"):
        score_file(ranker, *files, out)
    assert out.read_text() == "mine"
    score_file(ranker, *files, out, overwrite=True)
    assert pl.read_parquet(out).height


def test_a_full_disk_leaves_nothing(
    ranker: Ranker,
    files: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(scoring.pq.ParquetWriter, "write_table", full)
    with pytest.raises(ResourceError, match="disk is full"):
        score_file(ranker, *files, tmp_path / "s.parquet")
    assert not list(tmp_path.glob("*s.parquet*.tmp"))


def logged(history: pl.DataFrame, folder: Path, kinds: tuple[str, ...]) -> Path:
    """The events as a log: these kinds in turn, and an impression beside each of them."""
    kind = pl.Series([kinds[n % len(kinds)] for n in range(history.height)])
    shown = history.with_columns(item_id=pl.lit("i1"), kind=pl.lit("impression"))
    folder.mkdir()
    table = pl.concat([history.with_columns(kind=kind), shown])
    table.sort("user_id", "time", maintain_order=True).write_parquet(
        folder / "events.parquet", row_group_size=100
    )
    return folder


def test_what_was_shown_is_no_history(
    ranker: Ranker, rows: pl.DataFrame, files: tuple[Path, Path], tmp_path: Path
) -> None:
    history = pl.read_parquet(files[1])
    log = logged(history, tmp_path / "log", ("click", "purchase"))
    expected = ranker.score_rows(rows, history)
    for events in (log, log / "events.parquet"):
        score_file(ranker, files[0], events, tmp_path / "s.parquet", overwrite=True)
        found = pl.read_parquet(tmp_path / "s.parquet")["probability"].to_numpy()
        np.testing.assert_allclose(found, expected, atol=1e-6)
    mine = history.filter(user_id="u1").select("user_id", "item_id", "time")
    assert events_of(log, "u1").equals(mine)
    viewed = replace(ranker, history_kinds=("view",))
    with pytest.raises(ValueInvalidError, match=r"view .*click, impression, purchase"):
        score_file(viewed, files[0], log, tmp_path / "s.parquet", overwrite=True)


def test_popularity_is_counted_from_the_whole_log(
    task: Task, rows: pl.DataFrame, files: tuple[Path, Path], tmp_path: Path
) -> None:
    """Of earlier days, of the kinds that the task counts, and of all users, not only the rows'."""
    counting = Ranker(untrained(task), task.spec, task.items, popularity_kinds=("click",))
    events = pl.read_parquet(files[1]).with_columns(
        kind=pl.when(pl.int_range(pl.len()) % 3 == 0)
        .then(pl.lit("view"))
        .otherwise(pl.lit("click"))
    )
    events.write_parquet(tmp_path / "log.parquet", row_group_size=50)
    few = rows.filter(pl.col("user_id") == "u0")[:40]
    few.drop("popularity").write_parquet(tmp_path / "few.parquet")
    out = tmp_path / "s.parquet"
    score_file(counting, tmp_path / "few.parquet", tmp_path / "log.parquet", out, chunk=7)
    clicks = events.filter(pl.col("kind") == "click")
    counted = [
        clicks.filter(
            pl.col("item_id") == row["item_id"], pl.col("time").dt.date() < row["time"].date()
        ).height
        for row in few.iter_rows(named=True)
    ]
    assert max(counted) > 0
    told = few.with_columns(popularity=pl.Series(counted, dtype=pl.Float64))
    found = pl.read_parquet(out)["probability"].to_numpy()
    np.testing.assert_allclose(found, counting.score_rows(told, events), atol=1e-6)
    assert "popularity" not in pl.read_parquet(out).columns
    assert scoring.counts_popularity(counting, ["item_id"])
    assert not scoring.counts_popularity(counting, ["popularity"])


def test_popularity_of_another_meaning_must_be_said(
    ranker: Ranker, rows: pl.DataFrame, files: tuple[Path, Path], tmp_path: Path
) -> None:
    rows.drop("popularity").write_parquet(tmp_path / "less.parquet")
    with pytest.raises(SchemaError, match=r"less\.parquet, column popularity"):
        score_file(ranker, tmp_path / "less.parquet", files[1], tmp_path / "s.parquet")


def test_new_items_are_scored_by_their_features(
    ranker: Ranker, task: Task, rows: pl.DataFrame, files: tuple[Path, Path], tmp_path: Path
) -> None:
    odd = rows[:3].with_columns(item_id=pl.Series(["i1", "new", "i2"]))
    odd.write_parquet(tmp_path / "odd.parquet")
    pl.DataFrame({"item_id": ["new", "i1"], "type": ["jam", "soap"]}).write_csv(
        tmp_path / "items.csv"
    )
    out, args = tmp_path / "s.parquet", (tmp_path / "odd.parquet", files[1])
    score_file(ranker, *args, out, items=tmp_path / "items.csv")
    found = pl.read_parquet(out)
    assert found["known_item"].all()
    without = ranker.score_rows(odd, pl.read_parquet(files[1]))
    np.testing.assert_allclose(found["probability"].to_numpy()[[0, 2]], without[[0, 2]], atol=1e-6)
    assert abs(found["probability"][1] - without[1]) > 1e-6


HOURS = pl.datetime_range(
    pl.datetime(2024, 5, 1), pl.datetime(2024, 5, 20), "1h", eager=True, time_zone="UTC"
)
EVENTS = pl.DataFrame(
    {
        "user_id": [f"u{n // 40}" for n in range(400)],
        "item_id": [f"i{n % 7}" for n in range(400)],
        "time": HOURS[:400],
        "kind": [("click", "view")[n % 2] for n in range(400)],
    }
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    EVENTS.write_parquet(tmp_path / "events.parquet", row_group_size=100)
    return tmp_path / "events.parquet"


def test_of_one_person_the_kinds_count_too(file: Path, tmp_path: Path) -> None:
    found, clicked = (events_of(file, "u1", kinds=kinds) for kinds in (("view",), ("click",)))
    assert found.height == clicked.height == 20
    pl.DataFrame({"user_id": ["a", "b"], "item_id": ["i1", "i1"], "time": [1, 1]}).with_columns(
        kind=pl.Series(["impression", "click"])
    ).write_parquet(tmp_path / "e.parquet")
    assert events_of(tmp_path / "e.parquet", "b").height == 1
    with pytest.raises(ValueInvalidError, match="no click or purchase of this user"):
        events_of(tmp_path / "e.parquet", "a")


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "jsonl", "renamed"])
def test_every_file_that_is_a_log_will_do(file: Path, tmp_path: Path, ending: str) -> None:
    plain = EVENTS.with_columns(pl.col("time").dt.strftime("%Y-%m-%d %H:%M:%S"))
    other = tmp_path / f"other.{ending}"
    match ending:
        case "csv":
            plain.write_csv(other)
        case "csv.gz":
            other.write_bytes(gzip.compress(plain.write_csv().encode()))
        case "jsonl":
            plain.write_ndjson(other)
        case "renamed":
            other = tmp_path / "other.csv"
            names = {"user_id": "customer_id", "item_id": "product_id", "time": "timestamp"}
            plain.rename(names).write_csv(other, separator=";")
    mine, theirs = events_of(file, "u3"), events_of(other, "u3")
    assert theirs.height == 20
    assert theirs["item_id"].to_list() == mine["item_id"].to_list()
    seconds = [table["time"].dt.epoch("s").to_list() for table in (mine, theirs)]
    assert seconds[0] == seconds[1]


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match="no such"):
        events_of(tmp_path / "none.csv", "u1")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SchemaError):
        events_of(tmp_path / "bad.csv", "u1")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(FileUnreadableError, match="damaged"):
        events_of(tmp_path / "bad.parquet", "u1")


def test_equals_one_batch_a_person(task: Task, make_din: Callable[..., DIN]) -> None:
    model = make_din(task).eval()
    found = predict(model, task, "valid")
    config = StreamConfig(groups_per_batch=1, rows_per_group=1, window=3, shuffle=False)
    slow = np.full(len(found.label), np.nan)
    with torch.no_grad():
        for batch, _ in open_stream(task, "valid", config).epoch():
            slow[batch.row.numpy()] = torch.sigmoid(model(batch).double()).numpy()
    assert np.allclose(found.probability, slow, atol=1e-6)


def test_max_history_changes_scores(task: Task, make_din: Callable[..., DIN]) -> None:
    model = make_din(task)
    whole = predict(model, task, "valid").probability
    assert not np.allclose(whole, predict(model, task, "valid", max_history=1).probability)
    assert np.array_equal(whole, predict(model, task, "valid", max_history=10**6).probability)


def test_divided_is_the_same_in_one_process(task: Task, make_din: Callable[..., DIN]) -> None:
    model = make_din(task)
    whole, divided = (predict(model, task, "test", divided=flag) for flag in (False, True))
    assert np.array_equal(whole.probability, divided.probability)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_keeps_its_mode(task: Task, make_din: Callable[..., DIN], training: bool) -> None:
    model = make_din(task).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    predict(model, task, "valid")
    assert model.training is training
    # Scoring takes nothing into the moving averages of Dice.
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    stream = open_stream(task, "valid", StreamConfig(shuffle=False))
    batches = predict_batches(model, stream)
    next(batches)
    assert not model.training
    batches.close()
    assert model.training is training


class Extreme(nn.Module):
    def forward(self, batch: object) -> Tensor:
        rows: int = len(batch)  # type: ignore[arg-type]
        return torch.full((rows,), -1e5)


def test_an_empty_split_is_refused(task: Task, tmp_path: Path) -> None:
    rows = task.rows("train").collect().with_columns(split=pl.lit("train"))
    empty = write_task(
        tmp_path / "no-valid",
        name="tiny",
        protocol="made up",
        data_hash="0" * 64,
        rows=rows.drop("visible", "frequency"),
        events=pl.read_parquet(task.events_path("train")),
        items=task.items,
        features=[replace(f, vocabulary=()) for f in task.spec.features],
    )
    with pytest.raises(ValueInvalidError, match=r"the valid split has no rows.*valid.rows.parquet"):
        predict(Extreme(), empty, "valid")
