"""What the gate in front of every request enforces, and how a setting is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["GateLimits", "is_positive", "require"]


@dataclass(frozen=True)
class GateLimits:
    """Limits of one process for requests of all kinds.

    max_in_flight: requests at a time; beyond it a request is shed with 429.
    max_body_bytes, body_seconds: a longer body is refused with 413 while it arrives, one that
        takes longer with 408.
    replica: name of this process, sent as X-Replica where it is not empty.

    Raises ConfigError that names the setting.
    """

    max_in_flight: int = 512
    max_body_bytes: int = 1 << 20
    body_seconds: float = 10.0
    replica: str = ""

    def __post_init__(self) -> None:
        for name in ("max_in_flight", "max_body_bytes"):
            require(self, name, getattr(self, name) >= 1, "must be at least 1")
        require(self, "body_seconds", is_positive(self.body_seconds), "must be above 0")
        plain = self.replica.isascii() and self.replica.isprintable()
        require(self, "replica", plain, "must be plain text")


def require(config: DataclassInstance, name: str, holds: bool, what: str) -> None:
    """Raise ConfigError about the setting `name` of config unless it holds.

    A secret, which its dataclass leaves out of its text (`repr=False`), is not shown.
    """
    if not holds:
        secret = any(field.name == name and not field.repr for field in fields(config))
        shown = "" if secret else f" {getattr(config, name)!r}"
        raise ConfigError(f"{name} {what}", where=f"{name}{shown}", hint="correct it")


def is_positive(value: float) -> bool:
    """Whether the value is finite and above 0."""
    return math.isfinite(value) and value > 0
