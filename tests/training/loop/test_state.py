from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from adwright.core.artifacts import load_artifact
from adwright.core.clock import FixedClock
from adwright.core.config import to_jsonable
from adwright.core.errors import ConfigError, ResumeError
from adwright.data.batches.stream import Position
from adwright.data.tasks.task import Task
from adwright.training.loop.optimisers import RowWise
from adwright.training.loop.state import Checkpoint, RunFolder, pack, unpack
from adwright.training.ranking.fit import FitConfig

SCENARIOS = (
    *("batch-1", "batch-6", "batch-12", "batch-19", "half-start", "half-tensors", "at-rename"),
    *("before-removal", "after-metrics", "disk-full", "random"),
)
TENSORS = {"model/w": torch.arange(6.0).view(2, 3), "adam/0/step": torch.tensor(3.0)}


def metrics(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "time"} for line in lines]


def test_killed_and_resumed_ends_with_the_same_bits(
    task: Task, tmp_path: Path, run_script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    # One test for all of them: the processes behind it take a quarter of a minute.
    done = run_script("kill_and_resume", task.folder, tmp_path)
    assert done.returncode == 0, done.stderr
    kills = json.loads(done.stdout)
    whole = tmp_path / "whole"
    assert len(metrics(whole / "run")) == 4
    for name in SCENARIOS:
        assert kills[name] >= 1, name
        # The file of the weights, and that of all state at the end.
        last = "checkpoint-000000024-0004"
        for file in ("final/tensors.safetensors", f"run/{last}/tensors.safetensors"):
            assert (tmp_path / name / file).read_bytes() == (whole / file).read_bytes(), name
        assert metrics(tmp_path / name / "run") == metrics(whole / "run"), name
        left = {path.name for path in (tmp_path / name / "run").iterdir()}
        assert left == {"config.json", "metrics.jsonl", last}, name


def asked(**changes: Any) -> dict[str, Any]:
    return to_jsonable(FitConfig(**changes))


@pytest.fixture
def folder(tmp_path: Path, clock: FixedClock) -> RunFolder:
    return RunFolder(tmp_path / "run", clock)


def test_a_checkpoint_comes_back_as_it_was(folder: RunFolder, task: Task) -> None:
    at = Checkpoint(position=Position(1, 2, 3), batches=7, loss_sum=0.1, curve=((3, 0.5), (7, 0.4)))
    folder.create(asked(), task, Checkpoint(), TENSORS)
    folder.save(at, TENSORS, data_hash=task.data_hash)
    found, tensors = folder.load()
    assert found == at
    assert {name: value.tolist() for name, value in tensors.items()} == {
        name: value.tolist() for name, value in TENSORS.items()
    }
    # Writable, since training goes on in them.
    tensors["model/w"] += 1
    assert load_artifact(next(folder.path.glob("checkpoint-*"))).data_hash == task.data_hash


def test_only_the_last_checkpoint_stays(folder: RunFolder, task: Task) -> None:
    folder.create(asked(), task, Checkpoint(), TENSORS)
    for at in (Checkpoint(batches=9), Checkpoint(batches=9, records=1), Checkpoint(batches=10)):
        folder.save(at, TENSORS, data_hash="")
        assert len(list(folder.path.glob("checkpoint-*"))) == 1
        assert folder.load()[0] == at


def test_config_says_what_was_asked_for(folder: RunFolder, task: Task) -> None:
    folder.create(asked(epochs=3), task, Checkpoint(), TENSORS)
    found = json.loads((folder.path / "config.json").read_text())
    assert found["fit"]["epochs"] == 3
    assert found["task"] == task.meta["id"]
    assert found["data_hash"] == task.data_hash
    assert found["protocol"] == "made up"
    assert found["torch"] == torch.__version__


def test_an_existing_run_is_refused(folder: RunFolder, task: Task) -> None:
    folder.create(asked(), task, Checkpoint(), TENSORS)
    with pytest.raises(ConfigError, match=r"already holds a run.*resume it"):
        folder.create(asked(), task, Checkpoint(), TENSORS)


def test_a_start_that_was_killed_is_no_run(folder: RunFolder, task: Task) -> None:
    folder.create(asked(), task, Checkpoint(batches=3), TENSORS)
    folder.config.unlink()
    (folder.path / ".config.json.0123456789abcdef.tmp").write_text("{")
    with pytest.raises(ResumeError, match="holds no run"):
        folder.check(asked(), task)
    folder.create(asked(), task, Checkpoint(), TENSORS)
    names = {path.name for path in folder.path.iterdir()}
    assert names == {"config.json", "metrics.jsonl", "checkpoint-000000000-0000"}


def test_another_config_or_task_is_refused(folder: RunFolder, task: Task) -> None:
    folder.create(asked(), task, Checkpoint(), TENSORS)
    folder.check(asked(), task)
    with pytest.raises(ResumeError, match=r"another config: decay was 0.0 and is now 0.5"):
        folder.check(asked(decay=0.5), task)
    stream = replace(FitConfig().stream, window=9)
    with pytest.raises(ResumeError, match=r"stream.window was 8 and is now 9"):
        folder.check(asked(stream=stream), task)
    other = Task(task.folder)
    other.meta["id"] = "f" * 64
    with pytest.raises(ResumeError, match=r"another task.*now ffff"):
        folder.check(asked(), other)


def test_no_run_no_checkpoint_or_a_damaged_one(folder: RunFolder, task: Task) -> None:
    with pytest.raises(ResumeError, match=r"holds no run.*check the path"):
        folder.asked()
    folder.create(asked(), task, Checkpoint(), TENSORS)
    (saved,) = folder.path.glob("checkpoint-*")
    data = bytearray((saved / "tensors.safetensors").read_bytes())
    data[-1] ^= 1
    (saved / "tensors.safetensors").write_bytes(data)
    with pytest.raises(ResumeError, match=r"no checkpoint that can be read.*SHA-256 differs"):
        folder.load()
    for file in saved.iterdir():
        file.unlink()
    saved.rmdir()
    with pytest.raises(ResumeError, match=r"no checkpoint"):
        folder.load()


def test_lines_are_replaced_by_their_number(
    folder: RunFolder, task: Task, clock: FixedClock
) -> None:
    folder.create(asked(), task, Checkpoint(), TENSORS)
    for number, value in ((0, "a"), (1, "b"), (2, "c"), (1, "d")):
        folder.record({"value": value}, number)
    clock.advance(5)
    folder.record({"value": "e"}, 2)
    assert [line["value"] for line in folder.records()] == ["a", "d", "e"]
    assert folder.records()[1]["time"] == "2024-01-01T00:00:00+00:00"
    assert folder.records()[2]["time"] == "2024-01-01T00:00:05+00:00"


def test_curves_show_losses_and_group_auc(folder: RunFolder, task: Task) -> None:
    folder.create(asked(), task, Checkpoint(), TENSORS)
    for number in range(3):
        curve = [[number * 10 + 5, 0.7 - 0.1 * number], [number * 10 + 10, 0.65 - 0.1 * number]]
        valid = {"valid_loss": 0.6, "valid_gauc": 0.5 + 0.1 * number}
        folder.record({"batches": number * 10 + 10, "train_curve": curve, **valid}, number)
    folder.draw()
    picture = (folder.path / "curves.svg").read_text()
    assert picture.startswith("<svg")
    for text in ("Log loss", "Group AUC", "training", "validation", "Batches"):
        assert text in picture
    # Six points of the training curve, three of each validation curve.
    assert picture.count('aria-roledescription="point"') == 12


def test_packed_state_comes_back(tmp_path: Path) -> None:
    def build(seed: int) -> tuple[nn.Module, dict[str, torch.optim.Optimizer]]:
        torch.manual_seed(seed)
        model = nn.ModuleDict({"table": nn.Embedding(5, 2, sparse=True), "linear": nn.Linear(2, 1)})
        model.register_buffer("catalogue", torch.arange(9))
        linear = list(model["linear"].parameters())
        rows = RowWise([model["table"].weight], learning_rate=0.1, rule="adam")
        return model, {"adam": torch.optim.Adam(linear, lr=0.1), "rows": rows}

    model, optimisers = build(0)
    best = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(3):
        model.zero_grad()
        model["linear"](model["table"](torch.tensor([1, 3, 3]))).sum().backward()
        for optimiser in optimisers.values():
            optimiser.step()
    packed = pack(model, best, optimisers)
    # What never changes is kept once.
    assert "model/catalogue" in packed
    assert {name for name in packed if name.startswith("best/")} == {
        *("best/table.weight", "best/linear.weight", "best/linear.bias")
    }
    other, others = build(1)
    found = unpack(packed, other, others, run=tmp_path)
    assert found.keys() == best.keys()
    assert all(torch.equal(found[name], value) for name, value in best.items())
    again = pack(other, found, others)
    assert again.keys() == packed.keys()
    assert all(torch.equal(again[name], value) for name, value in packed.items())
    with pytest.raises(ResumeError, match=r"another model.*build the model as at the start"):
        unpack(packed, nn.Linear(2, 1), {}, run=tmp_path)


def test_a_window_ends_a_point_of_the_curve() -> None:
    at = Checkpoint()
    at = at.after(Position(0, 0, 1), loss=3.0, rows=10)
    at = at.after(Position(0, 1, 0), loss=5.0, rows=10)
    at = at.after(Position(0, 1, 1), loss=1.0, rows=5)
    assert at.curve == ((2, 0.4),)
    assert (at.batches, at.rows, at.epoch_rows, at.loss_sum, at.loss_rows) == (3, 25, 25, 9.0, 25)
    better = at.validated(0.7, 0.3, better=True)
    assert (better.best_gauc, better.best_log_loss, better.best_epoch) == (0.7, 0.3, 1)
    assert (better.curve, better.loss_rows, better.records, better.worse) == ((), 0, 1, 0)
    worse = better.next_epoch().validated(0.6, 0.2, better=False)
    assert (worse.best_gauc, worse.best_epoch, worse.worse, worse.records) == (0.7, 1, 1, 2)
    assert worse.position == Position(1)
    assert worse.epoch_rows == 0
