"""What every training run has, whatever it trains: checks of its settings, and first weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from adwright.core.errors import ConfigError, ResourceError

__all__ = ["check_ranges", "check_run_settings", "require_free", "seeded"]

T = TypeVar("T")


def check_ranges(
    config: object,
    *,
    counts: Sequence[str] = (),
    positive: Sequence[str] = (),
    not_negative: Sequence[str] = (),
) -> None:
    """Check fields of a config: counts from 1 on, finite numbers above 0, and from 0 on.

    Raises ConfigError for the first that is out of range.
    """
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


def require_free(folder: Path, what: str) -> None:
    """Raise ResourceError where `folder` exists. what: that is to be saved there, in words."""
    if folder.exists():
        raise ResourceError(
            f"this folder already holds {what}",
            where=str(folder),
            hint="name another folder, or allow it to be replaced",
        )


def seeded(seed: int, build: Callable[[], T]) -> T:
    """Build a model whose first weights depend on `seed` alone; torch's own generator, which draws
    them, keeps its state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()
