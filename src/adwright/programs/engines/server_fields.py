"""What servers of language models take beside OpenAI's protocol, and what their events say.

    openai   nothing beside it: our own `adwright lm serve`, llama-server, vendors
    vllm     priority: lower is earlier, and one that is not 0 only where the server was started
             with --scheduling-policy priority. cache_salt: who has another one shares no prefix
    sglang   priority: higher is earlier, where it was started with --enable-priority-scheduling.
             cache_salt, as above; regex and ebnf in the place of structured_outputs

Both tell in the usage how many tokens of a prompt were found, where they were started with
--enable-prompt-tokens-details and --enable-cache-report.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.engine.http import request_fields
from adwright.programs.engines.engine_errors import EngineFailedError

Dialect = Literal["openai", "vllm", "sglang"]

#: What ends an answer in the middle, where the server says so.
_BROKEN = ("abort", "error")


class ServerEvent(NamedTuple):
    """What one event of a stream says. text: a piece of the answer, None where it has none.
    finished: whether the answer is complete; its usage may follow. cached, tokens: of the prompt
    that were found, and of the answer; None where it does not tell."""

    text: str | None = None
    logprobs: tuple[float, ...] = ()
    finished: bool = False
    cached: int | None = None
    tokens: int | None = None


def salted(salt: str, secret: str) -> str:
    """A salt that tells nobody whose it is, and that nobody can guess without the secret."""
    key = hashlib.blake2b(secret.encode(), digest_size=32).digest()
    return hashlib.blake2b(salt.encode("utf-8", "surrogatepass"), key=key).hexdigest()


def request_body(
    dialect: Dialect,
    model: str,
    prompt: str | Sequence[int],
    config: GenerationConfig,
    *,
    chat: bool,
    priority: int = 0,
    salt: str = "",
) -> dict[str, Any]:
    """The body of a request for a stream. chat: the prompt is the only turn of a chat.

    Raises ConfigError where the server has no field for what is asked.
    """
    fields = request_fields(config, 0)
    body: dict[str, Any] = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    body |= fields.pop("extra_body", {}) | fields
    if chat:
        if not isinstance(prompt, str):
            raise ConfigError(
                "a chat takes no tokens", where="prompt", hint="give its text, or use completions"
            )
        body["messages"] = [{"role": "user", "content": prompt}]
        if config.logprobs:
            body["logprobs"] = True
    else:
        body["prompt"] = prompt if isinstance(prompt, str) else list(prompt)
        if config.logprobs:
            body["logprobs"] = 1
    match dialect:
        case "vllm":
            if priority:
                body["priority"] = priority
        case "sglang":
            form = body.pop("structured_outputs", {})
            body |= {"ebnf" if name == "grammar" else name: text for name, text in form.items()}
            if priority:
                body["priority"] = -priority
        case "openai":
            salt = ""
    return body | ({"cache_salt": salt} if salt else {})


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
    counts = details.get("cached_tokens"), usage.get("completion_tokens")
    choices = told.get("choices") or []
    if not choices:
        return ServerEvent(None, (), False, *counts)
    try:
        choice = choices[0]
        reason, delta = choice.get("finish_reason"), choice.get("delta") or {}
        text = delta.get("content", "") if "delta" in choice else choice["text"]
        event = ServerEvent(text or "", _logprobs(choice), reason is not None, *counts)
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
