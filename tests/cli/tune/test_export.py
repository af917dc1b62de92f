"""adwright tune export."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("transformers", reason="the extra lm is not installed")
pytest.importorskip("gguf", reason="the extra lm is not installed")

import torch
from transformers import LlamaForCausalLM

from adwright.cli import app
from adwright.tuning.formats.gguf import from_gguf
from adwright.tuning.methods import Method, apply, load_tuned
from adwright.tuning.reparameterised.lora import DoRA, LoRA
from tests.support.lm.tiny_llama import save_tiny
from tests.support.lm.tuning_methods import shake


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as a Hugging Face folder."""
    return save_tiny(tmp_path_factory.mktemp("base") / "model")


def tuned(base: Path, method: Method, folder: Path) -> torch.Tensor:
    """Save a part that was shaken; returns the first B of q."""
    part = apply(LlamaForCausalLM.from_pretrained(base), method)
    shake(part)
    part.save(folder)
    return part.state()["model.model.layers.0.self_attn.q_proj.b"]


def export(*arguments: str, code: int = 0) -> str:
    found = CliRunner().invoke(app, ["tune", "export", *arguments])
    assert found.exit_code == code, found.output
    return " ".join(found.output.split())


def test_it_writes_what_can_be_read_back(base: Path, tmp_path: Path) -> None:
    b = tuned(base, LoRA(rank=2), tmp_path / "run" / "tuned")
    to = tmp_path / "a.gguf"
    said = export(str(tmp_path / "run"), "--to", str(to), "--model", str(base))
    assert "LoRA" in said
    back = from_gguf(LlamaForCausalLM.from_pretrained(base), to)
    assert torch.equal(back.state()["model.model.layers.0.self_attn.q_proj.b"], b)
    inner = str(tmp_path / "run" / "tuned")
    again = ("--to", str(to), "--model", str(base), "--floats", "f16")
    assert "exists already" in export(inner, *again, code=2)
    whole = to.stat().st_size
    export(inner, *again, "--force")
    assert to.stat().st_size < whole


def test_what_has_no_place_in_gguf(base: Path, tmp_path: Path) -> None:
    tuned(base, DoRA(rank=2), tmp_path / "dora")
    to = tmp_path / "a.gguf"
    said = export(str(tmp_path / "dora"), "--to", str(to), "--model", str(base), code=2)
    assert "no adapter for this method" in said
    assert not to.exists()


def test_a_folder_is_pefts_and_comes_back(base: Path, tmp_path: Path) -> None:
    b = tuned(base, DoRA(rank=2), tmp_path / "run" / "tuned")
    to, back = tmp_path / "theirs", tmp_path / "back"
    said = export(str(tmp_path / "run"), "--to", str(to), "--model", str(base))
    assert "DoRA" in said
    assert (to / "adapter_config.json").is_file()
    options = ["tune", "import", str(to), "--to", str(back), "--model", str(base)]
    found = CliRunner().invoke(app, options)
    assert found.exit_code == 0, found.output
    again = load_tuned(LlamaForCausalLM.from_pretrained(base), back / "tuned")
    assert torch.equal(again.state()["model.model.layers.0.self_attn.q_proj.b"], b)


def test_a_gguf_comes_in(base: Path, tmp_path: Path) -> None:
    b = tuned(base, LoRA(rank=2), tmp_path / "run" / "tuned")
    to, back = tmp_path / "a.gguf", tmp_path / "back"
    export(str(tmp_path / "run"), "--to", str(to), "--model", str(base))
    options = ["tune", "import", str(to), "--to", str(back), "--model", str(base)]
    found = CliRunner().invoke(app, options)
    assert found.exit_code == 0, found.output
    again = load_tuned(LlamaForCausalLM.from_pretrained(base), back / "tuned")
    assert torch.equal(again.state()["model.model.layers.0.self_attn.q_proj.b"], b)
