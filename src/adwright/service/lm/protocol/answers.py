"""Answers in the form of the OpenAI protocol, whole or as the events of a stream."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import (
    Chunk,
    Completion,
    Completions,
    FinishReason,
    Tokenizer,
    Top,
    Usage,
)
from adwright.service.lm.protocol.echoes import Echo, spelled
from adwright.service.lm.protocol.schemas import EmbeddingIn
from adwright.service.lm.protocol.tools import Call, CallReader, ToolForm, read_calls

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


def answer_of(
    kind: Kind,
    name: str,
    answers: Completions,
    tokens: Tokenizer,
    now: int,
    *,
    n: int = 1,
    tools: ToolForm | None = None,
    echoes: Sequence[Echo] | None = None,
) -> dict[str, Any]:
    """The body of an answer that is not streamed. n: answers to each prompt, which is counted
    once. tools: what they asked of the answers. echoes: of the prompts, to stand before them."""
    choices = [_choice(kind, row, one, tokens, tools) for row, one in enumerate(answers)]
    if echoes is not None:
        for row, choice in enumerate(choices):
            _put_before(choice, echoes[row // n], answers[row].token_ids, tokens)
    return _envelope(kind, new_id(kind), name, now) | {
        "choices": choices,
        "usage": usage_of(usage_once(answers, n)),
    }


def usage_once(answers: Completions, n: int) -> Usage:
    """Usage of answers, n to each prompt, which is counted once."""
    asked = sum((one.usage for one in answers.rows[::n]), Usage())
    return replace(asked, completion_tokens=answers.usage.completion_tokens)


class EventWriter:
    """The events of a stream of answers. tools: what they ask of the answers."""

    def __init__(
        self, kind: Kind, name: str, now: int, tokens: Tokenizer, tools: ToolForm | None = None
    ) -> None:
        self._kind, self._tokens = kind, tokens
        self._head = _envelope(kind, new_id(kind), name, now, streamed=True)
        self._tools = tools
        self._readers: dict[int, CallReader] = {}
        self._calls: dict[int, int] = {}

    def opening(self, index: int) -> list[dict[str, Any]]:
        """The event that begins a streamed chat; completions begin with their first piece."""
        if self._kind == "completion":
            return []
        return [self._event(index, {"delta": {"role": "assistant", "content": ""}})]

    def echoed(self, index: int, echo: Echo) -> dict[str, Any]:
        """The event that tells the prompt of answer `index`."""
        logprobs = None if echo.logprobs is None else _echoed(echo, self._tokens)
        return self._event(index, {"text": echo.text}, None, logprobs)

    def events(self, index: int, chunk: Chunk) -> list[dict[str, Any]]:
        """The events of one piece of answer `index`."""
        logprobs = _logprobs(
            self._kind, chunk.token_ids, chunk.logprobs, self._tokens, chunk.top_logprobs
        )
        reason = _reason(chunk.finish_reason)
        if self._kind == "completion":
            whole = {"text": chunk.text}
            told = chunk.text or reason or chunk.logprobs
            return [self._event(index, whole, reason, logprobs)] if told else []
        said, calls = self._read(index, chunk)
        if reason == "stop" and self._tools is not None and self._readers[index].called:
            reason = "tool_calls"
        found = []
        for call in calls:
            at = self._calls.get(index, 0)
            self._calls[index] = at + 1
            delta = {"tool_calls": [{"index": at, **_called(call)}]}
            found.append(self._event(index, {"delta": delta}))
        if said or chunk.logprobs or reason:
            found.append(self._event(index, {"delta": {"content": said}}, reason, logprobs))
        return found

    def usage(self, usage: Usage) -> dict[str, Any]:
        """The last event, where it was asked for."""
        empty: list[Any] = []
        return self._head | {"choices": empty, "usage": usage_of(usage)}

    def _read(self, index: int, chunk: Chunk) -> tuple[str, list[Call]]:
        if self._tools is None:
            return chunk.text, []
        reader = self._readers.setdefault(index, CallReader(self._tools))
        said, calls = reader.add(chunk.text)
        if chunk.finish_reason is not None:
            rest, more = reader.finish()
            said, calls = said + rest, calls + more
        return said, calls

    def _event(
        self,
        index: int,
        content: dict[str, Any],
        reason: str | None = None,
        logprobs: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        choice = {"index": index, "logprobs": logprobs, "finish_reason": reason, **content}
        return self._head | {"choices": [choice]}


def embeddings_of(
    body: EmbeddingIn, vectors: npt.NDArray[np.float32], tokens: int
) -> dict[str, Any]:
    """The body of an answer of /v1/embeddings. vectors: float32 [B, D], of length 1.

    Raises ConfigError where more numbers are asked for than there are.
    """
    if body.dimensions is not None:
        D = vectors.shape[-1]
        if body.dimensions > D:
            raise ConfigError(
                f"the vectors of this model have {D} dimensions",
                where=f"dimensions {body.dimensions}",
                hint="ask for fewer",
            )
        vectors = vectors[:, : body.dimensions]
        length = np.linalg.norm(vectors, axis=-1, keepdims=True)
        vectors = vectors / np.maximum(length, 1e-12)
    rows: list[Any] = vectors.tolist()
    if body.encoding_format == "base64":
        rows = [base64.b64encode(one.astype("<f4").tobytes()).decode("ascii") for one in vectors]
    data = [{"object": "embedding", "index": row, "embedding": one} for row, one in enumerate(rows)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": body.model, "data": data, "usage": usage}


def usage_of(usage: Usage) -> dict[str, Any]:
    """Usage in the form of the protocol."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def _envelope(
    kind: Kind, ident: str, name: str, now: int, *, streamed: bool = False
) -> dict[str, Any]:
    return {"id": ident, "object": _OBJECTS[kind, streamed], "created": now, "model": name}


def _choice(
    kind: Kind, row: int, one: Completion, tokens: Tokenizer, tools: ToolForm | None
) -> dict[str, Any]:
    reason = _reason(one.finish_reason)
    content: dict[str, Any] = {"text": one.text}
    if kind == "chat":
        said, calls = (one.text, []) if tools is None else read_calls(one.text, tools)
        message: dict[str, Any] = {"role": "assistant", "content": said}
        if calls:
            message |= {"content": said or None, "tool_calls": [_called(one) for one in calls]}
            reason = "tool_calls" if reason == "stop" else reason
        content = {"message": message}
    return {
        "index": row,
        "logprobs": _logprobs(kind, one.token_ids, one.logprobs, tokens, one.top_logprobs),
        "finish_reason": reason,
        **content,
    }


def _put_before(choice: dict[str, Any], echo: Echo, ids: Sequence[int], tokens: Tokenizer) -> None:
    """Let a choice of a completion begin with its prompt."""
    answer, choice["text"] = choice["text"], echo.text + choice["text"]
    if echo.logprobs is None:
        return
    told, after = _echoed(echo, tokens), choice["logprobs"]
    _, offsets = spelled(tokens, ids)
    told["tokens"] += after["tokens"]
    told["token_logprobs"] += after["token_logprobs"]
    told["text_offset"] += [len(echo.text) + min(at, len(answer)) for at in offsets]
    choice["logprobs"] = told


def _echoed(echo: Echo, tokens: Tokenizer) -> dict[str, Any]:
    return {
        "tokens": [tokens.decode([one]) for one in echo.ids],
        "token_logprobs": list(echo.logprobs or ()),
        "text_offset": list(echo.offsets),
        "top_logprobs": None,
    }


def _called(call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _logprobs(
    kind: Kind,
    ids: Sequence[int],
    logprobs: Sequence[float] | None,
    tokens: Tokenizer,
    tops: Sequence[Top] | None,
) -> dict[str, Any] | None:
    if logprobs is None:
        return None
    words = [tokens.decode([one]) for one in ids]
    likeliest = [[(tokens.decode([one]), value) for one, value in top] for top in tops or ()]
    if kind == "completion":
        return {
            "tokens": words,
            "token_logprobs": list(logprobs),
            "text_offset": None,
            "top_logprobs": None if tops is None else [dict(reversed(top)) for top in likeliest],
        }
    content = [
        _token(word, value) | {"top_logprobs": [_token(*one) for one in top]}
        for word, value, top in zip(words, logprobs, likeliest or [[] for _ in words], strict=True)
    ]
    return {"content": content, "refusal": None}


def _token(word: str, value: float) -> dict[str, Any]:
    return {"token": word, "logprob": value, "bytes": list(word.encode("utf-8"))}


def _reason(reason: FinishReason | None) -> str | None:
    # The protocol has no word for cancelled; who still listens had all that the time was for.
    return "length" if reason == "cancelled" else reason
