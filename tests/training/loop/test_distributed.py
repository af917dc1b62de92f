from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adwright.core.artifacts import load_artifact
from adwright.data.batches.stream import StreamConfig
from adwright.data.tasks.task import Task
from adwright.models.ranking.din import DIN
from adwright.training.loop.distributed import (
    broadcast,
    gather,
    on_first,
    share_of,
    sum_gradients,
)
from adwright.training.ranking.fit import open_stream
from tests.support.training import fit_distributed

Run = Callable[..., subprocess.CompletedProcess[str]]
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


def weights(folder: Path) -> dict[str, Tensor]:
    tensors = {k: torch.from_numpy(v) for k, v in load_artifact(folder / "final").tensors.items()}
    if "unit.first" in tensors:
        # This row sees only 1 - 1: its gradient is rounding noise, which Adam makes large.
        tensors["unit.first"][2, -1] = 0
    return tensors


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_two_processes_of_torchrun_equal_one(
    task: Task, tmp_path: Path, run_script: Run, compare: Any
) -> None:
    names = ("sum", "attention", "attention-few")
    fit_distributed.main(task, tmp_path / "one", list(names))
    two = run_script("fit_distributed", task.folder, tmp_path / "two", *names, launcher=TORCHRUN)
    assert two.returncode == 0, two.stderr
    for name in names:
        folders = [tmp_path / which / name for which in ("one", "two")]
        assert compare.distance(*(weights(folder) for folder in folders)) < 1e-4, name
        alone, together = (metrics(folder) for folder in folders)
        assert len(alone) == len(together) == (0 if name.endswith("few") else 2)
        for a, b in zip(alone, together, strict=True):
            for key in ("epoch", "batches", "rows"):
                assert a[key] == b[key], key
            for key in ("train_loss", "valid_loss", "valid_log_loss", "valid_gauc"):
                assert b[key] == pytest.approx(a[key], rel=1e-4), key
            assert torch.tensor(b["train_curve"]) == pytest.approx(torch.tensor(a["train_curve"]))
    # The bar counts the rows of the batch, not of the process, and only the first one shows it.
    assert two.stderr.count("epoch 1/1: 1,006 rows in") == 2
    assert "FutureWarning" not in two.stderr
    # Where the first process gives up, the others do not wait for it.
    refused = "ConfigError: this folder already holds a run"
    assert (tmp_path / "one" / "again-0").read_text().startswith(refused)
    assert (tmp_path / "two" / "again-0").read_text().startswith(refused)
    assert (tmp_path / "two" / "again-1").read_text().startswith("ResourceError: the first process")


def test_alone_everything_stays_as_it_is(task: Task, make_din: Callable[..., DIN]) -> None:
    batch, _ = next(open_stream(task, "train", StreamConfig()).epoch())
    assert share_of(batch) is batch
    values = torch.arange(3.0)
    assert gather(values) is values
    model = make_din(task)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    broadcast(model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    linear = nn.Linear(2, 1)
    linear(torch.ones(1, 2)).sum().backward()
    gradient = linear.weight.grad
    assert sum_gradients([linear.weight], [], torch.tensor(2.5)) == 2.5
    assert linear.weight.grad is gradient


def test_alone_the_first_acts_and_its_error_passes() -> None:
    done: list[int] = []
    on_first(lambda: done.append(1))
    assert done == [1]

    def fail() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        on_first(fail)


class Two:
    """Two processes in one: the other one sends what this one sends, twice as large."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module = "adwright.training.loop.distributed"
        monkeypatch.setattr(f"{module}.world_size", lambda: 2)
        monkeypatch.setattr(f"{module}.distributed.all_reduce", self.all_reduce)
        monkeypatch.setattr(f"{module}.distributed.all_gather", self.all_gather)
        self.messages = 0

    def all_reduce(self, values: Tensor) -> None:
        self.messages += 1
        values *= 3

    def all_gather(self, parts: list[Tensor], values: Tensor) -> None:
        self.messages += 1
        parts[0].copy_(values)
        # Numbers of rows and sizes are the same in both.
        parts[1].copy_(values if values.dtype == torch.int64 else 2 * values)


def test_gradients_of_both_processes_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    dense, unused = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(3))
    small, large = nn.Embedding(4, 2, sparse=True), nn.Embedding(5, 3, sparse=True)
    idle = nn.Embedding(6, 1, sparse=True)
    rows = torch.tensor([1, 3, 1])
    (dense.sum() + small(rows).sum() + 5 * large(torch.tensor([4])).sum()).backward()
    two = Two(monkeypatch)
    tables = [small.weight, idle.weight, large.weight]
    assert sum_gradients([dense, unused], tables, torch.tensor(2.0)) == 6.0
    assert dense.grad is not None
    assert unused.grad is not None
    assert torch.equal(dense.grad, torch.full((2, 2), 3.0))
    assert torch.equal(unused.grad, torch.zeros(3))
    expected = {small: {1: 6.0, 3: 3.0}, idle: {}, large: {4: 15.0}}
    for table, sums in expected.items():
        assert table.weight.grad is not None
        full = table.weight.grad.coalesce().to_dense()
        for row in range(table.num_embeddings):
            assert full[row].tolist() == [sums.get(row, 0.0)] * table.embedding_dim
    # One message for all dense weights and the loss, and a fixed number for all tables.
    assert two.messages == 1 + 3 * 2


@pytest.mark.parametrize("interest", ["sum", "attention"])
def test_a_share_without_groups_reaches_every_dense_weight(
    task: Task, make_din: Callable[..., DIN], interest: str
) -> None:
    # Sums over processes in the backward pass (Dice's moments) need all of them to come by.
    model = make_din(task, interest=interest)
    batch, _ = next(open_stream(task, "train", StreamConfig()).epoch())
    loss = model.loss(batch.groups(torch.arange(0)))
    loss.backward()
    assert loss.item() == 0
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    for name, parameter in model.named_parameters():
        if id(parameter) not in tables:
            assert parameter.grad is not None, name
            assert not parameter.grad.any(), name
