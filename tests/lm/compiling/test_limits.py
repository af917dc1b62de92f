from __future__ import annotations

import pytest

pytest.importorskip("llguidance", reason="the extra lm is not installed")

from llguidance import LLMatcher, LLTokenizer

from adwright.lm.compiling.bounds import parser_limits


def test_a_grammar_that_explodes_is_refused() -> None:
    assert parser_limits().max_lexer_states == 20_000
    terms = "".join(f"R{at}: R{at + 1} R{at + 1}\n" for at in range(40)) + 'R40: "a"\n'
    form = LLMatcher.grammar_from_lark(f"start: R0\n{terms}")
    matcher = LLMatcher(LLTokenizer("byte"), form, log_level=0, limits=parser_limits())
    assert "too big" in matcher.get_error()
