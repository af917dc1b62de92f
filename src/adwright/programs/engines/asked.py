"""What a generation is asked with, from what the caller of an `ExecutionEngine` says, and who may
ask."""

from __future__ import annotations

import json
from dataclasses import replace

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig

__all__ = ["OneDomain", "generation_settings"]


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
