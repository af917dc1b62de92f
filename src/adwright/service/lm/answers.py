"""From the bodies of the OpenAI protocol to prompts and settings, and from answers back to it."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from adwright.lm.engine.generation import (
    Cancellation,
    Chunk,
    Completion,
    Completions,
    FinishReason,
    GenerationConfig,
    Message,
    Prompt,
    TokenPrompt,
    Usage,
)
from adwright.lm.engine.language_model import LanguageModel, Tokenizer
from adwright.lm.engine.prompts import cancelled_score, require_text
from adwright.lm.engine.stopping import AnswerText
from adwright.service.lm.config import LmServiceConfig
from adwright.service.lm.schemas import ChatIn, CompletionIn, EmbeddingIn, SamplingIn
from adwright.web.errors import ApiError

__all__ = [
    "Kind",
    "answer_of",
    "chunk_event",
    "echo_of",
    "embeddings_of",
    "new_id",
    "opening_event",
    "prompts_of",
    "settings_of",
    "usage_event",
    "usage_of",
]

#: Which of the two endpoints answers.
Kind = Literal["chat", "completion"]

_OBJECTS = {
    ("chat", False): "chat.completion",
    ("chat", True): "chat.completion.chunk",
    ("completion", False): "text_completion",
    ("completion", True): "text_completion",
}


def new_id(kind: Kind) -> str:
    """Make an id for an answer that cannot be guessed."""
    return ("chatcmpl-" if kind == "chat" else "cmpl-") + secrets.token_hex(12)


def settings_of(body: ChatIn | CompletionIn, limits: LmServiceConfig) -> GenerationConfig:
    """Settings of a request. Raises ApiError where more is asked for than the service allows."""
    match body:
        case ChatIn():
            asked = body.max_completion_tokens or body.max_tokens or limits.max_tokens
            logprobs = body.logprobs
        case CompletionIn():
            asked = max(1, body.max_tokens)
            logprobs = body.logprobs is not None
    if asked > limits.max_tokens:
        raise ApiError(422, f"max_tokens is at most {limits.max_tokens} here")
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    schema, grammar = _form(body)
    return GenerationConfig(
        max_tokens=asked,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=max(0, body.top_k),
        # Two callers who name no seed want two answers.
        seed=secrets.randbelow(2**31) if body.seed is None else body.seed,
        stop=tuple(one for one in stop if one),
        repetition_penalty=body.repetition_penalty,
        json_schema=schema,
        grammar=grammar,
        logprobs=logprobs,
    )


def prompts_of(body: ChatIn | CompletionIn, limits: LmServiceConfig) -> list[Prompt]:
    """Prompts of a request, each as often as answers to it are asked for.

    Raises ApiError where these are too many.
    """
    found: list[Prompt] = []
    match body:
        case ChatIn():
            found = [tuple(Message(one.role, _text(one.content)) for one in body.messages)]
        case CompletionIn(prompt=str() as text):
            found = [text]
        case CompletionIn(prompt=many):
            for one in [many] if isinstance(many[0], int) else many:
                found.append(one if isinstance(one, str) else TokenPrompt(tuple(one)))  # type: ignore[arg-type]
    if len(found) * body.n > limits.max_texts:
        raise ApiError(422, f"one request has at most {limits.max_texts} answers here")
    return [prompt for prompt in found for _ in range(body.n)]


def answer_of(
    kind: Kind, name: str, answers: Completions, tokens: Tokenizer, now: int, n: int = 1
) -> dict[str, Any]:
    """The body of an answer that is not streamed. n: answers to each prompt, which is counted
    once."""
    choices = [_choice(kind, row, one, tokens) for row, one in enumerate(answers)]
    usage = Usage(
        sum(one.usage.prompt_tokens for one in answers.rows[::n]),
        answers.usage.completion_tokens,
    )
    return _envelope(kind, new_id(kind), name, now) | {
        "choices": choices,
        "usage": usage_of(usage),
    }


def opening_event(kind: Kind, ident: str, name: str, now: int) -> dict[str, Any] | None:
    """The event that begins a streamed chat; completions begin with their first piece."""
    if kind == "completion":
        return None
    delta = {"role": "assistant", "content": ""}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    return _envelope(kind, ident, name, now, streamed=True) | {"choices": [choice]}


def chunk_event(
    kind: Kind, ident: str, name: str, now: int, chunk: Chunk, tokens: Tokenizer
) -> dict[str, Any]:
    """One piece of a streamed answer."""
    logprobs = _logprobs(kind, chunk.token_ids, chunk.logprobs, tokens)
    content: dict[str, Any] = (
        {"delta": {"content": chunk.text}} if kind == "chat" else {"text": chunk.text}
    )
    choice = {
        "index": 0,
        "logprobs": logprobs,
        "finish_reason": _reason(chunk.finish_reason),
        **content,
    }
    return _envelope(kind, ident, name, now, streamed=True) | {"choices": [choice]}


def usage_event(kind: Kind, ident: str, name: str, now: int, usage: Usage) -> dict[str, Any]:
    """The last event, where it was asked for."""
    empty: list[Any] = []
    return _envelope(kind, ident, name, now, streamed=True) | {
        "choices": empty,
        "usage": usage_of(usage),
    }


def echo_of(
    name: str, model: LanguageModel, prompts: Sequence[Prompt], now: int, cancel: Cancellation
) -> dict[str, Any]:
    """The prompts themselves with the log-probability of each of their tokens but the first.

    Raises ResourceError where it is cancelled.
    """
    for row, prompt in enumerate(prompts):
        if isinstance(prompt, str):
            require_text(prompt, row=row)
    rows = [
        list(prompt.ids) if isinstance(prompt, TokenPrompt) else model.tokens.encode(str(prompt))
        for prompt in prompts
    ]
    if any(len(ids) < 2 for ids in rows):
        raise ApiError(422, "an echoed prompt needs at least two tokens")
    scores = model.score(
        [TokenPrompt(tuple(ids[:1])) for ids in rows],
        [TokenPrompt(tuple(ids[1:])) for ids in rows],
        cancel=cancel,
    )
    choices = []
    for row, ids in enumerate(rows):
        text = AnswerText(model.tokens.decode)
        offsets = []
        for one in ids:
            if cancel.cancelled:
                raise cancelled_score()
            offsets.append(len(text.text))
            text.add(one)
        text.finish()
        logprobs = {
            "tokens": [model.tokens.decode([one]) for one in ids],
            "token_logprobs": [None, *scores.token_logprobs[row].tolist()],
            "text_offset": offsets,
            "top_logprobs": None,
        }
        choices.append(
            {"index": row, "text": text.text, "logprobs": logprobs, "finish_reason": "length"}
        )
    usage = usage_of(Usage(sum(map(len, rows)), 0))
    return _envelope("completion", new_id("completion"), name, now) | {
        "choices": choices,
        "usage": usage,
    }


def embeddings_of(
    body: EmbeddingIn, vectors: npt.NDArray[np.float32], tokens: int
) -> dict[str, Any]:
    """The body of an answer of /v1/embeddings. vectors: float32 [B, D]."""
    rows: list[Any] = vectors.tolist()
    if body.encoding_format == "base64":
        rows = [base64.b64encode(one.astype("<f4").tobytes()).decode("ascii") for one in vectors]
    data = [{"object": "embedding", "index": row, "embedding": one} for row, one in enumerate(rows)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": body.model, "data": data, "usage": usage}


def usage_of(usage: Usage) -> dict[str, int]:
    """Usage in the form of the protocol."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _form(body: SamplingIn) -> tuple[dict[str, Any] | None, str | None]:
    """The JSON schema or the grammar that is asked for."""
    if body.structured_outputs is not None:
        return body.structured_outputs.json_, body.structured_outputs.grammar
    wanted = body.response_format
    if wanted is None or wanted.type == "text":
        return None, None
    if wanted.json_schema is None:
        return {"type": "object"}, None
    return wanted.json_schema.schema_, None


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)


def _envelope(
    kind: Kind, ident: str, name: str, now: int, *, streamed: bool = False
) -> dict[str, Any]:
    return {"id": ident, "object": _OBJECTS[kind, streamed], "created": now, "model": name}


def _choice(kind: Kind, row: int, one: Completion, tokens: Tokenizer) -> dict[str, Any]:
    content: dict[str, Any] = (
        {"message": {"role": "assistant", "content": one.text}}
        if kind == "chat"
        else {"text": one.text}
    )
    return {
        "index": row,
        "logprobs": _logprobs(kind, one.token_ids, one.logprobs, tokens),
        "finish_reason": _reason(one.finish_reason),
        **content,
    }


def _logprobs(
    kind: Kind, ids: Sequence[int], logprobs: Sequence[float] | None, tokens: Tokenizer
) -> dict[str, Any] | None:
    if logprobs is None:
        return None
    words = [tokens.decode([one]) for one in ids]
    if kind == "completion":
        return {
            "tokens": words,
            "token_logprobs": list(logprobs),
            "text_offset": None,
            "top_logprobs": None,
        }
    content = [
        {
            "token": word,
            "logprob": value,
            "bytes": list(word.encode("utf-8")),
            "top_logprobs": [],
        }
        for word, value in zip(words, logprobs, strict=True)
    ]
    return {"content": content, "refusal": None}


def _reason(reason: FinishReason | None) -> str | None:
    # The protocol has no word for cancelled; who still listens had all that the time was for.
    return "length" if reason == "cancelled" else reason
