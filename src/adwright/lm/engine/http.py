"""A language model behind an OpenAI-compatible endpoint: `adwright lm serve`, vLLM, SGLang, any
vendor.

    config = HttpConfig("http://127.0.0.1:8001/v1", model="smollm2-135m-instruct")
    with closing(HttpModel.open(config)) as model:
        print(model.generate(["The best tea"]).texts)

Messages go to /chat/completions, text to /completions. What the protocol has no field for
(top_k, repetition_penalty, a grammar) is sent in the fields of vLLM, and only where it is set, so
that a server without them answers with an error instead of ignoring it.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from adwright.core.addresses import login_of
from adwright.core.errors import AdwrightError, ConfigError, MissingExtraError, ResourceError
from adwright.lm.engine.base import Engine, Vectors, cancelled_score
from adwright.lm.engine.generation import (
    FURTHER,
    Cancellation,
    Capabilities,
    Chat,
    Chunk,
    Completion,
    FinishReason,
    GenerationConfig,
    ModelInfo,
    Prompt,
    TokenPrompt,
    Usage,
    check_least,
)
from adwright.lm.engine.hf_tokens import HuggingFaceTokens

if TYPE_CHECKING:
    from openai import OpenAI

T = TypeVar("T")


@dataclass(frozen=True)
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
    package: ClassVar[str] = "openai"
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
    timeout_seconds: float = 120.0
    retries: int = 2
    concurrency: int = 8
    tokenizer: str = ""

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ConfigError(
                "base_url must begin with http:// or https://",
                where=f"base_url {self.base_url!r}",
                hint="for example http://127.0.0.1:8001/v1",
            )
        check_least(self, {"timeout_seconds": 0.001, "retries": 0, "concurrency": 1})


class HttpModel(Engine):
    """An endpoint as a LanguageModel.

    Token ids are not part of the protocol: those of its answers are empty. Errors of the endpoint
    are a ConfigError where it refused the request, otherwise a ResourceError.
    """

    def __init__(self, config: HttpConfig, client: OpenAI) -> None:
        self._config = config
        self._client: Any = client
        # Tokens are not part of the protocol, nor is the notation of llguidance.
        self._info = ModelInfo(config.model, "http", 0, "", FURTHER - {"top_logprobs", "lark"})
        self._tokens: HuggingFaceTokens | None = None
        #: Learned from a refusal: newer models of OpenAI's call the bound of a chat otherwise.
        self._renames_bound = False

    @classmethod
    def open(cls, config: HttpConfig) -> HttpModel:
        """Make the client; nothing is sent yet. Raises MissingExtraError without openai."""
        try:
            from openai import OpenAI
        except ImportError as error:
            raise MissingExtraError("language models over HTTP", "lm") from error
        address, login = login_of(config.base_url)
        client = OpenAI(
            base_url=address,
            api_key=os.environ.get(config.key_variable) or "none",
            default_headers={"Authorization": login} if login else None,
            timeout=config.timeout_seconds,
            max_retries=config.retries,
        )
        return cls(config, client)

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
        self._client.close()

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
                found |= dict(zip(rows, self._embedded(ids), strict=True))
        matrix = np.stack([found[row] for row in range(len(texts))]).astype(np.float32)
        length = np.linalg.norm(matrix, axis=1, keepdims=True)
        unit: Vectors = matrix / np.maximum(length, 1e-12)
        return unit.astype(np.float32)

    def _embedded(self, sent: list[Any]) -> list[npt.NDArray[np.float32]]:
        with self._translated():
            found = self._client.embeddings.create(
                model=self._config.model, input=sent, encoding_format="base64"
            )
        return [_vector(one.embedding) for one in sorted(found.data, key=lambda one: one.index)]

    def _each(self, one: Callable[[int], T], count: int) -> list[T]:
        """Call `one` for rows 0 to count - 1, `concurrency` at a time."""
        with ThreadPoolExecutor(self._config.concurrency) as pool:
            return list(pool.map(one, range(count)))

    def _stream(
        self, prompt: Prompt, row: int, config: GenerationConfig, cancel: Cancellation | None
    ) -> Iterator[Chunk]:
        if cancel is not None and cancel.cancelled:
            yield Chunk("", finish_reason="cancelled", usage=Usage())
            return
        reason: FinishReason | None = None
        usage = Usage()
        with self._translated(), self._request(prompt, row, config) as events:
            for event in events:
                if event.usage is not None:
                    usage = Usage(event.usage.prompt_tokens, event.usage.completion_tokens)
                if cancel is not None and cancel.cancelled:
                    reason = "cancelled"
                    break
                if event.choices:
                    choice = event.choices[0]
                    reason = _reason(choice.finish_reason) or reason
                    yield Chunk(_text(choice), (), _logprobs(choice) if config.logprobs else None)
        yield Chunk("", (), () if config.logprobs else None, reason or "stop", usage)

    def _request(self, prompt: Prompt, row: int, config: GenerationConfig) -> Any:
        fields = request_fields(config, row)
        fields |= {"model": self._config.model, "stream": True}
        fields["stream_options"] = {"include_usage": True}
        match prompt:
            case str() | TokenPrompt():
                if config.logprobs:
                    fields["logprobs"] = 1
                text = list(prompt.ids) if isinstance(prompt, TokenPrompt) else prompt
                return self._client.completions.create(prompt=text, **fields)
            case _:
                if config.logprobs:
                    fields["logprobs"] = True
                turns = [{"role": turn.role, "content": turn.content} for turn in prompt]
                if isinstance(prompt, Chat) and prompt.settings:
                    told = {"chat_template_kwargs": dict(prompt.settings)}
                    fields["extra_body"] = fields.get("extra_body", {}) | told
                return self._chat(turns, fields)

    def _chat(self, turns: list[dict[str, str]], fields: dict[str, Any]) -> Any:
        import openai

        if self._renames_bound:
            fields["max_completion_tokens"] = fields.pop("max_tokens")
        try:
            return self._client.chat.completions.create(messages=turns, **fields)
        except openai.BadRequestError as error:
            if "max_completion_tokens" not in error.message or "max_tokens" not in fields:
                raise
        self._renames_bound = True
        fields["max_completion_tokens"] = fields.pop("max_tokens")
        return self._client.chat.completions.create(messages=turns, **fields)

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
        with self._translated():
            found = self._client.completions.create(
                model=self._config.model, prompt=whole, max_tokens=0, echo=True, logprobs=1
            )
        told = found.choices[0].logprobs
        if told is None or told.token_logprobs is None:
            raise ConfigError(
                "the endpoint does not echo log-probabilities",
                where=self._config.base_url,
                hint="score on an engine of this process",
            )
        values = [np.nan if value is None else value for value in told.token_logprobs]
        if isinstance(prompt, str):
            offsets = told.text_offset or []
            values = [value for value, at in zip(values, offsets, strict=True) if at >= begin]
        else:
            values = values[begin:]
        return np.array(values, dtype=np.float64)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise errors of the client as errors of ours; their messages hold no key."""
        import openai

        try:
            yield
        except AdwrightError:
            raise
        except openai.APIStatusError as error:
            kind = ResourceError if error.status_code in (408, 429) else ConfigError
            raise (ResourceError if error.status_code >= 500 else kind)(
                f"the endpoint answered {error.status_code}: {error.message}",
                where=self._config.base_url,
                hint="see its message, and its log",
            ) from error
        except Exception as error:
            # While a stream is read, the client passes on the errors of its transport.
            if not isinstance(error, openai.OpenAIError | OSError) and not _of_transport(error):
                raise
            raise ResourceError(
                f"the endpoint cannot be reached: {error}",
                where=self._config.base_url,
                hint="see whether it runs, and whether base_url is right",
            ) from error


def _of_transport(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0].startswith(("httpx", "httpcore"))


def request_fields(config: GenerationConfig, row: int) -> dict[str, Any]:
    """The fields of a request that follow from the config; defaults are left out, but for
    temperature, whose default differs. row: whose seed it is. Those that are not OpenAI's stand
    under "extra_body"."""
    fields: dict[str, Any] = {
        "max_tokens": config.max_tokens,
        "temperature": config.temperature,
        "seed": config.seed_of(row),
    }
    if config.top_p < 1:
        fields["top_p"] = config.top_p
    if config.stop:
        fields["stop"] = list(config.stop)
    extra: dict[str, Any] = {}
    if config.top_k:
        extra["top_k"] = config.top_k
    if config.repetition_penalty != 1:
        extra["repetition_penalty"] = config.repetition_penalty
    for name in ("frequency_penalty", "presence_penalty"):
        if getattr(config, name):
            fields[name] = getattr(config, name)
    if config.logit_bias:
        fields["logit_bias"] = {str(token): value for token, value in config.logit_bias}
    for name in ("min_p", "min_tokens", "ignore_eos"):
        if getattr(config, name):
            extra[name] = getattr(config, name)
    if config.stop_token_ids:
        extra["stop_token_ids"] = list(config.stop_token_ids)
    if config.grammar is not None:
        extra["structured_outputs"] = {"grammar": config.grammar}
    if config.regex is not None:
        extra["structured_outputs"] = {"regex": config.regex}
    if config.json_schema is not None:
        schema = {"name": "answer", "schema": dict(config.json_schema), "strict": True}
        extra["response_format"] = {"type": "json_schema", "json_schema": schema}
    return fields | ({"extra_body": extra} if extra else {})


def _reason(told: str | None) -> FinishReason | None:
    match told:
        case None:
            return None
        case "length":
            return "length"
        case _:
            return "stop"


def _text(choice: Any) -> str:
    delta = getattr(choice, "delta", None)
    return (choice.text if delta is None else delta.content) or ""


def _logprobs(choice: Any) -> tuple[float, ...]:
    told = choice.logprobs
    if told is None:
        return ()
    if hasattr(told, "token_logprobs"):
        return tuple(told.token_logprobs or ())
    return tuple(one.logprob for one in told.content or ())


def _vector(told: Any) -> npt.NDArray[np.float32]:
    if isinstance(told, str):
        return np.frombuffer(base64.b64decode(told), dtype="<f4")
    return np.asarray(told, dtype=np.float32)
