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
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

from adwright.core.addresses import login_of, shown_address
from adwright.core.config import Gt, settings
from adwright.core.errors import ConfigError, MissingExtraError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.engines.engine_errors import (
    EngineBusyError,
    EngineFailedError,
    EngineGoneError,
    EngineRefusesError,
    EngineSilentError,
    OneDomain,
    generation_settings,
)
from adwright.programs.engines.server_fields import (
    Dialect,
    ServerEvent,
    read_event,
    request_body,
    salted,
)
from adwright.programs.scheduling.engine import EngineCapabilities, EngineReport, EngineStats

if TYPE_CHECKING:
    import httpx

_Prompt = str | Sequence[int]
_NO_NAMES: Mapping[str, str] = {}
#: Characters of a token of a text, about; for what a server is said to hold.
_CHARACTERS = 4
#: Bytes of an event, or of an error, at the most.
_LONGEST = 1 << 20
#: A server takes no more for now; it refuses whoever asks, for a key, a model or an address.
_BUSY, _OURS = (429, 503), (401, 402, 403, 404, 405, 407, 410)


@settings
class OpenAIEngineConfig:
    """Where the server is, and what it is.

    base_url: up to and with /v1. model: as it names it; name: as calls name it, "" for the same.
    dialect: see `server_fields`. chat: it has
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
        if not self.base_url.startswith(("http://", "https://")):
            raise ConfigError(
                "base_url must begin with http:// or https://",
                where=f"base_url {self.base_url!r}",
                hint="for example http://127.0.0.1:8000/v1",
            )
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


class OpenAIEngine:
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
        self._client: httpx.AsyncClient | None = None
        self._calls: dict[str, _HttpCall] = {}
        #: Learned from a refusal: newer models of OpenAI's call the bound of a chat otherwise.
        self._renames_bound = False

    async def __aenter__(self) -> Self:
        try:
            import httpx
        except ImportError as error:
            raise MissingExtraError("engines behind HTTP", "lm") from error
        config = self.config
        address, login = login_of(config.base_url)
        key = os.environ.get(config.key_variable) or "none"
        self._client = httpx.AsyncClient(
            base_url=address.rstrip("/") + "/",
            headers={"Authorization": login or f"Bearer {key}"},
            # Answers have bounds of their own; more of them than this never run.
            timeout=httpx.Timeout(None, connect=config.connect_seconds),
            limits=httpx.Limits(max_connections=None),
            transport=self._transport,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections, which cancels their jobs; any number of times."""
        readers = [call.reader for call in self._calls.values() if call.reader is not None]
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def fill(
        self, job: str, prompt: _Prompt, *, salt: str = "", adapter: str | None = None
    ) -> int:
        """Have it read the prompt; returns tokens that were there, 0 where it does not tell."""
        reports = self.generate(job, prompt, max_tokens=1, adapter=adapter, salt=salt)
        cached = [report.cached_tokens async for report in reports]
        return max((one for one in cached if one is not None), default=0)

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
        """Write an answer. settings: see `generation_settings`. priority: lower is earlier. Closing
        the iterator cancels the job; one that is cancelled ends with what it has.

        Raises ConfigError where what is asked is refused; the errors of `engine_errors`.
        """
        if job in self._calls:
            raise ConfigError("the engine has a job of this name", where=job, hint="take another")
        config = generation_settings(max_tokens, schema, settings)
        body = request_body(
            self.config.dialect,
            self._model(adapter),
            prompt,
            config,
            chat=self.config.chat,
            priority=priority if self.config.priority else 0,
            salt=self._salt(salt),
        )
        size = -(-len(prompt) // _CHARACTERS) if isinstance(prompt, str) else len(prompt)
        call = self._calls[job] = _HttpCall(size)
        call.reader = asyncio.create_task(self._read(body, call))
        try:
            async for report in _reports(call):
                yield report
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

    async def free(self, prompt: _Prompt, *, salt: str = "") -> None:
        """Nothing is held but what the server's own cache has room for."""

    async def stats(self) -> EngineStats:
        """Our requests, and about what they hold. Raises EngineGoneError where it does not answer,
        EngineSilentError where not in time."""
        import httpx

        client = self._open_client()
        try:
            async with asyncio.timeout(self.config.connect_seconds):
                answer = await client.get("models")
        except TimeoutError as error:
            raise EngineSilentError(f"{self.name} does not answer") from error
        except httpx.TransportError as error:
            raise self._gone(error) from error
        if answer.status_code >= 500:
            raise EngineGoneError(
                f"the server answers {answer.status_code}", where=self.name, hint="see its log"
            )
        return EngineStats(len(self._calls), 0, sum(call.tokens for call in self._calls.values()))

    async def probe(self) -> None:
        """Have the model write a token: a server that lists its models may still write nothing.

        Raises as `generate`; EngineSilentError where it does not in `connect_seconds`.
        """
        told = (self.config.dialect, self.config.model, "Hi", GenerationConfig(max_tokens=1))
        # A salt of its own: what is asked here is nobody's.
        salt = salted("probe", self._secret) if self.capabilities.salt else ""
        call = _HttpCall(1)
        try:
            async with asyncio.timeout(self.config.connect_seconds):
                await self._read(request_body(*told, chat=self.config.chat, salt=salt), call)
        except TimeoutError as error:
            raise EngineSilentError(f"{self.name} does not answer") from error
        async for _ in _reports(call):
            pass

    async def _read(self, body: Mapping[str, Any], call: _HttpCall) -> None:
        """Put what the server sends into the events of the call."""
        import httpx

        end: Exception | None = None
        try:
            async for event in self._answered(body):
                call.tokens += event.text is not None
                call.events.put_nowait(event)
        except TimeoutError:
            end = EngineSilentError(f"{self.name} sent nothing for too long")
        except (httpx.ConnectError, httpx.ConnectTimeout, EngineGoneError) as error:
            end = self._gone(error)
        except httpx.HTTPError as error:
            end = EngineFailedError(f"the connection to {self.name} broke: {error!r}")
        except Exception as error:  # a refusal, or whatever a server made of its answer
            end = error
        finally:
            call.events.put_nowait(end)

    async def _answered(self, body: Mapping[str, Any]) -> AsyncIterator[ServerEvent]:
        sent = dict(body)
        for is_last in (self._renames_bound, True):
            if is_last:
                sent["max_completion_tokens"] = sent.pop("max_tokens")
            try:
                async for event in self._events(sent):
                    yield event
            except ConfigError as error:
                if is_last or "max_completion_tokens" not in error.what:
                    raise
                self._renames_bound = True
            else:
                return

    async def _events(self, body: Mapping[str, Any]) -> AsyncIterator[ServerEvent]:
        path = "chat/completions" if self.config.chat else "completions"
        config, client = self.config, self._open_client()
        finished = False
        async with asyncio.timeout(config.first_seconds) as bound:
            async with client.stream("POST", path, json=dict(body)) as answer:
                if answer.status_code != 200:
                    raise await _refusal(answer, self.name)
                async for data in _data_of(answer):
                    bound.reschedule(asyncio.get_running_loop().time() + config.piece_seconds)
                    if data == "[DONE]":
                        break
                    event = read_event(data)
                    finished |= event.finished
                    yield event
        if not finished:
            raise EngineFailedError(f"the answer of {self.name} broke off")

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

    def _open_client(self) -> httpx.AsyncClient:
        if self._client is None:
            raise EngineGoneError(
                "the engine is not open", where=self.name, hint="use `async with`"
            )
        return self._client

    def _gone(self, error: Exception) -> EngineGoneError:
        return EngineGoneError(
            f"the server cannot be reached: {error}" if str(error) else "it cannot be reached",
            where=self.name,
            hint="see whether it runs, and whether base_url is right",
        )


async def _reports(call: _HttpCall) -> AsyncIterator[EngineReport]:
    """What is reported of the events: the last report is sent once the server has told all."""
    cached = tokens = None
    while (event := await call.events.get()) is not None:
        if isinstance(event, Exception):
            raise event
        tokens = event.tokens if event.tokens is not None else tokens
        cached = event.cached if event.cached is not None else cached
        if event.text is not None:
            yield EngineReport(event.text, event.cached, False, event.logprobs)
    yield EngineReport("", cached, True, (), tokens)


async def _data_of(answer: httpx.Response) -> AsyncIterator[str]:
    """The data of the server-sent events. Raises EngineFailedError for one that does not end."""
    left = ""
    async for text in answer.aiter_text():
        *lines, left = (left + text).split("\n")
        if len(left) > _LONGEST:
            raise EngineFailedError("the server sends an event without an end")
        for line in lines:
            if line.startswith("data:"):
                yield line[5:].strip()


async def _refusal(answer: httpx.Response, name: str) -> Exception:
    """The error that an answer stands for which is no stream."""
    body = b""
    async for some in answer.aiter_bytes():
        body += some
        if len(body) > _LONGEST:
            break
    told = f"the server answered {answer.status_code}: {body[:300].decode('utf-8', 'replace')}"
    status = answer.status_code
    if status in _BUSY:
        return EngineBusyError(told, _seconds(answer.headers.get("retry-after")))
    if status in _OURS or status < 400 or b"model_not_found" in body:
        return EngineRefusesError(f"{told}, {name}")
    if status >= 500 or status == 408:
        return EngineFailedError(told)
    return ConfigError(told, where=name, hint="see its message")


def _seconds(told: str | None) -> float | None:
    try:
        return None if told is None else max(0.0, float(told))
    except ValueError:  # a date
        return None
