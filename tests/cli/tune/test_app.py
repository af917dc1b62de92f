"""adwright tune."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adwright.cli import app
from tests.cli.tune.test_compare import report_of
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


def test_it_tunes_and_is_resumed(base: Path, pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "lora"
    options = ("--method", "lora", "--set", "rank=2", "--epochs", "2", "--rate", "0.01")
    said = tuned(base, pairs, out, *options)
    assert "trainable" in said
    assert "learning rate:" in said
    assert (out / "tuned" / "manifest.json").is_file()
    # What a run has left itself is replaced without asking where it is resumed.
    assert "trainable" in tuned(base, pairs, out, *options, "--resume")


def test_an_activated_lora_acts_from_a_text_on(base: Path, pairs: Path, tmp_path: Path) -> None:
    fast = ("--method", "aLoRA", "--set", "rank=2", "--steps", "2")
    opened = tuned(base, pairs, tmp_path / "opened", *fast)
    said = tuned(base, pairs, tmp_path / "text", *fast, "--set", "invocation=shop")
    for name, told in (("opened", opened), ("text", said)):
        report = json.loads((tmp_path / name / "report.json").read_text("utf-8"))
        assert f"acts from the last: tokens {report['settings']['invocation']}" in " ".join(
            told.split()
        )
        stored = json.loads((tmp_path / name / "tuned" / "manifest.json").read_text("utf-8"))
        assert report["settings"]["invocation"] == stored["config"]["config"]["invocation"]
    assert opened != said


@pytest.mark.parametrize(("nll", "worse"), [(5.0, True), (4.0, False), (None, False)])
def test_a_method_that_harms_is_told_of(
    nll: float | None, worse: bool, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = report_of("Wrapped", nll, kind="loha")
    monkeypatch.setattr("adwright.training.tuning.run.run_tuning", lambda *_, **__: made)
    said = tuned(tmp_path, pairs, tmp_path / "out", "--method", "LoHa")
    assert ("worse on the held-out answers than its base" in said) == worse
    assert "peft:loha" in said


def test_the_options_name_fields_system_and_share(base: Path, pairs: Path, tmp_path: Path) -> None:
    fields = ("--prompt-field", "q", "--answer-field", "a", "--messages-field", "talk")
    more = ("--system", "be brief", "--valid", "0.25", "--dropout", "0.1", "--device", "cuda")
    plain = json.loads(tuned(base, pairs, tmp_path / "no", *fields, *more, "--dry-run"))
    data = plain["data"]
    assert (data["prompt"], data["answer"], data["messages"]) == ("q", "a", "talk")
    assert (data["system"], data["valid"]) == ("be brief", 0.25)
    assert (plain["method"]["dropout"], plain["device"]) == (0.1, "cuda")
    assert plain["tune"]["learning_rate"] is None


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
        (["--method", "IA3", "--dropout", "0.1"], "dropout"),
        (["--method", "qlora"], "--four-bits"),
        (["--method", "LoRAHub"], "--source FOLDER"),
        (["--device", "no such"], "--device no such"),
    ],
)
def test_a_mistake_is_explained(
    base: Path, pairs: Path, tmp_path: Path, more: list[str], message: str
) -> None:
    options = ["--model", str(base), "--out", str(tmp_path / "x")]
    found = RUN.invoke(app, ["tune", "--data", str(pairs), *options, *more])
    assert found.exit_code == 2
    assert message in found.output
