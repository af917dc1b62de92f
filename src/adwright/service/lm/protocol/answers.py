"""Answers in the form of the OpenAI protocol, whole or as the events of a stream."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from adwright.core.errors import ConfigError
from adwright.lm.engine.base import AnswerText, cancelled_score, prompt_ids, require_room
from adwright.lm.engine.generation import (
    Cancellation,
    Chunk,
    Completion,
    Completions,
    FinishReason,
    LanguageModel,
    Prompt,
    Tokenizer,
    TokenPrompt,
    Top,
    Usage,
)
from adwright.service.lm.protocol.errors import broken_stream
from adwright.service.lm.protocol.schemas import EmbeddingIn, ResponseIn
from adwright.service.lm.protocol.tools import Call, CallReader, ToolForm, read_calls

# --------------------------------------------------------------------------------------------------
# Prompts told again in front of their answers, with the log-probabilities of their tokens.


@dataclass(frozen=True)
class Echo:
    """A prompt. offsets: of the characters that its tokens begin at. logprobs: of its tokens, None
    for the first, which nothing stands before; None where they were not asked for."""

    text: str
    ids: tuple[int, ...]
    offsets: tuple[int, ...]
    logprobs: tuple[float | None, ...] | None = None


def echoes_of(
    model: LanguageModel, prompts: Sequence[Prompt], cancel: Cancellation, *, scored: bool
) -> list[Echo]:
    """Tell B prompts again. scored: with the log-probabilities of their tokens.

    Raises ValueInvalidError where the context has no room for one, or a token is none of the
    model's; ResourceError where it is cancelled.
    """
    rows = [
        prompt_ids(model.tokens, prompt, vocabulary=model.vocabulary, row=row)
        for row, prompt in enumerate(prompts)
    ]
    require_room(rows, model.info.context, room=0)
    logprobs: list[tuple[float | None, ...] | None] = [None] * len(rows)
    if scored:
        logprobs = [(None,)] * len(rows)
        several = [row for row, ids in enumerate(rows) if len(ids) > 1]
        scores = model.score(
            [TokenPrompt(tuple(rows[row][:1])) for row in several],
            [TokenPrompt(tuple(rows[row][1:])) for row in several],
            cancel=cancel,
        )
        for row, found in zip(several, scores.token_logprobs, strict=True):
            logprobs[row] = (None, *found.tolist())
    echoes = []
    for ids, values in zip(rows, logprobs, strict=True):
        text, offsets = spelled(model.tokens, ids, cancel)
        echoes.append(Echo(text, tuple(ids), offsets, values))
    return echoes


def spelled(
    tokens: Tokenizer, ids: Sequence[int], cancel: Cancellation | None = None
) -> tuple[str, tuple[int, ...]]:
    """The text of tokens, and the character that each of them begins at.

    Raises ResourceError where it is cancelled.
    """
    text, offsets = AnswerText(tokens.decode), list[int]()
    for one in ids:
        if cancel is not None and cancel.cancelled:
            raise cancelled_score()
        offsets.append(len(text.text))
        text.add(one)
    text.finish()
    return text.text, tuple(offsets)


def silent(echoes: Sequence[Echo]) -> Completions:
    """Answers of no token, for who asks for the prompts alone."""
    return Completions(
        tuple(
            Completion("", (), None if one.logprobs is None else (), "length", Usage(len(one.ids)))
            for one in echoes
        )
    )


Item = dict[str, Any]
#: An event of a stream.
Event = dict[str, Any]
#: Which of the two endpoints answers.
Kind = Literal["chat", "completion"]

_OBJECTS = {
    ("chat", False): "chat.completion",
    ("chat", True): "chat.completion.chunk",
    ("completion", False): "text_completion",
    ("completion", True): "text_completion",
}


def usage_once(answers: Completions, n: int) -> Usage:
    """Usage of answers, n to each prompt, which is counted once."""
    asked = sum((one.usage for one in answers.rows[::n]), Usage())
    return replace(asked, completion_tokens=answers.usage.completion_tokens)


class ReplyWriter(Protocol):
    """Writes the answers of one request, whole or as events. last: what ends a stream."""

    last: bytes

    def whole(self, answers: Completions) -> dict[str, Any]:
        """The body of an answer that is not streamed."""

    def opening(self) -> Iterable[Event]:
        """The events that begin a stream."""

    def events(self, index: int, chunk: Chunk) -> Iterable[Event]:
        """The events of one piece of answer `index`."""

    def ending(self, usage: Usage) -> Iterable[Event]:
        """The events behind all answers."""

    def broken(self) -> Event:
        """The event that ends a stream in which the model failed."""

    def line(self, event: Event) -> bytes:
        """An event as it is sent."""


class EventWriter:
    """Answers of /v1/chat/completions and /v1/completions. tools: what they ask of the answers.
    n: answers to each prompt; count: answers in all. echoes: of the prompts, to stand before them.
    tells_usage: whether the last event tells tokens."""

    last = b"data: [DONE]\n\n"

    def __init__(
        self,
        kind: Kind,
        name: str,
        now: int,
        tokens: Tokenizer,
        tools: ToolForm | None = None,
        *,
        n: int = 1,
        count: int = 1,
        echoes: Sequence[Echo] | None = None,
        tells_usage: bool = False,
    ) -> None:
        self._kind, self._tokens, self._tools = kind, tokens, tools
        self._head = _envelope(kind, name, now, streamed=True)
        self._n, self._count, self._echoes = n, count, echoes
        self._tells_usage = tells_usage
        self._readers: dict[int, CallReader] = {}
        self._calls: dict[int, int] = {}

    def whole(self, answers: Completions) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        kind, tokens = self._kind, self._tokens
        choices = [_choice(kind, row, one, tokens, self._tools) for row, one in enumerate(answers)]
        for row, choice in enumerate(choices if self._echoes is not None else ()):
            echo = (self._echoes or ())[row // self._n]
            _put_before(choice, echo, answers[row].token_ids, tokens)
        usage = usage_of(usage_once(answers, self._n))
        head = self._head | {"object": _OBJECTS[kind, False]}
        return head | {"choices": choices, "usage": usage}

    def opening(self) -> Iterator[Event]:
        """Chats begin with an event of their own, completions with their first piece or with their
        prompt, where that is told."""
        for index in range(self._count):
            if self._kind == "chat":
                yield self._event(index, {"delta": {"role": "assistant", "content": ""}})
            if self._echoes is not None:
                echo = self._echoes[index // self._n]
                logprobs = None if echo.logprobs is None else _echoed(echo, self._tokens)
                yield self._event(index, {"text": echo.text}, None, logprobs)

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

    def ending(self, usage: Usage) -> list[Event]:
        """The last event, where it was asked for."""
        empty: list[Any] = []
        told = self._head | {"choices": empty, "usage": usage_of(usage)}
        return [told] if self._tells_usage else []

    def broken(self) -> Event:
        """The event that ends a stream in which the model failed."""
        return broken_stream()

    def line(self, event: Event) -> bytes:
        """An event as it is sent."""
        return f"data: {json.dumps(event, separators=(',', ':'))}\n\n".encode()

    def _read(self, index: int, chunk: Chunk) -> tuple[str, list[Call]]:
        if self._tools is None:
            return chunk.text, []
        reader = self._readers.setdefault(index, CallReader(self._tools))
        return reader.add(chunk.text, is_last=chunk.finish_reason is not None)

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


def _envelope(kind: Kind, name: str, now: int, *, streamed: bool) -> dict[str, Any]:
    ident = ("chatcmpl-" if kind == "chat" else "cmpl-") + secrets.token_hex(12)
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


# --------------------------------------------------------------------------------------------------
# Answers in the form of /v1/responses: items of what is said and called, and their events.


class ResponseWriter:
    """One response, whole or as events. now: seconds since 1970. tools: what they ask of it."""

    last = b""

    def __init__(self, body: ResponseIn, now: int, tools: ToolForm | None = None) -> None:
        self._body, self._now, self._tools = body, now, tools
        self._id = _new("resp")
        self._reader = CallReader(ToolForm() if tools is None else tools)
        self._output: list[Item] = []
        self._said: Item | None = None
        self._count = 0

    def whole(self, answers: Completions) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        answer = answers[0]
        said, calls = answer.text, list[Call]()
        if self._tools is not None:
            said, calls = read_calls(answer.text, self._tools)
        output = [_message(_new("msg"), said)] if said or not calls else []
        output += [_call(one) for one in calls]
        return self._response(output, answer.finish_reason, answer.usage)

    def opening(self) -> Iterator[Event]:
        """The events that begin a stream."""
        response = self._response([], None, None)
        yield self._event("response.created", response=response)
        yield self._event("response.in_progress", response=response)

    def events(self, index: int, chunk: Chunk) -> Iterator[Event]:
        """The events of one piece, and of the end with the last."""
        said, calls = chunk.text, list[Call]()
        if self._tools is not None:
            said, calls = self._reader.add(chunk.text, is_last=chunk.finish_reason is not None)
        if said:
            yield from self._say(said)
        for one in calls:
            yield from self._end_said()
            yield from self._called(one)
        if chunk.finish_reason is None:
            return
        if not self._output and self._said is None:
            yield from self._say("")
        yield from self._end_said()
        response = self._response(self._output, chunk.finish_reason, chunk.usage or Usage())
        yield self._event(f"response.{response['status']}", response=response)

    def ending(self, usage: Usage) -> tuple[Event, ...]:
        """Nothing: the last piece has told it."""
        return ()

    def broken(self) -> Event:
        """The event that ends a stream in which the model failed."""
        return {**broken_stream()["error"], "type": "error", "sequence_number": -1}

    def line(self, event: Event) -> bytes:
        """An event as it is sent."""
        told = json.dumps(event, separators=(",", ":"))
        return f"event: {event['type']}\ndata: {told}\n\n".encode()

    def _say(self, piece: str) -> Iterator[Event]:
        at = len(self._output)
        if self._said is None:
            self._said = _message(_new("msg"), "")
            begun = {**self._said, "status": "in_progress", "content": []}
            yield self._event("response.output_item.added", output_index=at, item=begun)
            yield self._part("added", at)
        self._said["content"][0]["text"] += piece
        if piece:
            yield self._text("delta", at, delta=piece)

    def _end_said(self) -> Iterator[Event]:
        if self._said is None:
            return
        at = len(self._output)
        yield self._text("done", at, text=self._said["content"][0]["text"])
        yield self._part("done", at)
        yield from self._done(self._said)
        self._said = None

    def _called(self, call: Call) -> Iterator[Event]:
        item = _call(call)
        place = {"item_id": item["id"], "output_index": len(self._output)}
        begun = {**item, "status": "in_progress", "arguments": ""}
        yield self._event(
            "response.output_item.added", output_index=place["output_index"], item=begun
        )
        told = "response.function_call_arguments"
        yield self._event(f"{told}.delta", **place, delta=call.arguments)
        yield self._event(f"{told}.done", **place, arguments=call.arguments, name=call.name)
        yield from self._done(item)

    def _done(self, item: Item) -> Iterator[Event]:
        self._output.append(item)
        at = len(self._output) - 1
        yield self._event("response.output_item.done", output_index=at, item=item)

    def _part(self, what: Literal["added", "done"], at: int) -> Event:
        said = self._said or {}
        part = dict(said["content"][0])
        place = {"item_id": said["id"], "output_index": at, "content_index": 0}
        return self._event(f"response.content_part.{what}", **place, part=part)

    def _text(self, what: Literal["delta", "done"], at: int, **told: str) -> Event:
        item = (self._said or {})["id"]
        place = {"item_id": item, "output_index": at, "content_index": 0}
        return self._event(f"response.output_text.{what}", **place, **told, logprobs=[])

    def _event(self, kind: str, **fields: Any) -> Event:
        self._count += 1
        return {"type": kind, "sequence_number": self._count - 1, **fields}

    def _response(
        self, output: list[Item], reason: FinishReason | None, usage: Usage | None
    ) -> dict[str, Any]:
        body = self._body
        cut = reason in ("length", "cancelled")
        status = "in_progress" if reason is None else "incomplete" if cut else "completed"
        told = body.model_dump(
            by_alias=True,
            include={"model", "instructions", "max_output_tokens", "temperature", "top_p"}
            | {"parallel_tool_calls", "tool_choice", "tools", "truncation", "user", "text"},
        )
        return told | {
            "id": self._id,
            "object": "response",
            "created_at": self._now,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "metadata": body.metadata or {},
            "output": list(output),
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "tool_choice": told["tool_choice"] or "auto",
            "usage": None if usage is None else _usage(usage),
        }


def _message(ident: str, text: str) -> Item:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "id": ident,
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }


def _call(call: Call) -> Item:
    return {
        "id": _new("fc"),
        "type": "function_call",
        "status": "completed",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _new(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(16)}"
