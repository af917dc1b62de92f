from __future__ import annotations

import pytest

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.engines.asked import generation_settings


def test_length_schema_and_the_rest() -> None:
    assert generation_settings(7) == GenerationConfig(max_tokens=7)
    warm = GenerationConfig(max_tokens=99, temperature=0.7, seed=3)
    assert generation_settings(7, None, warm) == GenerationConfig(7, temperature=0.7, seed=3)
    found = generation_settings(7, '{"type": "object"}', warm)
    assert (found.json_schema, found.temperature) == ({"type": "object"}, 0.7)


@pytest.mark.parametrize("schema", ["{", "[1]", "7"])
def test_what_is_no_schema(schema: str) -> None:
    with pytest.raises(ConfigError, match="JSON"):
        generation_settings(7, schema)


def test_two_forms_at_once() -> None:
    with pytest.raises(ConfigError, match="another form"):
        generation_settings(7, "{}", GenerationConfig(regex="a+"))
