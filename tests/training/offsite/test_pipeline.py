"""Both sides from files; as commands they are in tests/cli/tune/test_offsite.py."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path
from queue import Queue
from threading import Thread

import pytest
import torch

from adwright.core.errors import AdwrightError, ConfigError, DataError, ResourceError, ResumeError

pytest.importorskip("transformers")

from adwright.training.offsite import pipeline, wire
from adwright.training.offsite.pipeline import OwnerRun, TrainerRun, run_owner, run_trainer
from adwright.training.tuning.config import TuneConfig
from adwright.training.tuning.texts import PairsConfig
from tests.support.training.offsite_pair import model, pairs, tokenizer


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


def test_a_peer_that_fails_does_not_end_the_owner(
    base: Path,
    data: PairsConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(pipeline, "_PAUSE", 0.01)
    monkeypatch.setattr(wire, "_HELLO", 1.0)
    out, told = tmp_path / "plugged", Queue[str]()
    asked = OwnerRun(model=str(base), out=out, kept=2, wait=60)
    owner = Thread(target=lambda: run_owner(asked, on_listening=told.put), daemon=True)
    owner.start()
    address = told.get(timeout=60)
    host, _, port = address.rpartition(":")
    # A port scan, a browser, one that says nothing, one whose texts fail after the model came.
    for said in (b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"):
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(said)
    silent = socket.create_connection((host, int(port)))
    tune = TuneConfig(epochs=1, batch=4, micro=4)
    elsewhere = TrainerRun(data, address, rank=4, tune=tune, out=tmp_path / "theirs")
    with pytest.raises(ConfigError, match="a rank of at most 16"):
        run_trainer(replace(elsewhere, rank=99))
    report = run_trainer(elsewhere)
    silent.close()
    owner.join(60)
    assert not owner.is_alive()
    assert report.steps == 5
    assert (out / "config.json").exists()
    reasons = [line for line in caplog.messages if line.startswith("no adapter came")]
    wanted = ("gone", "another protocol", "silent", "gave up: ConfigError")
    assert len(reasons) == len(wanted)
    assert all(each in reason for each, reason in zip(wanted, reasons, strict=True)), reasons


def test_a_peer_that_fails_when_the_time_is_over_is_the_reason(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_HELLO", 0.5)
    asked = OwnerRun(model=str(base), out=tmp_path / "plugged", kept=2, wait=0.3)
    silent = list[socket.socket]()

    def come(address: str) -> None:
        host, _, port = address.rpartition(":")
        silent.append(socket.create_connection((host, int(port))))

    with pytest.raises(ResourceError, match="no hello came"):
        run_owner(asked, on_listening=come)
    silent[0].close()
    assert not (tmp_path / "plugged").exists()


def test_what_can_be_known_before_is_refused_before_connecting(
    data: PairsConfig, tmp_path: Path
) -> None:
    """Nobody listens at port 9, which would be another error."""
    asked = TrainerRun(data, "127.0.0.1:9", out=tmp_path / "theirs")
    empty, file = tmp_path / "empty.jsonl", tmp_path / "file"
    empty.touch()
    file.touch()
    run = asked.out / "run"

    def refused(kind: type[AdwrightError], what: str, run: TrainerRun, *, resume: bool) -> None:
        with pytest.raises(kind, match=what):
            run_trainer(run, resume=resume)

    for path, what in ((tmp_path / "mistyped", "cannot be read"), (empty, "no texts")):
        refused(DataError, what, replace(asked, data=PairsConfig(path=path)), resume=False)
    other = replace(asked, data=replace(data, group="none"))
    refused(DataError, "lacks a text", other, resume=False)
    refused(ResourceError, "no folder can be", replace(asked, out=file / "x"), resume=False)
    refused(ResumeError, "holds no run", asked, resume=True)
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    refused(ConfigError, "already holds a run", asked, resume=False)
    refused(ResourceError, "cannot connect", asked, resume=True)
