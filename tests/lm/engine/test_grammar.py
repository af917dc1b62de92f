from __future__ import annotations

import pytest

pytest.importorskip("llguidance", reason="the extra lm is not installed")

from adwright.core.errors import ConfigError, ResourceError
from adwright.lm.compiling.bounds import ConstraintBounds
from adwright.lm.compiling.compiler import refused
from adwright.lm.engine.generation import Cancellation, GenerationConfig
from adwright.lm.engine.hf_tokens import check_bounds, check_constraint, check_template, compiled


def test_good_ones_pass() -> None:
    check_constraint(GenerationConfig())
    check_constraint(GenerationConfig(json_schema={"type": "object"}))
    check_constraint(GenerationConfig(grammar='root ::= "a" [0-9]+'))
    check_constraint(GenerationConfig(regex="[a-c]{2}x?"))
    check_constraint(GenerationConfig(lark='start: "a" | %json {"type": "integer"}'))
    assert "start" in compiled(GenerationConfig(grammar='root ::= "a"'))


@pytest.mark.parametrize(
    "wrong",
    [
        GenerationConfig(json_schema={"type": "nothing"}),
        GenerationConfig(grammar="root ::= ("),
        GenerationConfig(grammar="root ::= other"),
        GenerationConfig(regex="(a"),
        GenerationConfig(lark="start: other"),
    ],
)
def test_bad_ones_are_refused(wrong: GenerationConfig) -> None:
    with pytest.raises(ConfigError, match="schema or grammar cannot be used"):
        check_constraint(wrong)


def test_the_reason_is_one_line() -> None:
    assert refused("\n first \n second").what.endswith("used: first")
    assert refused("").what.endswith("used: it is empty")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (GenerationConfig(regex="a" * 140_000), "bytes, at most 131072"),
        (GenerationConfig(regex="a" * 9_000), "characters in one string"),
        (GenerationConfig(lark="start: /" + "a" * 140_000 + "/"), "bytes, at most 131072"),
        (GenerationConfig(json_schema={"const": "é" * 70_000}), "bytes, at most 131072"),
        (GenerationConfig(grammar='root ::= "' + "a" * 140_000), "bytes, at most 131072"),
        (GenerationConfig(json_schema={"anyOf": [{}] * 600}), "objects, at most 500"),
        (GenerationConfig(grammar="root ::= [a]{3000}"), "repetitions of one item"),
        (GenerationConfig(json_schema={"const": "\ud800"}), "cannot be used"),
    ],
)
def test_sizes_are_looked_at_first(config: GenerationConfig, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_constraint(config)


def test_half_a_character_in_a_grammar() -> None:
    with pytest.raises(ConfigError, match="half a character"):
        check_bounds(GenerationConfig(grammar='root ::= "\ud800"'))


def test_an_engine_may_have_closer_bounds() -> None:
    config = GenerationConfig(json_schema={"type": "string", "maxLength": 90})
    check_constraint(config, bounds=ConstraintBounds(states=90))
    with pytest.raises(ConfigError, match="90 counted characters, at most 89"):
        check_bounds(config, ConstraintBounds(states=89))


def test_who_has_gone_waits_for_nothing() -> None:
    cancel = Cancellation()
    cancel.cancel()
    chain = {f"d{at}": {"items": {"$ref": f"#/d{at + 1}"}} for at in range(300)}
    config = GenerationConfig(json_schema={**chain, "enum": list(range(20_000))})
    with pytest.raises((ConfigError, ResourceError)):
        compiled(config, cancel=cancel)


def test_a_template_that_never_ends() -> None:
    check_template("{{ messages[0]['content'] }}")
    with pytest.raises(ConfigError, match="more than 1 s of computing"):
        check_template("{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3)
