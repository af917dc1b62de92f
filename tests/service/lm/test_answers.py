from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from adwright.core.errors import ResourceError
from adwright.lm.engine.generation import (
    Cancellation,
    Chunk,
    Completion,
    Completions,
    Message,
    TokenPrompt,
    Usage,
)
from adwright.lm.engine.scripted import ByteTokens, ScriptedConfig, ScriptedModel
from adwright.service.lm.answers import (
    answer_of,
    chunk_event,
    echo_of,
    embeddings_of,
    new_id,
    opening_event,
    prompts_of,
    settings_of,
    usage_event,
    usage_of,
)
from adwright.service.lm.config import LmServiceConfig
from adwright.service.lm.schemas import ChatIn, CompletionIn, EmbeddingIn
from adwright.web.errors import ApiError

LIMITS = LmServiceConfig(max_tokens=50, max_texts=3)


def chat(**fields: Any) -> ChatIn:
    messages = [{"role": "user", "content": [{"type": "text", "text": t} for t in ("a", "b")]}]
    return ChatIn.model_validate({"model": "m", "messages": messages, **fields})


def completion(**fields: Any) -> CompletionIn:
    return CompletionIn.model_validate({"model": "m", "prompt": "a", **fields})


def test_settings() -> None:
    assert settings_of(chat(), LIMITS).max_tokens == 50
    assert settings_of(chat(max_completion_tokens=7, max_tokens=9), LIMITS).max_tokens == 7
    assert settings_of(completion(), LIMITS).max_tokens == 16
    assert settings_of(chat(stop="x"), LIMITS).stop == ("x",)
    assert settings_of(chat(top_k=-1), LIMITS).top_k == 0
    assert settings_of(chat(logprobs=True), LIMITS).logprobs
    assert settings_of(completion(logprobs=0), LIMITS).logprobs
    assert settings_of(chat(seed=5), LIMITS).seed == 5
    # Two callers who name no seed want two answers.
    assert settings_of(chat(), LIMITS).seed != settings_of(chat(), LIMITS).seed
    with pytest.raises(ApiError, match="at most 50"):
        settings_of(chat(max_tokens=51), LIMITS)


def test_forms() -> None:
    schema = {"type": "object", "properties": {}}
    told = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert settings_of(chat(response_format=told), LIMITS).json_schema == schema
    plain = settings_of(chat(response_format={"type": "json_object"}), LIMITS)
    assert plain.json_schema == {"type": "object"}
    assert not settings_of(chat(response_format={"type": "text"}), LIMITS).constrained
    vllm = settings_of(chat(structured_outputs={"json": schema}), LIMITS)
    assert vllm.json_schema == schema
    grammar = settings_of(chat(structured_outputs={"grammar": "root ::= [a]"}), LIMITS)
    assert grammar.grammar == "root ::= [a]"


def test_prompts() -> None:
    assert prompts_of(chat(n=2), LIMITS) == [(Message("user", "ab"),)] * 2
    assert prompts_of(completion(prompt=["a", "b"]), LIMITS) == ["a", "b"]
    assert prompts_of(completion(prompt=[[1], [2]]), LIMITS) == [
        TokenPrompt((1,)),
        TokenPrompt((2,)),
    ]
    with pytest.raises(ApiError, match="at most 3"):
        prompts_of(completion(prompt=["a", "b"], n=2), LIMITS)


def test_answers() -> None:
    row = Completion("ab", (97, 98), (-1.0, -2.0), "cancelled", Usage(1, 2))
    found = answer_of("chat", "m", Completions((row,)), ByteTokens(), 7)
    assert (found["created"], found["model"], found["usage"]["total_tokens"]) == (7, "m", 3)
    assert found["choices"][0]["finish_reason"] == "length"
    assert [one["bytes"] for one in found["choices"][0]["logprobs"]["content"]] == [[97], [98]]
    text = answer_of("completion", "m", Completions((row,)), ByteTokens(), 7)
    assert text["choices"][0]["text"] == "ab"
    assert text["choices"][0]["logprobs"]["token_logprobs"] == [-1.0, -2.0]


def test_events() -> None:
    assert opening_event("completion", "i", "m", 1) is None
    opening = opening_event("chat", "i", "m", 1)
    assert opening is not None
    assert opening["object"] == "chat.completion.chunk"
    event = chunk_event("chat", "i", "m", 1, Chunk("x", (120,)), ByteTokens())
    assert event["choices"][0]["delta"] == {"content": "x"}
    assert event["choices"][0]["logprobs"] is None
    last = usage_event("chat", "i", "m", 1, Usage(2, 3))
    assert (last["choices"], last["usage"]) == ([], usage_of(Usage(2, 3)))
    assert new_id("chat") != new_id("chat")


def test_an_echo_that_is_cancelled_is_none() -> None:
    cancel = Cancellation()
    cancel.cancel()
    with pytest.raises(ResourceError, match="cancelled"):
        echo_of("m", ScriptedModel(ScriptedConfig()), ["ab"], 1, cancel)


def test_echo_counts_characters() -> None:
    told = echo_of("m", ScriptedModel(ScriptedConfig()), ["é!"], 1, Cancellation())
    found = told["choices"][0]
    assert found["text"] == "é!"
    # Two bytes make the first character, so the second token begins where the first does.
    assert found["logprobs"]["text_offset"] == [0, 0, 1]
    ids = echo_of("m", ScriptedModel(ScriptedConfig()), [TokenPrompt((97, 98))], 1, Cancellation())
    assert ids["choices"][0]["logprobs"]["tokens"] == ["a", "b"]


def test_vectors_in_both_encodings() -> None:
    vectors = np.array([[1.0, 0.5]], dtype=np.float32)
    body = EmbeddingIn(model="m", input="a")
    assert embeddings_of(body, vectors, 3)["data"][0]["embedding"] == [1.0, 0.5]
    packed = embeddings_of(EmbeddingIn(model="m", input="a", encoding_format="base64"), vectors, 3)
    raw = base64.b64decode(packed["data"][0]["embedding"])
    np.testing.assert_array_equal(np.frombuffer(raw, "<f4"), [1.0, 0.5])
