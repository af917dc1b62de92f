"""What is asked of and answered by a server of language models, as clients of others expect."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from adwright.core.errors import ConfigError, ResourceError, ValueInvalidError
from adwright.lm.engine.generation import (
    Cancellation,
    Chunk,
    Completion,
    Completions,
    Prompt,
    TokenPrompt,
    Usage,
)
from adwright.lm.engine.scripted import ByteTokens, ScriptedConfig, ScriptedModel
from adwright.service.lm.protocol.answers import (
    Echo,
    Event,
    EventWriter,
    ResponseWriter,
    echoes_of,
    embeddings_of,
    silent,
    spelled,
    usage_of,
    usage_once,
)
from adwright.service.lm.protocol.errors import LmErrorBody, broken_stream, lm_error_docs, respond
from adwright.service.lm.protocol.schemas import (
    CalledIn,
    ChatIn,
    CompletionIn,
    EmbeddingIn,
    FunctionIn,
    HarmlessIn,
    JsonObject,
    LmBody,
    NamedFunctionIn,
    NamedToolIn,
    ResponseCallIn,
    ResponseFormatIn,
    ResponseIn,
    ResponseMessageIn,
    ResponseOutputIn,
    ResponsePartIn,
    ResponseReasoningIn,
    ResponseTextIn,
    ResponseToolChoiceIn,
    ResponseToolIn,
    ToolCallIn,
    ToolChoice,
    ToolIn,
)
from adwright.service.lm.protocol.tools import ToolForm
from adwright.web.errors import ApiError, Busy
from tests.support.service.scripted_models import Recorded, app_of, events_of
from tests.support.service.small_shop import Client, running

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


class Cup(LmBody):
    """With one field of its own."""

    size: int = 3


def test_a_null_is_a_field_that_is_not_there() -> None:
    assert Cup.model_validate({"size": None, "surprise": None}) == Cup()
    for wrong in ({"surprise": 1}, {"size": "x"}, 5):
        with pytest.raises(ValidationError):
            Cup.model_validate(wrong)


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
def test_an_object_holds_finite_numbers(number: str) -> None:
    body: TypeAdapter[JsonObject] = TypeAdapter(JsonObject)
    assert body.validate_json('{"a": [1e99]}') == {"a": [1e99]}
    with pytest.raises(ValidationError, match="beyond"):
        body.validate_json(f'{{"a": [{number}]}}')


def test_harmless_fields_are_still_checked() -> None:
    assert HarmlessIn(user="u", store=False, metadata={"a": "b"}).user == "u"
    with pytest.raises(ValidationError):
        HarmlessIn.model_validate({"metadata": {str(n): "" for n in range(17)}})


def echo(*prompts: Prompt, scored: bool = True) -> list[Echo]:
    return echoes_of(ScriptedModel(ScriptedConfig()), prompts, Cancellation(), scored=scored)


def test_one_that_is_cancelled_is_none() -> None:
    cancel = Cancellation()
    cancel.cancel()
    for scored in (True, False):
        with pytest.raises(ResourceError, match="cancelled"):
            echoes_of(ScriptedModel(ScriptedConfig()), ["ab"], cancel, scored=scored)


def test_characters_are_counted() -> None:
    (found,) = echo("é!")
    assert found.text == "é!"
    # Two bytes make the first character, so the second token begins where the first does.
    assert found.offsets == (0, 0, 1)
    assert spelled(ByteTokens(), [97, 98]) == ("ab", (0, 1))


def test_scores() -> None:
    each = -math.log(256)
    first, second = echo("abc", TokenPrompt((97,)))
    assert first.logprobs == (None, each, each)
    assert (second.ids, second.logprobs) == ((97,), (None,))
    assert echo("abc", scored=False)[0].logprobs is None
    assert silent([first])[0].usage.prompt_tokens == 3
    with pytest.raises(ValueInvalidError, match="no such token"):
        echo(TokenPrompt((97, 900)))


def asked(**fields: Any) -> Any:
    with running(app_of(Recorded("fresh tea", "no"))) as client:
        return client.post("/v1/completions", json={"model": "m", "prompt": "ab"} | fields)


def test_the_prompt_stands_before_its_answers() -> None:
    plain = asked(echo=True, max_tokens=3, n=2).json()
    assert [one["text"] for one in plain["choices"]] == ["abfre", "abno"]
    assert plain["choices"][0]["logprobs"] is None
    assert plain["usage"]["prompt_tokens"] == 2
    found = asked(echo=True, max_tokens=3, logprobs=1, prompt=["ab", "xyz"]).json()["choices"]
    assert [one["text"] for one in found] == ["abfre", "xyzno"]
    told = found[1]["logprobs"]
    assert told["tokens"] == ["x", "y", "z", "n", "o"]
    assert (told["token_logprobs"][0], len(told["token_logprobs"])) == (None, 5)
    assert told["text_offset"] == [0, 1, 2, 3, 4]
    alone = asked(echo=True, max_tokens=0, logprobs=1).json()["choices"][0]
    assert (alone["text"], alone["logprobs"]["tokens"]) == ("ab", ["a", "b"])
    assert alone["finish_reason"] == "length"


def test_a_stream_begins_with_the_prompt() -> None:
    events = events_of(asked(echo=True, max_tokens=3, logprobs=0, stream=True, n=2))
    texts = {0: "", 1: ""}
    for one in (event["choices"][0] for event in events):
        texts[one["index"]] += one["text"]
    assert texts == {0: "abfre", 1: "abno"}
    assert events[0]["choices"][0]["logprobs"]["tokens"] == ["a", "b"]


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 0},
        {"max_tokens": 0, "echo": True},
        {"max_tokens": 0, "echo": True, "logprobs": 1, "n": 2},
        {"max_tokens": 0, "echo": True, "logprobs": 1, "stream": True},
        {"echo": True, "logprobs": 2},
        {"echo": True, "prompt": [97, 900]},
    ],
)
def test_what_is_refused(fields: dict[str, Any]) -> None:
    assert asked(**fields).status_code == 400


HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def client() -> Iterator[Client]:
    with running(app_of(Recorded())) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "fields", "param", "words"),
    [
        ("chat/completions", {"messages": HELLO, "temperature": 3}, "temperature", "equal to 2"),
        ("chat/completions", {"messages": HELLO, "surprise": 1}, "surprise", "no such field"),
        ("chat/completions", {}, "messages", "is missing"),
        ("chat/completions", {"messages": [{"role": "x", "content": ""}]}, "messages.0.role", "'"),
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.content.0.type",
            "'text'",
        ),
        ("completions", {"prompt": [[1], ["x"]]}, "prompt.1.0", "integer"),
        ("completions", {"prompt": "a", "top_p": 1e-9}, "top_p", "from 1e-06"),
        ("completions", {"prompt": "a", "max_tokens": 10**6}, None, "at most 2048"),
        ("completions", {"prompt": [10**6]}, None, "no such token"),
        ("embeddings", {"input": []}, "input", "at least 1 item"),
    ],
)
def test_the_message_says_what_is_wrong(
    client: Client, path: str, fields: dict[str, Any], param: str | None, words: str
) -> None:
    answer = client.post(f"/v1/{path}", json={"model": "m", **fields})
    error = LmErrorBody.model_validate(answer.json()).error
    assert (answer.status_code, error.type) == (400, "invalid_request_error")
    assert error.param == param
    assert words in error.message
    assert error.param is None or error.param in error.message or "must" in error.message


def test_each_status_has_its_type(client: Client) -> None:
    told = {}
    for method, path, body in (
        ("POST", "/v1/completions", {"model": "other", "prompt": "a"}),
        ("GET", "/v1/models/other", None),
        ("GET", "/v1/nowhere", None),
        ("GET", "/health", None),
        ("GET", "/v1/completions", None),
    ):
        options = {} if body is None else {"json": body}
        answer = client.start(method, path, **options).result(30)
        error = LmErrorBody.model_validate(answer.json()).error
        told[path] = (answer.status_code, error.type)
        assert "tenant" not in error.message
    assert told["/v1/completions"] == (405, "invalid_request_error")
    assert told["/v1/models/other"] == told["/v1/nowhere"] == (404, "not_found_error")
    assert told["/health"] == (404, "not_found_error")
    with running(app_of(Recorded(), key="s3cret")) as closed:
        error = closed.get("/v1/models").json()["error"]
        assert error["type"] == "authentication_error"


def test_a_model_is_found_by_its_path(client: Client) -> None:
    assert client.get("/v1/models/m").json()["id"] == "m"
    app = app_of(Recorded(), name="OWNER/NAME")
    with running(app) as other:
        assert other.get("/v1/models/OWNER/NAME").json()["engine"] == "scripted"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
def test_what_is_not_sent_as_json_is_of_another_kind(client: Client, kind: str) -> None:
    answer = client.post(
        "/v1/completions", content=b'{"model":"m"}', headers={"content-type": kind}
    )
    assert answer.status_code == 415
    assert "application/json" in answer.json()["error"]["message"]
    headers = {"content-type": "application/json"}
    broken = client.post("/v1/completions", content=b"{", headers=headers)
    assert broken.status_code == 400
    assert "not JSON" in broken.json()["error"]["message"]


class Failing(ScriptedModel):
    """Fails in a way of its own."""

    def __init__(self, error: Exception) -> None:
        super().__init__(ScriptedConfig())
        self.error = error

    def generate(self, *_: Any, **__: Any) -> Any:
        raise self.error


def test_errors_of_a_model() -> None:
    body = {"model": "m", "prompt": "a"}
    wrong = ConfigError("not here", where="seed 7", hint="leave it out")
    with running(app_of(Failing(wrong))) as client:
        error = client.post("/v1/completions", json=body).json()["error"]
        assert error["message"] == "not here (leave it out)"
        assert (error["param"], error["hint"]) == ("seed", "leave it out")
    with running(app_of(Failing(ConfigError("no", where="/secret/path")))) as client:
        answer = client.post("/v1/completions", json=body)
        assert answer.json()["error"]["param"] is None
        assert "secret" not in answer.text
    with running(app_of(Failing(RuntimeError("SECRET")))) as client:
        answer = client.post("/v1/completions", json=body)
        assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
        assert "SECRET" not in answer.text


def test_forms() -> None:
    answer = respond(Busy("queue", 2.2))
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3")
    assert json.loads(bytes(answer.body))["error"]["type"] == "rate_limit_error"
    assert respond(ApiError(422, "no")).status_code == 400
    assert json.loads(bytes(respond(ApiError(408, "late")).body))["error"]["type"] == "server_error"
    LmErrorBody.model_validate(broken_stream())
    assert set(lm_error_docs(400, 429)) == {400, 429}
    assert "headers" in lm_error_docs(429)[429]


def test_a_prompt_is_counted_once_whatever_n_is(client: Client) -> None:
    body = {"model": "m", "prompt": ["ab", "xyz"], "max_tokens": 4}
    one, three = (
        client.post("/v1/completions", json={**body, "n": n}).json()["usage"] for n in (1, 3)
    )
    assert one["prompt_tokens"] == three["prompt_tokens"] == 5
    assert three["completion_tokens"] == 3 * one["completion_tokens"]


TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}


def response(**fields: Any) -> ResponseIn:
    return ResponseIn.model_validate({"model": "m", "input": "hello", **fields})


def test_a_text_is_a_turn() -> None:
    chat = response(instructions="be brief", max_output_tokens=7, temperature=0.5).chat()
    assert [(one.role, one.text) for one in chat.messages] == [
        ("system", "be brief"),
        ("user", "hello"),
    ]
    assert (chat.max_completion_tokens, chat.temperature, chat.tools) == (7, 0.5, ())


def test_items_are_turns_calls_and_results() -> None:
    part = {"type": "output_text", "text": "well", "annotations": [], "logprobs": []}
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    items = [
        {"role": "developer", "content": "be brief"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "message", "id": "m1", "role": "assistant", "status": "done", "content": [part]},
        {**call, "id": "f1", "status": "completed"},
        {**call, "call_id": "c2"},
        {"type": "function_call_output", "call_id": "c1", "output": "noon"},
    ]
    found = response(input=items, tools=[TOOL])
    assert isinstance(found.input, list)
    assert [type(one) for one in found.input[2:]] == [
        ResponseMessageIn,
        ResponseCallIn,
        ResponseCallIn,
        ResponseOutputIn,
    ]
    chat = found.chat()
    assert [one.role for one in chat.messages] == ["developer", "user", "assistant", "tool"]
    calls = chat.messages[2].tool_calls or []
    assert [one.id for one in calls] == ["c1", "c2"]
    assert (chat.messages[2].text, chat.messages[3].text) == ("well", "noon")


def test_tools_and_forms() -> None:
    chat = response(tools=[TOOL], tool_choice={"type": "function", "name": "f"}).chat()
    assert chat.tools[0].function.parameters == {"type": "object"}
    assert isinstance(chat.tool_choice, NamedToolIn)
    assert response(tool_choice="auto").chat().tool_choice is None
    form = {"type": "json_schema", "name": "x", "schema": {"type": "integer"}, "strict": True}
    wanted = response(text={"format": form}).chat().response_format
    assert wanted is not None
    assert wanted.json_schema is not None
    assert wanted.json_schema.schema_ == {"type": "integer"}
    assert response(text={"format": {"type": "text"}}).chat().response_format is None


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": "resp_1"},
        {"background": True},
        {"truncation": "auto"},
        {"reasoning": {"effort": "high"}},
        {"tools": [{"type": "web_search"}]},
        {"tool_choice": {"type": "function", "name": "f"}},
        {"tool_choice": "required"},
        {"text": {"format": {"type": "json_schema", "name": "x"}}},
        {"input": []},
        {"input": [{"type": "reasoning", "summary": []}]},
        {"input": [{"type": "message", "role": "user", "content": [{"type": "input_image"}]}]},
        {"include": ["file_search_call.results"]},
    ],
)
def test_what_would_be_ignored_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        response(**fields)


def test_what_clients_send_beside_is_understood() -> None:
    found = response(
        store=True,
        include=["reasoning.encrypted_content"],
        previous_response_id=None,
        reasoning={"effort": None, "summary": None},
        metadata={"a": "b"},
        background=False,
    )
    assert found.reasoning == ResponseReasoningIn()
    assert found.text == ResponseTextIn(format=ResponseFormatIn())
    assert ResponsePartIn(type="text", text="a").text == "a"
    assert ResponseToolIn.model_validate(TOOL).name == "f"
    assert ResponseToolChoiceIn(type="function", name="f").name == "f"


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


SCHEMAS_TOOL = {"type": "function", "function": {"name": "f"}}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "a"}]}


WRONG: dict[str, list[Any]] = {
    "messages": [
        [{"role": "tool", "content": "a"}],
        [{"role": "user", "content": [{"type": "image_url", "text": "a"}]}],
        [{"role": "user"}],
        [{"role": "user", "content": "a", "tool_call_id": "c"}],
    ],
    "temperature": [3, float("nan")],
    "top_p": [0, float("nan")],
    "top_k": [2**31],
    "repetition_penalty": [0.001],
    "seed": [-1],
    "stop": ["a" * 1001, ["a", "b" * 1001], ["a"] * 17],
    "top_logprobs": [3],
    "presence_penalty": [3],
    "logit_bias": [{"x": 1}, {"5": 101}],
    "tools": [
        [{"type": "web_search"}],
        [SCHEMAS_TOOL, SCHEMAS_TOOL],
        [{"type": "function", "function": {"name": "a b"}}],
    ],
    "tool_choice": ["required"],
    "reasoning_effort": ["high"],
    "chat_template_kwargs": [
        *({"a b": 1}, {"a": [1]}, {"a": "b" * 1001}, {f"a{n}": n for n in range(17)})
    ],
    "chat_template": ["{{ 7 }}"],
    "structured_outputs": [{"regex": "a", "choice": ["b"]}, {}],
    "response_format": [{"type": "json_schema"}, {"type": "text", "json_schema": {"schema": {}}}],
}
WRONG_TOGETHER: list[dict[str, Any]] = [
    {"top_logprobs": 21, "logprobs": True},
    {"tools": [SCHEMAS_TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
    {"tools": [SCHEMAS_TOOL], "structured_outputs": {"regex": "a"}},
    {"structured_outputs": {"grammar": "a"}, "response_format": {"type": "json_object"}},
]


@pytest.mark.parametrize(
    "fields", [*({name: one} for name, some in WRONG.items() for one in some), *WRONG_TOGETHER]
)
def test_what_is_not_understood_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ChatIn.model_validate(CHAT | fields)


def test_what_clients_send_is_understood() -> None:
    found = ChatIn.model_validate(
        CHAT
        | {
            "user": "u",
            "n": 1,
            "frequency_penalty": 0,
            "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True},
            },
        }
    )
    assert found.stream_options is not None
    assert found.stream_options.include_usage
    assert found.response_format is not None
    assert found.response_format.json_schema is not None
    assert found.response_format.json_schema.schema_ == {"type": "object"}
    asked = EmbeddingIn.model_validate({"model": "m", "input": ["a"], "encoding_format": "base64"})
    assert asked.encoding_format == "base64"


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": []},
        {"prompt": [[]]},
        {"prompt": [2**31]},
        {"prompt": [["1"]]},
        {"prompt": [True]},
        {"prompt": "a", "max_tokens": 0},
        {"prompt": "a", "echo": True, "max_tokens": 0},
        {"prompt": "a", "echo": True, "max_tokens": 0, "logprobs": 1, "stream": True},
        {"prompt": "a", "logprobs": 21},
        {"prompt": "a", "best_of": 2},
        {"prompt": "a", "echo": True, "max_tokens": 0, "logprobs": 2},
    ],
)
def test_completions_are_checked(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CompletionIn.model_validate({"model": "m"} | fields)


def test_a_long_list_ends_at_its_first_error() -> None:
    for fields in ({"prompt": [None] * 50_000}, {"prompt": [[-1]] * 50_000}):
        with pytest.raises(ValidationError) as caught:
            CompletionIn.model_validate({"model": "m"} | fields)
        assert caught.value.error_count() < 10
    with pytest.raises(ValidationError) as caught:
        ChatIn.model_validate({"model": "m", "messages": [{}] * 900})
    assert caught.value.error_count() < 10


def test_what_is_null_or_harmless_is_no_obstacle() -> None:
    nulls = dict.fromkeys(set(ChatIn.model_fields) - {"model", "messages"})
    assert ChatIn.model_validate(CHAT | nulls | {"functions": None}) == ChatIn.model_validate(CHAT)
    harmless = {
        "store": True,
        "metadata": {"run": "7"},
        "service_tier": "auto",
        "parallel_tool_calls": True,
        "user": "u",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "modalities": ["text"],
        "logit_bias": {},
        "chat_template_kwargs": {},
        "tools": [],
        "seed": 5,
    }
    assert ChatIn.model_validate(CHAT | harmless).store


def test_the_turns_of_an_agent() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": "a"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [call],
            "refusal": None,
            "audio": None,
        },
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "7"}]},
        {"role": "assistant", "content": "seven", "annotations": [], "function_call": None},
    ]
    found = ChatIn.model_validate(CHAT | {"messages": turns}).messages
    assert [one.text for one in found] == ["be brief", "a", "", "7", "seven"]


def test_what_frameworks_send_is_understood() -> None:
    function = {"name": "f", "description": None, "parameters": {"type": "object"}, "strict": True}
    tool = ToolIn.model_validate({"type": "function", "function": function})
    assert tool.function == FunctionIn(name="f", parameters={"type": "object"}, strict=True)
    call = ToolCallIn.model_validate({"id": "c", "function": {"name": "f", "arguments": "{}"}})
    assert call.function == CalledIn(name="f")
    choice: Any = TypeAdapter(ToolChoice).validate_python(
        {"type": "function", "function": {"name": "f"}}
    )
    assert choice == NamedToolIn(type="function", function=NamedFunctionIn(name="f"))


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function"},
        {"type": "code_interpreter"},
        {"type": "function", "function": {"name": ""}},
        {"type": "function", "function": {"name": "f" * 65}},
        {"type": "function", "function": {"name": "f", "parameters": []}},
        {"type": "function", "function": {"name": "f", "other": 1}},
    ],
)
def test_other_tools_are_refused(tool: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ToolIn.model_validate(tool)
