from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import (
    Cancellation,
    Completion,
    Completions,
    GenerationConfig,
    Scores,
    Usage,
)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"seed": -1},
        {"stop": "text"},
        {"stop": ("",)},
        {"repetition_penalty": 0.0},
        {"grammar": "root ::= [a]", "json_schema": {}},
        {"json_schema": {"enum": {1, 2}}},
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        GenerationConfig(**wrong)


def test_what_is_constrained() -> None:
    assert not GenerationConfig().constrained
    assert GenerationConfig(json_schema={"type": "object"}).constrained
    assert GenerationConfig(grammar="root ::= [a]").constrained


def test_completions_are_a_sequence() -> None:
    rows = tuple(Completion(text, (1,), None, "stop", Usage(2, 3)) for text in "ab")
    found = Completions(rows)
    assert (len(found), found[1], list(found)) == (2, rows[1], list(rows))
    assert found.texts == ["a", "b"]
    assert found.usage == Usage(4, 6)
    assert Completions(()).usage == Usage()


def test_scores() -> None:
    scores = Scores((np.array([-1.0, -2.0]), np.array([-0.5])))
    np.testing.assert_array_equal(scores.log_likelihood, [-3.0, -0.5])
    np.testing.assert_array_equal(scores.tokens, [2, 1])
    np.testing.assert_array_equal(scores.mean, [-1.5, -0.5])


def test_cancellation_is_told_once_and_for_all() -> None:
    cancel = Cancellation()
    assert not cancel.cancelled
    cancel.cancel()
    cancel.cancel()
    assert cancel.cancelled
    assert not Cancellation().cancelled
