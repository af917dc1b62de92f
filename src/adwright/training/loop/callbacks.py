"""What a training tells while it runs, and who may listen.

    class Losses(Callback):
        def __init__(self): self.seen = []
        def on_step(self, step): self.seen.append(step.loss)

    aw.train(task, callbacks=[Losses()])

What is handed over is frozen: a callback sees the run and does not steer it, but for `pauses`.
Under torchrun or Ray only the first process calls. A callback that raises ends the run, with its
own error.

Runs in TensorBoard and in MLflow: callbacks of which each needs an extra of its name.

Both may be made before Ray starts its workers: nothing is opened before the run begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

from adwright.core.atomic import atomic_write_text
from adwright.core.config import settings
from adwright.core.errors import MissingExtraError

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
