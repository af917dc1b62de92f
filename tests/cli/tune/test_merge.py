"""adwright tune merge."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("transformers", reason="the extra lm is not installed")

from transformers import LlamaForCausalLM

from adwright.cli import app
from adwright.tuning.methods import apply
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.tiny_llama import save_tiny
from tests.support.lm.tuning_methods import shake


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
