"""What is trained in the minutes that there are.

Item-item and the other rules take seconds and are always there. Of the models each is tried for a
few steps, which says what an epoch of it takes; then the next in line is trained for as many epochs
as its share of the time that is left allows:

    sequence    HSTU, for whom the next item follows from the last ones      .6 of what is left
    two-tower   for whom the items' features matter, and new items           .6
    hcn         several interests a user; an order                           .6
    fine        DIN over what the coarse order lets through                  all

A model that would get fewer than two epochs, the sequence model fewer than four, is left out: it
would teach nothing that item-item does not know (one is enough where an epoch sees more than LARGE
events). What it would have taken falls to those behind it, as does what a training leaves that
stopped early. The decisions depend on the machine; a run keeps them, and is taken up with the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal, get_args

from adwright.core.clock import Clock, SystemClock
from adwright.core.config import check_literals

__all__ = [
    "MODELS",
    "EpochCost",
    "ModelName",
    "Planned",
    "Stopped",
    "free_cores",
    "planned",
    "timed",
]

ModelName = Literal["sequence", "two-tower", "hcn", "fine"]
MODELS: tuple[ModelName, ...] = get_args(ModelName)
#: Share of the time left that a model may take.
SHARES: Mapping[ModelName, float] = {"sequence": 0.6, "two-tower": 0.6, "hcn": 0.6, "fine": 1.0}
#: Epochs without which a model is not worth its time.
_LEAST: Mapping[ModelName, int] = {"sequence": 4, "two-tower": 2, "hcn": 2, "fine": 2}
#: An epoch of so many events teaches something alone.
LARGE = 500_000
_STEPS, _WARM = 4, 2


class Stopped(Exception):
    """Raised out of a training that was only to be timed."""


@dataclass(frozen=True)
class EpochCost:
    """What an epoch takes. seconds: of all steps and the validation. once: seconds before the
    first epoch. epochs: that the defaults ask for, at most. events: that an epoch sees."""

    seconds: float
    epochs: int
    events: int
    once: float = 0.0


@dataclass(frozen=True)
class Planned:
    """A decision. epochs: 0 where the model is left out. seconds: that it may take."""

    model: ModelName
    epochs: int
    seconds: float
    why: str

    def __post_init__(self) -> None:
        check_literals(self)

    def text(self) -> str:
        """One sentence."""
        if not self.epochs:
            return f"{self.model}: left out, {self.why}"
        minutes = f"{self.seconds / 60:.1f} minutes"
        return f"{self.model}: at most {self.epochs} epochs, {minutes}; {self.why}"


def planned(model: ModelName, cost: EpochCost, left: float) -> Planned:
    """How long a model is trained. left: seconds that there are for it and all behind it."""
    mine = max(left, 0.0) * SHARES[model] - cost.once
    fits = int(mine / max(cost.seconds, 1e-9))
    least = 1 if cost.events >= LARGE else min(_LEAST[model], cost.epochs)
    each = f"an epoch takes {cost.seconds:.1f} s"
    if fits < least:
        return Planned(
            model,
            0,
            0.0,
            f"as {each} and {max(mine, 0):.0f} s are left for it: give --minutes more",
        )
    epochs = min(fits, cost.epochs)
    why = each if epochs == cost.epochs else f"{each}, and {cost.epochs} would take too long"
    return Planned(model, epochs, cost.once + epochs * cost.seconds, why)


def free_cores() -> int:
    """Cores of this process that nothing else keeps busy, by the load of the last minute; at least
    one. A second thread that waits for a busy core costs more than it saves."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1, round((cores or 1) - load))


def timed(train: Callable[[Callable[[int], None]], object], clock: Clock | None = None) -> float:
    """Seconds of a step, the median of a few.

    train: begins a training that calls what it is given after each step; it is stopped after a few.
    clock: measures them.
    """
    timer = clock or SystemClock()
    marks = [timer.monotonic()]

    def on_step(_: int) -> None:
        marks.append(timer.monotonic())
        if len(marks) > _WARM + _STEPS:
            raise Stopped

    with suppress(Stopped):
        train(on_step)
    steps = [end - start for start, end in pairwise(marks)]
    # The first ones compile and touch memory.
    return median(steps[_WARM:] or steps or [0.0])
