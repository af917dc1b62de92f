"""What every training run has, whatever it trains: checks of its settings, and first weights."""

from __future__ import annotations

import logging
import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch

from adwright.core.atomic import atomic_write_text, resource_error
from adwright.core.config import check_literals
from adwright.core.errors import ConfigError, ResourceError, ResumeError
from adwright.metrics.reports.comparison import RankingComparison
from adwright.training.loop.stage_timer import Stages
from adwright.training.search import SearchResult

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


class _Saved(Protocol):
    """A trained model that can be saved."""

    def save(self, folder: str | Path, *, overwrite: bool = False) -> str:
        """Write it; its id."""


A = TypeVar("A", bound=_Saved)


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
