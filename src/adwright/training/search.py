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
import logging
import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch

from adwright.core.atomic import atomic_write_text, resource_error
from adwright.core.clock import Clock, SystemClock
from adwright.core.config import check_literals
from adwright.core.errors import ConfigError, ResourceError, ResumeError
from adwright.core.hashing import content_hash
from adwright.core.progress import progress
from adwright.metrics.reports.report import RankingComparison
from adwright.training.loop.stage_timer import Stages

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
                    try:
                        value = float(measure(settings, share))
                    except ConfigError as error:
                        value, failed = math.nan, str(error)
                    found = Trial(dict(settings), share, value, timer.monotonic() - start)
                    known.append(found)
                    values = {"search": key, "trials": [asdict(trial) for trial in known]}
                    file.parent.mkdir(parents=True, exist_ok=True)
                    atomic_write_text(file, json.dumps(values, indent=1) + "\n")
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


# --------------------------------------------------------------------------------------------------
# What every training run has, whatever it trains: checks of its settings, and first weights.

T = TypeVar("T")
_logger = logging.getLogger("adwright")


def check_ranges(
    config: object,
    *,
    counts: Sequence[str] = (),
    positive: Sequence[str] = (),
    not_negative: Sequence[str] = (),
) -> None:
    """Check fields of a config: counts from 1 on, finite numbers above 0, and from 0 on.

    Raises ConfigError for the first that is out of range, and as `check_literals`.
    """
    check_literals(config)
    for name in counts:
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} must be at least 1", where=str(getattr(config, name)))
    for name in positive:
        if not 0 < getattr(config, name) < math.inf:
            raise ConfigError(f"{name} must be positive", where=str(getattr(config, name)))
    for name in not_negative:
        if not 0 <= getattr(config, name) < math.inf:
            raise ConfigError(f"{name} must not be negative", where=str(getattr(config, name)))


def check_run_settings(*, draws: int, threads: int, fit_seed: int) -> None:
    """Check draws of the bootstrap, threads of torch and the seed of the fit, which must be 0.

    Raises ConfigError for the first that is out of range.
    """
    if draws < 1:
        raise ConfigError("draws must be at least 1", where=f"draws {draws}")
    if threads < 0:
        raise ConfigError("threads must not be negative", where=f"threads {threads}")
    if fit_seed:
        raise ConfigError(
            "the seed of the fit is that of the run",
            where=f"fit.seed {fit_seed}",
            hint="set seed, and leave fit.seed out",
        )


class _Savable(Protocol):
    """A trained model that can be saved."""

    def save(self, folder: str | Path, *, overwrite: bool = False) -> str:
        """Write it; its id."""


A = TypeVar("A", bound=_Savable)


@dataclass(frozen=True, eq=False)
class TrainedRun(Generic[A]):
    """What a run of a retriever trained and measured. comparison: on the test, the model first.
    stages: name -> seconds. folder: of the run. id: of the artifact. why: the settings that
    followed from the data, a sentence each. search: its trials, if any."""

    artifact: A
    comparison: RankingComparison
    stages: Mapping[str, float]
    folder: Path
    id: str
    why: tuple[str, ...]
    search: SearchResult | None


def saved_run(
    artifact: A,
    comparison: RankingComparison,
    out: Path,
    done: Stages,
    *,
    overwrite: bool,
    why: tuple[str, ...],
    search: SearchResult | None,
) -> TrainedRun[A]:
    """Save a model as `out`/model, with what was measured as `out`/report.json."""
    with done.stage("save"):
        identity = artifact.save(out / "model", overwrite=overwrite)
        atomic_write_text(out / "report.json", comparison.to_json())
    return TrainedRun(artifact, comparison, dict(done.seconds), out, identity, why, search)


def require_open(out: Path, saved: str, *, overwrite: bool) -> None:
    """Raise ResourceError where a run cannot write its folder, or what it is to save (`saved`, such
    as "model") is there already and may not be replaced."""
    if not overwrite:
        require_free(out / saved, f"a {saved}")
    require_writable(out)


def require_free(folder: Path, what: str) -> None:
    """Raise ResourceError where `folder` exists. what: that is to be saved there, in words."""
    if folder.exists():
        raise ResourceError(
            f"this folder already holds {what}",
            where=str(folder),
            hint="name another folder, or allow it to be replaced",
        )


def require_writable(folder: Path) -> None:
    """Raise ResourceError where `folder` cannot be made or written; nothing is left there."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".adwright-", suffix=".tmp", dir=there))
    except OSError as error:
        raise resource_error(error, folder) or ResourceError(
            f"no folder can be made here: {error.strerror}",
            where=str(folder),
            hint="choose another path",
        ) from error


def begun_runs(folders: Mapping[str, Path], *, resume: bool, stop_now: bool) -> set[str]:
    """The names of those runs that are taken up: of which there is a checkpoint, where `resume`.

    folders: of the runs by name; the first one is that of the model that is saved. stop_now: runs
    that were not begun are left out, which is said in a warning; and so it is where there is
    nothing to resume at all. Raises ResumeError where there is nothing to close.
    """
    if not resume:
        return set()
    begun = {name for name, folder in folders.items() if (folder / "config.json").is_file()}
    main, where = next(iter(folders)), str(next(iter(folders.values())))
    if stop_now and main not in begun:
        hint = "train first; --stop-now closes a run that was begun before"
        raise ResumeError("there is no run to close", where=where, hint=hint)
    if not begun:
        _logger.warning("there is nothing to resume in %s: a new run begins", where)
    for name in folders if stop_now else ():
        if name not in begun:
            _logger.warning("%s was not begun, so the comparison goes without it", name)
    return begun


def seeded(seed: int, build: Callable[[], T]) -> T:
    """Build a model whose first weights depend on `seed` alone; torch's own generator, which draws
    them, keeps its state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()
