"""A small search for better settings on validation data: successive halving of random trials.

    result = search(measure, {"learning_rate": (0.5, 1, 2)}, trials=9, epochs=9, file=path)

Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
AISTATS 2016: all trials are trained for few epochs, the best third of them for three times as many,
and so on until one is left, or the full number of epochs is reached. The first trial is the
defaults, so that the search never ends with something that is worse than these by what it measured.
Each trial is trained from the start (our choice: nothing of a model is kept), and is written down
when it is measured: a search that was cut off goes on where it stood.

What a model and its training are by default: settings that follow from the data, with reasons.

Each room of training has a `defaults.py` with a function per model that counts what the data hold
and returns `Defaults`; the same function serves the command, the run file and Python.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock, SystemClock
from adwright.core.errors import ConfigError, ResumeError
from adwright.core.hashing import content_hash
from adwright.core.progress import progress

M_co = TypeVar("M_co", covariant=True)
F_co = TypeVar("F_co", bound="Fit", covariant=True)


class Fit(Protocol):
    """What a search reads of how a model is trained."""

    @property
    def epochs(self) -> int:
        """The most passes over the data."""


@dataclass(frozen=True)
class Defaults(Generic[M_co, F_co]):
    """model, fit: the configs. why: one sentence a decision, for a reader."""

    model: M_co
    fit: F_co
    why: tuple[str, ...]


def within(value: float, low: int, high: int) -> int:
    """`value` rounded up, and kept from `low` to `high`.

    >>> within(3.2, 1, 20), within(0, 1, 20), within(99, 1, 20)
    (4, 1, 20)
    """
    return int(min(max(-(-value // 1), low), high))


def near_power_of_two(value: float, low: int, high: int) -> int:
    """The least power of two that is not below `value`, kept from `low` to `high`.

    >>> near_power_of_two(130, 16, 512)
    256
    """
    power = 1
    while power < value:
        power *= 2
    return min(max(power, low), high)


#: Name of a setting to its value.
Settings = Mapping[str, float]
#: Settings and epochs to a goal, higher is better; NaN for a training that went wrong.
Measure = Callable[[Settings, int], float]

#: Of the trials of a round, one in so many goes on, for so many times the epochs.
KEPT = 3


@dataclass(frozen=True)
class Trial:
    """Settings, for how many epochs they were trained, the goal, and seconds."""

    settings: dict[str, float]
    epochs: int
    goal: float
    seconds: float


@dataclass(frozen=True)
class SearchResult:
    """trials: all that were measured, in order. best: of those with the most epochs. goal: its
    name."""

    trials: tuple[Trial, ...]
    best: Trial
    goal: str

    def sentence(self) -> str:
        """What the search came to, for a reader."""
        first = [t for t in self.trials if not t.settings and t.epochs == self.best.epochs]
        before = f", the defaults {first[0].goal:.4f}" if first else ""
        found = _told(self.best.settings)
        return (
            f"searched {len(self.trials)} trainings on validation: {found}, {self.goal} "
            f"{self.best.goal:.4f}{before}"
        )

    def rows(self) -> list[tuple[str, ...]]:
        """A table for a reader: settings, epochs, goal, seconds; the best first."""
        order = sorted(self.trials, key=lambda t: (-t.epochs, -_finite(t.goal)))
        return [
            (_told(t.settings), str(t.epochs), f"{t.goal:.4f}", f"{t.seconds:.0f}") for t in order
        ]

    def header(self) -> tuple[str, ...]:
        """Names of the columns of `rows`."""
        return ("settings", "epochs", self.goal, "seconds")


def search(
    measure: Measure,
    space: Mapping[str, Sequence[float]],
    *,
    trials: int,
    epochs: int,
    file: Path,
    about: Mapping[str, Any] | None = None,
    goal: str = "goal",
    seed: int = 0,
    clock: Clock | None = None,
) -> SearchResult:
    """The best of `trials` settings of `space`, the defaults (no setting) among them.

    space: the values of each setting. epochs: of the last round. file: JSON of the trials so far.
    about: what else the trials depend on, data above all. goal: its name, for a reader.
    Raises ConfigError for fewer than one trial, and where every trial went wrong; ResumeError where
    the file is of another search.
    """
    if trials < 1 or epochs < 1:
        raise ConfigError("a search has at least one trial", where=f"{trials} of {epochs} epochs")
    timer = clock or SystemClock()
    key = content_hash(
        {"space": {k: list(v) for k, v in space.items()}, "about": dict(about or {}), "seed": seed}
    )
    known = _known(file, key)
    rounds = math.ceil(math.log(trials, KEPT)) if trials > 1 else 0
    asked, failed = draw_settings(space, trials, seed), ""
    with progress(None, "search", "trainings") as bar:
        while True:
            share = max(1, math.ceil(epochs / KEPT**rounds))
            goals = []
            for settings in asked:
                found = next(
                    (t for t in known if t.settings == settings and t.epochs == share), None
                )
                if found is None:
                    start = timer.monotonic()
                    value, failed = _measured(measure, settings, share, failed)
                    found = Trial(dict(settings), share, value, timer.monotonic() - start)
                    known.append(found)
                    _write(file, key, known)
                goals.append(_finite(found.goal))
                bar.advance()
            if rounds == 0:
                break
            rounds -= 1
            order = np.argsort(-np.array(goals), kind="stable")
            kept = set(order[: max(1, len(asked) // KEPT)].tolist())
            # The defaults go along, as the measure of what the search is worth.
            asked = [one for number, one in enumerate(asked) if number in kept or not one]
    best = max(
        (t for t in known if t.epochs == share and t.settings in asked),
        key=lambda t: _finite(t.goal),
    )
    if not math.isfinite(best.goal):
        raise ConfigError(
            f"no trial of the search could be measured: {failed}",
            where=f"{trials} trials",
            hint="lower the learning rates, or look at the data",
        )
    return SearchResult(tuple(known), best, goal)


def search_defaults(
    defaults: Defaults[M_co, F_co],
    changed: Callable[[Defaults[M_co, F_co], Settings, int], Defaults[M_co, F_co]],
    measure: Callable[[Defaults[M_co, F_co]], float],
    space: Mapping[str, Sequence[float]],
    *,
    trials: int,
    folder: Path,
    about: Mapping[str, Any],
    goal: str,
    seed: int,
) -> tuple[Defaults[M_co, F_co], SearchResult]:
    """`search` around the defaults of a model.

    changed: the defaults changed by a point of `space`, trained for so many epochs. measure: the
    goal of such. folder: of the trials, which are taken up there. Returns the defaults changed by
    the best trial, with a sentence that says so; raises as `search`.
    """
    epochs = defaults.fit.epochs
    found = search(
        lambda settings, share: measure(changed(defaults, settings, share)),
        space,
        trials=trials,
        epochs=epochs,
        file=folder / "trials.json",
        about=about,
        goal=goal,
        seed=seed,
    )
    best = changed(defaults, found.best.settings, epochs)
    return replace(best, why=(*defaults.why, found.sentence())), found


def draw_settings(
    space: Mapping[str, Sequence[float]], trials: int, seed: int
) -> list[dict[str, float]]:
    """No setting first, then `trials` - 1 random points of `space`, no two of them equal; fewer
    where the space has no more.

    >>> draw_settings({"rate": (1.0, 2.0)}, 9, seed=0)[0]
    {}
    """
    rng = np.random.default_rng(seed)
    most = math.prod(len(values) for values in space.values())
    found: list[dict[str, float]] = []
    while len(found) < min(trials - 1, most):
        one = {
            name: float(values[int(rng.integers(len(values)))]) for name, values in space.items()
        }
        if one not in found:
            found.append(one)
    return [{}, *found]


def _measured(measure: Measure, settings: Settings, epochs: int, failed: str) -> tuple[float, str]:
    """The goal, NaN where the training went wrong, and what the last such one said."""
    try:
        return float(measure(settings, epochs)), failed
    except ConfigError as error:
        return math.nan, str(error)


def _finite(goal: float) -> float:
    return goal if math.isfinite(goal) else -math.inf


def _told(settings: Settings) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in settings.items()) or "the defaults"


def _known(file: Path, key: str) -> list[Trial]:
    if not file.exists():
        return []
    try:
        values = json.loads(file.read_text("utf-8"))
        found = [Trial(**one) for one in values["trials"]]
        before = values["search"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ResumeError(
            f"the trials cannot be read: {error}", where=str(file), hint="remove the file"
        ) from error
    if before != key:
        raise ResumeError(
            "these are the trials of another search",
            where=str(file),
            hint="search in another folder, or remove the file",
        )
    return found


def _write(file: Path, key: str, trials: Sequence[Trial]) -> None:
    values = {"search": key, "trials": [asdict(trial) for trial in trials]}
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(file, json.dumps(values, indent=1) + "\n")
