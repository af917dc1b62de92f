"""The folder of a run: its config, its metrics, its curves, and where it stands.

RUN/
  config.json     what was asked for, and the hash of the data
  metrics.jsonl   one line a validation
  curves.svg      the same as a picture
  checkpoint-N/   after N batches: weights, optimiser state and position, an artifact; the
                  one before is removed only when the new one is complete
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.core.config import to_jsonable
from adwright.core.errors import ConfigError, ResumeError
from adwright.data.stream import Position
from adwright.metrics.charts import learning_curves, to_svg
from adwright.training.optim import RowWise

if TYPE_CHECKING:
    from adwright.training.fit import FitConfig

__all__ = ["Checkpoint", "RunFolder"]


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands: the next position and everything that decides what happens there."""

    position: Position = field(default_factory=Position)
    batches: int = 0
    rows: int = 0
    epoch_rows: int = 0
    loss_sum: float = 0.0
    loss_rows: int = 0
    best_gauc: float = float("-inf")
    best_log_loss: float = float("inf")
    best_epoch: int = 0
    worse: int = 0
    records: int = 0

    def after(self, position: Position, loss: float, rows: int) -> Checkpoint:
        """One batch later."""
        return replace(
            self,
            position=position,
            batches=self.batches + 1,
            rows=self.rows + rows,
            epoch_rows=self.epoch_rows + rows,
            loss_sum=self.loss_sum + loss,
            loss_rows=self.loss_rows + rows,
        )

    def validated(self, gauc: float, log_loss: float, *, better: bool) -> Checkpoint:
        """One validation later."""
        later = replace(self, loss_sum=0.0, loss_rows=0, records=self.records + 1)
        if not better:
            return replace(later, worse=self.worse + 1)
        return replace(
            later,
            worse=0,
            best_gauc=gauc,
            best_log_loss=log_loss,
            best_epoch=self.position.epoch + 1,
        )


class RunFolder:
    """Reads and writes one run's folder."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path, self._clock = path, clock

    @property
    def metrics(self) -> Path:
        """The file with one JSON object a validation."""
        return self.path / "metrics.jsonl"

    def create(self, config: FitConfig, data_hash: str) -> None:
        """Begin a new run; an earlier run's folder is never overwritten."""
        if (self.path / "config.json").exists():
            raise ConfigError(
                "this folder already holds a run",
                where=str(self.path),
                hint="resume it, or name another folder",
            )
        self.path.mkdir(parents=True, exist_ok=True)
        asked = {"fit": to_jsonable(config), "data_hash": data_hash}
        atomic_write_text(self.path / "config.json", json.dumps(asked, indent=1))
        atomic_write_text(self.metrics, "")

    def record(self, values: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        line = {**values, "time": self._clock.now().isoformat()}
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return [json.loads(line) for line in self.metrics.read_text("utf-8").splitlines()]

    def draw(self) -> None:
        """Draw curves.svg from metrics.jsonl."""
        rows = [
            {"step": line["batches"], "series": name, "value": line[key]}
            for line in self.records()
            for name, key in (
                ("training log loss", "train_loss"),
                ("validation log loss", "valid_log_loss"),
                ("validation group AUC", "valid_gauc"),
            )
        ]
        atomic_write_text(self.path / "curves.svg", to_svg(learning_curves(rows, x="step")))

    def save(
        self,
        at: Checkpoint,
        model: nn.Module,
        best: dict[str, Tensor],
        adam: torch.optim.Adam,
        rows: RowWise,
    ) -> None:
        """Replace the checkpoint."""
        tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
        tensors |= {f"best/{name}": value for name, value in best.items()}
        for prefix, optimiser in (("adam", adam), ("rows", rows)):
            for index, state in optimiser.state_dict()["state"].items():
                tensors |= {f"{prefix}/{index}/{name}": value for name, value in state.items()}
        folder = self.path / f"checkpoint-{at.batches:09d}"
        earlier = self._checkpoints()
        if folder in earlier:
            return
        save_artifact(
            folder,
            kind="checkpoint",
            config=asdict(at),
            tensors={name: value.numpy() for name, value in tensors.items()},
            files={},
            feature_spec=None,
            data_hash=self._asked()["data_hash"],
            seed=0,
            parents=[],
        )
        for old in earlier:
            shutil.rmtree(old)

    def _checkpoints(self) -> list[Path]:
        return sorted(self.path.glob("checkpoint-*"))

    def load(
        self,
        config: FitConfig,
        data_hash: str,
        model: nn.Module,
        adam: torch.optim.Adam,
        rows: RowWise,
    ) -> tuple[Checkpoint, dict[str, Tensor]]:
        """Put the checkpoint's state in place; metrics after it are dropped."""
        asked = self._asked()
        if asked["fit"] != json.loads(json.dumps(to_jsonable(config))):
            raise ResumeError("the run was started with another config", where=str(self.path))
        if asked["data_hash"] != data_hash:
            raise ResumeError("the run was started on another task", where=str(self.path))
        found = self._checkpoints()
        if not found:
            raise ResumeError(
                "the run has no checkpoint yet",
                where=str(self.path),
                hint="remove the folder and start the run again",
            )
        saved = load_artifact(found[-1], kind="checkpoint")
        state = dict(saved.config)
        at = Checkpoint(**{**state, "position": Position(**state["position"])})
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "adam": {}, "rows": {}}
        for name, array in saved.tensors.items():
            part, key = name.split("/", 1)
            parts[part][key] = torch.from_numpy(np.array(array))
        model.load_state_dict(parts["model"])
        for optimiser, flat in ((adam, parts["adam"]), (rows, parts["rows"])):
            nested: dict[int, dict[str, Tensor]] = {}
            for key, value in flat.items():
                index, name = key.split("/", 1)
                nested.setdefault(int(index), {})[name] = value
            optimiser.load_state_dict({**optimiser.state_dict(), "state": nested})
        lines = self.metrics.read_text("utf-8").splitlines(keepends=True)
        atomic_write_text(self.metrics, "".join(lines[: at.records]))
        return at, parts["best"]

    def _asked(self) -> dict[str, Any]:
        try:
            asked: dict[str, Any] = json.loads((self.path / "config.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ResumeError(
                "this folder holds no run", where=str(self.path), hint="check the path"
            ) from error
        return asked
