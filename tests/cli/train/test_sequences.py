"""adwright train sequence and its names hstu and sasrec, on a small file of events."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from typer.testing import CliRunner

from adwright.cli import app
from adwright.metrics.reports.report import RankingComparison
from adwright.training.sequential.artifact import SequenceArtifact
from adwright.training.sequential.run import run_sequence
from adwright.training.sequential.runfile import SequenceDataConfig, default_run
from tests.support.commands import quietly
from tests.support.data.small_sequences import small_sequences

RUN = """seed = 3
draws = 20
threads = 1
out = "out"
[data]
kind = "events"
path = "events.csv"
[model]
width = 8
max_length = 16
blocks = 1
heads = 2
[fit]
epochs = 1
learning_rate = 0.01
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    walks = small_sequences()
    person = [walks.users[u] for u in range(len(walks)) for _ in range(*walks.offsets[u : u + 2])]
    items = [walks.ids[code - 1] for code in walks.item]
    table = pl.DataFrame({"user_id": person, "item_id": items, "time": walks.time})
    table.write_csv(folder / "events.csv")
    (folder / "run.toml").write_text(RUN)
    (folder / "items").mkdir()
    (folder / "items" / "sequences.txt").write_text("1 5 6 7 8\n2 6 7 8 5\n3 7 8 5 6\n")
    attributes = '{"5": [1], "6": [1], "7": [2], "8": [2]}'
    (folder / "items" / "item_attributes.json").write_text(attributes)
    (folder / "empty").mkdir()
    return folder


@pytest.fixture(autouse=True)
def _inside(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    monkeypatch.setenv("COLUMNS", "200")


def plan(*arguments: str) -> dict[str, Any]:
    """The settings that a dry run prints."""
    result = CliRunner().invoke(app, ["--quiet", *arguments, "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "trains: " in result.stderr
    values: dict[str, Any] = json.loads(result.stdout)
    return values


@pytest.mark.parametrize("verb", ["hstu", "sasrec"])
def test_options_win_over_the_run_file(verb: str) -> None:
    values = plan("train", verb, "run.toml")
    assert (values["seed"], values["fit"]["epochs"], values["out"]) == (3, 1, "out")
    assert (values["model"]["width"], values["data"]["path"]) == (8, "events.csv")
    changed = plan(
        *("train", verb, "run.toml", "--seed", "5", "--epochs", "2"),
        *("--out", "there", "--events", "items", "--max-length", "9", "--blocks", "3"),
        *("--width", "12"),
    )
    assert (changed["seed"], changed["fit"]["epochs"], changed["out"]) == (5, 2, "there")
    assert changed["data"]["kind"] == "items"
    model = changed["model"]
    assert (model["max_length"], model["blocks"], model["width"]) == (9, 3, 12)
    if verb == "hstu":
        assert (model["qk_width"], model["v_width"]) == (6, 6)
    default = plan("train", verb, "--households", "0.01")
    assert default["data"]["kind"] == "journey"
    assert (default["data"]["households"], default["out"]) == (0.01, f"runs/{verb}")


@pytest.mark.parametrize(("verb", "name"), [("hstu", "HSTU"), ("sasrec", "SASRec")])
def test_train(verb: str, name: str, here: Path) -> None:
    text = quietly("train", verb, "run.toml", "--out", verb)
    assert f"Saved in {verb}/model as" in text
    for word in (name, "Popularity", "Item-item"):
        assert word in text
    told = RankingComparison.from_json((here / verb / "report.json").read_text())
    saved = SequenceArtifact.load(here / verb / "model")
    assert (type(saved.model).__name__, saved.seed, saved.name) == (name, 3, "events")
    assert saved.report == told.reports[name]
    assert "already" in quietly("train", verb, "run.toml", "--out", verb, code=2)
    for more in ([], ["--resume"]):
        assert "Saved in" in quietly("train", verb, "run.toml", "--out", verb, "--force", *more)
        again = SequenceArtifact.load(here / verb / "model").model.state_dict()
        assert all(torch.equal(v, again[k]) for k, v in saved.model.state_dict().items())


def test_settings_follow_from_the_data_and_are_told(here: Path) -> None:
    """The command, a run file and Python say the same."""
    text = quietly("train", "hstu", "--events", "events.csv", "--epochs", "1", "--out", "own")
    told = [line[9:] for line in text.splitlines() if line.startswith("Default: ")]
    assert told == (here / "own" / "defaults.txt").read_text().splitlines()
    assert any(line.startswith("split: ") for line in told)
    assert any("histories: the latest 20 events" in line for line in told)
    assert any("at most 1 epochs" in line for line in told)
    (here / "own.toml").write_text(
        'out = "file"\n[data]\nkind = "events"\npath = "events.csv"\n[fit]\nepochs = 1\n'
    )
    quietly("train", "hstu", "own.toml")
    asked = default_run(own=True)
    data = SequenceDataConfig("events", here / "events.csv")
    fit = replace(asked.fit, epochs=1)
    run_sequence(replace(asked, data=data, fit=fit, out=here / "python"))
    reports = [
        RankingComparison.from_json((here / name / "report.json").read_text())
        for name in ("own", "file", "python")
    ]
    assert reports[0] == reports[1] == reports[2]


def test_what_was_shown_is_no_history(here: Path) -> None:
    table = pl.read_csv(here / "events.csv")
    shown = table.with_columns(item_id=pl.lit("shown"), kind=pl.lit("impression"))
    (here / "log").mkdir()
    log = pl.concat([table.with_columns(kind=pl.lit("click")), shown])
    log.write_parquet(here / "log" / "events.parquet")
    quietly("train", "sasrec", "run.toml", "--events", "log", "--out", "logged")
    assert "shown" not in SequenceArtifact.load(here / "logged" / "model").ids
    shown.write_csv(here / "shown.csv")
    text = quietly("train", "sasrec", "run.toml", "--events", "shown.csv", "--out", "wrong", code=2)
    assert "impression" in text


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        (["--events", "nowhere.csv"], "there is no such log"),
        (["--events", "empty"], "does not exist"),
        (["--width", "7"], "multiple of heads"),
        (["--households", "0"], "households must be above 0 and at most 1"),
        (["--households", "0.5"], "alone"),
    ],
)
def test_mistakes_are_told(arguments: list[str], about: str) -> None:
    text = quietly("train", "sasrec", "run.toml", "--out", "wrong", *arguments, code=2)
    assert about in text
    assert not Path("wrong", "model").exists()


def test_the_model_is_an_option_and_a_name_of_the_verb() -> None:
    for kind in ("hstu", "sasrec"):
        named = plan("train", kind, "run.toml")
        assert plan("train", "sequence", "run.toml", "--model", kind) == named
    assert plan("train", "sequence", "run.toml") == plan("train", "hstu", "run.toml")
    text = quietly("train", "sequence", "--model", "gru", code=2)
    assert "no sequence model 'gru'" in text
    assert "--model" not in quietly("train", "hstu", "--help")
