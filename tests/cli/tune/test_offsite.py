"""adwright tune offsite: two commands in two processes."""

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


def test_a_model_is_tuned_where_the_texts_are(tmp_path: Path) -> None:
    base, out, theirs = tmp_path / "base", tmp_path / "plugged", tmp_path / "theirs"
    model().save_pretrained(base)
    tokenizer(base)
    file = tmp_path / "pairs.jsonl"
    rows = [{"prompt": said, "answer": answer} for said, answer in pairs(20)]
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
