"""adwright tune split: a cloud in a process of its own, and a device."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adwright.cli import app
from tests.support.forks import python
from tests.support.training.offsite_pair import model, pairs, tokenizer

pytest.importorskip("transformers")

RUN = CliRunner()
DEVICE = ["tune", "split", "client"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twenty pairs."""
    file = tmp_path / "pairs.jsonl"
    rows = [{"prompt": said, "answer": answer} for said, answer in pairs(20)]
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
def test_a_mistake_is_explained(data: Path, more: list[str], message: str) -> None:
    options = ["--data", str(data), "--connect", "127.0.0.1:9/token", *more, "--dry-run"]
    found = RUN.invoke(app, [*DEVICE, *options])
    assert found.exit_code == 2
    assert message in found.output
