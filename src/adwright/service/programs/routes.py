"""The endpoints of programs: open one, ask for its variables, set, cancel, add, and look at it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.responses import JSONResponse, StreamingResponse

from adwright.core.errors import ConfigError, ProgramError
from adwright.programs.program import LATENCY, Objective, ObjectiveKind
from adwright.programs.runner import Variable
from adwright.service.lm.protocol.errors import lm_error_docs
from adwright.service.lm.work import Gone
from adwright.service.programs.answers import (
    ProgramOut,
    TraceOut,
    VariableOut,
    program_out,
    trace_out,
    variable_out,
)
from adwright.service.programs.open_program import OpenProgram
from adwright.service.programs.refusals import Refused
from adwright.service.programs.schemas import ProgramIn, ProgramPartIn, TextIn
from adwright.service.programs.state import Programs, ProgramState, Tenant
from adwright.service.programs.waits import settled, text_events, waited
from adwright.web.bodies import BodyRoute
from adwright.web.errors import ApiError

programs_router = APIRouter(prefix="/v1/programs", route_class=BodyRoute)
_ERRORS = lm_error_docs(400, 401, 404, 409, 408, 413, 415, 429)
_LOOKS = lm_error_docs(400, 401, 404, 429)
#: The connection is closed, so nobody reads it; it is for the counters.
_CLOSED = 499
_Key = Annotated[str, Header(alias="Idempotency-Key", max_length=200)]
_Wait = Annotated[float, Query(ge=0, le=86_400, allow_inf_nan=False)]
_Seconds = Annotated[float | None, Query(gt=0, le=86_400, allow_inf_nan=False)]


@programs_router.post("", responses=_ERRORS, response_model=ProgramOut)
async def post_program(
    body: ProgramIn, request: Request, state: Programs, tenant: Tenant, key: _Key = ""
) -> Response:
    """Open a program: a whole graph in one call. Sent again with the same Idempotency-Key it opens
    none, and is answered 200 and not 201."""
    one, is_new = state.book.open(
        tenant,
        body.program(),
        on_disconnect=body.on_disconnect,
        key=key,
        digest=await _digest(request),
    )
    if body.wait:
        try:
            with _waiting(state, one):
                await waited(settled(one.session, one.outputs), request, state.config.wait_seconds)
        except Gone:
            return Response(status_code=_CLOSED)
    return JSONResponse(program_out(one).model_dump(), status_code=201 if is_new else 200)


@programs_router.get("/{program_id}", responses=_LOOKS)
async def get_program(program_id: str, state: Programs, tenant: Tenant) -> ProgramOut:
    """All of a program as it is now."""
    return program_out(state.book.get(tenant, program_id))


@programs_router.delete("/{program_id}", responses=_LOOKS)
async def delete_program(program_id: str, state: Programs, tenant: Tenant) -> ProgramOut:
    """Cancel what runs, and forget the program. The answer is how it was."""
    one = state.book.get(tenant, program_id)
    found = program_out(one)
    state.book.end(one, "deleted")
    return found


@programs_router.post("/{program_id}/calls", responses=_ERRORS)
async def add_calls(
    program_id: str,
    body: ProgramPartIn,
    request: Request,
    state: Programs,
    tenant: Tenant,
    key: _Key = "",
) -> ProgramOut:
    """Add calls, steps and values to a program, which may read what it has; or ask for more of it.
    Sent again with the same Idempotency-Key it adds nothing."""
    one = state.book.get(tenant, program_id)
    state.book.extend(one, body.program(), key=key, digest=await _digest(request))
    return program_out(one)


@programs_router.get("/{program_id}/trace", responses=_LOOKS)
async def get_trace(program_id: str, state: Programs, tenant: Tenant) -> TraceOut:
    """What happened to a program, in order: when each chain was ready, where it was sent and why,
    its first token, its end."""
    return trace_out(state.book.get(tenant, program_id))


@programs_router.get("/{program_id}/variables/{name}", responses=_LOOKS, response_model=VariableOut)
async def get_variable(
    program_id: str,
    name: str,
    request: Request,
    state: Programs,
    tenant: Tenant,
    wait: _Wait = 0.0,
    objective: ObjectiveKind = "latency",
    seconds: _Seconds = None,
) -> Response:
    """A variable. wait: ask for it, and wait so many seconds at most. objective, seconds: what
    counts for it."""
    one = state.book.get(tenant, program_id)
    variable, wanted = _variable(one, name), _objective(objective, seconds)
    if wait:
        most = min(wait, state.config.wait_seconds)
        try:
            with _waiting(state, one):
                await waited(one.session.get(name, wanted), request, most)
        except Gone:
            return Response(status_code=_CLOSED)
    return JSONResponse(variable_out(variable).model_dump())


@programs_router.get(
    "/{program_id}/variables/{name}/stream",
    responses=_LOOKS | {200: {"content": {"text/event-stream": {}}}},
    response_class=StreamingResponse,
)
async def stream_variable(
    program_id: str,
    name: str,
    state: Programs,
    tenant: Tenant,
    objective: ObjectiveKind = "latency",
    seconds: _Seconds = None,
) -> Response:
    """Ask for a variable and read it as it is written, as server-sent events: `piece` with `text`,
    `restart` where what was said is taken back, at the end `done` or `failed`."""
    one = state.book.get(tenant, program_id)
    _variable(one, name)
    wanted = _objective(objective, seconds)

    async def events() -> AsyncGenerator[bytes, None]:
        with _waiting(state, one):
            async with aclosing(text_events(one.session, name, wanted)) as found:
                async for each in found:
                    yield each

    return StreamingResponse(events(), media_type="text/event-stream")


@programs_router.put("/{program_id}/variables/{name}", responses=_ERRORS)
async def set_variable(
    program_id: str, name: str, body: TextIn, state: Programs, tenant: Tenant
) -> VariableOut:
    """Set an awaited variable, or say that it never will be. Setting it to the text that it has
    changes nothing."""
    one = state.book.get(tenant, program_id)
    variable = _variable(one, name)
    try:
        if body.text is None:
            one.fail(name, body.failure or "")
        elif variable.state != "set" or variable.text != body.text:
            one.set(name, body.text)
    except ConfigError as error:
        raise Refused(error.what, param="text", hint=error.hint) from None
    except ProgramError as error:
        raise ApiError(409, error.what) from None
    return variable_out(variable)


@programs_router.delete("/{program_id}/variables/{name}", responses=_LOOKS)
async def cancel_variable(
    program_id: str, name: str, state: Programs, tenant: Tenant
) -> VariableOut:
    """Cancel a variable: what would be made of it fails, and what nobody else needs is ended.
    Nothing where it is settled."""
    one = state.book.get(tenant, program_id)
    variable = _variable(one, name)
    one.cancel(name)
    return variable_out(variable)


@contextmanager
def _waiting(state: ProgramState, one: OpenProgram) -> Iterator[None]:
    """Somebody waits for a text of the program. Who goes away meanwhile ends it, where that is
    asked for and nobody else waits."""
    one.waiting += 1
    try:
        yield
    except BaseException:
        if one.on_disconnect == "cancel" and one.waiting == 1:
            state.book.end(one, "gone")
        raise
    finally:
        one.waiting -= 1


def _variable(one: OpenProgram, name: str) -> Variable:
    try:
        return one.session.variable(name)
    except ConfigError:
        hint = "GET the program to see all of them"
        raise ApiError(404, "the program has no variable of this name", hint=hint) from None


def _objective(kind: ObjectiveKind, seconds: float | None) -> Objective:
    if (kind, seconds) == ("latency", None):
        return LATENCY
    try:
        return Objective(kind, seconds)
    except ConfigError as error:
        raise Refused(error.what, param="seconds") from None


async def _digest(request: Request) -> str:
    return hashlib.sha256(await request.body()).hexdigest()
