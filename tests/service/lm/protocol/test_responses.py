from __future__ import annotations

from typing import Any

from adwright.lm.engine.generation import Chunk, Completion, Completions, Usage
from adwright.service.lm.protocol.answers import Event, ResponseWriter
from adwright.service.lm.protocol.schemas import ResponseIn
from adwright.service.lm.protocol.tools import ToolForm

CALL = '<tool_call>\n{"name": "f", "arguments": {"a":1}}\n</tool_call>'
BODY = ResponseIn(model="m", input="hello", temperature=0.5)


def test_a_whole_answer() -> None:
    row = Completion("tea", (), None, "stop", Usage(3, 4))
    found = ResponseWriter(BODY, 7).whole(Completions((row,)))
    assert (found["object"], found["status"], found["created_at"]) == ("response", "completed", 7)
    assert found["output"][0]["content"][0]["text"] == "tea"
    assert found["usage"]["total_tokens"] == 7
    assert (found["temperature"], found["tool_choice"], found["tools"]) == (0.5, "auto", ())
    cut = ResponseWriter(BODY, 7).whole(
        Completions((Completion("te", (), None, "length", Usage(3, 4)),))
    )
    assert (cut["status"], cut["incomplete_details"]) == (
        "incomplete",
        {"reason": "max_output_tokens"},
    )


def test_calls_are_items() -> None:
    row = Completion(f"well {CALL}\n{CALL}", (), None, "stop", Usage(3, 4))
    output = ResponseWriter(BODY, 7, ToolForm()).whole(Completions((row,)))["output"]
    assert [one["type"] for one in output] == ["message", "function_call", "function_call"]
    assert (output[1]["name"], output[1]["arguments"]) == ("f", '{"a": 1}')
    alone = Completion(CALL, (), None, "stop", Usage(3, 4))
    output = ResponseWriter(BODY, 7, ToolForm()).whole(Completions((alone,)))["output"]
    assert [one["type"] for one in output] == ["function_call"]


def streamed(text: str, tools: ToolForm | None = None) -> list[Event]:
    writer = ResponseWriter(BODY, 7, tools)
    events = list(writer.opening())
    for at in range(0, len(text), 4):
        events += writer.events(0, Chunk(text[at : at + 4]))
    return events + list(writer.events(0, Chunk("", finish_reason="stop", usage=Usage(3, 4))))


def kinds(events: list[Event]) -> list[str]:
    """Their types, each once in a row."""
    told = [one["type"].removeprefix("response.") for one in events]
    return [one for at, one in enumerate(told) if not at or told[at - 1] != one]


def test_the_events_of_a_text() -> None:
    events = streamed("fresh tea")
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [one["sequence_number"] for one in events] == list(range(len(events)))
    deltas = [one["delta"] for one in events if one["type"].endswith("text.delta")]
    assert "".join(deltas) == "fresh tea"
    (item,) = events[-1]["response"]["output"]
    assert item["content"][0]["text"] == "fresh tea"
    assert kinds(streamed(""))[-1] == "completed"


def test_the_events_of_calls() -> None:
    events = streamed(f"well {CALL}\n{CALL}", ToolForm())
    added: list[Any] = [one for one in events if one["type"] == "response.output_item.added"]
    assert [one["item"]["type"] for one in added] == ["message", "function_call", "function_call"]
    assert [one["output_index"] for one in added] == [0, 1, 2]
    done = [one for one in events if one["type"].endswith("arguments.done")]
    assert [one["arguments"] for one in done] == ['{"a": 1}'] * 2
    assert len(events[-1]["response"]["output"]) == 3
