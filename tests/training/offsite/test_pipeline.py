"""Both sides from files; as commands they are in tests/cli/tune/test_offsite.py."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from queue import Queue
from threading import Thread

import pytest
import torch

from adwright.core.errors import AdwrightError, ConfigError, DataError, ResourceError, ResumeError

pytest.importorskip("transformers")

from adwright.training.offsite.pipeline import OwnerRun, TrainerRun, run_owner, run_trainer
from adwright.training.offsite.wire import WireMessage, connect, read_address
from adwright.training.tuning.texts import PairsConfig
from adwright.training.tuning.tune import TuneConfig
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
    with pytest.raises(ResourceError, match="nobody brought an adapter"):
        run_owner(asked, on_listening=lambda _: None)
    assert not (tmp_path / "plugged").exists()
    with pytest.raises(ConfigError, match="8 layers have no such ends"):
        run_owner(OwnerRun(model=str(base), kept=5), on_listening=lambda _: None)


def test_an_address_has_a_port(data: PairsConfig) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        run_trainer(TrainerRun(data, "here"))
    with pytest.raises(ConfigError, match="lacks the token"):
        run_trainer(TrainerRun(data, "127.0.0.1:9"))
    with pytest.raises(ResourceError, match="cannot connect"):
        run_trainer(TrainerRun(data, "127.0.0.1:9/token"))


def test_a_peer_that_fails_does_not_end_the_owner(
    base: Path, data: PairsConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, told = tmp_path / "plugged", Queue[str]()
    asked = OwnerRun(model=str(base), out=out, kept=2, wait=60)
    owner = Thread(target=lambda: run_owner(asked, on_listening=told.put), daemon=True)
    owner.start()
    address = told.get(timeout=60)
    host, port, _ = read_address(address)
    # A port scan, a browser, six that say nothing, one whose texts fail after the model came.
    for said in (b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"):
        with socket.create_connection((host, port)) as raw:
            raw.sendall(said)
    silent = [socket.create_connection((host, port)) for _ in range(6)]
    tune = TuneConfig(epochs=1, batch=4, micro=4)
    elsewhere = TrainerRun(data, address, rank=4, tune=tune, out=tmp_path / "theirs")
    with pytest.raises(ConfigError, match="a rank of at most 16"):
        run_trainer(replace(elsewhere, rank=99))
    with pytest.raises(ResourceError, match="gave up: DataError"):
        run_trainer(replace(elsewhere, address=f"{address}x", out=tmp_path / "strangers"))
    report = run_trainer(elsewhere)
    owner.join(60)
    for each in silent:
        each.close()
    assert not owner.is_alive()
    assert report.steps == 5
    assert (out / "config.json").exists()
    reasons = [line for line in caplog.messages if line.startswith("a peer was turned away")]
    for wanted in ("gone", "another protocol", "gave up: ConfigError", "not know the token"):
        assert any(wanted in reason for reason in reasons), reasons


def test_an_adapter_that_cannot_be_is_answered_and_the_next_is_taken(
    base: Path, data: PairsConfig, tmp_path: Path
) -> None:
    out, told = tmp_path / "plugged", Queue[str]()
    asked = OwnerRun(model=str(base), out=out, kept=2, wait=60)
    owner = Thread(target=lambda: run_owner(asked, on_listening=told.put), daemon=True)
    owner.start()
    address = told.get(timeout=60)
    # One that trains for ever, and two whose adapters lie: in a name, and in their size.
    stays = connect(read_address(address))
    stays.greet()
    for tensors, kind in (({f"first.{'9' * 5000}.x": torch.zeros(1)}, "DataError"), ({}, "")):
        with connect(read_address(address)) as channel:
            channel.greet()
            channel.receive("emulator")
            large = tensors or {"first.0.x": torch.zeros(10_000_000)}
            fields = {"ends": 2, "rank": 1, "alpha": 16.0}
            with suppress(ResourceError):
                channel.send(WireMessage("adapter", fields, large))
            with pytest.raises(ResourceError, match=kind or "gone|gave up"):
                channel.receive("plugged")
    tune = TuneConfig(epochs=1, batch=4, micro=4)
    run_trainer(TrainerRun(data, address, rank=4, tune=tune, out=tmp_path / "theirs"))
    owner.join(60)
    stays.close()
    assert not owner.is_alive()
    assert (out / "config.json").exists()


def test_what_the_last_peer_failed_of_is_the_reason(base: Path, tmp_path: Path) -> None:
    asked = OwnerRun(model=str(base), out=tmp_path / "plugged", kept=2, wait=1.0)

    def come(address: str) -> None:
        host, port, _ = read_address(address)
        socket.create_connection((host, port)).close()

    with pytest.raises(ResourceError, match="no hello came"):
        run_owner(asked, on_listening=come)
    assert not (tmp_path / "plugged").exists()


def test_what_can_be_known_before_is_refused_before_connecting(
    data: PairsConfig, tmp_path: Path
) -> None:
    """Nobody listens at port 9, which would be another error."""
    asked = TrainerRun(data, "127.0.0.1:9/token", out=tmp_path / "theirs")
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
