from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from adwright.service.lm.protocol.schemas import ChatIn, CompletionIn, EmbeddingIn

TOOL = {"type": "function", "function": {"name": "f"}}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "a"}]}


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "tool", "content": "a"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "text": "a"}]}]},
        {"temperature": 3},
        {"temperature": float("nan")},
        {"top_p": 0},
        {"top_p": float("nan")},
        {"top_k": 2**31},
        {"repetition_penalty": 0.001},
        {"seed": -1},
        {"stop": "a" * 1001},
        {"stop": ["a", "b" * 1001]},
        {"stop": ["a"] * 17},
        {"top_logprobs": 3},
        {"top_logprobs": 21, "logprobs": True},
        {"presence_penalty": 3},
        {"logit_bias": {"x": 1}},
        {"logit_bias": {"5": 101}},
        {"tools": [{"type": "web_search"}]},
        {"tools": [TOOL, TOOL]},
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        {"tools": [TOOL], "structured_outputs": {"regex": "a"}},
        {"tool_choice": "required"},
        {"reasoning_effort": "high"},
        {"chat_template_kwargs": {"a b": 1}},
        {"chat_template_kwargs": {"a": [1]}},
        {"chat_template_kwargs": {"a": "b" * 1001}},
        {"chat_template_kwargs": {f"a{n}": n for n in range(17)}},
        {"chat_template": "{{ 7 }}"},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": "a", "tool_call_id": "c"}]},
        {"structured_outputs": {"regex": "a", "choice": ["b"]}},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "text", "json_schema": {"schema": {}}}},
        {"structured_outputs": {}},
        {"structured_outputs": {"grammar": "a"}, "response_format": {"type": "json_object"}},
    ],
)
def test_what_is_not_understood_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ChatIn.model_validate(CHAT | fields)


def test_what_clients_send_is_understood() -> None:
    found = ChatIn.model_validate(
        CHAT
        | {
            "user": "u",
            "n": 1,
            "frequency_penalty": 0,
            "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True},
            },
        }
    )
    assert found.stream_options is not None
    assert found.stream_options.include_usage
    assert found.response_format is not None
    assert found.response_format.json_schema is not None
    assert found.response_format.json_schema.schema_ == {"type": "object"}
    asked = EmbeddingIn.model_validate({"model": "m", "input": ["a"], "encoding_format": "base64"})
    assert asked.encoding_format == "base64"


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": []},
        {"prompt": [[]]},
        {"prompt": [2**31]},
        {"prompt": [["1"]]},
        {"prompt": [True]},
        {"prompt": "a", "max_tokens": 0},
        {"prompt": "a", "echo": True, "max_tokens": 0},
        {"prompt": "a", "echo": True, "max_tokens": 0, "logprobs": 1, "stream": True},
        {"prompt": "a", "logprobs": 21},
        {"prompt": "a", "best_of": 2},
        {"prompt": "a", "echo": True, "max_tokens": 0, "logprobs": 2},
    ],
)
def test_completions_are_checked(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CompletionIn.model_validate({"model": "m"} | fields)


def test_a_long_list_ends_at_its_first_error() -> None:
    for fields in ({"prompt": [None] * 50_000}, {"prompt": [[-1]] * 50_000}):
        with pytest.raises(ValidationError) as caught:
            CompletionIn.model_validate({"model": "m"} | fields)
        assert caught.value.error_count() < 10
    with pytest.raises(ValidationError) as caught:
        ChatIn.model_validate({"model": "m", "messages": [{}] * 900})
    assert caught.value.error_count() < 10


def test_what_is_null_or_harmless_is_no_obstacle() -> None:
    nulls = dict.fromkeys(set(ChatIn.model_fields) - {"model", "messages"})
    assert ChatIn.model_validate(CHAT | nulls | {"functions": None}) == ChatIn.model_validate(CHAT)
    harmless = {
        "store": True,
        "metadata": {"run": "7"},
        "service_tier": "auto",
        "parallel_tool_calls": True,
        "user": "u",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "modalities": ["text"],
        "logit_bias": {},
        "chat_template_kwargs": {},
        "tools": [],
        "seed": 5,
    }
    assert ChatIn.model_validate(CHAT | harmless).store


def test_the_turns_of_an_agent() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": "a"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [call],
            "refusal": None,
            "audio": None,
        },
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "7"}]},
        {"role": "assistant", "content": "seven", "annotations": [], "function_call": None},
    ]
    found = ChatIn.model_validate(CHAT | {"messages": turns}).messages
    assert [one.text for one in found] == ["be brief", "a", "", "7", "seven"]
