"""What /v1/responses takes: the same as a chat, in other words."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from adwright.service.lm.protocol.body import HarmlessIn, JsonObject, LmBody
from adwright.service.lm.protocol.schemas import ChatIn, StreamOptions
from adwright.service.lm.protocol.tool_schemas import FunctionIn

_MOST_ITEMS = 1000


class ResponsePartIn(LmBody):
    """A text in a turn; annotations and logprobs may come back from an answer, and are not used."""

    type: Literal["input_text", "output_text", "text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


_Content = str | Annotated[list[ResponsePartIn], Field(fail_fast=True)]


class _ItemIn(LmBody):
    id: str | None = None
    status: str | None = None


class ResponseMessageIn(_ItemIn):
    """A turn."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: _Content
    phase: str | None = None


class ResponseCallIn(_ItemIn):
    """A call of a former answer."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    namespace: str | None = None


class ResponseOutputIn(_ItemIn):
    """What came of a call."""

    type: Literal["function_call_output"]
    call_id: str
    output: _Content


class ResponseToolIn(FunctionIn):
    """A function that may be called."""

    type: Literal["function"]


class ResponseToolChoiceIn(LmBody):
    """The one function that is to be called."""

    type: Literal["function"]
    name: str


class ResponseFormatIn(LmBody):
    """The form of the answer, as `ResponseFormat`; the schema stands beside its name."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str = "answer"
    description: str | None = None
    schema_: Annotated[JsonObject | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseTextIn(LmBody):
    """What is asked of the text of the answer."""

    format: ResponseFormatIn = ResponseFormatIn()


class ResponseReasoningIn(LmBody):
    """Models here do not reason apart from their answers, so that it has no field but nulls."""


class ResponseIn(HarmlessIn):
    """The body of /v1/responses. Nothing is kept, so there is no former response to go on from."""

    model: str
    input: (
        str
        | Annotated[
            list[ResponseMessageIn | ResponseCallIn | ResponseOutputIn],
            Field(min_length=1, max_length=_MOST_ITEMS, fail_fast=True),
        ]
    )
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1.0
    tools: Annotated[tuple[ResponseToolIn, ...], Field(max_length=128)] = ()
    tool_choice: Literal["none", "auto", "required"] | ResponseToolChoiceIn | None = None
    parallel_tool_calls: bool = True
    text: ResponseTextIn = ResponseTextIn()
    reasoning: ResponseReasoningIn | None = None
    include: Annotated[tuple[Literal["reasoning.encrypted_content"], ...], Field(max_length=8)] = ()
    truncation: Literal["disabled"] = "disabled"
    background: Literal[False] = False
    stream: bool = False
    stream_options: StreamOptions | None = None

    @model_validator(mode="after")
    def _is_a_chat(self) -> ResponseIn:
        try:
            self.chat()
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            raise ValueError(str(first["msg"]).removeprefix("Value error, ")) from None
        return self

    def chat(self) -> ChatIn:
        """The chat that says the same. Raises ValidationError where it is none."""
        fields: dict[str, Any] = {
            "model": self.model,
            "messages": self._messages(),
            "max_completion_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "tools": [
                {"type": "function", "function": tool.model_dump(exclude={"type"})}
                for tool in self.tools
            ],
            "parallel_tool_calls": self.parallel_tool_calls,
        }
        match self.tool_choice:
            case ResponseToolChoiceIn(name=name):
                fields["tool_choice"] = {"type": "function", "function": {"name": name}}
            case "auto" if not self.tools:  # what the client of agents sends beside no tools
                pass
            case choice:
                fields["tool_choice"] = choice
        form = self.text.format
        if form.type != "text":
            fields["response_format"] = {"type": form.type}
            if form.schema_ is not None or form.type == "json_schema":
                told = {"name": form.name, "schema": form.schema_, "strict": form.strict}
                fields["response_format"]["json_schema"] = told
        return ChatIn.model_validate(fields)

    def _messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        if self.instructions:
            found.append({"role": "system", "content": self.instructions})
        if isinstance(self.input, str):
            return [*found, {"role": "user", "content": self.input}]
        for item in self.input:
            match item:
                case ResponseMessageIn():
                    found.append({"role": item.role, "content": _text(item.content)})
                case ResponseCallIn():
                    if not found or found[-1]["role"] != "assistant":
                        found.append({"role": "assistant", "content": ""})
                    function = {"name": item.name, "arguments": item.arguments}
                    calls = found[-1].setdefault("tool_calls", [])
                    calls.append({"id": item.call_id, "type": "function", "function": function})
                case ResponseOutputIn():
                    told = {"tool_call_id": item.call_id, "content": _text(item.output)}
                    found.append({"role": "tool", **told})
        return found


def _text(content: str | list[ResponsePartIn]) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)
