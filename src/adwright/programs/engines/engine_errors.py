"""What can go wrong with an engine, by what there is to do about it.

    ResourceError
    ├── EngineGoneError     it is not there any more: ask another one, and start it again
    ├── EngineBusyError     it takes no more for now: ask again after `retry_after` seconds
    └── EngineFailedError   it failed at this request and answers others: ask again, or another one

A request that is wrong in itself is a ConfigError or a ValueInvalidError, wherever it is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adwright.core.errors import (
    AdwrightError,
    ConfigError,
    DataError,
    ResourceError,
    ValueInvalidError,
)

__all__ = [
    "EngineBusyError",
    "EngineFailedError",
    "EngineGoneError",
    "error_from_wire",
    "error_to_wire",
]


class EngineGoneError(ResourceError):
    """The engine is not there any more, and with it all that it held and was at work on."""


class EngineBusyError(ResourceError):
    """The engine takes no more for now. retry_after: seconds, None where it does not tell."""

    retry_after: float | None = None


class EngineFailedError(ResourceError):
    """The engine failed at this request; it is there, and answers others."""


def error_to_wire(error: Exception) -> dict[str, str]:
    """An error as plain texts: which of the three it is, and what it says."""
    if not isinstance(error, AdwrightError):
        return {
            "kind": "failed",
            "what": f"{type(error).__name__}: {error}",
            "where": "",
            "hint": "",
        }
    kind = "failed"
    if isinstance(error, DataError):
        kind = "value"
    elif not isinstance(error, ResourceError):
        kind = "config"
    return {"kind": kind, "what": error.what, "where": error.where, "hint": error.hint}


def error_from_wire(told: Mapping[str, Any]) -> AdwrightError:
    """The error that `error_to_wire` told."""
    what, where, hint = (str(told.get(name, "")) for name in ("what", "where", "hint"))
    match told.get("kind"):
        case "value":
            return ValueInvalidError(what, file=where, hint=hint)
        case "config":
            return ConfigError(what, where=where, hint=hint)
        case _:
            return EngineFailedError(what, where=where, hint=hint)
