from __future__ import annotations

import math

import numpy as np
import pytest

from adwright.core.errors import ConfigError, ResourceError
from adwright.lm.engine.generation import Cancellation, GenerationConfig, LanguageModel, Message
from adwright.lm.engine.scripted import ByteTokens, ScriptedConfig, ScriptedModel


def test_replies_come_in_turn() -> None:
    model = ScriptedModel(ScriptedConfig(("a", "bc")))
    assert isinstance(model, LanguageModel)
    assert model.generate(["x", "y", [Message("user", "z")]]).texts == ["a", "bc", "a"]
    assert [chunk.text for chunk in model.stream("x")] == ["b", "c", ""]
    assert model.info.engine == "scripted"


def test_limits_and_stops_hold() -> None:
    model = ScriptedModel(ScriptedConfig(("tea, coffee",)))
    config = GenerationConfig(stop=(",",), logprobs=True)
    answer = model.generate(["x"], config)[0]
    assert (answer.text, answer.finish_reason) == ("tea", "stop")
    assert answer.logprobs == (-math.log(256),) * 3
    assert model.generate(["x"], GenerationConfig(max_tokens=2)).texts == ["te"]


def test_scores_and_vectors_are_the_same_everywhere() -> None:
    model = ScriptedModel(ScriptedConfig())
    np.testing.assert_allclose(model.score(["a"], ["bc"]).log_likelihood, [-2 * math.log(256)])
    vectors = model.embed(["a", "b", "a"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert (vectors[0] != vectors[1]).any()
    assert model.embed(["a"]).shape == (1, 16)
    assert model.embed([]).shape == (0, 0)


def test_cancelling() -> None:
    cancel = Cancellation()
    model = ScriptedModel(ScriptedConfig(("abcdef",), seconds_per_token=0.001))
    chunks = model.stream("x", cancel=cancel)
    assert next(chunks).text == "a"
    cancel.cancel()
    assert next(chunks).finish_reason == "cancelled"
    with pytest.raises(ResourceError, match="cancelled"):
        model.score(["a"], ["b"], cancel=cancel)
    model.close()


def test_bytes() -> None:
    tokens = ByteTokens()
    assert tokens.decode([*tokens.encode("é"), 256]) == "é"
    assert tokens.count("é") == 2
    assert tokens.decode([0xC3]) == "\ufffd"


@pytest.mark.parametrize("wrong", [(), "text"])
def test_a_reply_is_needed(wrong: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="replies"):
        ScriptedConfig(wrong)


def test_the_name_before() -> None:
    with pytest.warns(DeprecationWarning, match="seconds_per_token"):
        config = ScriptedConfig(seconds_a_token=0.5)
    assert config == ScriptedConfig(seconds_per_token=0.5)
