"""Chats in the OpenAI protocol, whole or streamed: each is a program of one call.

A client that knows nothing of programs is answered as by any server of that protocol. With the
object `adwright` in the body the call belongs to a program: it reads variables, its answer becomes
one, and it may be answered later (`defer`).
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse, StreamingResponse

from adwright.core.errors import ConfigError, ProgramError
from adwright.lm.engine.generation import (
    Chat,
    Chunk,
    Completion,
    Completions,
    FinishReason,
    Message,
    Usage,
)
from adwright.lm.engine.scripted import ByteTokens
from adwright.programs.frontend.chats import ChatCall, chat_program
from adwright.programs.runner import Variable
from adwright.service.lm.protocol.answers import EventWriter, answer_of
from adwright.service.lm.protocol.errors import broken_stream, lm_error_docs
from adwright.service.lm.protocol.response_schemas import ResponseIn
from adwright.service.lm.protocol.responses import ResponseWriter
from adwright.service.lm.protocol.schemas import ChatIn
from adwright.service.lm.protocol.tools import ToolForm
from adwright.service.lm.requested import chat_of, settings_of, tool_form_of
from adwright.service.lm.work import Gone, TimeUp
from adwright.service.programs.open_program import OpenProgram
from adwright.service.programs.refusals import Refused
from adwright.service.programs.schemas import ExtensionIn
from adwright.service.programs.state import Programs, ProgramState, Tenant
from adwright.service.programs.texts import ServedText
from adwright.service.programs.waits import settled, waited
from adwright.web.bodies import BodyRoute
from adwright.web.errors import ApiError

chats_router = APIRouter(prefix="/v1", route_class=BodyRoute)
_ERRORS = lm_error_docs(400, 401, 404, 408, 409, 413, 415, 429, 503)
_CLOSED = 499
#: Log-probabilities are not told, so no token is ever spelled.
_UNASKED = ByteTokens()


class ProgramChatIn(ChatIn):
    """A chat. adwright: see `ExtensionIn`."""

    adwright: ExtensionIn | None = None


class ProgramResponseIn(ResponseIn):
    """A chat in the newer words. adwright: see `ExtensionIn`."""

    adwright: ExtensionIn | None = None


@dataclass(frozen=True)
class _AskedChat:
    """A chat that was submitted. stays: whether its program is kept when it is answered."""

    one: OpenProgram
    call: ChatCall
    text: ServedText
    tools: ToolForm | None
    most: int
    stays: bool

    @property
    def variables(self) -> tuple[Variable, ...]:
        return tuple(self.one.session.variable(name) for name in self.call.outputs)

    @property
    def told(self) -> dict[str, Any]:
        """What an answer says of the program."""
        if not self.stays:
            return {}
        return {"adwright": {"program": self.one.program_id, "outputs": list(self.call.outputs)}}


@chats_router.post("/chat/completions", responses=_ERRORS)
async def program_chat(
    body: ProgramChatIn, request: Request, state: Programs, tenant: Tenant
) -> Response:
    """The answer to a chat, whole or as server-sent events; or, where it is deferred, the program
    and the variable that it will be in."""
    asked = _submitted(body, body.adwright, state, tenant)
    if body.adwright is not None and body.adwright.defer:
        return _deferred(asked)
    try:
        if not body.stream:
            answers = await _answers(asked, request, state)
            now = state.now()
            told = answer_of(
                "chat", body.model, answers, _UNASKED, now, n=body.n, tools=asked.tools
            )
            return JSONResponse(told | asked.told)
        chunks = await _begun(asked, request, state)
    except Gone:
        return Response(status_code=_CLOSED)
    finally:
        if not body.stream:
            _end(asked, state)
    writer = EventWriter("chat", body.model, state.now(), _UNASKED, asked.tools)
    wants_usage = body.stream_options is not None and body.stream_options.include_usage

    async def events() -> AsyncIterator[bytes]:
        usage = Usage()
        try:
            for index in range(body.n):
                for each in writer.opening(index):
                    yield _data(each | asked.told)
            async with aclosing(chunks):
                async for index, chunk in chunks:
                    if chunk.usage is not None:
                        usage = chunk.usage if not index else _more(usage, chunk.usage)
                    for each in writer.events(index, chunk):
                        yield _data(each)
        except (ProgramError, TimeUp):
            yield _data(broken_stream())
            return
        finally:
            _end(asked, state)
        if wants_usage:
            yield _data(writer.usage(usage))
        yield b"data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


@chats_router.post("/responses", responses=_ERRORS)
async def program_response(
    body: ProgramResponseIn, request: Request, state: Programs, tenant: Tenant
) -> Response:
    """The response of a model, whole or as server-sent events; or, where it is deferred, the
    program and the variable that it will be in."""
    asked = _submitted(body.chat(), body.adwright, state, tenant)
    if body.adwright is not None and body.adwright.defer:
        return _deferred(asked)
    writer = ResponseWriter(body, state.now(), asked.tools)
    try:
        if not body.stream:
            answers = await _answers(asked, request, state)
            return JSONResponse(writer.whole(answers[0]) | asked.told)
        chunks = await _begun(asked, request, state)
    except Gone:
        return Response(status_code=_CLOSED)
    finally:
        if not body.stream:
            _end(asked, state)

    async def events() -> AsyncIterator[bytes]:
        try:
            for each in writer.opening():
                yield _event(each | asked.told)
            async with aclosing(chunks):
                async for _, chunk in chunks:
                    for each in writer.events(chunk):
                        yield _event(each)
        except (ProgramError, TimeUp):
            told = broken_stream()["error"]
            yield _event({**told, "type": "error", "sequence_number": -1})
        finally:
            _end(asked, state)

    return StreamingResponse(events(), media_type="text/event-stream")


def _submitted(
    body: ChatIn, extension: ExtensionIn | None, state: ProgramState, tenant: str
) -> _AskedChat:
    """Submit a chat. Raises Refused, Busy and ApiError."""
    text = state.text(body.model)
    if text.chat is None:
        hint = "POST /v1/programs takes prompts as they are"
        raise Refused("the model has no chat template here", param="messages", hint=hint)
    if body.logprobs:
        raise Refused("they are not told here", param="logprobs", hint="leave them out")
    wanted = extension or ExtensionIn()
    if wanted.output is not None and body.n > 1:
        raise Refused("one variable has one answer", param="n", hint="leave adwright.output out")
    if body.n > state.config.max_texts:
        raise ApiError(422, f"one request has at most {state.config.max_texts} answers here")
    tools = tool_form_of(body, frozenset())
    settings = settings_of(body, state.config, tools)
    prompt = chat_of(body)
    template = prompt.settings if isinstance(prompt, Chat) else {}
    turns = prompt.turns if isinstance(prompt, Chat) else _turns(prompt)
    render = text.chat
    call = chat_program(
        turns,
        lambda messages: render(messages, template),
        settings,
        model=body.model,
        n=body.n,
        inputs=wanted.inputs,
        output=wanted.output,
        objective=wanted.objective,
    )
    one = _program(call, wanted, state, tenant, keep=extension is not None)
    return _AskedChat(one, call, text, tools, settings.max_tokens, extension is not None)


def _program(
    call: ChatCall, wanted: ExtensionIn, state: ProgramState, tenant: str, *, keep: bool
) -> OpenProgram:
    known: Sequence[str] = ()
    one = None
    if wanted.program is not None:
        one = state.book.get(tenant, wanted.program)
        known = one.session.graph.variables
    for name, variable in wanted.inputs.items():
        if variable not in known:
            path = f"adwright.inputs.{name}"
            hint = "name variables of the program that adwright.program names"
            raise Refused("there is no such variable", param=path, hint=hint)
    if wanted.output is not None and wanted.output in known:
        path = "adwright.output"
        raise Refused("the variable is there already", param=path, hint="take another")
    try:
        if one is None:
            return state.book.open(tenant, call.part, keep=keep)[0]
        state.book.extend(one, call.part)
        return one
    except Refused as error:
        # The caller wrote no calls: its path would say nothing.
        raise Refused(error.what, param=None, hint=error.hint) from None


def _turns(prompt: object) -> tuple[Message, ...]:
    if not isinstance(prompt, tuple):
        raise ConfigError("a chat has messages", where="messages", hint="give them")
    return prompt


def _deferred(asked: _AskedChat) -> Response:
    return JSONResponse(asked.told["adwright"] | {"object": "program.deferred"}, status_code=202)


async def _answers(asked: _AskedChat, request: Request, state: ProgramState) -> Completions:
    """The answers. Raises Gone, TimeUp, and ApiError 503 where there is none."""
    seconds = state.config.max_seconds
    asked.one.waiting += 1
    try:
        if not await waited(settled(asked.one.session, asked.call.outputs), request, seconds):
            raise TimeUp(seconds)
    finally:
        asked.one.waiting -= 1
    return Completions(tuple(_completion(asked, variable) for variable in asked.variables))


async def _begun(
    asked: _AskedChat, request: Request, state: ProgramState
) -> AsyncGenerator[tuple[int, Chunk], None]:
    """The pieces of the answers, once the first is there: what is wrong shows by then, and can
    still be answered with its status."""
    try:
        first = asked.variables[0]
        seconds = state.config.max_seconds
        begun = _said(first)
        if not await waited(begun, request, seconds):
            raise TimeUp(seconds)
        if first.failure is not None:
            raise _unanswered(first)
    except BaseException:
        _end(asked, state)
        raise
    return _chunks(asked)


async def _said(variable: Variable) -> None:
    async with aclosing(variable.stream()) as pieces:
        await anext(pieces, None)


async def _chunks(asked: _AskedChat) -> AsyncGenerator[tuple[int, Chunk], None]:
    """The pieces of one answer after the other: they are written together all the same. Raises
    ProgramError where one breaks off, or goes on otherwise than it began."""
    asked.one.waiting += 1
    try:
        for index, variable in enumerate(asked.variables):
            told = ""
            async with aclosing(_texts(variable)) as texts:
                async for text in texts:
                    if not (text.startswith(told) or told.startswith(text)):
                        raise ProgramError("the text was begun anew", where=variable.name)
                    if piece := text[len(told) :]:
                        told += piece
                        yield index, Chunk(piece)
            whole = _completion(asked, variable)
            yield index, Chunk("", finish_reason=whole.finish_reason, usage=whole.usage)
    finally:
        asked.one.waiting -= 1


async def _texts(variable: Variable) -> AsyncGenerator[str, None]:
    """What is known of a text, as it grows. Raises ProgramError where there will be none."""
    while True:
        known = ""
        try:
            async with aclosing(variable.stream()) as pieces:
                async for piece in pieces:
                    known += piece
                    yield known
            return
        except ProgramError:
            if variable.failure is not None:
                raise


def _completion(asked: _AskedChat, variable: Variable) -> Completion:
    """Raises ApiError 503 where there is no text."""
    if variable.failure is not None:
        raise _unanswered(variable)
    session, count = asked.one.session, asked.text.count
    node = session.graph.get_producer(variable.name)
    told = {} if node is None else _tokens_of(asked.one, node.node_id)
    read = told.get("ready")
    if read is None:
        read = sum(count(session.variable(name).text) for name in asked.call.prompt)
    written = told.get("set", count(variable.text))
    # The core passes texts on, and not why they ended.
    reason: FinishReason = "length" if written >= asked.most else "stop"
    usage = Usage(read, written, min(told.get("first", 0), read))
    return Completion(variable.text, (), None, reason, usage)


def _tokens_of(one: OpenProgram, node_id: str) -> dict[str, int]:
    """What the trace says of a chain: tokens of its prompt (`ready`), of these found in a cache
    (`first`), and of its answer (`set`)."""
    found = {}
    for event in one.chains.trace.events:
        told = event.as_json()
        if told.get("chain") == node_id and isinstance(tokens := told.get("tokens"), int):
            found[str(told["kind"])] = tokens
    return found


def _unanswered(variable: Variable) -> ApiError:
    what = variable.failure.what if variable.failure else ""
    return ApiError(503, f"there is no answer: {what}", headers={"Retry-After": "1"})


def _end(asked: _AskedChat, state: ProgramState) -> None:
    """Forget a program that was made for this chat alone."""
    if not asked.stays:
        state.book.end(asked.one, "answered")


def _more(usage: Usage, one: Usage) -> Usage:
    """Several answers to one prompt, which is counted once."""
    written = usage.completion_tokens + one.completion_tokens
    return replace(usage, completion_tokens=written)


def _data(content: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(content, separators=(',', ':'))}\n\n".encode()


def _event(content: dict[str, Any]) -> bytes:
    told = json.dumps(content, separators=(",", ":"))
    return f"event: {content['type']}\ndata: {told}\n\n".encode()
