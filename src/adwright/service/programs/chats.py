"""Chats in the OpenAI protocol, whole or streamed: each is a program of one call.

A client that knows nothing of programs is answered as by any server of that protocol. With the
object `adwright` in the body the call belongs to a program: it reads variables, its answer becomes
one, and it may be answered later (`defer`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, cast

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from adwright.core.errors import ProgramError
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
from adwright.programs.frontend.flow import ChatCall, chat_program
from adwright.programs.runner import Variable
from adwright.service.lm.endpoint import streamed
from adwright.service.lm.protocol.answers import EventWriter, ReplyWriter, ResponseWriter
from adwright.service.lm.protocol.errors import lm_error_docs
from adwright.service.lm.protocol.schemas import ChatIn, ResponseIn
from adwright.service.lm.protocol.tools import ToolForm, chat_of, settings_of, tool_form_of
from adwright.service.lm.work import Piece, TimeUp
from adwright.service.programs.book import OpenProgram, Refused
from adwright.service.programs.engine_room import ServedText
from adwright.service.programs.state import (
    ExtensionIn,
    Programs,
    ProgramState,
    Tenant,
    settled,
    waited,
)
from adwright.web.bodies import BodyRoute
from adwright.web.errors import ApiError

chats_router = APIRouter(prefix="/v1", route_class=BodyRoute)
_ERRORS = lm_error_docs(400, 401, 404, 408, 409, 413, 415, 429, 503)
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
    """A chat that was submitted, see `Answering`. stays: whether its program is kept when it is
    answered."""

    state: ProgramState
    request: Request
    one: OpenProgram
    call: ChatCall
    text: ServedText
    tools: ToolForm | None
    most: int
    stays: bool
    usages: list[Usage] = field(default_factory=list)

    @property
    def variables(self) -> tuple[Variable, ...]:
        return tuple(self.one.session.variable(name) for name in self.call.outputs)

    @property
    def told(self) -> dict[str, Any]:
        """What an answer says of the program."""
        if not self.stays:
            return {}
        return {"adwright": {"program": self.one.program_id, "outputs": list(self.call.outputs)}}

    async def whole(self) -> Completions:
        """The answers. Raises Gone, TimeUp, and ApiError 503 where there is none."""
        self.one.waiting += 1
        try:
            await self._waited(settled(self.one.session, self.call.outputs))
            return Completions(tuple(self._completion(one) for one in self.variables))
        finally:
            self.one.waiting -= 1
            self.end()

    async def begun(self) -> AsyncGenerator[Piece, None]:
        """The pieces of the answers. Raises as `whole`."""
        try:
            first = self.variables[0]
            await self._waited(_said(first))
            if first.failure is not None:
                raise _unanswered(first)
        except BaseException:
            self.end()
            raise
        return self._chunks()

    async def _waited(self, work: Awaitable[object]) -> None:
        seconds = self.state.config.max_seconds
        if not await waited(work, self.request, seconds):
            raise TimeUp(seconds)

    async def _chunks(self) -> AsyncGenerator[Piece, None]:
        """The pieces of one answer after the other: they are written together all the same. Raises
        ProgramError where one breaks off, or goes on otherwise than it began."""
        self.one.waiting += 1
        try:
            for index, variable in enumerate(self.variables):
                told = ""
                async with aclosing(_texts(variable)) as texts:
                    async for text in texts:
                        if not (text.startswith(told) or told.startswith(text)):
                            raise ProgramError("the text was begun anew", where=variable.name)
                        if piece := text[len(told) :]:
                            told += piece
                            yield index, Chunk(piece)
                whole = self._completion(variable)
                self.usages.append(whole.usage)
                yield index, Chunk("", finish_reason=whole.finish_reason, usage=whole.usage)
        finally:
            self.one.waiting -= 1

    def used(self) -> Usage:
        """Several answers to one prompt, which is counted once."""
        written = sum(one.completion_tokens for one in self.usages)
        return replace(self.usages[0], completion_tokens=written)

    def end(self) -> None:
        """Forget a program that was made for this chat alone."""
        if not self.stays:
            self.state.book.end(self.one, "answered")

    def _completion(self, variable: Variable) -> Completion:
        """Raises ApiError 503 where there is no text."""
        if variable.failure is not None:
            raise _unanswered(variable)
        session, count = self.one.session, self.text.count
        node = session.graph.get_producer(variable.name)
        told = {} if node is None else _tokens_of(self.one, node.node_id)
        read = told.get("ready")
        if read is None:
            read = sum(count(session.variable(name).text) for name in self.call.prompt)
        written = told.get("set", count(variable.text))
        # The core passes texts on, and not why they ended.
        reason: FinishReason = "length" if written >= self.most else "stop"
        usage = Usage(read, written, min(told.get("first", 0), read))
        return Completion(variable.text, (), None, reason, usage)


@chats_router.post("/chat/completions", responses=_ERRORS)
async def program_chat(
    body: ProgramChatIn, request: Request, state: Programs, tenant: Tenant
) -> Response:
    """The answer to a chat, whole or as server-sent events; or, where it is deferred, the program
    and the variable that it will be in."""
    asked = _submitted(body, body.adwright, request, state, tenant)
    usage = body.stream_options is not None and body.stream_options.include_usage
    told = body.model, state.now(), _UNASKED, asked.tools
    writer = EventWriter("chat", *told, n=body.n, count=body.n, tells_usage=usage)
    return await _answered(body, asked, writer)


@chats_router.post("/responses", responses=_ERRORS)
async def program_response(
    body: ProgramResponseIn, request: Request, state: Programs, tenant: Tenant
) -> Response:
    """The response of a model, whole or as server-sent events; or, where it is deferred, the
    program and the variable that it will be in."""
    asked = _submitted(body.chat(), body.adwright, request, state, tenant)
    return await _answered(body, asked, ResponseWriter(body, state.now(), asked.tools))


async def _answered(
    body: ProgramChatIn | ProgramResponseIn, asked: _AskedChat, writer: ReplyWriter
) -> Response:
    if body.adwright is not None and body.adwright.defer:
        told = asked.told["adwright"] | {"object": "program.deferred"}
        return JSONResponse(told, status_code=202)
    if body.stream:
        return await streamed(writer, asked)
    return JSONResponse(writer.whole(await asked.whole()) | asked.told)


def _submitted(
    body: ChatIn,
    extension: ExtensionIn | None,
    request: Request,
    state: ProgramState,
    tenant: str,
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
    turns = prompt.turns if isinstance(prompt, Chat) else cast(tuple[Message, ...], prompt)
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
    told = one, call, text, tools, settings.max_tokens, extension is not None
    return _AskedChat(state, request, *told)


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


async def _said(variable: Variable) -> None:
    async with aclosing(variable.stream()) as pieces:
        await anext(pieces, None)


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
