"""adwright tune."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaForCausalLM
from typer.testing import CliRunner

from adwright.cli import app
from adwright.training.tuning.run import TuningReport
from adwright.tuning.methods import apply
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.forks import python
from tests.support.lm.tiny_llama import save_tiny
from tests.support.lm.tuning_methods import shake
from tests.support.training.offsite_pair import model, tokenizer
from tests.support.training.offsite_pair import pairs as offsite_pair_pairs

NUMBERS: dict[str, Any] = {
    "base": "tiny",
    "trainable": 1_234_567,
    "share": 0.01,
    "steps": 3,
    "tokens": 100,
    "cpu_seconds": 2.0,
    "tokens_per_cpu_second": 50.0,
    "peak_bytes": 1_500_000_000,
    "texts": 9,
    "held": 3,
    "cut": 0,
    "base_nll": 4.5,
    "data_hash": "x",
}


def report_of(method: str, nll: float | None, **settings: Any) -> TuningReport:
    return TuningReport(method=method, settings=settings, valid_nll=nll, **NUMBERS)


def report(folder: Path, method: str, nll: float | None, **settings: Any) -> str:
    """The folder of a run, as before its rate was noted."""
    folder.mkdir(parents=True)
    values = NUMBERS | {"method": method, "settings": settings, "valid_nll": nll}
    (folder / "report.json").write_text(json.dumps(values), "utf-8")
    return str(folder)


def said(*arguments: str, code: int = 0) -> str:
    found = CliRunner().invoke(app, ["tune", "compare", *arguments])
    assert found.exit_code == code, found.output
    return found.output


def test_the_best_is_first_and_names_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long = report(tmp_path / "a-run-with-quite-a-long-name", "ParallelAdapter", 2.5)
    wrapped = report(tmp_path / "loha", "Wrapped", 1.5, kind="loha")
    none = report(tmp_path / "none", "IA3", None)
    picture = tmp_path / "all.svg"
    lines = said(long, wrapped, none, "--picture", str(picture)).splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["run", "method", "trainable"],
        ["loha", "peft:loha", "1,234,567"],
        ["a-run-with-quite-a-long-name", "ParallelAdapter", "1,234,567"],
        ["none", "IA3", "1,234,567"],
    ]
    assert lines[1].split()[3:] == ["1.5000", "4.5000", "50", "2", "1.50"]
    assert lines[3].split()[3] == "-"
    assert "held loss" in picture.read_text("utf-8")


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    runs = [report(tmp_path / place / "lora", "LoRA", 1.0) for place in ("here", "there")]
    found = said(*runs)
    assert all(run in found for run in runs)


def test_an_unfinished_folder_is_not_compared(tmp_path: Path) -> None:
    assert "no finished tuning" in said(str(tmp_path), code=2)


@pytest.mark.parametrize(("nll", "worse"), [(5.0, True), (4.0, False), (None, False)])
def test_worse_than_the_base_is_known(nll: float | None, worse: bool) -> None:
    assert report_of("LoRA", nll).worse == worse


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
        app, ["tune", "--data", str(pairs), "--model", str(base), "--out", str(out), *more]
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


pytest.importorskip("transformers", reason="the extra lm is not installed")


def test_a_run_becomes_a_model(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "model")
    part = apply(LlamaForCausalLM.from_pretrained(base), LoRA(rank=2))
    shake(part)
    part.save(tmp_path / "run" / "tuned")
    whole = tmp_path / "whole"
    options = ["tune", "merge", str(tmp_path / "run"), "--to", str(whole), "--model", str(base)]
    found = CliRunner().invoke(app, options)
    assert found.exit_code == 0, found.output
    assert "LoRA" in found.output
    assert (whole / "config.json").is_file()
    again = CliRunner().invoke(app, options)
    assert again.exit_code == 2
    assert "exists already" in again.output


pytest.importorskip("transformers")


def test_a_model_is_tuned_where_the_texts_are(tmp_path: Path) -> None:
    base, out, theirs = tmp_path / "base", tmp_path / "plugged", tmp_path / "theirs"
    model().save_pretrained(base)
    tokenizer(base)
    file = tmp_path / "pairs.jsonl"
    rows = [{"prompt": said, "answer": answer} for said, answer in offsite_pair_pairs(20)]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    command = [python(), "-c", "from adwright.cli import main; main()"]
    command += ["tune", "offsite", "owner", "--model", str(base)]
    command += ["--out", str(out), "--kept", "2", "--wait", "100", "--distil", str(file)]
    owner = subprocess.Popen(
        [*command, "--distil-steps", "2"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert owner.stdout is not None
        assert owner.stderr is not None
        said = owner.stdout.readline().split()
        assert said[:2] == ["listening", "on"], owner.stderr.read()
        arguments = ["--data", str(file), "--connect", said[2], "--rank", "4", "--epochs", "4"]
        arguments += ["--rate", "0.02", "--out", str(theirs)]
        found = RUN.invoke(app, ["tune", "offsite", "trainer", *arguments])
        assert found.exit_code == 0, found.output
        assert "trainable" in found.output
        _, errors = owner.communicate(timeout=100)
        assert owner.returncode == 0, errors
    finally:
        owner.kill()
        owner.communicate()
    report = json.loads((theirs / "report.json").read_text())
    assert (report["texts"], report["held"]) == (18, 2)
    assert report["trainable"] == 4 * 4 * (2 * 64 + 2 * 48 + 3 * 80)
    assert report["sent"] < report["received"]
    # What was kept is a model like any other.
    from transformers import AutoModelForCausalLM, AutoTokenizer

    plain = AutoModelForCausalLM.from_pretrained(out)
    assert plain.config.num_hidden_layers == 8
    assert len(AutoTokenizer.from_pretrained(out)("word01 word02")["input_ids"]) == 2


@pytest.mark.parametrize("address", ["4711", "here:", "here:99999", "here:x", "here:7000"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, address: str) -> None:
    found = RUN.invoke(
        app, ["tune", "offsite", "trainer", "--data", str(tmp_path), "--connect", address]
    )
    assert found.exit_code != 0
    assert "HOST:PORT/TOKEN" in f"{found.output}{found.exception}"


pytest.importorskip("transformers", reason="the extra lm is not installed")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two jobs on a tiny model."""
    base = save_tiny(tmp_path / "model")
    jobs = []
    for name in ("tea", "coats"):
        pairs = tmp_path / f"{name}.jsonl"
        rows = [{"prompt": f"{name} {n}", "answer": f"sale {n % 3}"} for n in range(10)]
        pairs.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
        jobs.append({"name": name, "data": {"path": str(pairs)}, "method": {"rank": 2}})
    found = tmp_path / "jobs.json"
    found.write_text(json.dumps({"model": str(base), "jobs": jobs}), "utf-8")
    return found


def test_it_tunes_all_and_compares(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = RUN.invoke(app, ["tune", "jobs", str(file), "--out", str(out)])
    assert found.exit_code == 0, found.output
    assert "coats" in found.output
    assert (out / "tea" / "tuned" / "manifest.json").is_file()
    found = RUN.invoke(app, ["tune", "compare", str(out / "tea"), str(out / "coats")])
    assert found.exit_code == 0, found.output
    assert RUN.invoke(app, ["tune", "jobs", str(file), "--out", str(out)]).exit_code == 2
    found = RUN.invoke(app, ["tune", "jobs", str(file), "--out", str(out), "--resume"])
    assert found.exit_code == 0, found.output


def test_jobs_a_dry_run_writes_nothing(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "none"
    found = RUN.invoke(app, ["tune", "jobs", str(file), "--out", str(out), "--dry-run"])
    assert found.exit_code == 0, found.output
    assert [job["name"] for job in json.loads(found.output)["jobs"]] == ["tea", "coats"]
    assert not out.exists()


def test_they_are_tuned_where_the_option_or_the_file_says(file: Path, tmp_path: Path) -> None:
    asked = ["tune", "jobs", str(file), "--out", str(tmp_path / "out")]
    values = json.loads(file.read_text())
    for option, found in (((), "cpu"), (("--device", "cuda"), "cuda")):
        told = RUN.invoke(app, [*asked, *option, "--dry-run"])
        assert json.loads(told.output)["device"] == found
    file.write_text(json.dumps(values | {"device": "no such"}))
    told = RUN.invoke(app, asked)
    assert (told.exit_code, "--device no such" in told.output) == (2, True)
    told = RUN.invoke(app, [*asked, "--device", "cpu"])
    assert told.exit_code == 0, told.output


def test_a_method_that_shares_no_step_is_refused(file: Path, tmp_path: Path) -> None:
    values = json.loads(file.read_text())
    values["jobs"][0]["method"] = {"kind": "IA3"}
    file.write_text(json.dumps(values))
    found = RUN.invoke(app, ["tune", "jobs", str(file), "--out", str(tmp_path / "x")])
    assert found.exit_code == 2
    assert "IA3 cannot share" in found.output


pytest.importorskip("transformers")

DEVICE = ["tune", "split", "client"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twenty pairs."""
    file = tmp_path / "pairs.jsonl"
    rows = [{"prompt": said, "answer": answer} for said, answer in offsite_pair_pairs(20)]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return file


def test_a_device_tunes_beside_a_cloud(data: Path, tmp_path: Path) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    model(2).save_pretrained(base)
    tokenizer(base)
    command = [python(), "-c", "from adwright.cli import main; main()"]
    command += ["tune", "split", "server", "--model", str(base), "--wait", "100"]
    cloud = subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert cloud.stdout is not None
        assert cloud.stderr is not None
        said = cloud.stdout.readline().split()
        assert said[:2] == ["listening", "on"], cloud.stderr.read()
        options = ["--data", str(data), "--connect", said[2], "--model", str(base)]
        options += ["--rank", "2", "--window", "1", "--batch", "6", "--out", str(out)]
        found = RUN.invoke(app, [*DEVICE, *options])
        assert found.exit_code == 0, found.output
        assert "4, of which 1 trained at the end" in found.output
        counted, errors = cloud.communicate(timeout=100)
        assert cloud.returncode == 0, errors
        # Three steps and one validation.
        assert counted.split() == ["passes:", "4"]
    finally:
        cloud.kill()
        cloud.communicate()
    assert json.loads((out / "report.json").read_text())["alive"] == [4, 1, 1]
    found = RUN.invoke(app, [*DEVICE, *options])
    assert (found.exit_code, "exists already" in found.output) == (2, True)


def test_a_dry_run_says_what_would_be_done(data: Path, tmp_path: Path) -> None:
    options = [
        "--data",
        str(data),
        "--connect",
        "127.0.0.1:9/token",
        "--out",
        str(tmp_path / "none"),
    ]
    options += ["--targets", "v_proj,q_proj", "--window", "3", "--dry-run"]
    found = RUN.invoke(app, [*DEVICE, *options])
    assert found.exit_code == 0, found.output
    plain = json.loads(found.output)
    assert plain["rule"] == {"window": 3, "alive": 0.25, "revived": 0.05}
    assert plain["lora"]["targets"] == ["q_proj", "v_proj"]
    assert not (tmp_path / "none").exists()
    found = RUN.invoke(app, ["tune", "split", "server", "--targets", "up_proj", "--dry-run"])
    assert json.loads(found.output)["targets"] == ["up_proj"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--connect", "here"], "HOST:PORT"),
        (["--targets", "q_proj,magic"], "maps of a decoder layer"),
        (["--targets", "q_proj,q_proj"], "each once"),
        (["--alive", "0"], "a share above 0"),
    ],
)
def test_revive_a_mistake_is_explained(data: Path, more: list[str], message: str) -> None:
    options = ["--data", str(data), "--connect", "127.0.0.1:9/token", *more, "--dry-run"]
    found = RUN.invoke(app, [*DEVICE, *options])
    assert found.exit_code == 2
    assert message in found.output
