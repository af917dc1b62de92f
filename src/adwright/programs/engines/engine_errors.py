"""What can go wrong with an engine, by what there is to do about it.

    EngineGoneError     a ResourceError: it is not there any more. Ask another, start it again
    EngineFailedError   a ConnectionError: it failed at this request and answers others. Ask again
    EngineSilentError   the same: nothing came of it in time, as a TimeoutError
    EngineBusyError     the same: it takes no more for now. Ask again after `retry_after` seconds
    EngineRefusesError  the same: it refuses whoever asks, for a key, an address or a model that it
                        does not have. Ask another

A request that is wrong in itself is a ConfigError or a ValueInvalidError, wherever it is sent. What
is no AdwrightError is for whoever carries requests to engines: nothing is final there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from adwright.core.errors import (
    AdwrightError,
    ConfigError,
    DataError,
    ResourceError,
    ValueInvalidError,
)
from adwright.lm.engine.generation import GenerationConfig

# --------------------------------------------------------------------------------------------------
# What a generation is asked with, from what the caller of an `ExecutionEngine` says, and who may
# ask.


def generation_settings(
    max_tokens: int, schema: str | None = None, settings: GenerationConfig | None = None
) -> GenerationConfig:
    """All settings of an answer. settings: those beside its length and its schema, such as
    temperature, seed and stop strings; without them the likeliest token is taken each time.

    Raises ConfigError where the schema is no JSON object, or stands beside another form.
    """
    config = GenerationConfig(max_tokens=max_tokens)
    if settings is not None:
        config = replace(settings, max_tokens=max_tokens)
    if schema is None:
        return config
    try:
        found = json.loads(schema)
    except ValueError as error:
        raise ConfigError(
            f"the schema is no JSON: {error}", where="schema", hint="correct it"
        ) from error
    if not isinstance(found, dict):
        raise ConfigError("the schema is no JSON object", where="schema", hint='{"type": ...}')
    return replace(config, json_schema=found)


class OneDomain:
    """Whose a cache is that knows no salts: by its speed it tells what others have asked.

    named: the salt of its domain; "": that of the first who asks.
    """

    def __init__(self, named: str = "") -> None:
        self._named = named
        self._salt: str | None = named or None

    def require(self, salt: str, where: str) -> None:
        """Raise ConfigError for the salt of another domain."""
        if self._salt is None:
            self._salt = salt
        if salt != self._salt:
            raise ConfigError(
                "the prefix cache of this engine is another domain's",
                where=where,
                hint="run an engine for each domain, or one that takes salts or caches nothing",
            )

    def begin_again(self) -> None:
        """The cache is empty: whoever asks next may have it, unless it is named whose it is."""
        self._salt = self._named or None


class EngineGoneError(ResourceError):
    """The engine is not there any more, and with it all that it held and was at work on."""


class EngineFailedError(ConnectionError):
    """The engine failed at this request; it is there, and answers others."""


class EngineSilentError(EngineFailedError, TimeoutError):
    """Nothing came of the request within its bound; whether the engine is there has to be seen."""


class EngineBusyError(EngineFailedError):
    """The engine takes no more for now. retry_after: seconds, None where it does not tell."""

    def __init__(self, what: str, retry_after: float | None = None) -> None:
        super().__init__(what)
        self.retry_after = retry_after


class EngineRefusesError(EngineFailedError):
    """The engine refuses us, whatever is asked; another one may take the same."""


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


def error_from_wire(told: Mapping[str, Any]) -> AdwrightError | EngineFailedError:
    """The error that `error_to_wire` told."""
    what, where, hint = (str(told.get(name, "")) for name in ("what", "where", "hint"))
    match told.get("kind"):
        case "value":
            return ValueInvalidError(what, file=where, hint=hint)
        case "config":
            return ConfigError(what, where=where, hint=hint)
        case _:
            return EngineFailedError(f"{what} [{where}]" if where else what)
