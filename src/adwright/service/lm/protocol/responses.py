"""Answers in the form of /v1/responses: items of what is said and called, and their events."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any, Literal

from adwright.lm.engine.generation import Chunk, Completion, FinishReason, Usage
from adwright.service.lm.protocol.response_schemas import ResponseIn
from adwright.service.lm.protocol.tools import Call, CallReader, ToolForm, read_calls

Item = dict[str, Any]
#: An event of a stream.
Event = dict[str, Any]


class ResponseWriter:
    """One response, whole or as events. now: seconds since 1970. tools: what they ask of it."""

    def __init__(self, body: ResponseIn, now: int, tools: ToolForm | None = None) -> None:
        self._body, self._now, self._tools = body, now, tools
        self._id = _new("resp")
        self._reader = CallReader(ToolForm() if tools is None else tools)
        self._output: list[Item] = []
        self._said: Item | None = None
        self._count = 0

    def whole(self, answer: Completion) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
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

    def events(self, chunk: Chunk) -> Iterator[Event]:
        """The events of one piece, and of the end with the last."""
        said, calls = chunk.text, list[Call]()
        if self._tools is not None:
            said, calls = self._reader.add(chunk.text)
            if chunk.finish_reason is not None:
                rest, more = self._reader.finish()
                said, calls = said + rest, calls + more
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
