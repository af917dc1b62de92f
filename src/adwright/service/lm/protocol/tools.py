"""Tools in a chat: told in the prompt, written by a grammar, read back from the answer.

    <tool_call>
    {"name": "price", "arguments": {"item":"tea"}}
    </tool_call>

The notation is that of Hermes and Qwen 2.5, here for every model: nothing has to be known of its
template, and the grammar holds up a model that was never shown it. An engine that reads the grammar
(`lark`) writes calls of that form and no others; elsewhere an answer is read for calls, and a
function that has to be called is written as JSON of its own schema.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig, Message
from adwright.lm.engine.hf_tokens import check_bounds
from adwright.service.lm.protocol.schemas import ChatIn, MessageIn
from adwright.service.lm.protocol.tool_schemas import NamedToolIn, ToolIn

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_TOLD = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""
_COMPACT = {"x-guidance": {"whitespace_flexible": False}}
_CLOSING = re.compile(r"\s*" + re.escape(_CLOSE) + r"\s*")


@dataclass(frozen=True)
class Call:
    """A call of a function. arguments: JSON in a text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class ToolForm:
    """What the tools of a chat ask of its answer.

    schema, lark: of the answer, at most one of them. alone: the function that the whole answer is
    the arguments of; empty where calls stand in the answer as they are told in the prompt.
    """

    schema: Mapping[str, Any] | None = None
    lark: str | None = None
    alone: str = ""

    @classmethod
    def of(cls, body: ChatIn, *, lark: bool, text: Mapping[str, Any] | None) -> ToolForm | None:
        """The form of the answer; None where there are no tools, or none may be called.

        lark: whether the engine reads such grammars. text: the JSON schema of an answer that calls
        nothing; None where it is free. Raises ConfigError where the engine cannot do it, or a
        schema is above a bound.
        """
        if not body.tools or body.tool_choice == "none":
            return None
        tools, forced = body.tools, body.tool_choice == "required"
        if isinstance(body.tool_choice, NamedToolIn):
            name = body.tool_choice.function.name
            tools, forced = tuple(one for one in tools if one.function.name == name), True
        for tool in tools:
            check_bounds(GenerationConfig(json_schema=_arguments(tool)))
        several = body.parallel_tool_calls and not isinstance(body.tool_choice, NamedToolIn)
        if lark:
            return cls(lark=_lark(tools, forced=forced, several=several, text=text))
        if not forced:
            return cls(schema=text)
        if len(tools) > 1:
            raise ConfigError(
                "this engine cannot be made to call one of several functions",
                where="tool_choice required",
                hint="name the function, or open the model on torch",
            )
        return cls(schema=_arguments(tools[0]), alone=tools[0].function.name)


def turns_of(body: ChatIn) -> tuple[Message, ...]:
    """The turns of a chat: tools, calls and their results in words; developers speak as the
    system does."""
    told: list[Message] = []
    for one in body.messages:
        match one.role:
            case "tool":
                text = f"<tool_response>\n{one.text}\n</tool_response>"
                if told and told[-1].role == "user" and told[-1].content.startswith("<tool_resp"):
                    text = f"{told.pop().content}\n{text}"
                told.append(Message("user", text))
            case "assistant":
                told.append(Message("assistant", _spoken(one)))
            case "user":
                told.append(Message("user", one.text))
            case _:
                told.append(Message("system", one.text))
    if not body.tools or body.tool_choice == "none":
        return tuple(told)
    tools = "\n".join(json.dumps(tool.model_dump(exclude_none=True)) for tool in body.tools)
    system = _TOLD.format(tools=tools)
    if told[0].role == "system":
        first = told.pop(0)
        system = f"{first.content}\n\n{system}"
    return (Message("system", system), *told)


class CallReader:
    """Divides the text of an answer into what is said and what is called, piece by piece.

    What begins like a call and becomes none is said. alone: see `ToolForm`.
    """

    def __init__(self, form: ToolForm) -> None:
        self._alone = form.alone
        self._text = ""
        self.called = False

    def add(self, piece: str) -> tuple[str, list[Call]]:
        """Take a piece of text; what is said by now, and the calls that are complete."""
        self._text += piece
        said, calls = "", list[Call]()
        while not self._alone:
            at = self._text.find(_OPEN)
            if at < 0:
                kept = _beginning(self._text)
                said += self._text[: len(self._text) - kept]
                self._text = self._text[len(self._text) - kept :]
                break
            said, self._text = said + self._text[:at], self._text[at:]
            found = _read(self._text)
            if found is None:
                break
            call, length = found
            calls.append(call)
            self._text = self._text[length:]
        return self._told(said, calls)

    def finish(self) -> tuple[str, list[Call]]:
        """The end of the answer: what is left."""
        rest, self._text = self._text, ""
        if self._alone and _is_object(rest):
            return self._told("", [Call(_id(), self._alone, rest)])
        return self._told(rest, [])

    def _told(self, said: str, calls: list[Call]) -> tuple[str, list[Call]]:
        self.called = self.called or bool(calls)
        # Between and behind calls stands only white space.
        return ("" if self.called and not said.strip() else said), calls


def read_calls(text: str, form: ToolForm) -> tuple[str, list[Call]]:
    """What a whole answer says, and what it calls."""
    reader = CallReader(form)
    said, calls = reader.add(text)
    rest, more = reader.finish()
    return said + rest, calls + more


def _arguments(tool: ToolIn) -> dict[str, Any]:
    return tool.function.parameters or {"type": "object"}


def _lark(
    tools: Sequence[ToolIn], *, forced: bool, several: bool, text: Mapping[str, Any] | None
) -> str:
    """The grammar of an answer: free text up to the first call, and calls."""
    rules = []
    for at, tool in enumerate(tools):
        head = _quoted(f'\n{{"name": "{tool.function.name}", "arguments": ')
        schema = json.dumps(_arguments(tool) | _COMPACT)
        rules.append(f"call_{at}: {head} args_{at} {_quoted(f'}}{chr(10)}{_CLOSE}')}")
        rules.append(f"args_{at}: %json {schema}")
    call = "call: " + " | ".join(f"call_{at}" for at in range(len(tools)))
    more = f" ({_quoted(chr(10) + _OPEN)} call)*" if several else ""
    if forced:
        start = f"start: {_quoted(_OPEN)} call{more}"
    elif text is not None:
        start = f"start: said | {_quoted(_OPEN)} call{more}\nsaid: %json "
        start += json.dumps(dict(text) | _COMPACT)
    else:
        any_text = r"(.|\n)*"
        start = f"start: TEXT | opened call{more}\n"
        start += f"TEXT: /{any_text}/ & ~/{any_text}{_OPEN}{any_text}/\n"
        start += f"opened[lazy]: /{any_text}{_OPEN}/"
    return "\n".join([start, call, *rules])


def _quoted(text: str) -> str:
    return json.dumps(text)


def _spoken(one: MessageIn) -> str:
    """A turn of the assistant with its calls, as it wrote them."""
    calls = []
    for call in one.tool_calls or ():
        name = json.dumps(call.function.name)
        told = f'{{"name": {name}, "arguments": {call.function.arguments or "{}"}}}'
        calls.append(f"{_OPEN}\n{told}\n{_CLOSE}")
    return "\n".join([one.text, *calls] if one.text or not calls else calls)


def _beginning(text: str) -> int:
    """Length of the longest end of a text with which a call begins."""
    most = min(len(_OPEN) - 1, len(text))
    return next((n for n in range(most, 0, -1) if _OPEN.startswith(text[-n:])), 0)


def _read(text: str) -> tuple[Call, int] | None:
    """The call at the beginning of a text, and how long it is; None where it is none, or not
    complete."""
    start = len(_OPEN) + len(text[len(_OPEN) :]) - len(text[len(_OPEN) :].lstrip())
    try:
        told, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    closing = _CLOSING.match(text, end)
    if closing is None or not isinstance(told, dict) or not isinstance(told.get("name"), str):
        return None
    arguments = told.get("arguments", {})
    return Call(_id(), told["name"], json.dumps(arguments)), closing.end()


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _id() -> str:
    return f"call_{secrets.token_hex(12)}"
