"""What the settings of engines have in common: a column of the documentation, least values."""

from __future__ import annotations

from dataclasses import dataclass

from adwright.core.errors import ConfigError

__all__ = ["Capabilities", "check_least"]


@dataclass(frozen=True)
class Capabilities:
    """One column of the table of engines in docs/language-models.md.

    title: name of the engine for readers. models: what it opens. batching: how requests of
    several callers run. prefix: when a shared beginning of prompts is computed. score, embed,
    constraint: whether it has them, and how.
    """

    title: str
    models: str
    batching: str = ""
    prefix: str = ""
    score: str = "no"
    embed: str = "no"
    constraint: str = "no"


def check_least(config: object, leasts: dict[str, float]) -> None:
    """Raise ConfigError for a setting, by name, below its least value."""
    for name, least in leasts.items():
        value = getattr(config, name)
        if value < least:
            raise ConfigError(
                f"{name} must be at least {least}", where=f"{name} {value!r}", hint="correct it"
            )
