"""What a training tells while it runs, and who may listen.

    class Losses(Callback):
        def __init__(self): self.seen = []
        def on_step(self, step): self.seen.append(step.loss)

    aw.train(task, callbacks=[Losses()])

What is handed over is frozen: a callback sees the run and does not steer it, but for `pauses`.
Under torchrun or Ray only the first process calls. A callback that raises ends the run, with its
own error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from adwright.core.atomic import atomic_write_text
from adwright.core.config import settings

__all__ = [
    "Callback",
    "Outcome",
    "RunBegins",
    "RunEnds",
    "StepDone",
    "ValidationDone",
    "WritesDown",
]

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
