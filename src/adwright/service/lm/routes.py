"""The OpenAI-compatible endpoints: find the model, queue the work, write the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import Field
from starlette.responses import JSONResponse, PlainTextResponse

from adwright.core.errors import AdwrightError, AssetError, ResourceError
from adwright.lm.engine.generation import (
    Cancellation,
    Chunk,
    Completion,
    Completions,
    GenerationConfig,
    Health,
    LanguageModel,
    Prompt,
    TokenPrompt,
    Usage,
)
from adwright.lm.serving.adapter_cache import AdapterInUseError
from adwright.service.lm.config import LmServiceConfig
from adwright.service.lm.endpoint import EndpointState, model_told, streamed
from adwright.service.lm.protocol.answers import (
    Echo,
    EventWriter,
    ReplyWriter,
    ResponseWriter,
    echoes_of,
    embeddings_of,
    silent,
    usage_once,
)
from adwright.service.lm.protocol.errors import lm_error_docs
from adwright.service.lm.protocol.schemas import (
    ChatIn,
    CompletionIn,
    DetokenizeIn,
    EmbeddingIn,
    LmBody,
    ResponseIn,
    TokenizeIn,
    text_of,
    tokens_of,
)
from adwright.service.lm.protocol.tools import (
    chat_of,
    prompts_of,
    settings_of,
    texts_of,
    tool_form_of,
)
from adwright.service.lm.work import (
    Asked,
    LmWork,
    Piece,
    TimeUp,
    in_thread,
    pieces,
    prompt_tokens,
)
from adwright.web.bodies import BodyRoute
from adwright.web.errors import ApiError
from adwright.web.gate import admitted

if TYPE_CHECKING:
    from adwright.lm.serving.adapter_folder import AdapterFolder
    from adwright.lm.serving.engine import AdapterModels


# --------------------------------------------------------------------------------------------------
# Report where the adapters of a base are, and how full the pool is.


@dataclass(frozen=True)
class Adapters:
    """The models of one base. folder: of its adapters, or None where they are fixed."""

    models: AdapterModels
    folder: AdapterFolder | None = None


class AdapterMeasures(Collector):
    """Counters and gauges for Prometheus. They name no adapter."""

    def __init__(self, models: AdapterModels) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        """Yield the present values."""
        state = self._models.pool()
        counts = state.counts
        counters = {
            "lm_adapter_hits": ("Requests that found their adapter in the pool.", counts.hits),
            "lm_adapter_evictions": ("Adapters that left the pool.", counts.evictions),
            "lm_shared_tokens": (
                "Tokens of prompts whose keys and values were there.",
                state.shared_tokens,
            ),
            "lm_preemptions": ("Requests that had to begin again.", state.preemptions),
        }
        for name, (text, value) in counters.items():
            yield CounterMetricFamily(f"adwright_{name}", text, value=value)
        loads = CounterMetricFamily(
            "adwright_lm_adapter_loads", "Adapters brought into the pool.", labels=["source"]
        )
        loads.add_metric(["host"], counts.from_host)
        loads.add_metric(["disk"], counts.from_disk)
        yield loads
        pages = GaugeMetricFamily(
            "adwright_lm_pages", "Pages of the pool, by who has them.", labels=["use"]
        )
        pages.add_metric(["adapters"], state.adapters)
        pages.add_metric(["keys"], state.keys)
        pages.add_metric(["prefixes"], state.prefixes)
        pages.add_metric(["free"], state.pages - state.adapters - state.keys - state.prefixes)
        yield pages
        text = "Bytes of adapters in host memory."
        yield GaugeMetricFamily("adwright_lm_adapter_host_bytes", text, value=state.host_bytes)


def adapters_of(models: AdapterModels) -> dict[str, Any]:
    """The body of GET /v1/adapters."""
    state, counts = models.pool(), models.pool().counts
    names = ("method", "bytes", "pages", "pins", "hits")
    data = [
        {"id": one.name, "where": one.tier} | {name: getattr(one, name) for name in names}
        for one in models.adapters()
    ]
    totals = {name: getattr(counts, name) for name in ("hits", "evictions", "dropped")}
    totals |= {"loads_from_host": counts.from_host, "loads_from_disk": counts.from_disk}
    totals |= {"preemptions": state.preemptions, "shared_tokens": state.shared_tokens}
    pages = {name: getattr(state, name) for name in ("adapters", "keys", "prefixes", "bytes")}
    return {
        "object": "list",
        "base": models.name,
        "data": data,
        "totals": totals,
        "pages": {"total": state.pages, **pages},
        "host_bytes": state.host_bytes,
    }


# --------------------------------------------------------------------------------------------------
# Counters and times of answers, for Prometheus. They name no tenant and no model.

_FIRST = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_EACH = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2.5)


class LmMeasures:
    """Tokens of all answers; of streams, whose callers see it, the time of their tokens."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._tokens = Counter(
            "adwright_lm_tokens", "Tokens of prompts and answers.", ["kind"], registry=registry
        )
        self.first = Histogram(
            "adwright_lm_first_token_seconds",
            "From a request for a stream to its first token.",
            buckets=_FIRST,
            registry=registry,
        )
        self.each = Histogram(
            "adwright_lm_token_seconds",
            "Mean time from one token of a streamed answer to the next.",
            buckets=_EACH,
            registry=registry,
        )

    def used(self, usage: Usage) -> None:
        """Count tokens."""
        self._tokens.labels("prompt").inc(usage.prompt_tokens)
        self._tokens.labels("answer").inc(usage.completion_tokens)

    def watch(self, now: Callable[[], float]) -> Watch:
        """Begin to watch a stream that has just been asked for."""
        return Watch(self, now)


class Watch:
    """The times of one stream, and what it has used. now: seconds."""

    def __init__(self, measures: LmMeasures, now: Callable[[], float]) -> None:
        self._measures, self._now, self._began = measures, now, now()
        self._firsts: dict[int, float] = {}
        self._usages: dict[int, Usage] = {}

    def saw(self, piece: Piece) -> None:
        """Take the time of a piece."""
        index, chunk = piece
        now = self._now()
        if index not in self._firsts:
            if not self._firsts:
                self._measures.first.observe(now - self._began)
            self._firsts[index] = now
        if chunk.usage is not None:
            self._usages[index] = chunk.usage
            steps = chunk.usage.completion_tokens - 1
            if steps > 0:
                self._measures.each.observe((now - self._firsts[index]) / steps)

    def end(self, n: int) -> Usage:
        """What all answers have used, n to each prompt, which is counted once."""
        ordered = [self._usages[index] for index in sorted(self._usages)]
        asked = sum(ordered[::n], Usage())
        written = sum(one.completion_tokens for one in ordered)
        usage = replace(asked, completion_tokens=written)
        self._measures.used(usage)
        return usage


# --------------------------------------------------------------------------------------------------
# What the endpoints share: the models, the queue, the measures; and how one of them is asked.


@dataclass
class LmState(EndpointState):
    """What the endpoints share.

    models: by the name that a request carries; looked up for each request, so whoever owns the
    mapping may add to it and take from it while the service runs. adapters: they themselves where
    they are adapters of one base. leaving: names of models that are answered to the end, and asked
    no more.
    """

    config: LmServiceConfig
    models: Mapping[str, LanguageModel]
    work: LmWork
    adapters: Adapters | None = None
    leaving: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.measures = LmMeasures(self.metrics.registry)

    def model(self, name: str) -> LanguageModel:
        """The model of that name. Raises ApiError where there is none."""
        try:
            if name in self.leaving:
                raise KeyError(name)
            return self.models[name]
        except KeyError:
            raise ApiError(
                404, "there is no model of this name", hint="GET /v1/models lists them"
            ) from None


async def _state(request: Request) -> LmState:
    state: LmState = request.app.state.service
    return state


State = Annotated[LmState, Depends(_state)]


def asked_for(
    model: LanguageModel, request: Request, prompts: Sequence[Prompt], most: int = 0
) -> Asked:
    """The share that a request asks for. most: tokens of each of its answers."""
    tokens = prompt_tokens(prompts) + most * len(prompts)
    return Asked(admitted(request.scope).tenant, max(1, len(prompts)), tokens, model.info.name)


@dataclass
class ModelAnswers:
    """The answers of a model to B prompts, n to each. told: beside them. echoes: told in front."""

    state: LmState
    request: Request
    model: LanguageModel
    prompts: Sequence[Prompt]
    settings: GenerationConfig
    n: int = 1
    echoes: Sequence[Echo] | None = None
    told: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        asked = self.model, self.request, self.prompts, self.settings.max_tokens
        self._asked = asked_for(*asked)
        self._watch = self.state.measures.watch(self.state.clock.monotonic)

    async def whole(self) -> Completions:
        """Raises as `LmWork.run`; TimeUp where one has nothing in time."""
        answers = await self.state.work.run(
            lambda cancel: self.model.generate(self.prompts, self.settings, cancel=cancel),
            *(self.request, self._asked),
        )
        if any(_is_empty(one) for one in answers):
            raise TimeUp(self.state.config.max_seconds)
        return answers

    async def begun(self) -> AsyncGenerator[Piece, None]:
        """Their pieces. Raises as `LmWork.stream`."""
        found = self.state.work.stream(
            lambda cancel: pieces(self.model, self.prompts, self.settings, cancel),
            *(self.request, self._asked),
        )
        first = await anext(found)
        if _is_empty(first[1]):
            raise TimeUp(self.state.config.max_seconds)
        return self._seen(first, found)

    async def _seen(
        self, first: Piece, rest: AsyncGenerator[Piece, None]
    ) -> AsyncGenerator[Piece, None]:
        self._watch.saw(first)
        yield first
        async with aclosing(rest):
            async for piece in rest:
                self._watch.saw(piece)
                yield piece

    def used(self) -> Usage:
        """What all pieces have used."""
        return self._watch.end(self.n)

    def end(self) -> None:
        """Nothing is kept of them."""


def _is_empty(one: Chunk | Completion) -> bool:
    """Whether it was cancelled before anything was written."""
    return one.finish_reason == "cancelled" and not (one.text or one.token_ids)


router = APIRouter(route_class=BodyRoute)
_ERRORS = lm_error_docs(400, 401, 404, 408, 413, 415, 429, 503)


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
    return await _answered(body, request, state)


@router.post("/v1/completions", responses=_ERRORS)
async def completions(body: CompletionIn, request: Request, state: State) -> Response:
    """What a model continues a text with, or how likely it finds the text itself."""
    return await _answered(body, request, state)


@router.post("/v1/responses", responses=_ERRORS)
async def responses(body: ResponseIn, request: Request, state: State) -> Response:
    """The response of a model, whole or as server-sent events."""
    return await _answered(body, request, state)


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


@router.get("/readyz")
async def ready(state: State) -> JSONResponse:
    """Whether requests should be sent here."""
    told = _health(state)
    is_ready = bool(told) and set(told.values()) == {"ready"} and not state.draining
    return JSONResponse({"ready": is_ready, "models": told}, status_code=200 if is_ready else 503)


def _described(name: str, model: LanguageModel) -> dict[str, Any]:
    info = model.info
    return model_told(name, info.engine, info.context) | {"note": info.note}


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
    body: ChatIn | CompletionIn | ResponseIn, request: Request, state: LmState
) -> Response:
    model = state.model(body.model)
    asked = body.chat() if isinstance(body, ResponseIn) else body
    tools = tool_form_of(asked, model.info.further)
    settings = settings_of(asked, state.config, tools)
    prompts = prompts_of(asked, state.config)
    answers = ModelAnswers(state, request, model, prompts, settings, asked.n)
    echoed: Completions | None = None
    if isinstance(body, CompletionIn) and body.echo:
        told, scored = prompts[:: body.n], body.logprobs is not None
        answers.echoes = await state.work.run(
            lambda cancel: echoes_of(model, told, cancel, scored=scored),
            *(request, asked_for(model, request, told)),
        )
        if not body.max_tokens:
            echoed = silent(answers.echoes)
    writer: ReplyWriter
    if isinstance(body, ResponseIn):
        writer = ResponseWriter(body, state.now(), tools)
    else:
        writer = EventWriter(
            "completion" if isinstance(body, CompletionIn) else "chat",
            *(body.model, state.now(), model.tokens, tools),
            n=body.n,
            count=len(prompts),
            echoes=answers.echoes,
            tells_usage=body.stream_options is not None and body.stream_options.include_usage,
        )
    if body.stream:
        return await streamed(writer, answers)
    whole = await answers.whole() if echoed is None else echoed
    state.measures.used(usage_once(whole, asked.n))
    if not settings.logprobs:
        return JSONResponse(writer.whole(whole))
    # The text of each token, and of the likeliest in its place, may take seconds.
    return await in_thread(lambda: JSONResponse(writer.whole(whole)), state.config.max_seconds)


async def _aside(
    work: Callable[[Cancellation], dict[str, Any]],
    model: LanguageModel,
    request: Request,
    state: LmState,
    texts: Sequence[Prompt] = (),
) -> Response:
    """What takes its turn, and generates nothing. texts: that the model computes for it."""
    return JSONResponse(await state.work.run(work, request, asked_for(model, request, texts)))


# --------------------------------------------------------------------------------------------------
# One adapter loaded or unloaded by a call, as vLLM has it, while all others are served.
#
#     POST /v1/load_lora_adapter    {"lora_name": "shop-1", "lora_path": "shop-1"}
#     POST /v1/unload_lora_adapter  {"lora_name": "shop-1"}
#
# What is loaded lies below the folder of adapters. Which models there are is for the operator to
# say: where tenants have keys, theirs cannot. An adapter that is unloaded takes no more requests at
# once, and goes when those that it has are answered.

_LOADING_ERRORS = lm_error_docs(400, 401, 403, 404, 408, 409, 413, 415, 429, 503)
#: Seconds between two looks at whether an adapter is still in use; and those that its requests may
#: take beyond the bound of the service.
_LOOK, _GRACE = 0.05, 5.0
_Name = Annotated[str, Field(min_length=1, max_length=128)]


class LoadAdapterIn(LmBody):
    """lora_path: of the folder that holds it, relative to the folder of adapters or whole."""

    lora_name: _Name
    lora_path: Annotated[str, Field(min_length=1, max_length=4096)]


class UnloadAdapterIn(LmBody):
    """lora_int_id: is allowed, and not used: names tell which."""

    lora_name: _Name
    lora_int_id: int | None = None


@router.post("/v1/load_lora_adapter", responses=_LOADING_ERRORS)
async def load_lora_adapter(
    body: LoadAdapterIn, request: Request, state: State
) -> PlainTextResponse:
    """Serve an adapter as a model of its own."""
    folder = _folder(request, state)
    name, path = body.lora_name, body.lora_path
    if name in state.models:
        raise ApiError(409, "a model has this name", hint="unload it, or take another name")
    try:
        await in_thread(lambda: folder.load(name, path), state.config.max_seconds)
    except ResourceError:
        raise
    except AssetError as error:
        raise ApiError(404, error.what, hint=error.hint) from error
    except AdwrightError as error:
        # Another call may have been quicker.
        status = 409 if name in state.models else 400
        raise ApiError(status, error.what, hint=error.hint) from error
    return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")


@router.post("/v1/unload_lora_adapter", responses=_LOADING_ERRORS)
async def unload_lora_adapter(
    body: UnloadAdapterIn, request: Request, state: State
) -> PlainTextResponse:
    """Serve an adapter no more, once its requests are answered."""
    folder = _folder(request, state)
    name = body.lora_name
    if state.adapters is not None and name == state.adapters.models.name:
        raise ApiError(400, "the base cannot be unloaded", hint="GET /v1/adapters lists what can")
    if name not in state.models or name in state.leaving:
        raise ApiError(404, "there is no adapter of this name", hint="GET /v1/models lists them")
    state.leaving.add(name)
    try:
        await _unloaded(name, folder, state)
    finally:
        state.leaving.discard(name)
    return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")


async def _unloaded(name: str, folder: AdapterFolder, state: LmState) -> None:
    """Unload it, once nobody uses it any more. Raises ApiError where somebody does for longer than
    any request may take."""
    loop = asyncio.get_running_loop()
    until = loop.time() + state.config.max_seconds + _GRACE
    while loop.time() < until:
        if not state.work.asks(name):
            try:
                await in_thread(lambda: folder.unload(name), state.config.max_seconds)
                return
            except AdapterInUseError:  # by a caller within this program
                pass
        await asyncio.sleep(_LOOK)
    raise ApiError(
        409, "the adapter is in use", hint="unload it later", headers={"Retry-After": "5"}
    )


def _folder(request: Request, state: LmState) -> AdapterFolder:
    """The folder of adapters. Raises ApiError where the caller is a tenant, or there is none."""
    if admitted(request.scope).tenant:
        raise ApiError(
            403,
            "the key of a tenant loads and unloads no adapters",
            hint="call with the key of the endpoint itself",
        )
    if state.adapters is None or state.adapters.folder is None:
        raise ApiError(404, "this service has no folder of adapters", hint="serve with --adapters")
    return state.adapters.folder
