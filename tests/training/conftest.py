"""A small ranking task whose signal can be learned, and networks that train on it in seconds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from adwright.data.batches.stream import StreamConfig
from adwright.data.features import Feature
from adwright.data.tasks.task import Task, write_task
from adwright.models.calibration import EmbeddingConfig
from adwright.models.ranking.din import DIN, DINConfig
from adwright.training.loop.run_folder import RunFolder
from adwright.training.ranking.fit import FitConfig
from tests.support.forks import python

FEATURES = (
    Feature("history", "sequence", "user"),
    Feature("user_id", "categorical", "user"),
    Feature("item_id", "categorical", "item"),
    Feature("type", "categorical", "item"),
    Feature("tags", "multi", "item"),
    Feature("store", "categorical", "context"),
    Feature("shelves", "multi", "context"),
    Feature("price", "numeric", "context"),
)
START = datetime(2024, 1, 1, tzinfo=UTC)
N_USERS, N_ITEMS, N_TYPES = 240, 80, 8
SCRIPTS = Path(__file__).resolve().parents[1] / "support" / "training"


def build_task(folder: Path) -> Task:
    """People buy items of two types each; an impression is taken where its type is theirs."""
    rng = np.random.default_rng(7)
    items = pl.DataFrame(
        {
            "item_id": [f"i{n:03}" for n in range(N_ITEMS)],
            "type": [f"t{n % N_TYPES}" for n in range(N_ITEMS)],
            "tags": [[f"g{n % 3}", f"g{n % 5}"][: n % 4] for n in range(N_ITEMS)],
        }
    )
    rows, events = [], []
    for user in range(N_USERS):
        likes = rng.choice(N_TYPES, 2, replace=False)
        for day in sorted(rng.integers(0, 100, 12).tolist()):
            item = int(rng.choice(likes)) + N_TYPES * int(rng.integers(0, 10))
            item = item if rng.random() < 0.9 else int(rng.integers(0, N_ITEMS))
            time = START + timedelta(days=day)
            events.append({"user_id": f"u{user:03}", "item_id": f"i{item:03}", "time": time})
        for number in range(16):
            item, day = int(rng.integers(0, N_ITEMS)), int(rng.integers(20, 100))
            taken = rng.random() < (0.6 if item % N_TYPES in likes else 0.08)
            rows.append(
                {
                    "user_id": f"u{user:03}",
                    "request_id": f"r{user:03}-{number:02}",
                    "time": START + timedelta(days=day, hours=1),
                    "item_id": f"i{item:03}",
                    "label": int(taken),
                    "split": "train" if day < 80 else "valid" if day < 90 else "test",
                    "store": f"s{rng.integers(0, 4)}",
                    "shelves": [f"f{n}" for n in rng.integers(0, 5, int(rng.integers(0, 3)))],
                    "price": float(rng.normal()),
                }
            )
    return write_task(
        folder,
        name="tiny",
        protocol="made up",
        data_hash="0" * 64,
        rows=pl.DataFrame(rows),
        events=pl.DataFrame(events),
        items=items,
        features=FEATURES,
        rows_per_group=500,
    )


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """About 2,900 training rows of 240 people in six row groups, a third of them taken."""
    return build_task(tmp_path_factory.mktemp("task") / "tiny")


def build_din(task: Task, *, interest: str = "attention", seed: int = 0) -> DIN:
    """DIN with Dice, or its base model, small."""
    torch.manual_seed(seed)
    config = DINConfig(
        interest="attention" if interest == "attention" else "sum",
        attention_activation="dice",
        attention_hidden=8,
        mlp_hidden=(16, 8),
        embedding=EmbeddingConfig(width=4),
    )
    return DIN(config, task.spec, task.item_table)


@pytest.fixture(scope="session")
def make_din() -> Callable[..., DIN]:
    """`build_din`."""
    return build_din


def small_config(**changes: Any) -> FitConfig:
    """A quick run: one epoch of about 24 batches in three windows."""
    stream = {"groups_per_batch": 10, "rows_per_group": 16, "window": 2}
    stream |= changes.pop("stream", {})
    return FitConfig(
        **{"epochs": 1, "learning_rate": 5e-3, **changes, "stream": StreamConfig(**stream)}
    )


@pytest.fixture(scope="session")
def config() -> Callable[..., FitConfig]:
    """`small_config`."""
    return small_config


class LogisticModel(nn.Module):
    """The least that fit() accepts: no tables, no attention."""

    def __init__(self, n_numeric: int = 1, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(n_numeric, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: Any) -> Tensor:
        logits: Tensor = self.linear(self.dropout(batch.numeric)).squeeze(1)
        return logits

    def loss(self, batch: Any) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(
            self(batch), batch.label, reduction="sum"
        )


@pytest.fixture(scope="session")
def make_logistic() -> Callable[..., LogisticModel]:
    """`LogisticModel`, from a seed of its own."""

    def build(*, seed: int = 0, dropout: float = 0.0) -> LogisticModel:
        torch.manual_seed(seed)
        return LogisticModel(dropout=dropout)

    return build


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@dataclass(frozen=True)
class Compare:
    """Comparisons of two sets of weights."""

    @staticmethod
    def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
        """Bit for bit."""
        return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)

    @staticmethod
    def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
        """Largest difference of a tensor's elements relative to its largest element."""
        assert a.keys() == b.keys()
        worst = 0.0
        for name, value in a.items():
            x, y = value.double(), b[name].double()
            if x.numel():
                worst = max(worst, float((x - y).abs().max() / x.abs().max().clamp(min=1e-3)))
        return worst


@pytest.fixture(scope="session")
def compare() -> Compare:
    """How near two models are."""
    return Compare()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Other processes share the machine, and results must not depend on its size."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def run_script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run support/training/NAME.py with arguments in a process of its own, one thread."""

    def run(
        name: str, *arguments: object, launcher: tuple[str, ...] = (), timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        command = [python(), *launcher, str(SCRIPTS / f"{name}.py"), *map(str, arguments)]
        return subprocess.run(
            command,
            # The second is what torchrun starts its processes with.
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHON_EXEC": python()},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


#: Of a test that draws curves; no other one does.
DRAW = RunFolder.draw


@pytest.fixture(autouse=True)
def pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves are drawn where a test is about them."""
    if "draws_curves" in request.keywords:
        monkeypatch.setattr(RunFolder, "draw", DRAW)
