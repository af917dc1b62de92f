from __future__ import annotations

import pytest

pytest.importorskip("llguidance", reason="the extra lm is not installed")

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.engine.grammar import check_constraint, compiled, refused


def test_good_ones_pass() -> None:
    check_constraint(GenerationConfig())
    check_constraint(GenerationConfig(json_schema={"type": "object"}))
    check_constraint(GenerationConfig(grammar='root ::= "a" [0-9]+'))
    assert "start" in compiled(GenerationConfig(grammar='root ::= "a"'))


@pytest.mark.parametrize(
    "wrong",
    [
        GenerationConfig(json_schema={"type": "nothing"}),
        GenerationConfig(grammar="root ::= ("),
        GenerationConfig(grammar="root ::= other"),
    ],
)
def test_bad_ones_are_refused(wrong: GenerationConfig) -> None:
    with pytest.raises(ConfigError, match="schema or grammar cannot be used"):
        check_constraint(wrong)


def test_the_reason_is_one_line() -> None:
    assert refused("\n first \n second").what.endswith("used: first")
    assert refused("").what.endswith("used: it is empty")
