"""The OpenAI-compatible endpoints: find the model, queue the work, write the answer."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse, StreamingResponse

from adwright.core.errors import AdwrightError
from adwright.lm.engine.generation import (
    Cancellation,
    GenerationConfig,
    Health,
    LanguageModel,
    Prompt,
    TokenPrompt,
)
from adwright.service.lm.adapters import Adapters, adapters_of
from adwright.service.lm.protocol.answers import (
    EventWriter,
    Kind,
    answer_of,
    embeddings_of,
    usage_once,
)
from adwright.service.lm.protocol.echoes import Echo, echoes_of, silent
from adwright.service.lm.protocol.errors import broken_stream, lm_error_docs
from adwright.service.lm.protocol.schemas import ChatIn, CompletionIn, EmbeddingIn
from adwright.service.lm.protocol.tokens import DetokenizeIn, TokenizeIn, text_of, tokens_of
from adwright.service.lm.protocol.tools import ToolForm
from adwright.service.lm.requested import chat_of, prompts_of, settings_of, texts_of, tool_form_of
from adwright.service.lm.state import LmState, State, asked_for, begun, whole_answers
from adwright.service.lm.work import Gone, TimeUp, in_thread
from adwright.web.bodies import BodyRoute
from adwright.web.errors import ApiError
from adwright.web.gate import CONTENT_TYPE

router = APIRouter(route_class=BodyRoute)
_log = logging.getLogger("adwright.service")
_ERRORS = lm_error_docs(400, 401, 404, 408, 413, 415, 429, 503)
#: The connection is closed, so nobody reads it; it is for the counters.
_CLOSED = 499


@router.get("/v1/models", responses=lm_error_docs(401))
async def models(state: State) -> JSONResponse:
    """The models that can be asked."""
    present = _present(state.models)
    data = [_described(name, one) for name, one in present if name not in state.leaving]
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
    return await _answered("completion", body, request, state)


@router.post("/tokenize", responses=_ERRORS)
async def tokenize(body: TokenizeIn, request: Request, state: State) -> Response:
    """The tokens of a text or of a chat."""
    model = state.model(body.model or next(iter(state.models), ""))
    prompt: Prompt = body.prompt or ""
    if body.messages is not None:
        told = {"tools": body.tools, "chat_template_kwargs": body.chat_template_kwargs}
        named = {"model": model.info.name, "messages": body.messages}
        prompt = chat_of(ChatIn.model_validate(named | told))

    def work(cancel: Cancellation) -> dict[str, Any]:
        return tokens_of(body, prompt, model, cancel)

    return await _aside(work, model, request, state)


@router.post("/detokenize", responses=_ERRORS)
async def detokenize(body: DetokenizeIn, request: Request, state: State) -> Response:
    """The text of tokens."""
    model = state.model(body.model or next(iter(state.models), ""))
    return await _aside(lambda _: text_of(body, model), model, request, state)


@router.post("/v1/embeddings", responses=_ERRORS)
async def embeddings(body: EmbeddingIn, request: Request, state: State) -> Response:
    """Vectors of texts."""
    model = state.model(body.model)
    texts = texts_of(body)
    if len(texts) > state.config.max_texts:
        raise ApiError(422, f"one request has at most {state.config.max_texts} texts here")

    def work(cancel: Cancellation) -> dict[str, Any]:
        vectors = model.embed(texts, cancel=cancel)
        counts = (
            len(one.ids) if isinstance(one, TokenPrompt) else model.tokens.count(one)
            for one in texts
        )
        return embeddings_of(body, vectors, sum(counts))

    return await _aside(work, model, request, state, texts)


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


def _adapters(state: LmState) -> Adapters:
    if state.adapters is None:
        raise ApiError(404, "this service has no adapters", hint="GET /v1/models lists it")
    return state.adapters


async def _answered(
    kind: Kind, body: ChatIn | CompletionIn, request: Request, state: LmState
) -> Response:
    model = state.model(body.model)
    tools = tool_form_of(body, model.info.further)
    settings = settings_of(body, state.config, tools)
    prompts = prompts_of(body, state.config)
    try:
        echoes = None
        if isinstance(body, CompletionIn) and body.echo:
            told, scored = prompts[:: body.n], body.logprobs is not None
            echoes = await state.work.run(
                lambda cancel: echoes_of(model, told, cancel, scored=scored),
                request,
                asked_for(model, request, told),
            )
        if body.stream:
            return await _streamed(
                kind, body, model, prompts, settings, tools, request, state, echoes
            )
        if echoes is not None and not body.max_tokens:
            answers = silent(echoes)
        else:
            answers = await whole_answers(model, prompts, settings, request, state)
    except Gone:
        return Response(status_code=_CLOSED)
    state.measures.used(usage_once(answers, body.n))
    now = state.now()

    def written() -> Response:
        told = answer_of(
            kind, body.model, answers, model.tokens, now, n=body.n, tools=tools, echoes=echoes
        )
        return JSONResponse(told)

    if not settings.logprobs:
        return written()
    # The text of each token, and of the likeliest in its place, may take seconds.
    return await in_thread(written, state.config.max_seconds)


async def _aside(
    work: Callable[[Cancellation], dict[str, Any]],
    model: LanguageModel,
    request: Request,
    state: LmState,
    texts: Sequence[Prompt] = (),
) -> Response:
    """What takes its turn, and generates nothing. texts: that the model computes for it."""
    try:
        return JSONResponse(await state.work.run(work, request, asked_for(model, request, texts)))
    except Gone:
        return Response(status_code=_CLOSED)


async def _streamed(
    kind: Kind,
    body: ChatIn | CompletionIn,
    model: LanguageModel,
    prompts: Sequence[Prompt],
    settings: GenerationConfig,
    tools: ToolForm | None,
    request: Request,
    state: LmState,
    echoes: Sequence[Echo] | None,
) -> Response:
    watch = state.measures.watch(state.clock.monotonic)
    found = await begun(model, prompts, settings, request, state)
    writer = EventWriter(kind, body.model, state.now(), model.tokens, tools)
    asked = body.stream_options is not None and body.stream_options.include_usage

    async def events() -> AsyncIterator[bytes]:
        for index in range(len(prompts)):
            for one in writer.opening(index):
                yield _event(one)
            if echoes is not None:
                yield _event(writer.echoed(index, echoes[index // body.n]))
        try:
            async for piece in found:
                watch.saw(piece)
                for one in writer.events(*piece):
                    yield _event(one)
        except Gone:
            return
        except (AdwrightError, TimeUp) as error:
            _log.error("a stream failed: %s", error)
            yield _event(broken_stream())
            return
        usage = watch.end(body.n)
        if asked:
            yield _event(writer.usage(usage))
        yield b"data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


def _event(content: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(content, separators=(',', ':'))}\n\n".encode()
