from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from adwright.core.errors import ConfigError, ResourceError, ValueInvalidError
from adwright.lm.engine.base import AnswerWriter, Pair, TokenEngine, Vectors
from adwright.lm.engine.generation import (
    Cancellation,
    GenerationConfig,
    LanguageModel,
    ModelInfo,
    TokenPrompt,
)
from adwright.lm.engine.scripted import ByteTokens, ScriptedConfig, ScriptedModel

CONTEXT = 12


class Reversed(TokenEngine):
    """Answers with the prompt from its last token to its first."""

    info = ModelInfo("backwards", "reversed", CONTEXT)
    tokens = ByteTokens()

    def __init__(self) -> None:
        self.left = 0

    def close(self) -> None:
        """Nothing to free."""

    def _check(self, config: GenerationConfig, cancel: Cancellation | None) -> None:
        if config.top_k:
            raise ConfigError("no top_k", where="top_k", hint="leave it")

    def _write(
        self,
        answers: Sequence[AnswerWriter],
        config: GenerationConfig,
        cancel: Cancellation | None,
    ) -> Generator[None, None, None]:
        try:
            for answer in answers:
                for token in [*reversed(answer.prompt), 256]:
                    if cancel is not None and cancel.cancelled:
                        answer.end("cancelled")
                    if answer.finish_reason is None:
                        answer.add(token)
                        yield
        finally:
            self.left += 1


class Complete(Reversed):
    """Has scores and vectors too."""

    def _score_pairs(
        self, pairs: Sequence[Pair], cancel: Cancellation | None
    ) -> Iterable[npt.NDArray[np.float64]]:
        return (np.array([-float(len(before))] * len(after)) for before, after in pairs)

    def _embed_ids(self, rows: Sequence[list[int]], cancel: Cancellation | None) -> Vectors:
        return np.array([[len(ids), 0] for ids in rows], dtype=np.float32)


def test_generate_and_stream_agree() -> None:
    model = Reversed()
    assert isinstance(model, LanguageModel)
    found = model.generate(["abc", TokenPrompt((100, 101))])
    assert found.texts == ["cba", "ed"]
    assert found.usage.prompt_tokens == 5
    assert "".join(chunk.text for chunk in model.stream("abc")) == "cba"
    assert model.generate(["abc"], GenerationConfig(max_tokens=2)).texts == ["cb"]
    assert model.generate([]).texts == []


def test_no_answer_is_longer_than_the_context_leaves_room_for() -> None:
    answer = Reversed().generate(["abcdefgh"])[0]
    assert (answer.text, answer.finish_reason) == ("hgfe", "length")
    for call in (lambda prompt: Reversed().generate(["a", prompt]), Reversed().stream):
        with pytest.raises(ValueInvalidError, match="no room"):
            call("a" * CONTEXT)


def test_arguments_are_refused_at_once() -> None:
    model = Complete()
    with pytest.raises(ConfigError, match="one string"):
        model.generate("abc")
    refused = GenerationConfig(top_k=1)
    with pytest.raises(ConfigError, match="no top_k"):
        model.generate(["a"], refused)
    with pytest.raises(ConfigError, match="no top_k"):
        model.stream("a", refused)
    with pytest.raises(ValueInvalidError, match="paired"):
        model.score(["a"], [])
    with pytest.raises(ValueInvalidError, match="no room") as caught:
        model.score(["a", "a" * CONTEXT], ["b", "b"])
    assert caught.value.row == 1
    assert model.left == 0


def test_leaving_a_stream_ends_the_computation() -> None:
    model = Reversed()
    chunks = model.stream("abc")
    assert next(chunks).text == "c"
    assert model.left == 0
    chunks.close()  # type: ignore[attr-defined]
    assert model.left == 1


def test_cancelling() -> None:
    model, cancel = Complete(), Cancellation()
    assert model.score(["a"], ["b"], cancel=cancel).tokens.tolist() == [1]
    cancel.cancel()
    assert model.generate(["abc"], cancel=cancel)[0].finish_reason == "cancelled"
    with pytest.raises(ResourceError, match="cancelled"):
        model.score(["a"], ["b"], cancel=cancel)


def test_scores_and_vectors() -> None:
    model = Complete()
    scores = model.score(["a", "abc"], ["bc", TokenPrompt((7,))])
    assert scores.log_likelihood.tolist() == [-2.0, -3.0]
    assert model.embed(["a", "abc"]).tolist() == [[1, 0], [3, 0]]
    assert model.health() == "ready"
    cancel = Cancellation()
    cancel.cancel()
    with pytest.raises(ResourceError, match="cancelled"):
        model.embed(["a"], cancel=cancel)
    assert model.embed([]).shape == (0, 0)
    assert math.isfinite(model.embed(["a" * CONTEXT])[0, 0])


def test_what_an_engine_does_not_give_is_refused() -> None:
    with pytest.raises(ConfigError, match="no scores"):
        Reversed().score(["a"], ["b"])
    with pytest.raises(ConfigError, match="no embeddings"):
        Reversed().embed(["a"])


def test_what_would_be_ignored_is_refused() -> None:
    model = Reversed()
    for ask in (model.generate, lambda prompts, config: model.stream(prompts[0], config)):
        with pytest.raises(ConfigError, match="this engine has no min_p"):
            ask(["ab"], GenerationConfig(min_p=0.1))
    # Every engine that sees tokens can end at one.
    ended = model.generate(["ab"], GenerationConfig(stop_token_ids=(97,)))
    assert ended.texts == ["b"]
    with pytest.raises(ValueInvalidError, match="no such token"):
        ScriptedModel(ScriptedConfig()).generate(["ab"], GenerationConfig(stop_token_ids=(300,)))
    with pytest.raises(ValueInvalidError, match="no such token"):
        ScriptedModel(ScriptedConfig()).generate(["ab"], GenerationConfig(logit_bias=((300, 1.0),)))
