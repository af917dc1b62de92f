from __future__ import annotations

import json
from typing import Any

import pytest

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.engines.engine_errors import EngineFailedError
from adwright.programs.engines.server_fields import (
    Dialect,
    ServerEvent,
    read_event,
    request_body,
    salted,
)

CONFIG = GenerationConfig(max_tokens=9)


def body(dialect: Dialect, config: GenerationConfig = CONFIG, **further: Any) -> dict[str, Any]:
    told = {"chat": False, "priority": 2, "salt": "s"} | further
    return request_body(dialect, "m", "tea", config, **told)


def test_hints_go_where_they_are_known() -> None:
    plain = {"model": "m", "prompt": "tea", "max_tokens": 9, "temperature": 0.0, "seed": 0}
    plain |= {"stream": True, "stream_options": {"include_usage": True}}
    assert body("openai") == plain
    assert body("vllm") == plain | {"priority": 2, "cache_salt": "s"}
    assert body("sglang") == plain | {"priority": -2, "cache_salt": "s"}
    assert body("vllm", priority=0, salt="") == plain


def test_prompts_as_tokens_and_as_chats() -> None:
    found = request_body("vllm", "m", (5, 6), CONFIG, chat=False)
    assert found["prompt"] == [5, 6]
    found = body("openai", GenerationConfig(logprobs=True), chat=True)
    assert found["messages"] == [{"role": "user", "content": "tea"}]
    assert (found["logprobs"], "prompt" in found) == (True, False)
    assert body("openai", GenerationConfig(logprobs=True))["logprobs"] == 1
    with pytest.raises(ConfigError, match="no tokens"):
        request_body("vllm", "m", [5, 6], CONFIG, chat=True)


def test_forms_of_answers() -> None:
    schema = GenerationConfig(json_schema={"type": "object"})
    for dialect in ("openai", "vllm", "sglang"):
        found = body(dialect, schema)["response_format"]["json_schema"]
        assert found["schema"] == {"type": "object"}
    regex, grammar = GenerationConfig(regex="a+"), GenerationConfig(grammar='root ::= "a"')
    assert body("vllm", regex)["structured_outputs"] == {"regex": "a+"}
    assert body("sglang", regex)["regex"] == "a+"
    assert body("sglang", grammar)["ebnf"] == 'root ::= "a"'
    assert "structured_outputs" not in body("sglang", grammar)
    assert body("vllm", GenerationConfig(ignore_eos=True))["ignore_eos"]


def test_nobody_can_tell_or_guess_whose_a_salt_is() -> None:
    found = {salted(salt, secret) for salt in ("a", "b") for secret in ("x", "y", "x" * 100)}
    assert len(found) == 6
    assert salted("a", "x") == salted("a", "x")
    assert all(60 < len(one) <= 1024 for one in found)


def test_what_events_say() -> None:
    def event(**told: Any) -> ServerEvent:
        return read_event(json.dumps(told))

    usage = {"completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 32}}
    assert event(choices=[], usage=usage) == ServerEvent(None, (), False, 32, 7)
    assert event(choices=[], usage={"prompt_tokens_details": None}) == ServerEvent()
    choice = {"text": "a", "finish_reason": None, "logprobs": {"token_logprobs": [-1.0, None]}}
    assert event(choices=[choice]) == ServerEvent("a", (-1.0,))
    choice = {"delta": {}, "finish_reason": "stop", "logprobs": {"content": [{"logprob": -2}]}}
    assert event(choices=[choice]) == ServerEvent("", (-2.0,), True)
    assert event(choices=[{"delta": {"content": "a"}}]).text == "a"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("{half", "no JSON"),
        ("[]", "broke off"),
        ('{"error": {"message": "out of memory", "code": 500}}', "out of memory"),
        ('{"error": "plain"}', "plain"),
        ('{"choices": [{"text": "", "finish_reason": "abort"}]}', "abort"),
    ],
)
def test_what_is_no_event(data: str, told: str) -> None:
    with pytest.raises(EngineFailedError, match=told):
        read_event(data)
