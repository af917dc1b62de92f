"""The folder of a run: its config, its metrics, its curves, and where it stands.

RUN/
  config.json     what was asked for, and on which task
  metrics.jsonl   one line a validation
  curves.svg      the same as a picture
  checkpoint-N-V/ after N batches and V validations: weights, optimiser state and position,
                  an artifact; the one before is removed only when the new one is complete

A process may be killed at any moment: config.json is written last, so a folder without it is
no run yet; a checkpoint appears by a rename; metrics lines later than the checkpoint are
dropped when the run is resumed, and are written again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.core.errors import ArtifactError, ConfigError, ResumeError
from adwright.core.version import __version__
from adwright.data.batches.stream import Position
from adwright.data.tasks.task import Task

__all__ = ["Checkpoint", "RunFolder", "Stateful", "pack", "unpack"]


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands: the next position and everything that decides what happens there.

    rows: trained on so far; epoch_rows: of these, in this epoch. loss_sum, loss_rows: since
    the last validation; window_loss, window_rows: since the last point of `curve`, which
    holds (batches, mean loss) of each window since the last validation. best_*: of the best
    validation, None before the first. worse: validations since then. records: lines of
    metrics.jsonl.
    """

    position: Position = field(default_factory=Position)
    batches: int = 0
    rows: int = 0
    epoch_rows: int = 0
    loss_sum: float = 0.0
    loss_rows: int = 0
    window_loss: float = 0.0
    window_rows: int = 0
    curve: tuple[tuple[int, float], ...] = ()
    best_gauc: float | None = None
    best_log_loss: float | None = None
    best_epoch: int = 0
    worse: int = 0
    records: int = 0

    def after(self, position: Position, loss: float, rows: int) -> Checkpoint:
        """One batch later: `loss` is summed over its `rows`."""
        later = replace(
            self,
            position=position,
            batches=self.batches + 1,
            rows=self.rows + rows,
            epoch_rows=self.epoch_rows + rows,
            loss_sum=self.loss_sum + loss,
            loss_rows=self.loss_rows + rows,
            window_loss=self.window_loss + loss,
            window_rows=self.window_rows + rows,
        )
        if position.batch:
            return later
        point = (later.batches, later.window_loss / later.window_rows)
        return replace(later, curve=(*self.curve, point), window_loss=0.0, window_rows=0)

    def validated(self, gauc: float, log_loss: float, *, better: bool) -> Checkpoint:
        """One validation later."""
        later = replace(self, loss_sum=0.0, loss_rows=0, curve=(), records=self.records + 1)
        if not better:
            return replace(later, worse=self.worse + 1)
        return replace(
            later,
            worse=0,
            best_gauc=gauc,
            best_log_loss=log_loss,
            best_epoch=self.position.epoch + 1,
        )

    def next_epoch(self) -> Checkpoint:
        """At the start of the epoch after this one."""
        return replace(self, position=Position(self.position.epoch + 1), epoch_rows=0)


class RunFolder:
    """Reads and writes one run's folder."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path, self._clock = path, clock

    @property
    def config(self) -> Path:
        """The file with what was asked for."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """The file with one JSON object a validation."""
        return self.path / "metrics.jsonl"

    def create(
        self, fit: dict[str, Any], task: Task, at: Checkpoint, tensors: Mapping[str, Tensor]
    ) -> None:
        """Begin a new run with its first checkpoint; an earlier run is never overwritten.

        fit: the config as plain values. Raises ConfigError where the folder holds a run,
        ResourceError where the disk is full.
        """
        self.refuse_existing()
        asked = {
            "fit": fit,
            "task": task.meta["id"],
            "data_hash": task.data_hash,
            "protocol": task.protocol,
            "adwright": __version__,
            "torch": torch.__version__,
        }
        # What a start that was killed half-way left behind belongs to no run.
        self.clean()
        for stale in self._checkpoints():
            shutil.rmtree(stale)
        atomic_write_text(self.metrics, "")
        self.save(at, tensors, data_hash=task.data_hash)
        atomic_write_text(self.config, json.dumps(asked, indent=1))

    def refuse_existing(self) -> None:
        """Raise ConfigError where the folder holds a run."""
        if self.config.exists():
            raise ConfigError(
                "this folder already holds a run",
                where=str(self.path),
                hint="resume it, or name another folder",
            )

    def check(self, fit: dict[str, Any], task: Task) -> None:
        """Raise ResumeError unless the folder's run has this config and this task."""
        asked = self.asked()
        before, now = _flat(asked["fit"]), _flat(json.loads(json.dumps(fit)))
        changed = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
        if changed:
            key = changed[0]
            raise ResumeError(
                f"the run was started with another config: {key} was {before.get(key)!r} and "
                f"is now {now.get(key)!r}",
                where=str(self.config),
                hint="resume with the config of the start, or begin a new run",
            )
        if asked["task"] != task.meta["id"]:
            raise ResumeError(
                "the run was started on another task",
                where=f"{self.config}, task {asked['task']}, now {task.meta['id']}",
                hint="resume on the task of the start, or begin a new run",
            )

    def asked(self) -> dict[str, Any]:
        """The content of config.json. Raises ResumeError where the folder holds no run."""
        try:
            asked: dict[str, Any] = json.loads(self.config.read_text("utf-8"))
            if not isinstance(asked["fit"], dict) or not isinstance(asked["task"], str):
                raise TypeError
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResumeError(
                "this folder holds no run", where=str(self.path), hint="check the path"
            ) from error
        return asked

    def record(self, values: dict[str, Any], number: int) -> None:
        """Make `values` line `number` of metrics.jsonl, the last one, and stamp the time."""
        lines = self.metrics.read_text("utf-8").splitlines()[:number]
        lines.append(json.dumps({**values, "time": self._clock.now().isoformat()}))
        atomic_write_text(self.metrics, "".join(f"{line}\n" for line in lines))

    def records(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return [json.loads(line) for line in self.metrics.read_text("utf-8").splitlines()]

    def draw(self) -> None:
        """Draw curves.svg from metrics.jsonl: losses above, group AUC below."""
        import altair as alt

        from adwright.metrics.reports.charts import learning_curves, to_svg

        losses: list[dict[str, Any]] = []
        gauc: list[dict[str, Any]] = []
        for line in self.records():
            losses += [
                {"step": step, "series": "training", "value": loss}
                for step, loss in line["train_curve"]
            ]
            end = {"step": line["batches"], "series": "validation"}
            losses.append({**end, "value": line["valid_loss"]})
            gauc.append({**end, "value": line["valid_gauc"]})
        charts: list[Any] = [
            learning_curves(rows, title=title, x_title="Batches", y_title=title)
            for rows, title in ((losses, "Log loss"), (gauc, "Group AUC"))
        ]
        picture = alt.vconcat(*charts).resolve_scale(color="independent")
        atomic_write_text(self.path / "curves.svg", to_svg(picture))

    def save(self, at: Checkpoint, tensors: Mapping[str, Tensor], *, data_hash: str) -> None:
        """Replace the checkpoint. Raises ResourceError where the disk is full; the checkpoint
        before stays whole then."""
        # A validation may follow the checkpoint of its last batch: each has a name of its own,
        # so none is ever written over.
        folder = self.path / f"checkpoint-{at.batches:09d}-{at.records:04d}"
        earlier = self._checkpoints()
        save_artifact(
            folder,
            kind="checkpoint",
            config=asdict(at),
            tensors={name: value.detach().numpy() for name, value in tensors.items()},
            data_hash=data_hash,
            clock=self._clock,
        )
        for old in earlier:
            shutil.rmtree(old)

    def load(self) -> tuple[Checkpoint, dict[str, Tensor]]:
        """The last checkpoint. Raises ResumeError where there is none that can be read."""
        found = self._checkpoints()
        try:
            saved = load_artifact(found[-1], kind="checkpoint")
            state = dict(saved.config)
            state["position"] = Position(**state["position"])
            state["curve"] = tuple((step, loss) for step, loss in state["curve"])
            at = Checkpoint(**state)
        except (IndexError, KeyError, TypeError, ValueError, ArtifactError) as error:
            raise ResumeError(
                f"the run has no checkpoint that can be read: {error}",
                where=str(self.path),
                hint="remove the folder and start the run again",
            ) from error
        tensors = {name: torch.from_numpy(np.array(x)) for name, x in saved.tensors.items()}
        return at, tensors

    def clean(self) -> None:
        """Remove what a killed process left: half-written files, and the checkpoint before the
        last one, where it was killed between writing that and removing this."""
        for stale in self.path.glob(".*.tmp"):
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
        for old in self._checkpoints()[:-1]:
            shutil.rmtree(old)

    def _checkpoints(self) -> list[Path]:
        return sorted(self.path.glob("checkpoint-*"))


class Stateful(Protocol):
    """What has a state to keep: a network, or what stands for a part of one."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors by name."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> Any:
        """Take them over; RuntimeError where they are of something else."""
        ...


def pack(
    model: Stateful, best: Mapping[str, Tensor], optimisers: Mapping[str, Optimizer]
) -> dict[str, Tensor]:
    """All tensors of a run under flat names, "PART/NAME" with the parts model, best and the
    names of the optimisers.

    best: the best weights so far; kept are those that differ from the present ones, which the
    catalogue in a model's buffers never does.
    """
    now = model.state_dict()
    tensors = {f"model/{name}": value for name, value in now.items()}
    tensors |= {
        f"best/{name}": value for name, value in best.items() if not torch.equal(value, now[name])
    }
    for part, optimiser in optimisers.items():
        for index, state in optimiser.state_dict()["state"].items():
            tensors |= {f"{part}/{index}/{name}": _wide(value) for name, value in state.items()}
    return tensors


def _wide(value: Tensor) -> Tensor:
    """numpy has no bfloat16; an optimiser that keeps it takes float32 back without a loss."""
    return value.float() if value.dtype == torch.bfloat16 else value


def unpack(
    tensors: Mapping[str, Tensor],
    model: Stateful,
    optimisers: Mapping[str, Optimizer],
    *,
    run: Path,
) -> dict[str, Tensor]:
    """The inverse of `pack`: fills the model and the optimisers, returns the best weights.

    run: the folder, for the message. Raises ResumeError where the tensors are of another model.
    """
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}}
    for name, value in tensors.items():
        part, key = name.split("/", 1)
        parts.setdefault(part, {})[key] = value
    try:
        model.load_state_dict(parts["model"])
    except RuntimeError as error:
        raise ResumeError(
            f"the run is of another model: {' '.join(str(error).split())}",
            where=str(run),
            hint="build the model as at the start of the run",
        ) from error
    for part, optimiser in optimisers.items():
        nested: dict[int, dict[str, Tensor]] = {}
        for key, value in parts.get(part, {}).items():
            index, name = key.split("/", 1)
            nested.setdefault(int(index), {})[name] = value
        optimiser.load_state_dict({**optimiser.state_dict(), "state": nested})
    # Copies: the model goes on in its own.
    return {name: value.clone() for name, value in (parts["model"] | parts["best"]).items()}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
