"""Options that several verbs of `adwright tune` share, how they read settings and print a loss."""

from __future__ import annotations

import tomllib
from typing import Any

from adwright.core.errors import ConfigError


def as_loss(value: float | None) -> str:
    """The loss with four digits; a dash where there is none."""
    return "-" if value is None else f"{value:.4f}"


def read_settings(settings: list[str], dropout: float | None = None) -> dict[str, Any]:
    """Read NAME=VALUE as TOML; a value that is not TOML is a text."""
    found: dict[str, Any] = {} if dropout is None else {"dropout": dropout}
    for one in settings:
        name, given, value = one.partition("=")
        if not given or not name.strip().isidentifier():
            raise ConfigError("a setting is NAME=VALUE", where=f"--set {one}", hint="--set rank=16")
        try:
            found[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[name.strip()] = value.strip()
    return found
