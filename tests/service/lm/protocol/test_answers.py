from __future__ import annotations

import base64

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import Chunk, Completion, Completions, Usage
from adwright.lm.engine.scripted import ByteTokens
from adwright.service.lm.protocol.answers import (
    EventWriter,
    embeddings_of,
    usage_of,
    usage_once,
)
from adwright.service.lm.protocol.schemas import EmbeddingIn
from adwright.service.lm.protocol.tools import ToolForm

NONE = Completions(())


def test_answers() -> None:
    row = Completion("ab", (97, 98), (-1.0, -2.0), "cancelled", Usage(1, 2))
    found = EventWriter("chat", "m", 7, ByteTokens()).whole(Completions((row,)))
    assert (found["created"], found["model"], found["usage"]["total_tokens"]) == (7, "m", 3)
    assert found["choices"][0]["finish_reason"] == "length"
    assert [one["bytes"] for one in found["choices"][0]["logprobs"]["content"]] == [[97], [98]]
    text = EventWriter("completion", "m", 7, ByteTokens()).whole(Completions((row,)))
    assert text["choices"][0]["text"] == "ab"
    assert text["choices"][0]["logprobs"]["token_logprobs"] == [-1.0, -2.0]


def test_events() -> None:
    assert not list(EventWriter("completion", "m", 1, ByteTokens()).opening())
    writer = EventWriter("chat", "m", 1, ByteTokens(), count=3, tells_usage=True)
    *_, opening = writer.opening()
    assert opening["object"] == "chat.completion.chunk"
    assert opening["choices"][0]["index"] == 2
    (event,) = writer.events(2, Chunk("x", (120,)))
    assert event["choices"][0]["delta"] == {"content": "x"}
    assert event["choices"][0]["logprobs"] is None
    assert writer.events(2, Chunk("")) == []
    (last,) = writer.ending(Usage(2, 3))
    assert (last["choices"], last["usage"]) == ([], usage_of(Usage(2, 3)))
    assert writer.line({"a": 1}) == b'data: {"a":1}\n\n'
    assert EventWriter("chat", "m", 1, ByteTokens()).whole(NONE)["id"] != opening["id"]


def test_vectors_in_both_encodings() -> None:
    vectors = np.array([[1.0, 0.5]], dtype=np.float32)
    body = EmbeddingIn(model="m", input="a")
    assert embeddings_of(body, vectors, 3)["data"][0]["embedding"] == [1.0, 0.5]
    packed = embeddings_of(EmbeddingIn(model="m", input="a", encoding_format="base64"), vectors, 3)
    raw = base64.b64decode(packed["data"][0]["embedding"])
    np.testing.assert_array_equal(np.frombuffer(raw, "<f4"), [1.0, 0.5])


CALL = '<tool_call>\n{"name": "f", "arguments": {"a":1}}\n</tool_call>'


def test_calls_stand_beside_what_is_said() -> None:
    row = Completion(f"well {CALL}", (), None, "stop", Usage(1, 2))
    found = EventWriter("chat", "m", 7, ByteTokens(), ToolForm()).whole(Completions((row,)))
    (choice,) = found["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "well "
    (call,) = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "f", "arguments": '{"a": 1}'}
    alone = Completion(CALL, (), None, "length", Usage(1, 2))
    found = EventWriter("chat", "m", 7, ByteTokens(), ToolForm()).whole(Completions((alone,)))
    assert found["choices"][0]["message"]["content"] is None
    assert found["choices"][0]["finish_reason"] == "length"


def test_calls_in_a_stream() -> None:
    writer = EventWriter("chat", "m", 1, ByteTokens(), ToolForm())
    deltas, reasons = [], []
    text = f"well {CALL}\n{CALL}"
    for at in range(0, len(text), 3):
        last = at + 3 >= len(text)
        chunk = Chunk(text[at : at + 3], finish_reason="stop" if last else None)
        for event in writer.events(0, chunk):
            deltas.append(event["choices"][0]["delta"])
            reasons.append(event["choices"][0]["finish_reason"])
    assert "".join(one.get("content") or "" for one in deltas) == "well "
    calls = [one["tool_calls"][0] for one in deltas if "tool_calls" in one]
    assert [one["index"] for one in calls] == [0, 1]
    assert len({one["id"] for one in calls}) == 2
    assert reasons[-1] == "tool_calls"
    assert reasons[:-1] == [None] * (len(reasons) - 1)


def test_the_likeliest_tokens() -> None:
    tops = (((97, -1.0), (98, -2.0)), ((98, -0.5), (97, -3.0)))
    row = Completion("ab", (97, 98), (-1.0, -0.5), "stop", Usage(1, 2), tops)
    chat = EventWriter("chat", "m", 7, ByteTokens()).whole(Completions((row,)))
    told = chat["choices"][0]["logprobs"]["content"]
    assert [[one["token"] for one in token["top_logprobs"]] for token in told] == [
        ["a", "b"],
        ["b", "a"],
    ]
    text = EventWriter("completion", "m", 7, ByteTokens()).whole(Completions((row,)))
    told = text["choices"][0]["logprobs"]["top_logprobs"]
    assert told == [{"a": -1.0, "b": -2.0}, {"b": -0.5, "a": -3.0}]


def test_the_first_dimensions_have_length_one() -> None:
    vectors = np.array([[0.6, 0.0, 0.8]], dtype=np.float32)
    body = EmbeddingIn(model="m", input="a", dimensions=2)
    assert embeddings_of(body, vectors, 1)["data"][0]["embedding"] == [1.0, 0.0]
    with pytest.raises(ConfigError, match="3 dimensions"):
        embeddings_of(EmbeddingIn(model="m", input="a", dimensions=4), vectors, 1)


def test_a_prompt_is_counted_once() -> None:
    rows = tuple(Completion("", (), None, "stop", Usage(count, 1)) for count in (5, 5, 7, 7))
    assert usage_once(Completions(rows), 2) == Usage(12, 4)
