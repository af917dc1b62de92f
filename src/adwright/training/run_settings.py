"""The settings that every training run has, whatever it trains."""

from __future__ import annotations

from adwright.core.errors import ConfigError

__all__ = ["check_run_settings"]


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
