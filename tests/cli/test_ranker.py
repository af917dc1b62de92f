from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from adwright.cli import app
from adwright.data.tasks.task import Task
from adwright.metrics.reports.report import Report
from adwright.training.ranking.ranker import Ranker
from tests.support.commands import call
from tests.support.data.ranking_task import shop_task

RUN = """seed = 3
draws = 20
base = false
out = "out"
[task]
kind = "folder"
folder = "task"
[model]
mlp_hidden = [16, 8]
[fit]
epochs = 1
learning_rate = 0.01
[fit.stream]
negative_rate = 0.5
groups_per_batch = 8
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    shop_task(folder / "task", users=16)
    (folder / "run.toml").write_text(RUN)
    return folder


@pytest.fixture(autouse=True)
def _inside(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)


@pytest.fixture(scope="module")
def trained(here: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        text = call("train", "run.toml")
    assert "Saved in out/ranker" in text
    return here / "out" / "ranker"


def plan(*arguments: str) -> dict[str, Any]:
    """The settings that a dry run prints."""
    result = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "trains: " in result.stderr
    values: dict[str, Any] = json.loads(result.stdout)
    return values


def test_options_win_over_the_run_file() -> None:
    values = plan("train", "run.toml", "--out", "free")
    assert (values["seed"], values["fit"]["epochs"], values["out"]) == (3, 1, "free")
    changed = plan(
        *("train", "run.toml", "--seed", "5", "--epochs", "2", "--out", "there"),
        *("--negative-rate", "0.25", "--base", "--task", "complete-journey"),
    )
    assert (changed["seed"], changed["base"], changed["out"]) == (5, True, "there")
    assert changed["fit"]["epochs"] == 2
    assert changed["fit"]["stream"]["negative_rate"] == 0.25
    assert changed["task"]["kind"] == "response"
    assert plan("train")["task"]["kind"] == "response"


def test_a_wrong_key_is_named(here: Path) -> None:
    (here / "bad.toml").write_text("[fit]\nepoch = 1\n")
    assert "bad.toml, key fit.epoch" in call("train", "bad.toml", code=2)


def test_training_is_not_repeated_by_accident(trained: Path) -> None:
    assert "--force" in call("train", "run.toml", code=2)
    assert "Saved in" in call("train", "run.toml", "--force")
    trained.rename(trained.with_name("moved"))
    assert "already holds a run" in call("train", "run.toml", code=2)
    assert "Saved in" in call("train", "run.toml", "--resume")


def test_evaluate_gives_the_report_of_the_training(trained: Path, here: Path) -> None:
    text = call("evaluate", "out/ranker", "--task", "task", "--out", "r.json", "--draws", "20")
    report = Report.from_json((here / "r.json").read_text())
    saved = Ranker.load(trained).report
    assert saved is not None
    assert report.metrics["gauc"].value == pytest.approx(saved.metrics["gauc"].value)
    assert f"{report.metrics['gauc'].value:.4f}" in text
    valid = call("evaluate", "out/ranker", "--task", "task", "--split", "valid", "--seed", "4")
    assert "split: valid rows" in valid
    assert "--force" in call("evaluate", "out/ranker", "--task", "task", "--out", "r.json", code=2)


def test_evaluate_takes_the_run_and_its_task(trained: Path, here: Path) -> None:
    text = call("evaluate", "out", "--out", "s.json", "--draws", "20")
    assert "test rows of" in text
    report, saved = Report.from_json((here / "s.json").read_text()), Ranker.load(trained).report
    assert saved is not None
    assert report.metrics["gauc"].value == pytest.approx(saved.metrics["gauc"].value)
    (here / "out" / "config.json").rename(here / "kept.json")
    assert "name the task with --task" in call("evaluate", "out", code=2)
    (here / "kept.json").rename(here / "out" / "config.json")


def test_score_and_explain(trained: Path, here: Path) -> None:
    rows, events = "task/test/rows.parquet", "task/test/events.parquet"
    needed = call(
        "score", "out/ranker", rows, "--events", events, "--out", "s.parquet", "--dry-run"
    )
    assert "user_id, item_id, store, popularity, price, time" in needed
    assert not (here / "s.parquet").exists()
    arguments = ("score", "out/ranker", rows, "--events", events, "--out", "s.parquet")
    assert "rows scored into s.parquet" in call(*arguments, "--chunk", "100")
    scores = pl.read_parquet(here / "s.parquet")
    assert scores.height == pl.read_parquet(here / rows).height
    call(*arguments, code=2)
    call(*arguments, "--force")
    text = call(*("explain", "out/ranker", "i1", "--user", "u1"), "--events", events, "--k", "2")
    assert "rice, own, 1 g for u1" in text
    assert text.count("│") == 2 * 5
    nobody = call("explain", "out/ranker", "i1", "--user", "nobody", "--events", events, code=2)
    assert "no event of this user" in nobody


def test_what_was_shown_is_no_history(trained: Path, here: Path) -> None:
    rows, events = "task/test/rows.parquet", "task/test/events.parquet"
    history = pl.read_parquet(here / events)
    shown = history.with_columns(item_id=pl.lit("i1"), kind=pl.lit("impression"))
    log = pl.concat([history.with_columns(kind=pl.lit("click")), shown])
    (here / "imported").mkdir()
    log.write_parquet(here / "imported" / "events.parquet")
    for source, out in ((events, "a.parquet"), ("imported", "b.parquet")):
        call("score", "out/ranker", rows, "--events", source, "--out", out)
    assert pl.read_parquet(here / "b.parquet").equals(pl.read_parquet(here / "a.parquet"))
    why = ("explain", "out/ranker", "i1", "--user", "u1", "--events")
    assert call(*why, "imported") == call(*why, events)
    shown.write_parquet(here / "shown.parquet")
    assert "impression" in call(*why, "shown.parquet", code=2)


def test_the_kinds_of_the_ranker_count(trained: Path, here: Path) -> None:
    task = Task.open(here / "task")
    meta = task.meta | {"history": ["view"]}
    shutil.copytree(here / "task", here / "viewed")
    (here / "viewed" / "task.json").write_text(json.dumps(meta))
    call("train", "run.toml", "--task", "viewed", "--out", "views")
    history = pl.read_parquet(task.events_path("test")).filter(user_id="u1")
    history.with_columns(kind=pl.lit("click")).write_parquet(here / "clicks.parquet")
    history.with_columns(kind=pl.lit("view")).write_parquet(here / "views.parquet")
    why = ("explain", "views/ranker", "i1", "--user", "u1", "--events")
    assert "for u1" in call(*why, "views.parquet")
    assert "view" in call(*why, "clicks.parquet", code=2)


def test_export(trained: Path, here: Path) -> None:
    assert "scorer.onnx" in call("export", "out/ranker", "scorer")
    assert (here / "scorer" / "scorer.onnx").exists()
    call("export", "out/ranker", "scorer", code=2)


def test_ray_is_an_option_of_train(monkeypatch: pytest.MonkeyPatch) -> None:
    said = call("train", "run.toml", "--retries", "1", "--dry-run", code=2)
    assert "add --ray-workers" in said
    monkeypatch.setitem(sys.modules, "ray", None)
    for verb in (("train", "run.toml"), ("tune", "--data", "none.jsonl")):
        said = " ".join(call(*verb, "--ray-workers", "2", code=2).split())
        assert "adwright[ray]" in said
