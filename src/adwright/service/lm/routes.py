"""The OpenAI-compatible endpoints: find the model, queue the work, write the answer."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.responses import JSONResponse, StreamingResponse

from adwright.core.clock import Clock
from adwright.core.errors import AdwrightError
from adwright.lm.engine.generation import (
    Cancellation,
    Chunk,
    Completion,
    GenerationConfig,
    Prompt,
    Usage,
)
from adwright.lm.engine.language_model import Health, LanguageModel
from adwright.service.lm.adapters import Adapters, adapters_of
from adwright.service.lm.answers import (
    Kind,
    answer_of,
    chunk_event,
    echo_of,
    embeddings_of,
    new_id,
    opening_event,
    prompts_of,
    settings_of,
    usage_event,
)
from adwright.service.lm.config import LmServiceConfig
from adwright.service.lm.errors import broken_stream, lm_error_docs
from adwright.service.lm.keys import Callers
from adwright.service.lm.schemas import ChatIn, CompletionIn, EmbeddingIn
from adwright.service.lm.shares import Asked, prompt_tokens
from adwright.service.lm.work import Gone, LmWork, TimeUp, in_thread
from adwright.web.bodies import BodyRoute
from adwright.web.errors import ApiError
from adwright.web.gate import admitted
from adwright.web.metrics import CONTENT_TYPE, ServiceMetrics

__all__ = [
    "LmState",
    "adapters",
    "chat_completions",
    "completions",
    "embeddings",
    "health",
    "metrics",
    "models",
    "one_model",
    "ready",
    "rescan",
    "router",
]

router = APIRouter(route_class=BodyRoute)
_log = logging.getLogger("adwright.service")
_ERRORS = lm_error_docs(400, 401, 404, 408, 413, 415, 429, 503)
#: The connection is closed, so nobody reads it; it is for the counters.
_CLOSED = 499


@dataclass
class LmState:
    """What the endpoints share.

    models: by the name that a request carries; looked up for each request, so whoever owns the
    mapping may add to it and take from it while the service runs. adapters: they themselves where
    they are adapters of one base. callers: who they are, by their keys.
    """

    config: LmServiceConfig
    models: Mapping[str, LanguageModel]
    work: LmWork
    metrics: ServiceMetrics
    clock: Clock
    callers: Callers
    adapters: Adapters | None = None
    draining: bool = False

    def now(self) -> int:
        """Seconds since 1970."""
        return int(self.clock.now().timestamp())

    def model(self, name: str) -> LanguageModel:
        """The model of that name. Raises ApiError where there is none."""
        try:
            return self.models[name]
        except KeyError:
            raise ApiError(
                404, "there is no model of this name", hint="GET /v1/models lists them"
            ) from None


async def _state(request: Request) -> LmState:
    state: LmState = request.app.state.service
    return state


State = Annotated[LmState, Depends(_state)]


@router.get("/v1/models", responses=lm_error_docs(401))
async def models(state: State) -> JSONResponse:
    """The models that can be asked."""
    data = [_described(name, model) for name, model in _present(state.models)]
    return JSONResponse({"object": "list", "data": data})


@router.get("/v1/models/{name:path}", responses=lm_error_docs(401, 404))
async def one_model(name: str, state: State) -> JSONResponse:
    """One of the models that can be asked."""
    return JSONResponse(_described(name, state.model(name)))


@router.get("/v1/adapters", responses=lm_error_docs(401, 404))
async def adapters(state: State) -> JSONResponse:
    """Where each adapter is (pool, host or disk), and how full the pool is."""
    return JSONResponse(adapters_of(_adapters(state).models))


@router.post("/v1/adapters/rescan", responses=lm_error_docs(401, 404))
async def rescan(state: State) -> JSONResponse:
    """Look at the folder of adapters again: add what is new, take away what is gone."""
    folder = _adapters(state).folder
    if folder is None:
        raise ApiError(404, "the adapters of this service are fixed")
    found = await in_thread(folder.rescan, state.config.max_seconds)
    return JSONResponse(asdict(found))


@router.post("/v1/chat/completions", responses=_ERRORS)
async def chat_completions(body: ChatIn, request: Request, state: State) -> Response:
    """The answer of a model to a chat, whole or as server-sent events."""
    return await _answered("chat", body, request, state)


@router.post("/v1/completions", responses=_ERRORS)
async def completions(body: CompletionIn, request: Request, state: State) -> Response:
    """What a model continues a text with, or how likely it finds the text itself."""
    if not body.echo:
        return await _answered("completion", body, request, state)
    model = state.model(body.model)
    prompts = prompts_of(body, state.config)
    try:
        found = await state.work.run(
            lambda cancel: echo_of(body.model, model, prompts, state.now(), cancel),
            request,
            _asked(request, prompts),
        )
    except Gone:
        return Response(status_code=_CLOSED)
    return JSONResponse(found)


@router.post("/v1/embeddings", responses=_ERRORS)
async def embeddings(body: EmbeddingIn, request: Request, state: State) -> Response:
    """Vectors of texts."""
    model = state.model(body.model)
    texts = [body.input] if isinstance(body.input, str) else body.input
    if len(texts) > state.config.max_texts:
        raise ApiError(422, f"one request has at most {state.config.max_texts} texts here")

    def work(cancel: Cancellation) -> dict[str, Any]:
        vectors = model.embed(texts, cancel=cancel)
        return embeddings_of(body, vectors, sum(map(model.tokens.count, texts)))

    try:
        return JSONResponse(await state.work.run(work, request, _asked(request, texts)))
    except Gone:
        return Response(status_code=_CLOSED)


@router.get("/healthz")
async def health() -> JSONResponse:
    """Say that the process lives."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz")
async def ready(state: State) -> JSONResponse:
    """Whether requests should be sent here."""
    told = _health(state)
    is_ready = bool(told) and set(told.values()) == {"ready"} and not state.draining
    return JSONResponse({"ready": is_ready, "models": told}, status_code=200 if is_ready else 503)


@router.get("/metrics")
async def metrics(state: State) -> Response:
    """Measures for Prometheus."""
    return Response(state.metrics.text(), media_type=CONTENT_TYPE)


def _described(name: str, model: LanguageModel) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "adwright",
        "engine": model.info.engine,
        "context": model.info.context,
        "note": model.info.note,
    }


def _present(models: Mapping[str, LanguageModel]) -> Iterator[tuple[str, LanguageModel]]:
    """List the present models: another thread may remove one meanwhile."""
    for name in list(models):
        try:
            yield name, models[name]
        except KeyError:
            continue


def _health(state: LmState) -> dict[str, Health]:
    """How each model is; of adapters the base alone, which computes for all."""
    models: Mapping[str, LanguageModel] = state.models
    if state.adapters is not None:
        models = {state.adapters.models.name: models[state.adapters.models.name]}
    told = {name: model.health() for name, model in _present(models)}
    # Work that was cancelled long ago goes on: nobody knows in which of them.
    return dict.fromkeys(told, "stuck") if state.work.stuck else told


def _asked(request: Request, prompts: Sequence[Prompt], most: int = 0) -> Asked:
    """The share that a request asks for. most: tokens of each of its answers."""
    tokens = prompt_tokens(prompts) + most * len(prompts)
    return Asked(admitted(request.scope).tenant, len(prompts), tokens)


def _adapters(state: LmState) -> Adapters:
    if state.adapters is None:
        raise ApiError(404, "this service has no adapters", hint="GET /v1/models lists it")
    return state.adapters


async def _answered(
    kind: Kind, body: ChatIn | CompletionIn, request: Request, state: LmState
) -> Response:
    model = state.model(body.model)
    settings = settings_of(body, state.config)
    prompts = prompts_of(body, state.config)
    try:
        if body.stream:
            return await _streamed(kind, body, model, prompts[0], settings, request, state)
        answers = await state.work.run(
            lambda cancel: model.generate(prompts, settings, cancel=cancel),
            request,
            _asked(request, prompts, settings.max_tokens),
        )
    except Gone:
        return Response(status_code=_CLOSED)
    if any(_is_empty(one) for one in answers):
        raise TimeUp(state.config.max_seconds)
    return JSONResponse(answer_of(kind, body.model, answers, model.tokens, state.now(), body.n))


async def _streamed(
    kind: Kind,
    body: ChatIn | CompletionIn,
    model: LanguageModel,
    prompt: Prompt,
    settings: GenerationConfig,
    request: Request,
    state: LmState,
) -> Response:
    def work(cancel: Cancellation) -> Iterator[Chunk]:
        return model.stream(prompt, settings, cancel=cancel)

    chunks = state.work.stream(work, request, _asked(request, [prompt], settings.max_tokens))
    # The first piece before the head of the answer: what is wrong with the request shows by then,
    # and can still be answered with its status.
    first = await anext(chunks)
    if _is_empty(first):
        raise TimeUp(state.config.max_seconds)
    usage = body.stream_options is not None and body.stream_options.include_usage
    events = _events(kind, body.model, model, first, chunks, usage, state.now())
    return StreamingResponse(events, media_type="text/event-stream")


async def _events(
    kind: Kind,
    name: str,
    model: LanguageModel,
    first: Chunk,
    rest: AsyncIterator[Chunk],
    with_usage: bool,
    now: int,
) -> AsyncIterator[bytes]:
    ident, total = new_id(kind), Usage()
    opening = opening_event(kind, ident, name, now)
    if opening is not None:
        yield _event(opening)
    try:
        async for chunk in _chained(first, rest):
            total = chunk.usage or total
            if chunk.text or chunk.finish_reason or chunk.logprobs:
                yield _event(chunk_event(kind, ident, name, now, chunk, model.tokens))
    except Gone:
        return
    except (AdwrightError, TimeUp) as error:
        _log.error("a stream failed: %s", error)
        yield _event(broken_stream())
        return
    if with_usage:
        yield _event(usage_event(kind, ident, name, now, total))
    yield b"data: [DONE]\n\n"


async def _chained(first: Chunk, rest: AsyncIterator[Chunk]) -> AsyncIterator[Chunk]:
    yield first
    async for chunk in rest:
        yield chunk


def _is_empty(one: Chunk | Completion) -> bool:
    """Whether it was cancelled before anything was written."""
    return one.finish_reason == "cancelled" and not (one.text or one.token_ids)


def _event(content: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(content, separators=(',', ':'))}\n\n".encode()
