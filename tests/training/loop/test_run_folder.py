"""The folder of a run: begun once, taken up by the same alone, one checkpoint at a time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from adwright.core.errors import ConfigError, ResumeError
from adwright.training.loop.run_folder import RunFolder

ASKED = {"fit": {"epochs": 3}, "data_hash": "abc"}


def _begun(path: Path) -> RunFolder:
    run = RunFolder(path, ASKED, "test-checkpoint")
    run.require_new()
    run.save({"steps": 0}, {"w": torch.zeros(2)}, steps=0, epoch=0, records=[])
    run.begin()
    return run


def test_a_folder_holds_one_run(tmp_path: Path) -> None:
    run = _begun(tmp_path / "run")
    with pytest.raises(ConfigError, match="already holds a run"):
        run.require_new()


def test_only_the_same_run_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with pytest.raises(ResumeError, match="holds no run"):
        RunFolder(path, ASKED, "test-checkpoint").require_same("another config")
    _begun(path).require_same("another config")
    other = RunFolder(path, {**ASKED, "data_hash": "abd"}, "test-checkpoint")
    with pytest.raises(ResumeError, match="started with another config"):
        other.require_same("another config")


def test_the_latest_checkpoint_stays(tmp_path: Path) -> None:
    run = _begun(tmp_path / "run")
    lines = [{"epoch": 1, "recall": 0.5}]
    run.save({"steps": 9}, {"w": torch.ones(2)}, steps=9, epoch=1, records=lines)
    state, tensors = run.load()
    assert state == {"steps": 9}
    assert tensors["w"].tolist() == [1, 1]
    assert [p.name for p in run.path.glob("checkpoint-*")] == ["checkpoint-000000009-0001"]
    assert json.loads((run.path / "metrics.jsonl").read_text("utf-8")) == lines[0]
    run.save({"steps": 10}, {"w": torch.zeros(2)}, steps=9, epoch=1, records=lines)
    assert run.load()[0] == {"steps": 9}  # that step was kept already


def test_a_folder_without_a_checkpoint_or_of_another_kind_is_no_run(tmp_path: Path) -> None:
    run = _begun(tmp_path / "run")
    with pytest.raises(ResumeError, match="no checkpoint"):
        RunFolder(run.path, ASKED, "other").load()
    with pytest.raises(ResumeError, match="no checkpoint"):
        RunFolder(tmp_path / "nothing", ASKED, "test-checkpoint").load()


def test_what_a_kill_left_behind_the_latest_checkpoint_goes(tmp_path: Path) -> None:
    run = _begun(tmp_path / "run")
    first = next(run.path.glob("checkpoint-*"))
    kept = first.rename(tmp_path / "kept")
    run.save({"steps": 5}, {"w": torch.ones(2)}, steps=5, epoch=0, records=[])
    kept.rename(first)
    assert run.load()[0] == {"steps": 5}
    assert not first.exists()
