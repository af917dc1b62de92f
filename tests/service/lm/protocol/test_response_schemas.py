from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from adwright.service.lm.protocol.schemas import (
    NamedToolIn,
    ResponseCallIn,
    ResponseFormatIn,
    ResponseIn,
    ResponseMessageIn,
    ResponseOutputIn,
    ResponsePartIn,
    ResponseReasoningIn,
    ResponseTextIn,
    ResponseToolChoiceIn,
    ResponseToolIn,
)

TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}


def response(**fields: Any) -> ResponseIn:
    return ResponseIn.model_validate({"model": "m", "input": "hello", **fields})


def test_a_text_is_a_turn() -> None:
    chat = response(instructions="be brief", max_output_tokens=7, temperature=0.5).chat()
    assert [(one.role, one.text) for one in chat.messages] == [
        ("system", "be brief"),
        ("user", "hello"),
    ]
    assert (chat.max_completion_tokens, chat.temperature, chat.tools) == (7, 0.5, ())


def test_items_are_turns_calls_and_results() -> None:
    part = {"type": "output_text", "text": "well", "annotations": [], "logprobs": []}
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    items = [
        {"role": "developer", "content": "be brief"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "message", "id": "m1", "role": "assistant", "status": "done", "content": [part]},
        {**call, "id": "f1", "status": "completed"},
        {**call, "call_id": "c2"},
        {"type": "function_call_output", "call_id": "c1", "output": "noon"},
    ]
    found = response(input=items, tools=[TOOL])
    assert isinstance(found.input, list)
    assert [type(one) for one in found.input[2:]] == [
        ResponseMessageIn,
        ResponseCallIn,
        ResponseCallIn,
        ResponseOutputIn,
    ]
    chat = found.chat()
    assert [one.role for one in chat.messages] == [
        "developer",
        "user",
        "assistant",
        "tool",
    ]
    calls = chat.messages[2].tool_calls or []
    assert [one.id for one in calls] == ["c1", "c2"]
    assert (chat.messages[2].text, chat.messages[3].text) == ("well", "noon")


def test_tools_and_forms() -> None:
    chat = response(tools=[TOOL], tool_choice={"type": "function", "name": "f"}).chat()
    assert chat.tools[0].function.parameters == {"type": "object"}
    assert isinstance(chat.tool_choice, NamedToolIn)
    assert response(tool_choice="auto").chat().tool_choice is None
    form = {"type": "json_schema", "name": "x", "schema": {"type": "integer"}, "strict": True}
    wanted = response(text={"format": form}).chat().response_format
    assert wanted is not None
    assert wanted.json_schema is not None
    assert wanted.json_schema.schema_ == {"type": "integer"}
    assert response(text={"format": {"type": "text"}}).chat().response_format is None


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": "resp_1"},
        {"background": True},
        {"truncation": "auto"},
        {"reasoning": {"effort": "high"}},
        {"tools": [{"type": "web_search"}]},
        {"tool_choice": {"type": "function", "name": "f"}},
        {"tool_choice": "required"},
        {"text": {"format": {"type": "json_schema", "name": "x"}}},
        {"input": []},
        {"input": [{"type": "reasoning", "summary": []}]},
        {"input": [{"type": "message", "role": "user", "content": [{"type": "input_image"}]}]},
        {"include": ["file_search_call.results"]},
    ],
)
def test_what_would_be_ignored_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        response(**fields)


def test_what_clients_send_beside_is_understood() -> None:
    found = response(
        store=True,
        include=["reasoning.encrypted_content"],
        previous_response_id=None,
        reasoning={"effort": None, "summary": None},
        metadata={"a": "b"},
        background=False,
    )
    assert found.reasoning == ResponseReasoningIn()
    assert found.text == ResponseTextIn(format=ResponseFormatIn())
    assert ResponsePartIn(type="text", text="a").text == "a"
    assert ResponseToolIn.model_validate(TOOL).name == "f"
    assert ResponseToolChoiceIn(type="function", name="f").name == "f"
