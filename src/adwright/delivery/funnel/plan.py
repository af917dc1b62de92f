"""What is trained in the minutes that there are: a race in slices.

Item-item and the other rules take seconds and are always there. Then each network gets a slice, a
twentieth of the time, at whose end it is validated; an epoch, several of them, or a part of one.
From there on the next slice goes to the network that gained most per second in its last two, by the
recall of the same validation visits, until the time is over or patience stops them all. So the time
goes where it teaches most, what one network leaves falls to the others, and nothing is spent on
asking what an epoch would take: the question is the first slice, and that is kept.

    sequence    HSTU, for whom the next item follows from the last ones
    two-tower   for whom the items' features matter, and new items
    hcn         several interests a user; an order
    fine        DIN over what the coarse order lets through: last, in what is left, as what it gains
                is of another measure

The seconds are those of the processor, as what waits for a busy core learns nothing. Every training
is kept between its slices, and a build that is given more minutes goes on with each.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import replace
from itertools import accumulate
from typing import Literal, get_args

from adwright.core.clock import Clock
from adwright.core.config import settings
from adwright.training.loop.callbacks import Callback, RunBegins, RunEnds, StepDone, ValidationDone

__all__ = ["MODELS", "ModelName", "Slice", "Trained", "free_cores", "next_slice"]

ModelName = Literal["sequence", "two-tower", "hcn", "fine"]
MODELS: tuple[ModelName, ...] = get_args(ModelName)
#: A slice is at least so many times as long as what it takes to begin and to validate one.
_WORTH = 3.0
#: What is less than this share of a slice is not begun.
_LEAST = 0.25


class Slice(Callback):
    """Ends a training after so many seconds of it, and knows how it went.

    steps, seconds: of the slice. value: of its last validation, None without one. best_step: of the
    run, at the best validation of this slice, None where that was before. ended: whether the run is
    over, however much time there is.
    """

    def __init__(self, seconds: float, clock: Clock) -> None:
        self.pauses, self.ended = False, False
        self.steps, self.seconds = 0, 0.0
        self.value: float | None = None
        self.best_step: int | None = None
        self._limit, self._clock, self._began = seconds, clock, 0.0

    def on_begin(self, run: RunBegins) -> None:
        """The clock starts."""
        self._began = self._clock.monotonic()

    def on_step(self, step: StepDone) -> None:
        """Ask for the end where the time is over."""
        self.steps += 1
        self.seconds = self._clock.monotonic() - self._began
        self.pauses = self.seconds >= self._limit

    def on_validation(self, found: ValidationDone) -> None:
        """Keep the value."""
        self.value = found.value
        self.best_step = found.step if found.is_best else self.best_step

    def on_end(self, run: RunEnds) -> None:
        """Keep why."""
        self.ended = run.outcome in ("all epochs", "early stop")


@settings
class Trained:
    """How far a model came. seconds: of all slices; of these `stepping` trained, and `around` was
    what the last slice took beside. epochs: done, and up to the best validation. curve: (seconds,
    validation) after each slice. ended: whether more time would change nothing."""

    model: ModelName
    seconds: float = 0.0
    stepping: float = 0.0
    around: float = 0.0
    epochs: float = 0.0
    best_epochs: float = 0.0
    curve: tuple[tuple[float, float], ...] = ()
    ended: bool = False

    def after(self, done: Slice, seconds: float, steps_per_epoch: int) -> Trained:
        """One slice later, which took so many seconds in all."""
        curve, spent = self.curve, self.seconds + seconds
        if done.value is not None:
            curve = (*curve, (spent, done.value))
        epochs = self.epochs + done.steps / steps_per_epoch
        best = self.best_epochs if done.best_step is None else done.best_step / steps_per_epoch
        return replace(
            self,
            seconds=spent,
            stepping=self.stepping + done.seconds,
            around=max(seconds - done.seconds, 0.0),
            epochs=epochs,
            best_epochs=best,
            curve=curve,
            ended=done.ended,
        )

    @property
    def an_epoch(self) -> float:
        """Seconds that one takes; infinite before the first step."""
        return self.stepping / self.epochs if self.epochs else math.inf

    @property
    def promise(self) -> float:
        """What a second of the last two slices gained; infinite before the first."""
        if not self.curve:
            return math.inf
        best = [(0.0, 0.0), *zip([t for t, _ in self.curve], self._best, strict=True)]
        (before, low), (now, high) = best[-min(3, len(best))], best[-1]
        return (high - low) / max(now - before, 1e-9)

    @property
    def _best(self) -> list[float]:
        return list(accumulate((value for _, value in self.curve), max))

    def text(self) -> str:
        """One sentence: how long, with which results, and whether more time could help."""
        if not self.epochs:
            return f"{self.model}: left out, as no time is left for it: give --minutes more"
        said = f"{self.model}: {self.epochs:.3g} epochs in {self.seconds:.0f} s"
        if self.curve:
            values = ", ".join(f"{value:.4f}" for _, value in self.curve)
            times = ", ".join(f"{time:.0f}" for time, _ in self.curve)
            said += f", validation {values} after {times} s"
        if self.ended:
            return f"{said}; more time would change nothing"
        return f"{said}; cut off, it goes on with more --minutes and --resume"


def next_slice(
    runs: Iterable[Trained], left: float, usual: float
) -> tuple[ModelName, float] | None:
    """Which model is trained next, and for how many seconds; None where none is worth beginning.

    left: seconds that there are. usual: seconds of a slice.
    """
    able = [one for one in runs if not one.ended and left - one.around >= max(_LEAST * usual, 1e-9)]
    if not able:
        return None
    best = max(able, key=lambda one: one.promise)
    return best.model, min(max(usual, _WORTH * best.around), left - best.around)


def free_cores() -> int:
    """Cores of this process that nothing else keeps busy, by the load of the last minute; at least
    one. A second thread that waits for a busy core costs more than it saves."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1, round((cores or 1) - load))
