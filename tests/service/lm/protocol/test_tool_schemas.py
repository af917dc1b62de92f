from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from adwright.service.lm.protocol.schemas import (
    CalledIn,
    FunctionIn,
    NamedFunctionIn,
    NamedToolIn,
    ToolCallIn,
    ToolChoice,
    ToolIn,
)


def test_what_frameworks_send_is_understood() -> None:
    function = {"name": "f", "description": None, "parameters": {"type": "object"}, "strict": True}
    tool = ToolIn.model_validate({"type": "function", "function": function})
    assert tool.function == FunctionIn(name="f", parameters={"type": "object"}, strict=True)
    call = ToolCallIn.model_validate({"id": "c", "function": {"name": "f", "arguments": "{}"}})
    assert call.function == CalledIn(name="f")
    choice: Any = TypeAdapter(ToolChoice).validate_python(
        {"type": "function", "function": {"name": "f"}}
    )
    assert choice == NamedToolIn(type="function", function=NamedFunctionIn(name="f"))


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function"},
        {"type": "code_interpreter"},
        {"type": "function", "function": {"name": ""}},
        {"type": "function", "function": {"name": "f" * 65}},
        {"type": "function", "function": {"name": "f", "parameters": []}},
        {"type": "function", "function": {"name": "f", "other": 1}},
    ],
)
def test_other_tools_are_refused(tool: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ToolIn.model_validate(tool)
