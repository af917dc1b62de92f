from __future__ import annotations

from typing import Any

import pytest

from adwright.lm.engine.generation import FURTHER, Chat, Message, TokenPrompt
from adwright.service.lm.config import LmServiceConfig
from adwright.service.lm.protocol.schemas import ChatIn, CompletionIn, EmbeddingIn
from adwright.service.lm.protocol.tools import prompts_of, settings_of, texts_of, tool_form_of
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
    told = prompts_of(chat(chat_template_kwargs={"loud": True}), LIMITS)
    assert told == [Chat((Message("user", "ab"),), {"loud": True})]
    with pytest.raises(ApiError, match="at most 3"):
        prompts_of(completion(prompt=["a", "b"], n=2), LIMITS)


def test_further_settings() -> None:
    found = settings_of(
        completion(
            min_p=0.1,
            frequency_penalty=0.5,
            presence_penalty=-0.5,
            logit_bias={"65": 5, "66": -100},
            stop_token_ids=[7],
            min_tokens=2,
            ignore_eos=True,
            logprobs=3,
        ),
        LIMITS,
    )
    assert (found.min_p, found.frequency_penalty, found.presence_penalty) == (0.1, 0.5, -0.5)
    assert found.logit_bias == ((65, 5.0), (66, -100.0))
    assert (found.stop_token_ids, found.min_tokens, found.ignore_eos) == ((7,), 2, True)
    assert found.top_logprobs == 3
    assert settings_of(completion(logprobs=1), LIMITS).top_logprobs == 0
    assert settings_of(chat(logprobs=True, top_logprobs=4), LIMITS).top_logprobs == 4
    assert settings_of(chat(), LIMITS).further == frozenset()


def test_further_forms() -> None:
    def form(**fields: Any) -> Any:
        return settings_of(chat(structured_outputs=fields), LIMITS)

    assert form(regex="[ab]+").regex == "[ab]+"
    assert form(choice=["tea", 'a "b"']).grammar == r'root ::= "tea" | "a \"b\""'
    assert form(json_object=True).json_schema == {"type": "object"}


def test_tools_shape_the_answer() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    body = chat(tools=[tool])
    form = tool_form_of(body, FURTHER)
    assert form is not None
    assert settings_of(body, LIMITS, form).lark == form.lark
    assert tool_form_of(completion(), FURTHER) is None
    assert tool_form_of(chat(), FURTHER) is None


def test_what_is_embedded() -> None:
    def texts(given: Any) -> Any:
        return texts_of(EmbeddingIn(model="m", input=given))

    assert texts("a") == ["a"]
    assert texts(["a", "b"]) == ["a", "b"]
    assert texts([5, 6]) == [TokenPrompt((5, 6))]
    assert texts([[5], [6]]) == [TokenPrompt((5,)), TokenPrompt((6,))]
