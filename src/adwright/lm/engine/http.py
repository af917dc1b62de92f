"""A language model behind an OpenAI-compatible endpoint: `adwright lm serve`, vLLM, SGLang, any
vendor.

    config = HttpConfig("http://127.0.0.1:8001/v1", model="smollm2-135m-instruct")
    with closing(HttpModel.open(config)) as model:
        print(model.generate(["The best tea"]).texts)

Messages go to /chat/completions, text to /completions. What the protocol has no field for
(top_k, repetition_penalty, a grammar) is sent in the fields of vLLM, and only where it is set, so
that a server without them answers with an error instead of ignoring it.

`OpenAIServer` is the client of all rooms: engines of programs ask with it, too. Nothing waits for
ever: a connection, the first piece of an answer and the next one have each their bound. What the
server says decides which error it is, see `engine_errors`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from queue import Empty, SimpleQueue
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    TypeGuard,
    TypeVar,
    cast,
)

import numpy as np
import numpy.typing as npt

from adwright.core.addresses import login_of, shown_address
from adwright.core.config import Count, Gt, Natural, settings
from adwright.core.errors import AdwrightError, ConfigError, MissingExtraError, ResourceError
from adwright.lm.engine.base import Engine, Vectors, cancelled_score
from adwright.lm.engine.generation import (
    FURTHER,
    Cancellation,
    Capabilities,
    Chat,
    Chunk,
    Completion,
    EngineBusyError,
    EngineFailedError,
    EngineGoneError,
    EngineRefusesError,
    EngineSilentError,
    FinishReason,
    GenerationConfig,
    Message,
    ModelInfo,
    Prompt,
    TokenPrompt,
    Usage,
)
from adwright.lm.engine.hf_tokens import HuggingFaceTokens

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

# --------------------------------------------------------------------------------------------------
# What servers of language models take beside OpenAI's protocol, and what their events say.
#
#     openai   nothing beside it: our own `adwright lm serve`, llama-server, vendors
#     vllm     priority: lower is earlier, and one that is not 0 only where the server was started
#              with --scheduling-policy priority. cache_salt: who has another one shares no prefix
#     sglang   priority: higher is earlier, where it was started with --enable-priority-scheduling.
#              cache_salt, as above; regex and ebnf in the place of structured_outputs
#
# Both tell in the usage how many tokens of a prompt were found, where they were started with
# --enable-prompt-tokens-details and --enable-cache-report.

Dialect = Literal["openai", "vllm", "sglang"]

#: What ends an answer in the middle, where the server says so.
_BROKEN = ("abort", "error")
#: Bytes of an event, or of an error, at the most.
_LONGEST = 1 << 20
#: A server takes no more for now; it refuses whoever asks, for a key, a model or an address.
_BUSY, _OURS = (429, 503), (401, 402, 403, 404, 405, 407, 410)
#: Seconds before a request is sent again: at first, and the longest.
_PAUSE, _LONGEST_PAUSE = 0.5, 8.0
_LOOK_SECONDS = 0.05


class ServerEvent(NamedTuple):
    """What one event of a stream says. text: a piece of the answer, None where it has none.
    reason: why the answer is complete; its usage may follow. cached, tokens, prompt: of the prompt
    that were found, of the answer, and of the prompt; None where it does not tell."""

    text: str | None = None
    logprobs: tuple[float, ...] = ()
    reason: str | None = None
    cached: int | None = None
    tokens: int | None = None
    prompt: int | None = None


def request_fields(config: GenerationConfig, row: int) -> dict[str, Any]:
    """The fields of a request that follow from the config; defaults are left out, but for
    temperature, whose default differs. row: whose seed it is."""
    fields: dict[str, Any] = {
        "max_tokens": config.max_tokens,
        "temperature": config.temperature,
        "seed": config.seed_of(row),
    }
    if config.top_p < 1:
        fields["top_p"] = config.top_p
    if config.stop:
        fields["stop"] = list(config.stop)
    if config.repetition_penalty != 1:
        fields["repetition_penalty"] = config.repetition_penalty
    if config.logit_bias:
        fields["logit_bias"] = {str(token): value for token, value in config.logit_bias}
    for name in (
        *("top_k", "min_p", "min_tokens", "ignore_eos"),
        *("frequency_penalty", "presence_penalty"),
    ):
        if getattr(config, name):
            fields[name] = getattr(config, name)
    if config.stop_token_ids:
        fields["stop_token_ids"] = list(config.stop_token_ids)
    if config.grammar is not None:
        fields["structured_outputs"] = {"grammar": config.grammar}
    if config.regex is not None:
        fields["structured_outputs"] = {"regex": config.regex}
    if config.json_schema is not None:
        schema = {"name": "answer", "schema": dict(config.json_schema), "strict": True}
        fields["response_format"] = {"type": "json_schema", "json_schema": schema}
    return fields


def request_body(
    model: str,
    prompt: Prompt | Sequence[int],
    config: GenerationConfig,
    *,
    dialect: Dialect = "openai",
    row: int = 0,
    chat: bool = False,
    priority: int = 0,
    salt: str = "",
) -> dict[str, Any]:
    """The body of a request for a stream. chat: a text is the only turn of a chat.

    Raises ConfigError where the server has no field for what is asked.
    """
    body: dict[str, Any] = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    body |= request_fields(config, row)
    turns: Sequence[Message] = prompt if _is_chat(prompt) else ()
    if chat and not turns:
        if not isinstance(prompt, str):
            raise ConfigError(
                "a chat takes no tokens", where="prompt", hint="give its text, or use completions"
            )
        turns = (Message("user", prompt),)
    if turns:
        body["messages"] = [{"role": one.role, "content": one.content} for one in turns]
        if isinstance(turns, Chat) and turns.settings:
            body["chat_template_kwargs"] = dict(turns.settings)
    else:
        body["prompt"] = prompt if isinstance(prompt, str) else list(_ids(prompt))
    if config.logprobs:
        body["logprobs"] = True if turns else 1
    match dialect:
        case "vllm":
            body |= {"priority": priority} if priority else {}
        case "sglang":
            form = body.pop("structured_outputs", {})
            body |= {"ebnf" if name == "grammar" else name: text for name, text in form.items()}
            body |= {"priority": -priority} if priority else {}
        case "openai":
            salt = ""
    return body | ({"cache_salt": salt} if salt else {})


def _is_chat(prompt: Any) -> TypeGuard[Sequence[Message]]:
    return not isinstance(prompt, str | TokenPrompt) and isinstance(next(iter(prompt), 0), Message)


def _ids(prompt: Any) -> Sequence[int]:
    return prompt.ids if isinstance(prompt, TokenPrompt) else prompt


def read_event(data: str) -> ServerEvent:
    """What an event says. Raises EngineFailedError where it is none, or tells of an error."""
    try:
        told = json.loads(data)
    except ValueError as error:
        raise EngineFailedError(f"the server sent no JSON: {data[:80]!r}") from error
    if not isinstance(told, dict) or "error" in told:
        raise EngineFailedError(f"the server broke off: {_message(told)}")
    usage = told.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    cached, tokens = details.get("cached_tokens"), usage.get("completion_tokens")
    counts = cached, tokens, usage.get("prompt_tokens")
    choices = told.get("choices") or []
    if not choices:
        return ServerEvent(None, (), None, *counts)
    try:
        choice = choices[0]
        reason, delta = choice.get("finish_reason"), choice.get("delta") or {}
        text = delta.get("content", "") if "delta" in choice else choice["text"]
        event = ServerEvent(text or "", _logprobs(choice), reason, *counts)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise EngineFailedError(f"the server sent no answer: {data[:80]!r}") from error
    if reason in _BROKEN:
        raise EngineFailedError(f"the server ended the answer: {reason}")
    return event


def _logprobs(choice: Mapping[str, Any]) -> tuple[float, ...]:
    told = choice.get("logprobs") or {}
    if "content" in told:
        return tuple(float(one["logprob"]) for one in told["content"] or ())
    return tuple(float(one) for one in told.get("token_logprobs") or () if one is not None)


def _message(told: object) -> str:
    error = told.get("error") if isinstance(told, dict) else told
    found = error.get("message", error) if isinstance(error, dict) else error
    return str(found)[:300]


class OpenAIServer:
    """A client of one server; belongs to one event loop.

    base_url: up to and with /v1. key_variable: the environment variable that holds the key; the
    key itself is never stored. Where it is not set, a placeholder is sent. connect, first, piece:
    seconds for a connection, the first piece of an answer, and each further one. transport: how it
    is reached, in the place of the network. Raises MissingExtraError without httpx.
    """

    def __init__(
        self,
        base_url: str,
        *,
        key_variable: str,
        connect: float,
        first: float,
        piece: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingExtraError("language models over HTTP", "lm") from error
        self.name = shown_address(base_url)
        self._connect, self._first, self._piece = connect, first, piece
        address, login = login_of(base_url)
        key = os.environ.get(key_variable) or "none"
        self._client = httpx.AsyncClient(
            base_url=address.rstrip("/") + "/",
            headers={"Authorization": login or f"Bearer {key}"},
            # Answers have bounds of their own; more of them than this never run.
            timeout=httpx.Timeout(None, connect=connect),
            limits=httpx.Limits(max_connections=None),
            transport=transport,
        )
        #: Learned from a refusal: newer models of OpenAI's call the bound of a chat otherwise.
        self._renames_bound = False

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def events(self, body: Mapping[str, Any]) -> AsyncGenerator[ServerEvent, None]:
        """The events of an answer, see `request_body`. Closing the iterator closes the connection,
        which ends the work.

        Raises ConfigError where what is asked is refused; the errors of `engine_errors`.
        """
        sent = dict(body)
        for is_last in (self._renames_bound, True):
            if is_last and "max_tokens" in sent:
                sent["max_completion_tokens"] = sent.pop("max_tokens")
            try:
                with self._translated():
                    async with aclosing(self._streamed(sent)) as found:
                        async for event in found:
                            yield event
            except ConfigError as error:
                if is_last or "max_completion_tokens" not in error.what:
                    raise
                self._renames_bound = True
            else:
                return

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON of an answer that is no stream. Raises as `events`."""
        with self._translated():
            async with asyncio.timeout(self._first):
                answer = await self._client.request(method, path, json=body)
        if answer.status_code != 200:
            raise refusal(answer, answer.content, self.name)
        return answer.json()

    async def lists_models(self) -> None:
        """Raise EngineGoneError where it does not answer, or is ill; EngineSilentError where it
        does not in time. A refusal is an answer."""
        try:
            async with asyncio.timeout(self._connect):
                await self.ask("GET", "models")
        except TimeoutError as error:
            raise EngineSilentError(f"{self.name} does not answer") from error
        except EngineFailedError as error:
            if not isinstance(error, EngineRefusesError):
                raise EngineGoneError(str(error), where=self.name, hint="see its log") from error

    async def _streamed(self, body: Mapping[str, Any]) -> AsyncGenerator[ServerEvent, None]:
        path = "chat/completions" if "messages" in body else "completions"
        finished = False
        async with asyncio.timeout(self._first) as bound:
            async with self._client.stream("POST", path, json=dict(body)) as answer:
                if answer.status_code != 200:
                    told = b""
                    async for some in answer.aiter_bytes():
                        told += some
                        if len(told) > _LONGEST:
                            break
                    raise refusal(answer, told, self.name)
                async for data in _data_of(answer):
                    bound.reschedule(asyncio.get_running_loop().time() + self._piece)
                    if data == "[DONE]":
                        break
                    event = read_event(data)
                    finished |= event.reason is not None
                    yield event
        if not finished:
            raise EngineFailedError(f"the answer of {self.name} broke off")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise errors of the transport as ours; they hold no key."""
        import httpx

        try:
            yield
        except EngineFailedError:
            raise
        except TimeoutError as error:
            raise EngineSilentError(f"{self.name} sent nothing for too long") from error
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise EngineGoneError(
                f"the server cannot be reached: {error}" if str(error) else "it cannot be reached",
                where=self.name,
                hint="see whether it runs, and whether base_url is right",
            ) from error
        except httpx.HTTPError as error:
            raise EngineFailedError(f"the connection to {self.name} broke: {error!r}") from error


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


def refusal(answer: httpx.Response, body: bytes, name: str) -> Exception:
    """The error that an answer stands for which is not as it was asked for."""
    told = f"the endpoint answered {answer.status_code}: {body[:300].decode('utf-8', 'replace')}"
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


@settings
class HttpConfig:
    """Where the endpoint is, and how it is called.

    base_url: up to and with /v1. model: as the endpoint names it.
    key_variable: the environment variable that holds the key; the key itself is never stored.
        Where it is not set, a placeholder is sent.
    timeout_seconds: for an answer, or for the next piece of it. retries: after a 429, a 5xx or a
        broken connection, with growing pauses.
    concurrency: requests at a time, for the prompts of one call.
    tokenizer: folder or hub name of the model's tokeniser, for `tokens`; empty: none.

    Raises ConfigError that names the setting.
    """

    engine: ClassVar[str] = "http"
    package: ClassVar[str] = "httpx"
    extra: ClassVar[str] = "lm"
    capabilities: ClassVar[Capabilities] = Capabilities(
        title="HTTP",
        models="what the endpoint has",
        batching="as the endpoint does",
        prefix="as the endpoint does",
        score="where it echoes: `adwright lm serve`, vLLM",
        embed="yes",
        constraint="as the endpoint does",
    )

    base_url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    timeout_seconds: Annotated[float, Gt(0)] = 120.0
    retries: Natural = 2
    concurrency: Count = 8
    tokenizer: str = ""

    def __post_init__(self) -> None:
        require_address(self.base_url)


def require_address(base_url: str) -> None:
    """Raise ConfigError for what is no address of HTTP."""
    if not base_url.startswith(("http://", "https://")):
        raise ConfigError(
            "base_url must begin with http:// or https://",
            where=f"base_url {base_url!r}",
            hint="for example http://127.0.0.1:8001/v1",
        )


class HttpModel(Engine):
    """An endpoint as a LanguageModel.

    Token ids are not part of the protocol: those of its answers are empty. Errors of the endpoint
    are a ConfigError where it refused the request, otherwise a ResourceError.
    """

    def __init__(self, config: HttpConfig, server: OpenAIServer) -> None:
        self._config, self._server = config, server
        # Tokens are not part of the protocol, nor is the notation of llguidance.
        self._info = ModelInfo(config.model, "http", 0, "", FURTHER - {"top_logprobs", "lark"})
        self._tokens: HuggingFaceTokens | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="adwright-http", daemon=True
        )
        self._thread.start()

    @classmethod
    def open(cls, config: HttpConfig) -> HttpModel:
        """Make the client; nothing is sent yet. Raises MissingExtraError without httpx."""
        seconds = config.timeout_seconds
        server = OpenAIServer(
            config.base_url,
            key_variable=config.key_variable,
            connect=seconds,
            first=seconds,
            piece=seconds,
        )
        return cls(config, server)

    @property
    def tokens(self) -> HuggingFaceTokens:
        """The tokeniser named in the config. Raises ConfigError where none is."""
        if not self._config.tokenizer:
            raise ConfigError(
                "an endpoint does not tell its tokens",
                where="tokenizer",
                hint="name the tokeniser of the model in the config",
            )
        if self._tokens is None:
            self._tokens = HuggingFaceTokens.load(self._config.tokenizer)
        return self._tokens

    def close(self) -> None:
        """Close the connections."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._server.close(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _complete(
        self, prompts: Sequence[Prompt], config: GenerationConfig, cancel: Cancellation | None
    ) -> list[Completion]:
        """Each by a request of its own, streamed so that it can be cancelled on the way."""

        def one(row: int) -> Completion:
            chunks = list(self._stream(prompts[row], row, config, cancel))
            logprobs = tuple(value for chunk in chunks for value in chunk.logprobs or ())
            return Completion(
                "".join(chunk.text for chunk in chunks),
                (),
                logprobs if config.logprobs else None,
                chunks[-1].finish_reason or "cancelled",
                chunks[-1].usage or Usage(),
            )

        return self._each(one, len(prompts))

    def _chunks(
        self, prompt: Prompt, config: GenerationConfig, cancel: Cancellation | None
    ) -> Iterator[Chunk]:
        """Closing the iterator closes the connection, which ends the work."""
        return self._stream(prompt, 0, config, cancel)

    def _log_probabilities(
        self,
        prompts: Sequence[Prompt],
        continuations: Sequence[str | TokenPrompt],
        cancel: Cancellation | None,
    ) -> list[npt.NDArray[np.float64]]:
        """From the echo of /completions. Few endpoints have it: `adwright lm serve` and vLLM.

        Prompts are text or tokens. The endpoint turns a pair of texts into tokens as one text, so
        a token may reach across the border; it counts to the prompt.
        """

        def one(row: int) -> npt.NDArray[np.float64]:
            if cancel is not None and cancel.cancelled:
                raise cancelled_score()
            return self._score(prompts[row], continuations[row])

        return self._each(one, len(prompts))

    def _vectors(self, texts: list[str | TokenPrompt], cancel: Cancellation | None) -> Vectors:
        """What /embeddings gives, scaled to length 1; texts and tokens in requests of their own."""
        found: dict[int, npt.NDArray[np.float32]] = {}
        for kind in (str, TokenPrompt):
            rows = [row for row, one in enumerate(texts) if isinstance(one, kind)]
            if rows:
                sent = [texts[row] for row in rows]
                ids = [list(one.ids) if isinstance(one, TokenPrompt) else one for one in sent]
                body = {"model": self._config.model, "input": ids, "encoding_format": "base64"}
                told = self._ask("embeddings", body)["data"]
                vectors = [_vector(one["embedding"]) for one in sorted(told, key=_index)]
                found |= dict(zip(rows, vectors, strict=True))
        matrix = np.stack([found[row] for row in range(len(texts))]).astype(np.float32)
        length = np.linalg.norm(matrix, axis=1, keepdims=True)
        unit: Vectors = matrix / np.maximum(length, 1e-12)
        return unit.astype(np.float32)

    def _each(self, one: Callable[[int], T], count: int) -> list[T]:
        """Call `one` for rows 0 to count - 1, `concurrency` at a time."""
        with ThreadPoolExecutor(self._config.concurrency) as pool:
            return list(pool.map(one, range(count)))

    def _stream(
        self, prompt: Prompt, row: int, config: GenerationConfig, cancel: Cancellation | None
    ) -> Iterator[Chunk]:
        arrived: SimpleQueue[ServerEvent | None] = SimpleQueue()
        body = request_body(self._config.model, prompt, config, row=row)

        async def read() -> None:
            async with aclosing(self._server.events(body)) as events:
                async for event in events:
                    begun.set()
                    arrived.put(event)

        async def whole() -> None:
            try:
                await self._tried(read, begun)
            finally:
                arrived.put(None)

        reason: str | None = None
        usage, begun = Usage(), threading.Event()
        work = self._run(whole())
        try:
            while cancel is None or not cancel.cancelled:
                try:
                    event = arrived.get(timeout=_LOOK_SECONDS)
                except Empty:
                    continue
                if event is None:
                    break
                if event.tokens is not None:
                    usage = Usage(event.prompt or 0, event.tokens)
                reason = event.reason or reason
                if event.text is not None:
                    yield Chunk(event.text, (), event.logprobs if config.logprobs else None)
            else:
                reason = "cancelled"
            if reason != "cancelled":
                with self._translated():
                    work.result()
        finally:
            work.cancel()
        last: FinishReason = "stop"
        if reason in ("length", "cancelled"):
            last = cast(FinishReason, reason)
        yield Chunk("", (), () if config.logprobs else None, last, usage)

    def _score(self, prompt: Prompt, after: str | TokenPrompt) -> npt.NDArray[np.float64]:
        match prompt, after:
            case str(), str():
                whole: Any = prompt + after
                begin = len(prompt)
            case TokenPrompt(), TokenPrompt():
                whole = [*prompt.ids, *after.ids]
                begin = len(prompt.ids)
            case _:
                raise ConfigError(
                    "an endpoint scores two texts, or two lists of tokens",
                    where="prompts",
                    hint="pass both in the same form",
                )
        body = {"model": self._config.model, "prompt": whole, "max_tokens": 0}
        told = self._ask("completions", body | {"echo": True, "logprobs": 1})["choices"][0]
        logprobs = told.get("logprobs") or {}
        if logprobs.get("token_logprobs") is None:
            raise ConfigError(
                "the endpoint does not echo log-probabilities",
                where=self._config.base_url,
                hint="score on an engine of this process",
            )
        values = [np.nan if value is None else value for value in logprobs["token_logprobs"]]
        if isinstance(prompt, str):
            offsets = logprobs.get("text_offset") or []
            values = [value for value, at in zip(values, offsets, strict=True) if at >= begin]
        else:
            values = values[begin:]
        return np.array(values, dtype=np.float64)

    def ask(self, path: str, body: Mapping[str, Any]) -> Any:
        """What the server answers to a body of JSON at another of its paths, such as "rerank"."""
        return self._ask(path, body)

    def _ask(self, path: str, body: Mapping[str, Any]) -> Any:
        with self._translated():
            return self._run(self._tried(lambda: self._server.ask("POST", path, body))).result()

    def _run(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _tried(
        self, work: Callable[[], Coroutine[Any, Any, T]], begun: threading.Event | None = None
    ) -> T:
        """What `work` returns, which is tried again where another time may go better, unless it has
        `begun` to answer."""
        tries = 0
        while True:
            try:
                return await work()
            except (EngineFailedError, EngineGoneError) as error:
                is_final = isinstance(error, EngineRefusesError) or (begun and begun.is_set())
                if tries >= self._config.retries or is_final:
                    raise
                pause = min(_LONGEST_PAUSE, _PAUSE * 2**tries)
                await asyncio.sleep(getattr(error, "retry_after", None) or pause)
                tries += 1

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise what went wrong as an error of the package."""
        where, hint = self._server.name, "see its message, and its log"
        try:
            yield
        except AdwrightError:
            raise
        except EngineRefusesError as error:
            raise ConfigError(str(error), where=where, hint=hint) from error
        except EngineFailedError as error:
            raise ResourceError(str(error), where=where, hint=hint) from error


def _index(told: Mapping[str, Any]) -> int:
    return int(told["index"])


def _vector(told: Any) -> npt.NDArray[np.float32]:
    if isinstance(told, str):
        return np.frombuffer(base64.b64decode(told), dtype="<f4")
    return np.asarray(told, dtype=np.float32)
