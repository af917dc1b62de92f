"""Both sides of kill and revive from files; as commands they are in tests/cli/tune."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from queue import Queue
from threading import Thread

import pytest

from adwright.core.errors import AdwrightError, ConfigError, ResourceError

pytest.importorskip("transformers")

from transformers import AutoModelForCausalLM

from adwright.training.offsite.pipeline import KillRevive
from adwright.training.offsite.revive import CloudRun, DeviceRun, run_cloud, run_device
from adwright.training.tuning.texts import PairsConfig
from adwright.training.tuning.tune import TuneConfig
from adwright.tuning.methods import load_tuned
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.training.offsite_pair import model, pairs, tokenizer


@pytest.fixture
def asked(tmp_path: Path) -> DeviceRun:
    """Twenty pairs, and a base with two layers."""
    model(2).save_pretrained(tmp_path / "base")
    tokenizer(tmp_path / "base")
    file = tmp_path / "pairs.jsonl"
    rows = [{"prompt": said, "answer": answer} for said, answer in pairs(20)]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return DeviceRun(
        PairsConfig(file),
        "127.0.0.1:9/token",
        model=str(tmp_path / "base"),
        lora=LoRA(rank=2, targets=("q_proj",)),
        rule=KillRevive(window=1, alive=0.5, revived=0.0),
        tune=TuneConfig(epochs=2, batch=6, micro=6, learning_rate=0.02),
        out=tmp_path / "out",
    )


def cloud(asked: CloudRun) -> tuple[Thread, Queue[str], list[object]]:
    """A cloud in a thread, the address that it says, and how it ended."""
    told, ended = Queue[str](), list[object]()

    def serve() -> None:
        try:
            ended.append(run_cloud(asked, on_listening=told.put))
        except AdwrightError as error:
            ended.append(error)

    thread = Thread(target=serve, daemon=True)
    thread.start()
    return thread, told, ended


def test_what_is_saved_is_an_adapter_of_the_base(asked: DeviceRun) -> None:
    thread, told, ended = cloud(CloudRun(asked.model, targets=("q_proj",), wait=60))
    report = run_device(replace(asked, address=told.get(timeout=60)))
    thread.join(60)
    # Six steps and a validation of one batch.
    assert ended == [7]
    assert (report.modules, report.alive) == (2, (2, 1, 1, 1, 1, 1))
    assert report.losses[-1] < report.losses[0]
    stored = json.loads((asked.out / "report.json").read_text())
    assert (stored["texts"], stored["held"], stored["sent"]) == (18, 2, report.sent)
    base = AutoModelForCausalLM.from_pretrained(asked.model)
    tuned = load_tuned(base, asked.out / "tuned")
    assert tuned.count() == asked.lora.count(tuned.sizes)
    # Before anybody is asked.
    with pytest.raises(ResourceError, match="already holds an adapter"):
        run_device(asked)


def test_without_held_out_texts_there_is_no_loss_of_them(asked: DeviceRun) -> None:
    _, told, _ = cloud(CloudRun(asked.model, targets=("q_proj",), wait=60))
    data = replace(asked.data, valid=0.0)
    report = run_device(replace(asked, data=data, address=told.get(timeout=60)))
    assert report.valid is None
    stored = json.loads((asked.out / "report.json").read_text())
    assert (stored["valid"], stored["held"], stored["texts"]) == (None, 0, 20)


def test_both_sides_name_the_same_maps(asked: DeviceRun) -> None:
    thread, told, ended = cloud(CloudRun(asked.model, targets=("v_proj",), wait=60))
    with pytest.raises(ConfigError, match="other maps than LoRA"):
        run_device(replace(asked, address=told.get(timeout=60)))
    thread.join(60)
    assert "the peer gave up: ConfigError" in str(ended[0])
    assert not asked.out.exists()


def test_where_nobody_is_there_it_is_said(asked: DeviceRun) -> None:
    with pytest.raises(ResourceError, match="cannot connect"):
        run_device(asked)
    with pytest.raises(ResourceError, match="nobody connected"):
        run_cloud(CloudRun(asked.model, wait=0.05), on_listening=lambda _: None)
