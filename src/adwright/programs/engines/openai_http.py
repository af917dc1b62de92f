"""Any server of OpenAI's protocol as an engine of programs: vLLM, SGLang, our own, a vendor's.

    config = OpenAIEngineConfig("http://127.0.0.1:8000/v1", "llama", dialect="vllm")
    async with OpenAIEngine(config) as engine:
        async for report in engine.generate("a", "The best tea", max_tokens=16):
            ...

Prompts go to /completions, as text or as tokens, so that what programs have in common is the same
there; to /chat/completions where a server has nothing else. A context is only a beginning of
tokens: `fill` is a request of one token. A job is cancelled by closing its connection.

Nothing waits for ever: a connection, the first piece of an answer and the next one have each their
bound. What the server says decides which error it is, see `engine_errors`; one that cannot be
reached is gone.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Self

from adwright.core.addresses import shown_address
from adwright.core.config import Gt, settings
from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import (
    EngineGoneError,
    EngineSilentError,
    GenerationConfig,
    OneDomain,
    generation_settings,
)
from adwright.lm.engine.http import (
    Dialect,
    OpenAIServer,
    ServerEvent,
    request_body,
    require_address,
)
from adwright.programs.engines.model_engine import JobEngine, require_new
from adwright.programs.scheduling.engine import EngineCapabilities, EngineReport, EngineStats

if TYPE_CHECKING:
    import httpx

_NO_NAMES: Mapping[str, str] = {}
#: Characters of a token of a text, about; for what a server is said to hold.
_CHARACTERS = 4


@settings
class OpenAIEngineConfig:
    """Where the server is, and what it is.

    base_url: up to and with /v1. model: as it names it; name: as calls name it, "" for the same.
    dialect: see `lm.engine.http`. chat: it has
    only chats. adapters: the server's name of each, such as a LoRA's. key_variable, salt_variable:
    environment variables of the key, and of the secret that salts are made with; without that one
    salts hold as long as this process. domain: the salt that it takes, where it caches and knows no
    salts, "" for that of the first who asks; None: it caches nothing. priority: it was started to
    go by priorities.
    max_batch, kv_tokens, context_length, kv_bytes_per_token: of its model and its memory.
    connect_seconds, first_seconds, piece_seconds: for a connection, the first piece of an answer,
    and each further one.

    Raises ConfigError that names the setting.
    """

    base_url: str
    model: str
    dialect: Dialect = "openai"
    chat: bool = False
    adapters: Mapping[str, str] = field(default_factory=lambda: _NO_NAMES)
    key_variable: str = "OPENAI_API_KEY"
    salt_variable: str = "ADWRIGHT_SALT_SECRET"
    domain: str | None = ""
    priority: bool = False
    name: str = ""
    max_batch: int = 32
    kv_tokens: int = 100_000
    context_length: int = 8_192
    kv_bytes_per_token: int = 131_072
    connect_seconds: Annotated[float, Gt(0)] = 10.0
    first_seconds: Annotated[float, Gt(0)] = 120.0
    piece_seconds: Annotated[float, Gt(0)] = 60.0

    def __post_init__(self) -> None:
        require_address(self.base_url)
        if self.priority and self.dialect == "openai":
            raise ConfigError(
                "this protocol has no priority", where="priority", hint="name the dialect"
            )

    def capabilities(self) -> EngineCapabilities:
        """What the server is said to be able to do."""
        salts = self.dialect != "openai"
        return EngineCapabilities(
            (self.name or self.model,),
            prefix_cache=salts or self.domain is not None,
            in_flight_prefix=self.dialect == "vllm",
            priority=self.priority,
            salt=salts,
            adapters=bool(self.adapters),
            logprobs=True,
            grammar=True,
            max_batch=self.max_batch,
            kv_tokens=self.kv_tokens,
            kv_bytes_per_token=self.kv_bytes_per_token,
            block_size=1 if self.dialect == "sglang" else 16,
            context_length=self.context_length,
            continues=not self.chat,
        )


@dataclass(eq=False)
class _HttpCall:
    """A job. tokens: of its prompt, about, and its answer. reader: puts what comes into `events`,
    and at the end None or what went wrong."""

    tokens: int
    events: asyncio.Queue[ServerEvent | Exception | None] = field(default_factory=asyncio.Queue)
    reader: asyncio.Task[None] | None = None


class OpenAIEngine(JobEngine):
    """An `ExecutionEngine` behind HTTP. Its context manager opens its connections.

    transport: how it is reached, in the place of the network. Raises MissingExtraError without
    httpx.
    """

    def __init__(
        self, config: OpenAIEngineConfig, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.config, self._transport = config, transport
        self.name = shown_address(config.base_url)
        self.capabilities, self._domain = config.capabilities(), OneDomain(config.domain or "")
        self._secret = os.environ.get(config.salt_variable) or secrets.token_hex(32)
        self._server: OpenAIServer | None = None
        self._calls: dict[str, _HttpCall] = {}

    async def __aenter__(self) -> Self:
        config = self.config
        self._server = OpenAIServer(
            config.base_url,
            key_variable=config.key_variable,
            connect=config.connect_seconds,
            first=config.first_seconds,
            piece=config.piece_seconds,
            transport=self._transport,
        )
        return self

    async def close(self) -> None:
        """Close all connections, which cancels their jobs; any number of times."""
        readers = [call.reader for call in self._calls.values() if call.reader is not None]
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        server, self._server = self._server, None
        if server is not None:
            await server.close()

    async def generate(
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
        """Write an answer. settings: see `generation_settings`. priority: lower is earlier. Closing
        the iterator cancels the job; one that is cancelled ends with what it has.

        Raises ConfigError where what is asked is refused; the errors of `engine_errors`.
        """
        require_new(job, self._calls)
        body = request_body(
            self._model(adapter),
            prompt,
            generation_settings(max_tokens, schema, settings),
            dialect=self.config.dialect,
            chat=self.config.chat,
            priority=priority if self.config.priority else 0,
            salt=self._salt(salt),
        )
        size = -(-len(prompt) // _CHARACTERS) if isinstance(prompt, str) else len(prompt)
        call = self._calls[job] = _HttpCall(size)
        call.reader = asyncio.create_task(self._read(self._open_server(), body, call))
        try:
            cached = tokens = None
            while (event := await call.events.get()) is not None:
                if isinstance(event, Exception):
                    raise event
                tokens = event.tokens if event.tokens is not None else tokens
                cached = event.cached if event.cached is not None else cached
                if event.text is not None:
                    yield EngineReport(event.text, event.cached, False, event.logprobs)
            # The last report is sent once the server has told all.
            yield EngineReport("", cached, True, (), tokens)
        finally:
            call.reader.cancel()
            del self._calls[job]
            with suppress(asyncio.CancelledError):
                await call.reader

    async def cancel(self, job: str) -> None:
        """Close the connection of a job; one that is not there is over."""
        call = self._calls.get(job)
        if call is not None and call.reader is not None:
            call.reader.cancel()

    async def stats(self) -> EngineStats:
        """Our requests, and about what they hold. Raises as `OpenAIServer.lists_models`."""
        await self._open_server().lists_models()
        return EngineStats(len(self._calls), 0, sum(call.tokens for call in self._calls.values()))

    async def probe(self) -> None:
        """Have the model write a token: a server that lists its models may still write nothing.

        Raises as `generate`; EngineSilentError where it does not in `connect_seconds`.
        """
        # A salt of its own: what is asked here is nobody's.
        salt = salted("probe", self._secret) if self.capabilities.salt else ""
        told = self.config.model, "Hi", GenerationConfig(max_tokens=1)
        body = request_body(*told, dialect=self.config.dialect, chat=self.config.chat, salt=salt)
        try:
            async with asyncio.timeout(self.config.connect_seconds):
                async for _ in self._open_server().events(body):
                    pass
        except TimeoutError as error:
            raise EngineSilentError(f"{self.name} does not answer") from error

    async def _read(self, server: OpenAIServer, body: Mapping[str, Any], call: _HttpCall) -> None:
        """Put what the server sends into the events of the call."""
        end: Exception | None = None
        try:
            async with aclosing(server.events(body)) as events:
                async for event in events:
                    call.tokens += event.text is not None
                    call.events.put_nowait(event)
        except Exception as error:  # a refusal, or whatever a server made of its answer
            end = error
        finally:
            call.events.put_nowait(end)

    def _model(self, adapter: str | None) -> str:
        if adapter is None:
            return self.config.model
        if adapter not in self.config.adapters:
            raise ConfigError(
                "the engine has no such adapter",
                where=adapter,
                hint="name what the server calls it in `adapters`",
            )
        return self.config.adapters[adapter]

    def _salt(self, salt: str) -> str:
        can = self.capabilities
        if can.salt:
            return salted(salt, self._secret) if salt else ""
        if can.prefix_cache:
            self._domain.require(salt, self.name)
        return ""

    def _open_server(self) -> OpenAIServer:
        if self._server is None:
            raise EngineGoneError(
                "the engine is not open", where=self.name, hint="use `async with`"
            )
        return self._server


def salted(salt: str, secret: str) -> str:
    """A salt that tells nobody whose it is, and that nobody can guess without the secret."""
    key = hashlib.blake2b(secret.encode(), digest_size=32).digest()
    return hashlib.blake2b(salt.encode("utf-8", "surrogatepass"), key=key).hexdigest()
