"""What is added to the house touches its own file and one union, and is then there for all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.common.adding.copied import copied
from benchmarks.common.adding.method import add_method, put_method
from tests.support.lm.tiny_llama import save_tiny

SRC = Path(__file__).resolve().parent.parent / "src"
TUNED = """
import torch
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from adwright.cli import app
from adwright.training.tuning.quantise import PACKABLE
from adwright.tuning.methods import load_tuned
from adwright.tuning.reparameterised.gain_lora import GainLoRA
from adwright.tuning.taxonomy import TREE


def said(*arguments):
    found = CliRunner().invoke(app, ["tune", *arguments])
    assert found.exit_code == 0, found.output
    return found.output


(entry,) = (entry for entry in TREE if entry.by is GainLoRA)
assert (entry.name, entry.status) == ("GainLoRA", "ours")
assert "| GainLoRA | ours | `GainLoRA` | made up |" in said("methods")
assert "GainLoRA" in PACKABLE
options = ["--data", "pairs.jsonl", "--model", "base", "--out", "out", "--steps", "1"]
assert "GainLoRA" in said(*options, "--method", "GainLoRA", "--set", "rank=2")

tuned = load_tuned(AutoModelForCausalLM.from_pretrained("base", dtype="float32"), "out/tuned")
assert tuned.method == GainLoRA(rank=2)
assert tuned.count() == tuned.method.count(tuned.sizes)
assert any(name.endswith(".gain") for name in tuned.state())
assert any(value.any() for name, value in tuned.state().items() if name.endswith(".b"))
tokens = torch.arange(2, 12)[None]
with torch.no_grad():
    before = tuned.logits(tuned(tokens))
    assert torch.allclose(tuned.merge()(tokens).logits, before, atol=1e-4)
"""


def test_a_method(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    assert add_method(SRC) == 2
    save_tiny(tmp_path / "base")
    rows = [{"prompt": f"shop {n}", "answer": f"sale {n % 3}"} for n in range(8)]
    (tmp_path / "pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with copied(SRC) as copy:
        put_method(copy)
        found = subprocess.run(
            [sys.executable, "-c", TUNED],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(copy.src), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert found.returncode == 0, found.stderr
