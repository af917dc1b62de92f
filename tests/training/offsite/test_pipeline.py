"""Both sides from files; as commands they are in tests/cli/test_tune_offsite.py."""

from __future__ import annotations

import json
from pathlib import Path
from queue import Queue
from threading import Thread

import pytest
import torch

from adwright.core.errors import ConfigError, ResourceError

pytest.importorskip("transformers")

from adwright.training.offsite.pipeline import OwnerRun, TrainerRun, run_owner, run_trainer
from adwright.training.tune_config import TuneConfig
from adwright.training.tune_pipeline import PairsConfig
from tests.training.offsite.small import model, pairs, tokenizer


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model with its tokeniser."""
    model().save_pretrained(tmp_path / "base")
    tokenizer(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def data(tmp_path: Path) -> PairsConfig:
    """Twenty pairs."""
    file = tmp_path / "pairs.jsonl"
    rows = [{"prompt": said, "answer": answer} for said, answer in pairs(20)]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return PairsConfig(path=file)


def test_the_ends_are_trained_elsewhere(base: Path, data: PairsConfig, tmp_path: Path) -> None:
    out, told = tmp_path / "plugged", Queue[str]()
    asked = OwnerRun(model=str(base), out=out, kept=2, wait=60)
    owner = Thread(target=lambda: run_owner(asked, on_listening=told.put), daemon=True)
    owner.start()
    tune = TuneConfig(epochs=4, batch=4, micro=4, learning_rate=0.02)
    elsewhere = TrainerRun(data, told.get(timeout=60), rank=0, tune=tune, out=tmp_path / "theirs")
    report = run_trainer(elsewhere)
    owner.join(60)
    assert not owner.is_alive()
    assert json.loads((tmp_path / "theirs" / "report.json").read_text())["steps"] == report.steps
    assert (report.texts, report.held, report.steps) == (18, 2, 20)
    from transformers import AutoModelForCausalLM

    before, after = model().state_dict(), AutoModelForCausalLM.from_pretrained(out).state_dict()
    for name, value in before.items():
        if name.endswith("q_proj.weight"):
            layer = int(name.split(".")[2])
            same = torch.allclose(after[name].float(), value, rtol=1e-2, atol=1e-3)
            assert same == (2 <= layer < 6), name


def test_where_nobody_comes_nothing_is_kept(base: Path, tmp_path: Path) -> None:
    asked = OwnerRun(model=str(base), out=tmp_path / "plugged", kept=2, wait=0.05)
    with pytest.raises(ResourceError, match="nobody connected"):
        run_owner(asked, on_listening=lambda _: None)
    assert not (tmp_path / "plugged").exists()
    with pytest.raises(ConfigError, match="8 layers have no such ends"):
        run_owner(OwnerRun(model=str(base), kept=5), on_listening=lambda _: None)


def test_an_address_has_a_port(data: PairsConfig) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        run_trainer(TrainerRun(data, "here"))
    with pytest.raises(ResourceError, match="cannot connect"):
        run_trainer(TrainerRun(data, "127.0.0.1:9"))
