from __future__ import annotations

import pytest

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.engines.engine_errors import OneDomain, generation_settings


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


def test_a_cache_is_the_first_ones_or_that_of_whom_it_is_named_for() -> None:
    for domain, salt in ((OneDomain(), "a"), (OneDomain(), ""), (OneDomain("a"), "a")):
        for _ in range(2):
            domain.require(salt, "engine")
        with pytest.raises(ConfigError, match="another domain"):
            domain.require("b", "engine")
    domain = OneDomain()
    domain.require("a", "engine")
    domain.begin_again()
    domain.require("b", "engine")
    named = OneDomain("a")
    named.begin_again()
    with pytest.raises(ConfigError, match="another domain"):
        named.require("b", "engine")
