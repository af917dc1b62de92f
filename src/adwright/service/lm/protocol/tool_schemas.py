"""Tools as chats name them, which of them is to be called, and the calls of former turns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from adwright.service.lm.protocol.body import JsonObject, LmBody

_Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class FunctionIn(LmBody):
    """A function that may be called. parameters: JSON schema of its arguments, which they always
    fit, whatever `strict` says."""

    name: _Name
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class ToolIn(LmBody):
    """A tool; functions are the only ones."""

    type: Literal["function"]
    function: FunctionIn


class NamedFunctionIn(LmBody):
    """The name of a function."""

    name: _Name


class NamedToolIn(LmBody):
    """The one function that is to be called."""

    type: Literal["function"]
    function: NamedFunctionIn


class CalledIn(LmBody):
    """What was called, and with which arguments, as JSON in a text."""

    name: _Name
    arguments: str = "{}"


class ToolCallIn(LmBody):
    """A call of a former turn."""

    id: str
    type: Literal["function"] = "function"
    function: CalledIn


#: none: no call; auto: the model decides; required: at least one.
ToolChoice = Literal["none", "auto", "required"] | NamedToolIn
