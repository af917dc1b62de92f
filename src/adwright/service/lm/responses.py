"""POST /v1/responses: a chat in the newer words of the OpenAI protocol; nothing is kept of it."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse, StreamingResponse

from adwright.core.errors import AdwrightError
from adwright.service.lm.protocol.errors import broken_stream, lm_error_docs
from adwright.service.lm.protocol.response_schemas import ResponseIn
from adwright.service.lm.protocol.responses import Event, ResponseWriter
from adwright.service.lm.requested import prompts_of, settings_of, tool_form_of
from adwright.service.lm.state import State, begun, whole_answers
from adwright.service.lm.work import Gone, TimeUp
from adwright.web.bodies import BodyRoute

responses_router = APIRouter(route_class=BodyRoute)
_log = logging.getLogger("adwright.service")
_CLOSED = 499


@responses_router.post(
    "/v1/responses", responses=lm_error_docs(400, 401, 404, 408, 413, 415, 429, 503)
)
async def responses(body: ResponseIn, request: Request, state: State) -> Response:
    """The response of a model, whole or as server-sent events."""
    model = state.model(body.model)
    chat = body.chat()
    tools = tool_form_of(chat, model.info.further)
    settings = settings_of(chat, state.config, tools)
    prompts = prompts_of(chat, state.config)
    writer = ResponseWriter(body, state.now(), tools)
    watch = state.measures.watch(state.clock.monotonic)
    try:
        if not body.stream:
            answers = await whole_answers(model, prompts, settings, request, state)
            state.measures.used(answers.usage)
            return JSONResponse(writer.whole(answers[0]))
        found = await begun(model, prompts, settings, request, state)
    except Gone:
        return Response(status_code=_CLOSED)

    async def events() -> AsyncIterator[bytes]:
        for one in writer.opening():
            yield _event(one)
        try:
            async for piece in found:
                watch.saw(piece)
                for one in writer.events(piece[1]):
                    yield _event(one)
        except Gone:
            return
        except (AdwrightError, TimeUp) as error:
            _log.error("a stream failed: %s", error)
            told = broken_stream()["error"]
            yield _event({**told, "type": "error", "sequence_number": -1})
            return
        watch.end(1)

    return StreamingResponse(events(), media_type="text/event-stream")


def _event(content: Event) -> bytes:
    told = json.dumps(content, separators=(",", ":"))
    return f"event: {content['type']}\ndata: {told}\n\n".encode()
