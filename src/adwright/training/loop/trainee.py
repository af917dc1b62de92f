"""What a training gives to the loop: `Trainee`, the only thing to write for a new model.

    class Mine(Trainee[MyBatch]):
        kind = "mine-checkpoint"
        def epoch(self, at): ...     # its batches, from step at.step on
        def loss(self, batch): ...   # (summed loss, number of rows)
        def validate(self, at): ...  # (goal, measures)

The rest has a default. Whatever decides what a step does has to be a function of the position, or
be in the model, the optimisers, `state()` or `more_tensors()`: then a run that was killed goes on
and ends with the same bits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.core.config import settings
from adwright.core.errors import MissingExtraError
from adwright.training.loop.distributed import broadcast, sum_gradients
from adwright.training.loop.run_folder import RunFolder, RunPosition, Stateful, pack, unpack

B = TypeVar("B")


@dataclass(frozen=True)
class LoopConfig:
    """What the loop itself is told.

    epochs: at most so many. patience: stop after so many validations without a better goal.
    seed: of the random numbers of each step. clip_norm: gradients are scaled down to it, 0 for
    none. checkpoint_every: steps between checkpoints, beside those of validations; 0 for none.
    bfloat16: the forward pass computes in it. rollbacks: how often the run may go back to its
    last checkpoint where the loss is not finite; 0 ends it with an error.
    """

    epochs: int
    patience: int
    seed: int = 0
    clip_norm: float = 0.0
    checkpoint_every: int = 0
    bfloat16: bool = False
    rollbacks: int = 0

    @classmethod
    def of(
        cls, config: Any, *, checkpoint_every: int, epochs: int = 0, bfloat16: bool = False
    ) -> LoopConfig:
        """That of a training's own config, which has `epochs`, `patience`, `seed` and `clip_norm`.
        epochs: in place of the config's, where it is above 0."""
        return cls(
            epochs or config.epochs,
            config.patience,
            config.seed,
            config.clip_norm,
            checkpoint_every,
            bfloat16,
        )


@dataclass(frozen=True)
class StepLoss:
    """The loss of one step, summed over its `count`; shown: units of the progress bar."""

    loss: float
    count: int
    shown: int = 1


class Trainee(ABC, Generic[B]):
    """A model in training, as the loop sees it.

    model: what is trained. optimisers: by the names of their state in a checkpoint; all of them
    step in each step. asked: plain values that a resumed run has to share, `data_hash` among them.
    """

    #: Of the checkpoints; a folder of another kind is refused.
    kind: ClassVar[str]
    #: Key of the goal in the lines of metrics.jsonl, for the picture.
    goal: str = "goal"
    higher_is_better: ClassVar[bool] = True
    #: Of the progress bar.
    unit: ClassVar[str] = "batches"
    #: Under torchrun: whether each process takes a share of every batch, and whether all of them
    #: validate together; else the first one validates for all.
    divides_batches: bool = False
    validates_together: bool = False
    #: Whether `validate` shows a progress bar, before which that of the training has to end.
    shows_validation: ClassVar[bool] = False
    #: Names of counters in checkpoints of the last release, to those of `RunPosition`.
    renamed: ClassVar[Mapping[str, str]] = {}
    #: Names of settings in runs of the last release, to those of today.
    old_names: ClassVar[Mapping[str, str]] = {}
    #: Settings of which a resumed run may be asked for more, as "fit.epochs".
    grows: ClassVar[tuple[str, ...]] = ()
    #: What that changes, in words.
    when_longer: str = ""
    #: What to do where the loss is not finite.
    hint: ClassVar[str] = "lower the learning rate or clip_norm"

    def __init__(
        self,
        model: nn.Module,
        optimisers: Mapping[str, Optimizer],
        config: LoopConfig,
        asked: Mapping[str, Any],
    ) -> None:
        self.model, self.optimisers = model, dict(optimisers)
        self.loop, self.asked = config, dict(asked)
        #: The learning rates that the optimisers' groups began with.
        self.rates = [float(group["lr"]) for group in self._groups()]

    def folder(self, path: str | Path | None, *, clock: Clock | None = None) -> RunFolder | None:
        """The folder of its run; None where there is no path."""
        if path is None:
            return None
        names = self.old_names
        return RunFolder(
            path, self.asked, self.kind, old_names=names, grows=self.grows, clock=clock
        )

    @abstractmethod
    def epoch(self, at: RunPosition) -> Iterable[B]:
        """The batches of epoch `at.epoch`, from step `at.step` of it on."""

    @abstractmethod
    def validate(self, at: RunPosition) -> tuple[float | None, dict[str, Any]]:
        """(goal, measures for the line of metrics.jsonl); goal None where there is none."""

    def loss(self, batch: B) -> tuple[Tensor, int]:
        """(loss [] summed, number of what it is summed over) of a batch, with its graph."""
        raise NotImplementedError

    def gradients(self, batch: B, at: RunPosition) -> StepLoss:
        """Leave the gradients of the mean loss behind, summed over the processes."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.loop.bfloat16):
            summed, count = self.loss(batch)
        (summed / count).backward()  # type: ignore[no-untyped-call]
        dense, tables = self.parameters()
        return StepLoss(sum_gradients(dense, tables, summed.detach().float()), count)

    def parameters(self) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """(weights with dense gradients, which are clipped; tables with sparse ones)."""
        return dense_and_sparse(self.model)

    def update(self, at: RunPosition) -> None:
        """Take the optimisers' step from the gradients that are there."""
        share = self.share_of_rate(at)
        for group, rate in zip(self._groups(), self.rates, strict=True):
            group["lr"] = rate * share
        if self.loop.clip_norm:
            nn.utils.clip_grad_norm_(list(self.parameters()[0]), self.loop.clip_norm)
        for optimiser in self.optimisers.values():
            optimiser.step()

    def _groups(self) -> list[dict[str, Any]]:
        return [group for each in self.optimisers.values() for group in each.param_groups]

    def counted(self, found: StepLoss) -> None:
        """Called after each update, with what `gradients` returned."""

    def share_of_rate(self, at: RunPosition) -> float:
        """What the learning rates of the next step are of those at the start."""
        return 1.0

    def is_due(self, at: RunPosition) -> bool:
        """Whether a validation follows in the midst of an epoch."""
        return False

    def is_due_after_epoch(self, at: RunPosition) -> bool:
        """Whether a validation follows at the end of epoch `at.epoch`."""
        return True

    def is_checkpoint_due(self, at: RunPosition) -> bool:
        """Whether a checkpoint follows, beside those of validations."""
        every = self.loop.checkpoint_every
        return bool(every) and at.steps % every == 0

    def validated(self) -> None:
        """Called after each validation, when its line is recorded."""

    def line(self, at: RunPosition) -> dict[str, Any]:
        """What metrics.jsonl says of the training before the next validation."""
        return {"epoch": at.epoch + 1, "steps": at.steps, "train_loss": at.mean_loss}

    def records(self, at: RunPosition) -> Sequence[dict[str, Any]]:
        """The lines of metrics.jsonl so far."""
        return at.records

    def left(self, at: RunPosition) -> int | None:
        """Units of the progress bar that are left of the epoch; None where nobody knows."""
        return None

    def label(self, at: RunPosition) -> str:
        """Of the progress bar."""
        return f"epoch {at.epoch + 1}/{self.loop.epochs}"

    def train_mode(self) -> None:
        """Called before training goes on, at the start and after validations."""
        self.model.train()

    def during(self) -> AbstractContextManager[Any]:
        """Holds while the run trains, from after its start or resume on."""
        return nullcontext()

    def same_in_all(self) -> None:
        """Give every process the weights of the first one, at the start of a run."""
        broadcast(self.model)

    @property
    def saved(self) -> Stateful:
        """The weights that a checkpoint keeps, and of which the best are kept."""
        return self.model

    def is_finished(self, at: RunPosition) -> bool:
        """Whether no step is left, whatever the epochs say."""
        return at.worse >= self.loop.patience

    def state(self) -> dict[str, Any]:
        """Plain values of its own that a checkpoint keeps."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned. KeyError, TypeError or ValueError where it cannot."""

    def tensors(self, best: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All tensors of a checkpoint, flat. best: the best weights so far."""
        return pack(self.saved, best, self.optimisers)

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take over what `tensors` returned; the best weights. ValueError where it cannot."""
        return unpack(tensors, self.saved, self.optimisers)

    def rolled_back(self, times: int) -> None:
        """Called when the run went back for the times-th time; it may lower its rates."""

    def finish(self, at: RunPosition) -> None:
        """Called at the end, with the best weights in place."""
        self.model.eval()


def dense_and_sparse(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """(trainable weights with dense gradients, weights of tables with sparse gradients)."""
    tables: list[Tensor] = [
        m.weight for m in model.modules() if isinstance(m, nn.Embedding) and m.sparse
    ]
    chosen = {id(weight) for weight in tables}
    return [p for p in model.parameters() if p.requires_grad and id(p) not in chosen], tables


# --------------------------------------------------------------------------------------------------
# What a training tells while it runs, and who may listen.
#
#     class Losses(Callback):
#         def __init__(self): self.seen = []
#         def on_step(self, step): self.seen.append(step.loss)
#
#     aw.train(task, callbacks=[Losses()])
#
# What is handed over is frozen: a callback sees the run and does not steer it, but for `pauses`.
# Under torchrun or Ray only the first process calls. A callback that raises ends the run, with its
# own error.
#
# Runs in TensorBoard and in MLflow: callbacks of which each needs an extra of its name.
#
# Both may be made before Ray starts its workers: nothing is opened before the run begins.

#: Why a run ended: all epochs are done, patience ran out, it was closed before its end, a callback
#: asked for a pause, somebody pressed Ctrl-C, or an error was raised.
Outcome = Literal["all epochs", "early stop", "closed", "paused", "interrupted", "failed"]


@dataclass(frozen=True)
class RunBegins:
    """A run begins, or goes on.

    name: of its folder, empty without one. settings: what it was asked for, as config.json has it.
    epochs: at most so many. step: steps that were done before, 0 at the start.
    """

    name: str
    folder: Path | None
    settings: Mapping[str, Any]
    epochs: int
    step: int


@dataclass(frozen=True)
class StepDone:
    """A step was taken. epoch, step: of the run, from 1. loss: mean of the step's batch.
    learning_rate: of the first group of the first optimiser."""

    epoch: int
    step: int
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class ValidationDone:
    """Something was measured.

    goal: name of the measure that decides; value: what it is now, None where nothing decides; best:
    of all validations. measures: all of them, by name. is_best: no validation was better. stops:
    the run ends here.
    """

    epoch: int
    step: int
    goal: str
    value: float | None
    best: float | None
    measures: Mapping[str, Any]
    is_best: bool
    stops: bool


@settings
class RunEnds:
    """A run ended. epoch, step: that were done. best, best_epoch: of the validations; None and 0
    without one."""

    epoch: int
    step: int
    best: float | None
    best_epoch: int
    outcome: Outcome


class Callback(Protocol):
    """Listens to a training; a class that inherits from it needs only what it listens to.

    pauses: True ends the run after the step at work; it is measured and kept, and can be resumed.
    """

    pauses: bool = False

    def on_begin(self, run: RunBegins) -> None:
        """Before the first step; once for each model that is trained."""
        return

    def on_step(self, step: StepDone) -> None:
        """After each step."""
        return

    def on_validation(self, found: ValidationDone) -> None:
        """After each validation."""
        return

    def on_end(self, run: RunEnds) -> None:
        """At the end, whatever the reason; once for each on_begin."""
        return


class WritesDown(Callback):
    """Writes `text` to the file `path` once a training begins, so when nothing spoke against it."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text

    def on_begin(self, run: RunBegins) -> None:
        """Write the file, whole or not at all."""
        atomic_write_text(self.path, self.text)


Tracker = Literal["tensorboard", "mlflow"]
#: Characters of a parameter that MLflow takes, and parameters of one call.
_LONGEST, _MOST = 500, 100


def trackers(asked: Iterable[Tracker], out: Path) -> tuple[Callback, ...]:
    """The callbacks of these names. out: folder of the run; TensorBoard writes below it.

    Raises MissingExtraError where one is not installed.
    """
    found: list[Callback] = []
    for name in dict.fromkeys(asked):
        match name:
            case "tensorboard":
                found.append(TensorBoard(out / "tensorboard"))
            case "mlflow":
                found.append(MLflow())
    return tuple(found)


class TensorBoard(Callback):
    """Writes loss, learning rate and measures below `folder`, for `tensorboard --logdir`.

    Raises MissingExtraError without the extra `tensorboard`.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._writer: Any = None
        _imported("torch.utils.tensorboard", "TensorBoard", "tensorboard")

    def on_begin(self, run: RunBegins) -> None:
        """Open the file; steps of an earlier start that were not kept are hidden."""
        board = _imported("torch.utils.tensorboard", "TensorBoard", "tensorboard")
        folder = str(self.folder / run.name)
        self._writer = board.SummaryWriter(folder, purge_step=run.step + 1 if run.step else None)

    def on_step(self, step: StepDone) -> None:
        """Loss and rate."""
        self._writer.add_scalar("train/loss", step.loss, step.step)
        self._writer.add_scalar("train/learning_rate", step.learning_rate, step.step)

    def on_validation(self, found: ValidationDone) -> None:
        """Each measure that is a number."""
        for name, value in _numbers(found.measures).items():
            self._writer.add_scalar(f"valid/{name.removeprefix('valid_')}", value, found.step)
        self._writer.flush()

    def on_end(self, run: RunEnds) -> None:
        """Close the file."""
        self._writer.close()


class MLflow(Callback):
    """One run of MLflow for each model that is trained, inside the caller's where there is one.

    Where it is kept is MLflow's own affair: MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME.
    every: steps between two losses; each is a call of the server.
    Raises MissingExtraError without the extra `mlflow`.
    """

    def __init__(self, every: int = 50) -> None:
        self.every = max(every, 1)
        _imported("mlflow", "MLflow", "mlflow")

    def on_begin(self, run: RunBegins) -> None:
        """Start a run, and note what was asked for."""
        flow = _imported("mlflow", "MLflow", "mlflow")
        flow.start_run(run_name=run.name or None, nested=flow.active_run() is not None)
        settings = list(_flat({**run.settings, "from_step": run.step}).items())
        for start in range(0, len(settings), _MOST):
            flow.log_params(dict(settings[start : start + _MOST]))

    def on_step(self, step: StepDone) -> None:
        """Note the loss, now and then."""
        if step.step % self.every == 0:
            values = {"train_loss": step.loss, "learning_rate": step.learning_rate}
            _imported("mlflow", "MLflow", "mlflow").log_metrics(values, step=step.step)

    def on_validation(self, found: ValidationDone) -> None:
        """Note each measure that is a number, under a name that MLflow takes."""
        values = {name.replace("@", "_at_"): v for name, v in _numbers(found.measures).items()}
        _imported("mlflow", "MLflow", "mlflow").log_metrics(values, step=found.step)

    def on_end(self, run: RunEnds) -> None:
        """End the run, as what it ended."""
        status = {"interrupted": "KILLED", "failed": "FAILED"}.get(run.outcome, "FINISHED")
        _imported("mlflow", "MLflow", "mlflow").end_run(status=status)


def _imported(module: str, name: str, extra: Literal["tensorboard", "mlflow"]) -> Any:
    """The module of an extra; MissingExtraError where it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(f"logging to {name}", extra) from error


def _numbers(measures: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in measures.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = str(value)[:_LONGEST]
    return found
