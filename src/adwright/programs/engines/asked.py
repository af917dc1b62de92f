"""What a generation is asked with, from what the caller of an `ExecutionEngine` says."""

from __future__ import annotations

import json
from dataclasses import replace

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig

__all__ = ["generation_settings"]


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
