from __future__ import annotations

import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")
pytest.importorskip("llguidance", reason="the extra lm is not installed")

import torch

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.torch_engine.decode import Grammars
from tests.support.lm.tiny_llama import VOCABULARY, tiny_tokenizer, tiny_tokens

END = 1


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    return Grammars(tiny_tokenizer(), VOCABULARY, frozenset((END,)))


def allowed(grammars: Grammars, grammar: str, *taken: str) -> set[str]:
    constraint = grammars.constraint(GenerationConfig(grammar=grammar), 1)
    assert constraint is not None
    for text in taken:
        for token in tiny_tokens().encode(text):
            constraint.take([token])
    logits = constraint.apply(torch.zeros(1, VOCABULARY))[0]
    ids = [token for token in range(VOCABULARY) if torch.isfinite(logits[token])]
    return {"END" if token == END else tiny_tokens().decode([token]) for token in ids}


def test_only_what_the_grammar_admits(grammars: Grammars) -> None:
    digits = {str(n) for n in range(10)}
    first = allowed(grammars, 'root ::= [0-9] "x"?')
    assert digits <= first
    assert "x" not in first
    assert allowed(grammars, 'root ::= [0-9] "x"?', "4") == {"x", "END"}
    assert grammars.constraint(GenerationConfig(), 3) is None


def test_rows_go_their_own_ways(grammars: Grammars) -> None:
    constraint = grammars.constraint(GenerationConfig(grammar='root ::= "a" | "b" "c"'), 2)
    assert constraint is not None
    a, b, c = (tiny_tokens().encode(one)[0] for one in "abc")
    assert constraint.take([a, b]) == [True, False]
    constraint.keep([1])
    logits = constraint.apply(torch.zeros(1, VOCABULARY))[0]
    assert torch.isfinite(logits).nonzero()[:, 0].tolist() == [c]
    assert constraint.take([c]) == [True]


def test_a_token_that_is_not_allowed_is_noticed(grammars: Grammars) -> None:
    constraint = grammars.constraint(GenerationConfig(grammar='root ::= "a"'), 1)
    assert constraint is not None
    with pytest.raises(ConfigError, match="cannot be used"):
        constraint.take([tiny_tokens().encode("b")[0]])


def test_one_that_grows_too_complex_on_the_way(grammars: Grammars) -> None:
    schema = {"type": "string", "pattern": "^(" + ".*" * 100 + ")$"}
    constraint = grammars.constraint(GenerationConfig(json_schema=schema), 1)
    assert constraint is not None

    def write() -> None:
        for token in tiny_tokens().encode('"a b c d e'):
            constraint.apply(torch.zeros(1, VOCABULARY))
            constraint.take([token])

    with pytest.raises(ConfigError, match=r"too many|too complex|limit"):
        write()


def test_a_head_that_is_wider_than_the_tokeniser(grammars: Grammars) -> None:
    constraint = grammars.constraint(GenerationConfig(grammar='root ::= "a"'), 1)
    assert constraint is not None
    logits = constraint.apply(torch.zeros(1, VOCABULARY + 100))
    assert torch.isinf(logits[0, VOCABULARY:]).all()


def test_json_is_written_without_blanks(grammars: Grammars) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    constraint = grammars.constraint(GenerationConfig(json_schema=schema), 1)
    assert constraint is not None
    for token in tiny_tokens().encode("{"):
        constraint.take([token])
    logits = constraint.apply(torch.zeros(1, VOCABULARY))[0]
    blank = tiny_tokens().encode(" ")[0]
    assert torch.isinf(logits[blank])
