"""adwright tune."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adwright.cli import app
from tests.support.lm.tiny_llama import save_tiny

RUN = CliRunner()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as a Hugging Face folder."""
    return save_tiny(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Twelve texts."""
    file = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"shop {n}", "answer": f"sale {n % 3}"} for n in range(12)]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return file


def tuned(base: Path, pairs: Path, out: Path, *more: str) -> str:
    """What the verb prints."""
    found = RUN.invoke(
        app,
        ["tune", "--data", str(pairs), "--model", str(base), "--out", str(out), *more],
    )
    assert found.exit_code == 0, found.output
    return found.output


def test_it_tunes_and_compares(base: Path, pairs: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "lora", tmp_path / "ia3"
    said = tuned(base, pairs, first, "--set", "rank=2", "--epochs", "2", "--rate", "0.01")
    assert "trainable" in said
    assert (first / "tuned" / "manifest.json").is_file()
    # What a run has left itself is replaced without asking where it is resumed.
    options = ("--set", "rank=2", "--epochs", "2", "--rate", "0.01", "--resume")
    assert "trainable" in tuned(base, pairs, first, *options)
    tuned(base, pairs, second, "--method", "IA3")
    picture = tmp_path / "both.svg"
    found = RUN.invoke(app, ["tune", "compare", str(first), str(second), "--picture", str(picture)])
    assert found.exit_code == 0, found.output
    assert "LoRA" in found.output
    assert "IA3" in found.output
    assert "held loss" in picture.read_text("utf-8")


def test_a_dry_run_writes_nothing(base: Path, pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "none"
    said = tuned(
        base, pairs, out, "--method", "peft:loha", "--set", 'targets=["q_proj"]', "--dry-run"
    )
    plain = json.loads(said)
    assert plain["method"]["class"] == "Wrapped"
    assert plain["method"]["kind"] == "loha"
    assert plain["method"]["targets"] == ["q_proj"]
    assert not out.exists()


def test_layers_may_be_computed_again(base: Path, pairs: Path, tmp_path: Path) -> None:
    said = tuned(base, pairs, tmp_path, "--checkpoint-layers", "--shard", "--dry-run")
    plain = json.loads(said)["tune"]
    assert (plain["checkpoint_layers"], plain["shard"]) == (True, True)


def test_four_bits_need_cuda(
    base: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    options = ["--model", str(base), "--out", str(tmp_path / "none"), "--four-bits"]
    found = RUN.invoke(app, ["tune", "--data", str(pairs), *options])
    assert found.exit_code
    assert "CUDA" in found.output + str(found.exception)


def test_the_methods_are_listed() -> None:
    found = RUN.invoke(app, ["tune", "methods"])
    assert found.exit_code == 0
    assert "LoRA" in found.output
    assert "not done" in found.output


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--method", "magic"], "magic"),
        (["--set", "rank"], "NAME=VALUE"),
        (["--set", "rank=two"], "rank"),
        (["--set", "ranks=2"], "ranks"),
    ],
)
def test_a_mistake_is_explained(
    base: Path, pairs: Path, tmp_path: Path, more: list[str], message: str
) -> None:
    found = RUN.invoke(app, ["tune", "--data", str(pairs), "--out", str(tmp_path / "x"), *more])
    assert found.exit_code == 2
    assert message in found.output


def test_an_unfinished_folder_is_not_compared(tmp_path: Path) -> None:
    found = RUN.invoke(app, ["tune", "compare", str(tmp_path)])
    assert found.exit_code == 2
    assert "no finished tuning" in found.output
