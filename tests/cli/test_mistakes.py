"""Mistakes of users: each is answered in plain words, by its exit code, and leaves nothing behind.

A row is (name, words of the command, parts of the answer, exit code). The words are typed in a
folder that holds

    task/          a task, and rows.parquet and events.parquet of it
    ranker/        a saved ranker of it, also as runs/a/ranker
    popularity/    a saved artifact of another kind
    log/           an imported log, with events.parquet and items.parquet
    events.csv     events for a sequence model
    run.toml, sequence.toml    run files of both; done/ holds what the first one trained
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from adwright.cli import app
from adwright.data.sources.log import save_log
from adwright.delivery.popularity import save_popularity
from adwright.training.ranking.ranker import Ranker
from tests.broken.cases import contents
from tests.support.data.ranking_task import shop_task, small_log, untrained
from tests.support.data.small_sequences import small_sequences

Mistake = tuple[str, Sequence[str], Sequence[str], int]

RUN = """seed = 3
draws = 20
base = false
out = "done"
[task]
kind = "folder"
folder = "task"
[model]
mlp_hidden = [16, 8]
[fit]
epochs = 1
[fit.stream]
groups_per_batch = 8
"""
SEQUENCE = """draws = 20
threads = 1
out = "walks"
[data]
kind = "events"
path = "events.csv"
[model]
width = 8
heads = 2
max_length = 16
[fit]
epochs = 1
"""
FILES = {
    "run.toml": RUN,
    "sequence.toml": SEQUENCE,
    "typo.toml": "sede = 1\n[fit]\nepoch = 3\nlr = 0.1\n",
    "type.toml": '[fit]\nepochs = "3"\n',
    "broken.toml": "seed = \n",
    "wide.toml": SEQUENCE.replace("width = 8", "width = 9"),
    "other.toml": RUN.replace("epochs = 1", "epochs = 1\nlearning_rate = 0.5\ndecay = 0.1"),
    "model.toml": RUN.replace("[16, 8]", "[8]"),
}

TRAINING: list[Mistake] = [
    (
        "a verb misspelt",
        ["train", "hsut"],
        ["there is no verb and no file 'hsut'", "did you mean hstu?"],
        2,
    ),
    ("a verb of tune misspelt", ["tune", "jbos"], ["did you mean jobs?"], 2),
    (
        "nothing to train on",
        ["train", "din"],
        ["there is nothing named to train on", "--task", "31 MB", "adwright demo"],
        2,
    ),
    ("nothing at all", ["train"], ["there is nothing named to train on"], 2),
    (
        "nothing to train a sequence model on",
        ["train", "sasrec"],
        ["there is nothing named to train on", "adwright train sasrec", "--events"],
        2,
    ),
    (
        "typing mistakes in a run file",
        ["train", "typo.toml"],
        [
            "unknown key",
            "typo.toml, key",
            "did you mean seed?",
            "did you mean epochs?",
            "did you mean learning_rate?",
        ],
        2,
    ),
    ("text for a number", ["train", "type.toml"], ["valid integer", "key fit.epochs"], 2),
    ("broken TOML", ["train", "broken.toml"], ["not valid TOML", "broken.toml"], 2),
    (
        "a run file of another kind",
        ["train", "sequence.toml"],
        ["unknown key", "sequence.toml", "key width", "heads: unknown key"],
        2,
    ),
    (
        "a task that is not there",
        ["train", "--task", "nowhere", "--out", "new"],
        ["no readable task", "nowhere/task.json"],
        2,
    ),
    ("a folder of /proc", ["train", "run.toml", "--out", "/proc/x"], ["/proc/x", "choose an"], 2),
    (
        "a folder below a file",
        ["train", "run.toml", "--out", "run.toml/x"],
        ["a part of the path is a file", "run.toml/x"],
        2,
    ),
    (
        "a sequence model into /proc",
        ["train", "hstu", "sequence.toml", "--out", "/proc/x"],
        ["/proc/x", "choose another path"],
        2,
    ),
    (
        "a ranker that is there",
        ["train", "run.toml"],
        ["this path exists already", "done/ranker", "--force"],
        2,
    ),
    (
        "a run that is there",
        ["train", "run.toml", "--out", "cut"],
        ["this folder already holds a run", "--resume", "--force"],
        2,
    ),
    (
        "to resume with another config",
        ["train", "other.toml", "--out", "cut", "--resume"],
        [
            "fit.decay was 0.0 and is now 0.1",
            "fit.learning_rate was 0.006 and is now 0.5",
            "begin a new run",
        ],
        2,
    ),
    (
        "to resume with another model",
        ["train", "model.toml", "--out", "cut", "--resume"],
        ["started with another model: mlp_hidden was [16, 8] and is now [8]"],
        2,
    ),
    (
        "to close a run that was never begun",
        ["train", "run.toml", "--out", "new", "--stop-now"],
        ["there is no run to close", "train first"],
        2,
    ),
    (
        "a tracker that is not installed",
        ["train", "run.toml", "--out", "new", "--log-to", "mlflow"],
        ["logging to MLflow needs packages", "pip install 'adwright[mlflow]'"],
        2,
    ),
    ("an option of no value", ["train", "--epochs", "three"], ["--epochs"], 2),
]
DRY: list[Mistake] = [
    (
        "a dry run of a task that is not there",
        ["train", "--task", "nowhere", "--out", "new", "--dry-run"],
        ["no readable task"],
        2,
    ),
    (
        "a dry run into /proc",
        ["train", "run.toml", "--out", "/proc/x", "--dry-run"],
        ["/proc/x"],
        2,
    ),
    (
        "a dry run where a ranker is",
        ["train", "run.toml", "--dry-run"],
        ["already holds a ranker", "done/ranker"],
        2,
    ),
    (
        "a dry run where a run is",
        ["train", "run.toml", "--out", "cut", "--dry-run"],
        ["already holds a run"],
        2,
    ),
    (
        "a dry run of a width that cannot be",
        ["train", "sasrec", "wide.toml", "--dry-run"],
        ["width", "multiple of heads"],
        2,
    ),
    (
        "a dry run of events that are not there",
        ["train", "hstu", "--events", "nowhere.csv", "--dry-run"],
        ["there is no such file", "nowhere.csv"],
        2,
    ),
    (
        "a dry run of a run to resume with another config",
        ["train", "other.toml", "--out", "cut", "--resume", "--dry-run"],
        ["fit.decay was 0.0 and is now 0.1"],
        2,
    ),
]
MODELS: list[Mistake] = [
    (
        "one folder too high",
        ["evaluate", "runs/a", "--task", "task"],
        ["there is no artifact here", "runs/a/ranker does"],
        2,
    ),
    (
        "a model of another kind",
        ["evaluate", "popularity", "--task", "task"],
        ["the artifact is of kind 'popularity', not 'ranker'"],
        2,
    ),
    (
        "no ad",
        ["explain", "ranker", "i1", "--user", "u1", "--events", "task/events.parquet", "--k", "0"],
        ["--k"],
        2,
    ),
    (
        "scores into /proc",
        [
            *("score", "ranker", "task/rows.parquet", "--events", "task/events.parquet"),
            *("--out", "/proc/x/s.parquet"),
        ],
        ["/proc/x/s.parquet", "choose another path"],
        2,
    ),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mistakes")
    task = shop_task(folder / "task", users=8)
    for name in ("rows", "events"):
        shutil.copy(folder / "task" / "test" / f"{name}.parquet", folder / "task")
    for place in ("ranker", "runs/a/ranker"):
        Ranker(untrained(task), task.spec, task.items).save(folder / place)
    save_popularity(folder / "popularity", ["tea", "jam"], np.array([1.0, 2.0]))
    save_log(folder / "log", small_log())
    walks = small_sequences()
    person = [walks.users[u] for u in range(len(walks)) for _ in range(*walks.offsets[u : u + 2])]
    items = [walks.ids[code - 1] for code in walks.item]
    table = pl.DataFrame({"user_id": person, "item_id": items, "time": walks.time})
    table.write_csv(folder / "events.csv")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner().invoke(app, ["train", "run.toml"])
    assert result.exit_code == 0, result.output
    shutil.copytree(folder / "done", folder / "cut")
    shutil.rmtree(folder / "cut" / "ranker")
    return folder


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """The command line logs to the standard error stream of its own test."""
    yield
    logging.getLogger("adwright").handlers.clear()
    logging.getLogger("adwright").setLevel(logging.NOTSET)


def named(mistake: Mistake) -> str:
    return mistake[0]


@pytest.mark.parametrize("mistake", [*TRAINING, *DRY, *MODELS], ids=named)
def test_a_mistake_is_answered_and_leaves_nothing_behind(
    mistake: Mistake, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, words, parts, code = mistake
    monkeypatch.chdir(here)
    monkeypatch.setenv("COLUMNS", "200")
    before = contents(here)
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    said = " ".join(result.output.split())
    for part in parts:
        assert part in said, said
    assert contents(here) == before
    assert not Path("/proc/x").exists()


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADWRIGHT_CACHE", "/proc/x")
    monkeypatch.delenv("ADWRIGHT_OFFLINE", raising=False)
    result = CliRunner().invoke(app, ["train", "--task", "movielens", "--out", "new"])
    assert result.exit_code == 2, result.output
    assert "/proc/x" in result.output
    assert "ADWRIGHT_CACHE names" in result.output
    assert list(tmp_path.iterdir()) == []


def test_to_resume_nothing_is_said_and_begins_anew(
    here: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(here)
    result = CliRunner().invoke(app, ["train", "run.toml", "--out", "anew", "--resume"])
    assert result.exit_code == 0, result.output
    assert "there is nothing to resume in anew/runs/din: a new run begins" in caplog.text
    shutil.rmtree(here / "anew")
