from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("transformers", reason="the extra lm is not installed")

from adwright.core.errors import ConfigError
from adwright.creative.memory.digits import BranchingModel, Digits, answer_of, digit_tokens
from adwright.lm.engine.generation import Message, TokenPrompt
from tests.support.lm.digit_llama import digit_model
from tests.support.lm.tiny_llama import tiny_tokens

PROMPTS = [(Message("user", "the best tea"),), (Message("user", "fresh bread, ripe cheese"),)]


class Scoring:
    """A model that scores, and does not branch."""

    def __init__(self) -> None:
        self._model = digit_model()
        self.tokens = self._model.tokens
        self.score = self._model.score


@given(st.floats(0, 1))
def test_the_answer_is_the_published_formula(score: float) -> None:
    answer = int(answer_of(score))
    assert 0 <= answer <= 99
    assert abs(answer - (100 * score - 1)) <= 1 + 1e-6
    if not math.isclose(100 * score, round(100 * score), abs_tol=1e-6):
        assert answer == min(max(math.ceil(100 * score - 1), 0), 99)


def test_the_expectation_is_the_sum_over_a_hundred_answers() -> None:
    model = digit_model()
    found = Digits(model).expected(PROMPTS)
    tokens = digit_tokens(model.tokens)
    for row, prompt in enumerate(PROMPTS):
        pairs = [(a, b) for a in range(10) for b in range(10)]
        answers = [TokenPrompt((tokens[a], tokens[b])) for a, b in pairs]
        logs = model.score([prompt] * 100, answers).token_logprobs
        first = {a: math.exp(logs[10 * a][0]) for a in range(10)}
        total, most = 0.0, (0.0, -1)
        for at, (a, b) in enumerate(pairs):
            after = [math.exp(logs[10 * a + other][1]) for other in range(10)]
            share = first[a] / sum(first.values()) * math.exp(logs[at][1]) / sum(after)
            total += share * (10 * a + b)
            most = max(most, (share, 10 * a + b))
        assert found.expectation[row] == pytest.approx(total, abs=1e-4)
        assert found.likeliest[row] == most[1]
        assert found.digits[row] == pytest.approx(sum(first.values()), abs=1e-4)
    np.testing.assert_allclose(found.scores, (found.expectation + 0.5) / 100)


def test_engines_that_only_score_give_the_same() -> None:
    model = digit_model()
    assert isinstance(model, BranchingModel)
    plain = Scoring()
    assert not isinstance(plain, BranchingModel)
    one = Digits(model).expected(PROMPTS)
    other = Digits(plain).expected(PROMPTS)  # type: ignore[arg-type]
    np.testing.assert_allclose(one.expectation, other.expectation, atol=1e-4)
    assert (one.likeliest == other.likeliest).all()
    assert len(Digits(model).expected([]).scores) == 0


def test_a_tokenizer_that_merges_digits_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not split numbers into digits"):
        digit_tokens(tiny_tokens())
