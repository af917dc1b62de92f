"""What a run says of itself: to the person who waits for it, and to the callbacks.

The first process alone speaks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from adwright.core.clock import Clock
from adwright.core.progress import Progress, Rhythm, duration, progress, say
from adwright.training.loop.callbacks import (
    Callback,
    Outcome,
    RunBegins,
    RunEnds,
    StepDone,
    ValidationDone,
)
from adwright.training.loop.distributed import rank
from adwright.training.loop.position import RunPosition
from adwright.training.loop.run_folder import RunFolder
from adwright.training.loop.trainee import StepLoss, Trainee

__all__ = ["Telling"]


class Telling:
    """Speaks for a run of `trainee`. clock: measures what is left of it."""

    def __init__(self, trainee: Trainee[Any], callbacks: Sequence[Callback], clock: Clock) -> None:
        self._trainee, self._callbacks, self._clock = trainee, tuple(callbacks), clock
        self._rhythm, self._last = Rhythm(clock), ""
        self._began, self._first_epoch = clock.monotonic(), 0
        #: Those that were told of the beginning.
        self._told: list[Callback] = []

    @property
    def pauses(self) -> bool:
        """Whether a callback asks the run to end here for now."""
        return any(getattr(callback, "pauses", False) for callback in self._callbacks)

    def begin(self, at: RunPosition, run: RunFolder | None) -> None:
        """The run begins, or goes on, at `at`."""
        self._began, self._first_epoch = self._clock.monotonic(), at.epoch
        if rank():
            return
        if run is not None and run.grown:
            said = "; ".join(f"{name} is now {to} and was {was}" for name, was, to in run.grown)
            say(f"the run goes on for longer: {said}{self._trainee.when_longer}")
        trainee = self._trainee
        told = RunBegins(
            name="" if run is None else run.path.name,
            folder=None if run is None else run.path,
            settings=trainee.asked,
            epochs=trainee.loop.epochs,
            step=at.steps,
        )
        for callback in self._callbacks:
            callback.on_begin(told)
            self._told.append(callback)

    def bar(self, at: RunPosition, now: Callable[[], RunPosition]) -> AbstractContextManager[Any]:
        """Show what is left of the epoch. now: how far the run is."""
        trainee = self._trainee
        left = trainee.left(at)
        if rank() or left == 0:
            return nullcontext(Progress())

        def note() -> str:
            here = now()
            loss = f"loss {here.mean_loss:.4g}" if here.loss_count else ""
            return ", ".join(filter(None, (loss, self._last)))

        return progress(
            left,
            trainee.label(at),
            trainee.unit,
            note=note,
            rhythm=self._rhythm,
            clock=self._clock,
        )

    def step(self, at: RunPosition, found: StepLoss) -> None:
        """A step was taken, after which the run is at `at`."""
        if not self._callbacks or rank():
            return
        rate = next(
            (
                float(group["lr"])
                for optimiser in self._trainee.optimisers.values()
                for group in optimiser.param_groups
            ),
            0.0,
        )
        told = StepDone(at.epoch + 1, at.steps, found.loss / max(found.count, 1), rate)
        for callback in self._callbacks:
            callback.on_step(told)

    def validation(
        self,
        at: RunPosition,
        goal: float | None,
        measures: Mapping[str, Any],
        *,
        is_best: bool,
        is_end: bool,
    ) -> None:
        """Something was measured, after which the run is at `at`.

        is_best: no validation was better. is_end: it ended an epoch.
        """
        if rank():
            return
        trainee = self._trainee
        told = ValidationDone(
            epoch=at.epoch + 1,
            step=at.steps,
            goal=trainee.goal if trainee.goal in measures else "goal",
            value=goal,
            best=at.best,
            measures=measures,
            is_best=is_best,
            stops=trainee.is_finished(at),
        )
        if goal is not None:
            self._last = f"{told.goal} {measures.get(trainee.goal, goal):.4f}"
            compared = self._compared(at, told, is_end)
            say(f"{trainee.label(at)}, step {at.steps:,}: {self._last}{compared}")
        for callback in self._callbacks:
            callback.on_validation(told)

    def end(self, at: RunPosition, outcome: Outcome | None = None) -> None:
        """The run ends at `at`. outcome: None where it came to its own end."""
        if rank():
            return
        if outcome is None:
            outcome = "early stop" if self._trainee.is_finished(at) else "paused"
            if at.epoch >= self._trainee.loop.epochs:
                outcome = "all epochs"
        if outcome == "closed":
            kept = f"of epoch {at.best_epoch}" if at.best_epoch else "as they are"
            say(f"closed after step {at.steps:,}: the weights {kept} are kept")
        told = RunEnds(at.epoch, at.steps, at.best, at.best_epoch, outcome)
        told_of_begin, self._told = self._told, []
        for callback in told_of_begin:
            callback.on_end(told)

    def _compared(self, at: RunPosition, told: ValidationDone, is_end: bool) -> str:
        """How it compares with the best, and whether and how long the run goes on."""
        patience = self._trainee.loop.patience
        said = ", the best so far"
        if not told.is_best:
            said = f", best {at.best:.4f} in epoch {at.best_epoch}"
        if told.stops:
            times = "one validation" if at.worse == 1 else f"{at.worse} validations"
            return f"{said}; stops after {times} without a better one"
        if not told.is_best:
            said += f" ({at.worse} of {patience} without a better one)"
        epochs = self._trainee.loop.epochs - at.epoch - 1
        if not is_end or epochs < 1:
            return said
        spent = self._clock.monotonic() - self._began
        left = epochs * spent / (at.epoch + 1 - self._first_epoch)
        return f"{said}; at most {duration(left)} left"
