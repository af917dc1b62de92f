from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

import typer
from typer.testing import CliRunner

from adwright.cli.app import Root
from adwright.cli.author.tune import tune
from adwright.cli.verbs import verb
from tests.authoring.test_recipe import write_rows
from tests.support.lm.tiny_llama import save_tiny

RUN = CliRunner()
app = typer.Typer(cls=Root)
verb(app, "tune")(tune)
app.command("other")(lambda: None)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as a Hugging Face folder."""
    return save_tiny(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A folder of rows of two tasks."""
    return write_rows(tmp_path / "rows")


def said(*words: str, code: int = 0) -> str:
    found = RUN.invoke(app, ["tune", *words])
    assert found.exit_code == code, found.output
    return found.output


def test_it_tunes_and_is_resumed(base: Path, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = (
        str(rows),
        "--model",
        str(base),
        "--out",
        str(out),
        "--steps",
        "2",
        "--batch",
        "4",
        "--valid",
        "0.3",
    )
    told = said(*words, "--task", "ads", "--set", "rank=2", "--rate", "0.01")
    assert "held-out answers, nats per token" in told
    assert "LoRA" in told
    assert (out / "tuned" / "manifest.json").is_file()
    assert "exists already" in said(*words, "--task", "ads", code=2)
    said(*words, "--task", "ads", "--set", "rank=2", "--rate", "0.01", "--resume")
    said(*words, "--task", "descriptions", "--method", "ia3", "--force")
    assert json.loads((out / "report.json").read_text())["method"] == "IA3"


def test_a_dry_run_shows_the_tuning(rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    told = json.loads(
        said(
            str(rows),
            "--out",
            str(out),
            "--profile",
            "7b-gpu",
            "--epochs",
            "2",
            "--max-length",
            "99",
            "--device",
            "cuda:1",
            "--seed",
            "4",
            "--dry-run",
        )
    )
    assert told["model"] == "meta-llama/Llama-2-7b-hf"
    assert told["method"]["class"] == "LoRA"
    assert (told["quantise"], told["device"], told["seed"]) == ("nf4", "cuda:1", 4)
    assert (told["tune"]["epochs"], told["data"]["max_length"]) == (2, 99)
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--task", "poems"), "no task 'poems'"),
        (("--task", "titles"), "no rows to tune on"),
        (("--method", "LoRAA"), "LoRA"),
        (("--set", "rank"), "a setting is NAME=VALUE"),
    ],
)
def test_mistakes_are_told_in_words(
    rows: Path, tmp_path: Path, words: tuple[str, ...], what: str
) -> None:
    told = said(str(rows), "--out", str(tmp_path / "run"), *words, code=2)
    assert what in " ".join(told.split())
    assert not (tmp_path / "run").exists()
