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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import Chat, GenerationConfig, Message, Prompt, TokenPrompt
from adwright.lm.engine.hf_tokens import check_bounds
from adwright.service.lm.config import EndpointConfig
from adwright.service.lm.protocol.schemas import (
    ChatIn,
    CompletionIn,
    EmbeddingIn,
    MessageIn,
    NamedToolIn,
    SamplingIn,
    ToolIn,
)
from adwright.web.errors import ApiError

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

    def add(self, piece: str, *, is_last: bool = False) -> tuple[str, list[Call]]:
        """Take a piece of text; what is said by now, and the calls that are complete. is_last: it
        ends the answer."""
        if is_last:
            said, calls = self.add(piece)
            rest, more = self._finish()
            return said + rest, calls + more
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

    def _finish(self) -> tuple[str, list[Call]]:
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
    return CallReader(form).add(text, is_last=True)


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


# --------------------------------------------------------------------------------------------------
# From the bodies of the OpenAI protocol to prompts and settings.


def tool_form_of(body: ChatIn | CompletionIn, further: frozenset[str]) -> ToolForm | None:
    """What tools ask of the answer; None where there are none. further: of the model's settings."""
    if isinstance(body, CompletionIn):
        return None
    return ToolForm.of(body, lark="lark" in further, text=_form(body).get("json_schema"))


def settings_of(
    body: ChatIn | CompletionIn, limits: EndpointConfig, tools: ToolForm | None = None
) -> GenerationConfig:
    """Settings of a request. tools: what they ask of the answer.

    Raises ApiError where more is asked for than the service allows, ConfigError for what no
    engine has.
    """
    match body:
        case ChatIn():
            asked = body.max_completion_tokens or body.max_tokens or limits.max_tokens
            logprobs, top = body.logprobs, body.top_logprobs
        case CompletionIn():
            asked = max(1, body.max_tokens)
            logprobs = body.logprobs is not None
            # One tells the token that was taken; the likeliest are for who asks for several.
            top = body.logprobs if body.logprobs and body.logprobs > 1 else 0
    if asked > limits.max_tokens:
        raise ApiError(422, f"max_tokens is at most {limits.max_tokens} here")
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    form = _form(body) if tools is None else {"json_schema": tools.schema, "lark": tools.lark}
    return GenerationConfig(
        max_tokens=asked,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=max(0, body.top_k),
        # Two callers who name no seed want two answers.
        seed=secrets.randbelow(2**31) if body.seed is None else body.seed,
        stop=tuple(one for one in stop if one),
        repetition_penalty=body.repetition_penalty,
        logprobs=logprobs,
        top_logprobs=top,
        min_p=body.min_p,
        frequency_penalty=body.frequency_penalty,
        presence_penalty=body.presence_penalty,
        logit_bias=tuple(body.logit_bias.items()),
        stop_token_ids=tuple(body.stop_token_ids),
        min_tokens=body.min_tokens,
        ignore_eos=body.ignore_eos,
        **form,
    )


def prompts_of(body: ChatIn | CompletionIn, limits: EndpointConfig) -> list[Prompt]:
    """Prompts of a request, each as often as answers to it are asked for.

    Raises ApiError where these are too many.
    """
    found: list[Prompt] = []
    match body:
        case ChatIn():
            found = [chat_of(body)]
        case CompletionIn():
            found = [*_prompts(body.prompt)]
    if len(found) * body.n > limits.max_texts:
        raise ApiError(422, f"one request has at most {limits.max_texts} answers here")
    return [prompt for prompt in found for _ in range(body.n)]


def chat_of(body: ChatIn) -> Prompt:
    """The turns of a chat, with what its template is told."""
    turns, settings = turns_of(body), body.chat_template_kwargs
    return Chat(turns, settings) if settings else turns


def texts_of(body: EmbeddingIn) -> list[str | TokenPrompt]:
    """What is to be embedded."""
    return list(_prompts(body.input))


def _prompts(given: Any) -> Iterator[str | TokenPrompt]:
    """A text, its tokens, or several of either."""
    several = isinstance(given, list) and not isinstance(given[0], int)
    for one in given if several else [given]:
        yield one if isinstance(one, str) else TokenPrompt(tuple(one))


def _form(body: SamplingIn) -> dict[str, Any]:
    """The form of the answer that is asked for, as settings."""
    shaped, wanted = body.structured_outputs, body.response_format
    if shaped is not None:
        if shaped.choice is not None:
            return {"grammar": "root ::= " + " | ".join(map(_requested_quoted, shaped.choice))}
        if shaped.json_object:
            return {"json_schema": {"type": "object"}}
        return {"json_schema": shaped.json_, "grammar": shaped.grammar, "regex": shaped.regex}
    if wanted is None or wanted.type == "text":
        return {}
    if wanted.json_schema is None:
        return {"json_schema": {"type": "object"}}
    return {"json_schema": wanted.json_schema.schema_}


def _requested_quoted(text: str) -> str:
    """A text as GBNF writes it."""
    return json.dumps(text, ensure_ascii=False)
