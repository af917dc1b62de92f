"""What the endpoints of programs share."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, WrapValidator, model_validator
from starlette.responses import JSONResponse, StreamingResponse

from adwright.core.config import closest_name
from adwright.core.errors import ConfigError, ProgramError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.graph import Chain
from adwright.programs.program import (
    LATENCY,
    NativeStep,
    Objective,
    ObjectiveKind,
    Program,
    SemanticCall,
    WantedOutput,
)
from adwright.programs.runner import Failure, Session, Variable, VariableState
from adwright.programs.steps import StepFunction
from adwright.service.lm.endpoint import EndpointState, model_told
from adwright.service.lm.protocol.errors import lm_error_docs
from adwright.service.lm.protocol.schemas import LmBody
from adwright.service.lm.work import Gone, closed
from adwright.service.programs.book import (
    OpenProgram,
    OutputState,
    ProgramBook,
    ProgramServiceConfig,
    Refused,
)
from adwright.service.programs.engine_room import ProgramMeasures, ServedText
from adwright.web.bodies import BodyRoute
from adwright.web.errors import ApiError
from adwright.web.gate import admitted


@dataclass
class ProgramState(EndpointState):
    """What the endpoints share. texts: of the models, by name, the default first. ready: whether
    each engine answers."""

    config: ProgramServiceConfig
    book: ProgramBook
    texts: Mapping[str, ServedText]
    ready: Callable[[], Awaitable[Mapping[str, bool]]]

    def __post_init__(self) -> None:
        self.measures = ProgramMeasures(self.metrics, self.book)

    def text(self, name: str) -> ServedText:
        """The model of that name. Raises ApiError 404 where there is none."""
        if name not in self.texts:
            hint = "GET /v1/models lists them"
            raise ApiError(404, "there is no model of this name", hint=hint)
        return self.texts[name]


async def _state(request: Request) -> ProgramState:
    state: ProgramState = request.app.state.service
    return state


async def _tenant(request: Request) -> str:
    return admitted(request.scope).tenant


Programs = Annotated[ProgramState, Depends(_state)]
Tenant = Annotated[str, Depends(_tenant)]


# --------------------------------------------------------------------------------------------------
# The endpoints of programs: open one, ask for its variables, set, cancel, add, and look at it.

# --------------------------------------------------------------------------------------------------
# What the endpoints of programs answer.

NodeState = Literal["idle", "waiting", "ready", "running", "done", "failed"]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class VariableOut(_Answer):
    """A variable. text: where it is set. characters: of what is known of it by now."""

    name: str
    state: VariableState
    text: str | None = None
    characters: int = 0
    failure: Failure | None = None


class NodeOut(_Answer):
    """A chain, which is a part of a call up to an output, or a step.

    state: idle where no output needs it; waiting for what it reads; ready; running; done; failed.
    objective, group: what is asked of it while it is needed. engine: that ran it, or runs it.
    """

    id: str
    kind: Literal["chain", "step"]
    state: NodeState
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    objective: str = ""
    group: str = ""
    engine: str = ""


class ProgramOut(_Answer):
    """A program. state: of what was asked for: running while one output is not settled, failed
    where one has no text. values: the texts of the outputs that have one; failures: why others have
    none. variables: all of them; nodes: each behind those that it reads from."""

    id: str
    object: Literal["program"] = "program"
    created_at: int
    state: OutputState
    values: dict[str, str]
    failures: dict[str, Failure]
    variables: dict[str, VariableState]
    nodes: tuple[NodeOut, ...]


class TraceOut(_Answer):
    """What happened to a program, in order. `time` of an event: seconds from the first."""

    id: str
    object: Literal["trace"] = "trace"
    events: tuple[dict[str, Any], ...]


def variable_out(variable: Variable) -> VariableOut:
    """A variable as it is now."""
    return VariableOut(
        name=variable.name,
        state=variable.state,
        text=variable.text if variable.state == "set" else None,
        characters=variable.characters,
        failure=variable.failure,
    )


def program_out(one: OpenProgram) -> ProgramOut:
    """A program as it is now."""
    session = one.session
    asked = [session.variable(name) for name in one.outputs]
    return ProgramOut(
        id=one.program_id,
        created_at=one.made,
        state=one.state,
        values={each.name: each.text for each in asked if each.state == "set"},
        failures={each.name: each.failure for each in asked if each.failure},
        variables={name: session.variable(name).state for name in session.graph.variables},
        nodes=tuple(_nodes(one)),
    )


def trace_out(one: OpenProgram) -> TraceOut:
    """What happened to a program so far."""
    events = one.chains.trace.events
    began = events[0].time if events else 0.0
    told = tuple(each.as_json() | {"time": round(each.time - began, 6)} for each in events)
    return TraceOut(id=one.program_id, events=told)


def _nodes(one: OpenProgram) -> list[NodeOut]:
    session = one.session
    deduction, running = session.deduction, set(session.running)
    found = []
    for node_id, node in session.graph.nodes.items():
        written = [session.variable(name) for name in node.outputs]
        asked = [deduction.get_objective(name) for name in node.outputs]
        objective = next((str(each) for each in asked if each is not None), "")
        state: NodeState = "idle"
        if all(each.state == "set" for each in written):
            state = "done"
        elif any(each.failure for each in written):
            state = "failed"
        elif node_id in running:
            state = "running"
        elif objective:
            ready = all(session.variable(name).state == "set" for name in node.inputs)
            state = "ready" if ready else "waiting"
        deduced = deduction.chains.get(node_id)
        found.append(
            NodeOut(
                id=node_id,
                kind="chain" if isinstance(node, Chain) else "step",
                state=state,
                reads=node.inputs,
                writes=node.outputs,
                objective=objective,
                group=(deduced.group or "") if deduced else "",
                engine=one.chains.trace.placed.get(node_id, ""),
            )
        )
    return found


# --------------------------------------------------------------------------------------------------
# What the endpoints of programs take: a graph as JSON, the same that files hold.
#
#     {"values": {"product": "green tea"},
#      "calls": [{"name": "writer", "template": "An ad for {{product}}: {{ad:output}}",
#                 "settings": {"ad": {"max_tokens": 40, "stop": ["\n"]}}}],
#      "outputs": [{"variable": "ad", "objective": {"kind": "latency"}}],
#      "wait": true}
#
# What each part may be is said where it belongs, in `programs.program`; here each mistake gets the
# path of its field.

_SHOWN = 40
_NAMES = tuple(one.name for one in fields(GenerationConfig))


def _checked(value: Any, build: Callable[[Any], Any]) -> Any:
    """Build a dataclass of the package; its own refusals become errors of the field."""
    try:
        return build(value)
    except ConfigError as error:
        raise ValueError(error.what) from error


def _settings(value: Any, build: Callable[[Any], Any]) -> Any:
    """As `_checked`, with the name that was meant where there is none of that name."""
    unknown = [str(one) for one in value if one not in _NAMES] if isinstance(value, dict) else []
    if unknown:
        close = closest_name(unknown[0], _NAMES)
        hint = f"did you mean {close}?" if close else f"they are {', '.join(_NAMES)}"
        raise ValueError(f"there is no setting {unknown[0][:_SHOWN]}: {hint}")
    made = _checked(value, build)
    if made.logprobs:
        raise ValueError("logprobs: a variable is a text, so nobody would be told them")
    return made


_Settings = Annotated[GenerationConfig, WrapValidator(_settings)]
_Function = Annotated[StepFunction, WrapValidator(_checked)]
_Objective = Annotated[Objective, WrapValidator(_checked)]


class CallIn(LmBody):
    """A call of a language model. settings: by placeholder of an output."""

    name: str
    template: str
    bindings: dict[str, str] = Field(default_factory=dict)
    settings: dict[str, _Settings] = Field(default_factory=dict)
    model: str = ""
    adapter: str | None = None

    def call(self) -> SemanticCall:
        """As a part of a program."""
        return SemanticCall(
            self.name, self.template, self.bindings, self.settings, self.model, self.adapter
        )


class StepIn(LmBody):
    """A native step, by the kind of its function."""

    name: str
    function: _Function
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def step(self) -> NativeStep:
        """As a part of a program."""
        return NativeStep(self.name, self.function, self.inputs, self.outputs)


class OutputIn(LmBody):
    """A variable that is asked for."""

    variable: str
    objective: _Objective = Objective()


class ProgramPartIn(LmBody):
    """A program, or what is added to one that is open: at least one part of it."""

    values: dict[str, str] = Field(default_factory=dict)
    awaited: tuple[str, ...] = ()
    calls: tuple[CallIn, ...] = ()
    steps: tuple[StepIn, ...] = ()
    outputs: tuple[OutputIn, ...] = ()

    @model_validator(mode="after")
    def _is_something(self) -> ProgramPartIn:
        if not (self.values or self.awaited or self.calls or self.steps or self.outputs):
            raise ValueError("there is nothing in it: give calls, steps, values or outputs")
        return self

    def program(self) -> Program:
        """As it is run."""
        return Program(
            calls=tuple(one.call() for one in self.calls),
            steps=tuple(one.step() for one in self.steps),
            values=self.values,
            awaited=self.awaited,
            outputs=tuple(WantedOutput(one.variable, one.objective) for one in self.outputs),
        )


class ProgramIn(ProgramPartIn):
    """The body of POST /v1/programs.

    wait: answer when all outputs are there, or will not be. on_disconnect: what becomes of the
    program where a client that waits for it goes away: it is kept as others are, or cancelled.
    """

    wait: bool = False
    on_disconnect: Literal["detach", "cancel"] = "detach"


class TextIn(LmBody):
    """What an awaited variable is set to; or why it never will be."""

    text: str | None = None
    failure: Annotated[str, Field(min_length=1, max_length=500)] | None = None

    @model_validator(mode="after")
    def _one(self) -> TextIn:
        if (self.text is None) == (self.failure is None):
            raise ValueError("give either text or failure")
        return self


class ExtensionIn(LmBody):
    """The object `adwright` of a chat, which makes it a call of a program.

    program: id of an open one; without it one is made. inputs: the variable that each {{name}} in
    the messages stands for. output: the variable that the answer becomes; its name is made up where
    there is none. objective: what counts for it. defer: answer at once, with the ids alone.
    """

    program: str | None = None
    inputs: Annotated[dict[str, str], Field(max_length=100)] = Field(default_factory=dict)
    output: str | None = None
    objective: _Objective = Objective()
    defer: bool = False


# --------------------------------------------------------------------------------------------------
# Wait for texts as long as somebody is there to be told.

#: Seconds after which a stream says that it still lives, so that nobody between cuts it off.
_STILL = 15.0
_STILL_HERE = b": still here\n\n"


async def waited(work: Awaitable[object], request: Request, seconds: float) -> bool:
    """Wait for `work`, which is cancelled where it is not done in time: whether it was.

    Raises Gone where the connection is closed before.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.create_task(closed(request))
    try:
        done, _ = await asyncio.wait(
            {task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if task in done:
            return True
        if gone in done:
            raise Gone
        return False
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
        with suppress(asyncio.CancelledError, ProgramError):
            await task


async def settled(session: Session, names: tuple[str, ...]) -> None:
    """Return when each of these variables has its text or will have none."""
    variables = [session.variable(name) for name in names]
    await asyncio.gather(*(one.get() for one in variables), return_exceptions=True)


async def text_events(
    session: Session, name: str, objective: Objective
) -> AsyncGenerator[bytes, None]:
    """The server-sent events of a variable: `piece` with each piece of its text, `restart` where
    what was said is taken back, at the end `done` or `failed`."""
    variable = session.variable(name)
    async with _wanting(session, name, objective):
        while True:
            pieces = variable.stream()
            try:
                async with aclosing(pieces), aclosing(_alive(pieces)) as alive:
                    async for each in alive:
                        yield _STILL_HERE if each is None else event("piece", {"text": each})
            except ProgramError:
                if variable.failure is None:
                    yield event("restart", {})
                    continue
            break
    if variable.failure is None:
        yield event("done", {"characters": variable.characters})
    else:
        yield event("failed", asdict(variable.failure))


def event(kind: str, fields: Mapping[str, Any]) -> bytes:
    """A server-sent event."""
    return f"event: {kind}\ndata: {json.dumps(fields, separators=(',', ':'))}\n\n".encode()


@asynccontextmanager
async def _wanting(session: Session, name: str, objective: Objective) -> AsyncIterator[None]:
    """Ask for a variable all the while: who stopped asking between two readings of it would end
    what makes it."""
    task = asyncio.create_task(session.get(name, objective))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, ProgramError):
            await task


async def _alive(pieces: AsyncGenerator[str, None]) -> AsyncGenerator[str | None, None]:
    """The pieces, and None for each while in which there is none."""
    while True:
        next_one = asyncio.ensure_future(anext(pieces, None))
        try:
            while not (await asyncio.wait({next_one}, timeout=_STILL))[0]:
                yield None
        finally:
            if not next_one.done():
                next_one.cancel()
                with suppress(asyncio.CancelledError):
                    await next_one
        piece = next_one.result()
        if piece is None:
            return
        yield piece


programs_router = APIRouter(prefix="/v1/programs", route_class=BodyRoute)
_ERRORS = lm_error_docs(400, 401, 404, 409, 408, 413, 415, 429)
_LOOKS = lm_error_docs(400, 401, 404, 429)
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
        with _waiting(state, one):
            await waited(settled(one.session, one.outputs), request, state.config.wait_seconds)
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
        with _waiting(state, one):
            await waited(one.session.get(name, wanted), request, most)
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


# --------------------------------------------------------------------------------------------------
# The endpoints that say how the service is, and which models it has.

health_router = APIRouter()


@health_router.get("/v1/models", responses=lm_error_docs(401))
async def models(state: Programs) -> JSONResponse:
    """The models that calls may name, the default first."""
    data = [model_told(name, one.engine, one.context) for name, one in state.texts.items()]
    return JSONResponse({"object": "list", "data": data})


@health_router.get("/readyz", responses={503: {}})
async def ready(state: Programs) -> JSONResponse:
    """Whether requests should be sent here: the model of one engine at least answers."""
    engines = dict(await state.ready())
    is_ready = any(engines.values()) and not state.draining
    told = {"ready": is_ready, "engines": engines}
    return JSONResponse(told, status_code=200 if is_ready else 503)
