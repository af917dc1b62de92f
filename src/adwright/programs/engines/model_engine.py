"""Any `LanguageModel` as an engine of programs: OpenVINO and llama.cpp in their child processes.

    engine = ModelEngine(lambda: open_model(OpenVinoConfig()), capabilities)

A context is only a beginning of tokens: `fill` is a request of one token, which leaves it in the
model's own cache, and `free` is not needed there. Each request has a thread, which waits: what is
asked at once is computed at once where the model batches.

A cache without a salt tells by its speed what others have asked. So a model that caches belongs to
one domain, and refuses the others.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from dataclasses import dataclass, field, replace
from typing import Self

from adwright.core.errors import ConfigError, ResourceError
from adwright.lm.engine.generation import (
    Cancellation,
    Chunk,
    EngineFailedError,
    EngineGoneError,
    GenerationConfig,
    LanguageModel,
    OneDomain,
    TokenPrompt,
    generation_settings,
)
from adwright.lm.native_engines.openvino_model import OpenVinoConfig
from adwright.lm.open_model import open_model
from adwright.programs.scheduling.engine import EngineCapabilities, EngineReport, EngineStats

# --------------------------------------------------------------------------------------------------
# What engines of programs have in common.


class JobEngine(ABC):
    """An `ExecutionEngine` that its context manager opens and closes, whose contexts are no more
    than beginnings of prompts."""

    @abstractmethod
    async def __aenter__(self) -> Self:
        """Open it."""

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @abstractmethod
    async def close(self) -> None:
        """End what is computed, and free what it holds; any number of times."""

    @abstractmethod
    def generate(
        self,
        job: str,
        prompt: str | Sequence[int],
        *,
        max_tokens: int,
        adapter: str | None = None,
        schema: str | None = None,
        priority: int = 0,
        salt: str = "",
        settings: GenerationConfig | None = None,
    ) -> AsyncGenerator[EngineReport, None]:
        """Write an answer."""

    async def fill(
        self, job: str, prompt: str | Sequence[int], *, salt: str = "", adapter: str | None = None
    ) -> int:
        """Have it read the prompt; returns tokens that were there, 0 where it does not tell."""
        reports = self.generate(job, prompt, max_tokens=1, adapter=adapter, salt=salt)
        async with aclosing(reports):
            cached = [report.cached_tokens async for report in reports]
        return max((one for one in cached if one is not None), default=0)

    async def free(  # noqa: B027 - most hold nothing
        self, prompt: str | Sequence[int], *, salt: str = ""
    ) -> None:
        """Nothing is held but what its own cache has room for."""


def require_new(job: str, jobs: Container[str]) -> None:
    """Raise ConfigError where a job of this name is there."""
    if job in jobs:
        hint = "use a unique name"
        raise ConfigError("the engine has a job of this name", where=job, hint=hint)


_Prompt = str | Sequence[int]
_LOOK_SECONDS = 0.05


@dataclass(eq=False)
class _ThreadJob:
    """tokens: of its prompt, and of its answer as far as it is written."""

    cancel: Cancellation = field(default_factory=Cancellation)
    pieces: asyncio.Queue[Chunk | Exception] = field(default_factory=asyncio.Queue)
    tokens: int = 0


class ModelEngine(JobEngine):
    """An `ExecutionEngine` over one model. Its context manager opens it.

    opens: the model, in a thread. capabilities: what is known before it is open; its context and
    its forms of answers are taken from the model. domain: the salt that it takes, where it has a
    prefix cache, "" for that of the first who asks; without a cache it takes any. start_seconds:
    that a model may take to come back.
    """

    def __init__(
        self,
        opens: Callable[[], LanguageModel],
        capabilities: EngineCapabilities,
        *,
        domain: str = "",
        start_seconds: float = 60.0,
    ) -> None:
        self._opens, self._domain, self._seconds = opens, OneDomain(domain), start_seconds
        self.capabilities = replace(capabilities, fork=False, priority=False, salt=False)
        self.name = capabilities.models[0]
        self._model: LanguageModel | None = None
        self._jobs: dict[str, _ThreadJob] = {}
        self._threads: ThreadPoolExecutor | None = None

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    @property
    def model(self) -> LanguageModel:
        """The model. Raises EngineGoneError where it is not open."""
        if self._model is None:
            raise EngineGoneError("the engine is not open", where=self.name, hint="restart it")
        return self._model

    @property
    def alive(self) -> bool:
        """Whether it answers, as far as is known."""
        return self._model is not None and self._model.health() == "ready"

    async def restart(self) -> None:
        """Be there again: wait for a process that is being started again, else open the model anew.

        Raises as what opens it does.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self._seconds
        while (
            self._model is not None and self._model.health() == "starting" and loop.time() < until
        ):
            await asyncio.sleep(_LOOK_SECONDS)
        if not self.alive or self._jobs:
            await self.close()
            await self._open()

    async def close(self) -> None:
        """End what is computed and free the model; any number of times."""
        for job in self._jobs.values():
            job.cancel.cancel()
            job.pieces.put_nowait(EngineGoneError("the engine was closed", where=self.name))
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        model, self._model = self._model, None
        if model is not None:
            await asyncio.to_thread(model.close)

    async def generate(
        self,
        job: str,
        prompt: _Prompt,
        *,
        max_tokens: int,
        adapter: str | None = None,
        schema: str | None = None,
        priority: int = 0,
        salt: str = "",
        settings: GenerationConfig | None = None,
    ) -> AsyncGenerator[EngineReport, None]:
        """Write an answer. settings: see `generation_settings`. priority: it has none. Closing the
        iterator cancels the job; one that is cancelled ends with what it has.

        Raises ConfigError for another domain, an adapter, or settings that the model lacks.
        """
        self._require(job, adapter, salt)
        config = generation_settings(max_tokens, schema, settings)
        model, threads = self.model, self._threads
        if threads is None:
            raise EngineGoneError("the engine is not open", where=self.name, hint="restart it")
        own, loop = _ThreadJob(), asyncio.get_running_loop()
        self._jobs[job] = own

        def put(piece: Chunk | Exception) -> None:
            loop.call_soon_threadsafe(own.pieces.put_nowait, piece)

        threads.submit(_write, model, prompt, config, own, put)
        try:
            is_over = False
            while not is_over:
                piece = await own.pieces.get()
                if isinstance(piece, Exception):
                    raise self._translated(piece, model)
                own.tokens += len(piece.token_ids)
                is_over = piece.finish_reason is not None
                usage = piece.usage
                tokens = None if usage is None else usage.completion_tokens
                logprobs = piece.logprobs or ()
                yield EngineReport(piece.text, None, is_over, logprobs, tokens)
        finally:
            own.cancel.cancel()
            del self._jobs[job]

    async def cancel(self, job: str) -> None:
        """End a job, after the step that is being computed; one that is not there is over."""
        own = self._jobs.get(job)
        if own is not None:
            own.cancel.cancel()

    async def stats(self) -> EngineStats:
        """Requests, and the tokens that they hold. Raises EngineGoneError where it is not ready."""
        health = self.model.health()
        if health != "ready":
            raise EngineGoneError(f"the engine is {health}", where=self.name, hint="restart it")
        jobs = list(self._jobs.values())
        return EngineStats(len(jobs), 0, sum(job.tokens for job in jobs))

    async def _open(self) -> None:
        model = await asyncio.to_thread(self._opens)
        self._model = model
        self._domain.begin_again()
        self._threads = ThreadPoolExecutor(self.capabilities.max_batch, "adwright-engine")
        context = model.info.context or self.capabilities.context_length
        self.capabilities = replace(self.capabilities, context_length=context)

    def _require(self, job: str, adapter: str | None, salt: str) -> None:
        require_new(job, self._jobs)
        if adapter is not None:
            raise ConfigError(
                "this engine has no adapters", where=adapter, hint="ask one that has it"
            )
        if self.capabilities.prefix_cache:
            self._domain.require(salt, self.name)

    def _translated(self, error: Exception, model: LanguageModel) -> Exception:
        """What went wrong: only a model that is there has failed at a request."""
        if not isinstance(error, ResourceError):
            return error
        if model is self._model and model.health() == "ready":
            return EngineFailedError(str(error))
        return EngineGoneError(error.what, where=error.where, hint=error.hint)


def _write(
    model: LanguageModel,
    prompt: _Prompt,
    config: GenerationConfig,
    job: _ThreadJob,
    put: Callable[[Chunk | Exception], None],
) -> None:
    """Hand on the pieces of an answer, and at the end the last one or what went wrong."""
    try:
        ids = model.tokens.encode(prompt) if isinstance(prompt, str) else prompt
        job.tokens = len(ids)
        stream = model.stream(TokenPrompt(tuple(ids)), config, cancel=job.cancel)
        with closing(stream) as pieces:  # type: ignore[type-var]
            for piece in pieces:
                put(piece)
    except RuntimeError:  # the event loop is closed: nobody waits
        return
    except Exception as error:
        put(error)


# --------------------------------------------------------------------------------------------------
# OpenVINO GenAI as an engine of programs: the quickest on a CPU, with a prefix cache of its own.
#
# It looks for a prefix when a request arrives, so that one which another request is just reading is
# not found: whoever fills a prefix first and asks then has it read once. Its cache knows no
# tenants.

#: Tokens of a block of its cache on CPUs.
_BLOCK = 32


def openvino_engine(
    config: OpenVinoConfig | None = None,
    *,
    domain: str | None = "",
    name: str = "",
    kv_bytes_per_token: int = 23_040,
) -> ModelEngine:
    """The engine on `config`; nothing is opened yet.

    domain: the salt of those whose requests it takes and keeps prefixes for, "" for that of the
    first; None: it takes everybody's, and keeps none. name: that it answers to; "" for that of the
    model. kv_bytes_per_token: of the cache, from the model's card: layers x heads of keys x their
    width x 2 x bytes of a number; by default that of SmolLM2-135M in float16.
    """
    config = OpenVinoConfig() if config is None else config
    caches = config.prefix_caching and domain is not None
    opened = replace(config, prefix_caching=caches)
    can = EngineCapabilities(
        (name or config.model,),
        prefix_cache=caches,
        in_flight_prefix=False,
        logprobs=True,
        grammar=True,
        max_batch=config.max_running,
        kv_tokens=(config.cache_gb << 30) // kv_bytes_per_token,
        kv_bytes_per_token=kv_bytes_per_token,
        block_size=_BLOCK,
        chunk_tokens=config.step_tokens,
    )
    return ModelEngine(lambda: open_model(opened), can, domain=domain or "")
