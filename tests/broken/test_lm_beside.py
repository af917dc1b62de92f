"""One poisoned request beside eight good ones of the same batch: the good ones end unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")
pytest.importorskip("llguidance", reason="the extra lm is not installed")
pytest.importorskip("fastapi", reason="the extra service is not installed")

from adwright.core.clock import FixedClock
from adwright.lm.serving.config import ServingConfig
from adwright.service.lm.app import create_lm_app
from adwright.service.lm.config import LmServiceConfig
from tests.support.lm.adapter_engine import models_of
from tests.support.service.small_shop import Client, running

USER = {"role": "user", "content": "name three teas"}
HALF = "\ud800"
JSON = {"content-type": "application/json"}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def schema(told: Mapping[str, Any]) -> dict[str, Any]:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": told}}
    return {"response_format": form}


def shaped(**form: Any) -> dict[str, Any]:
    return {"structured_outputs": form}


def template(**settings: Any) -> dict[str, Any]:
    return {"chat_template_kwargs": settings}


def tool(**function: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", **function}}]}


#: What is said in a completion, in a chat, in an embedding; or whole bodies, with their headers.
COMPLETIONS: dict[str, dict[str, Any]] = {
    "a token outside the vocabulary": {"prompt": [5, 400]},
    "a huge token": {"prompt": [2**31 - 1]},
    "a negative token": {"prompt": [-1]},
    "a token that is no number": {"prompt": ["5", 6]},
    "a bad token in the second prompt": {"prompt": [[5], [400]]},
    "a bad token in a stream": {"prompt": [400], "stream": True},
    "a bad token in an echo": {"prompt": [5, 400], "max_tokens": 0, "echo": True, "logprobs": 1},
    "an echo with others in its place": {"prompt": [5, 6], "echo": True, "logprobs": 3},
    "an echo without room": {"prompt": [5] * 300, "max_tokens": 0, "echo": True, "logprobs": 1},
    "no answer and no echo": {"prompt": "a", "max_tokens": 0},
    "half a character": {"prompt": f"tea {HALF}"},
    "half a character, streamed": {"prompt": HALF, "stream": True},
    "a prompt without room": {"prompt": [5] * 300},
    "no prompt": {"prompt": []},
    "a bias on a token that there is not": {"prompt": "a", "logit_bias": {"400": 1}},
    "a bias that is no number": {"prompt": "a", "logit_bias": {"5": "much"}},
    "an end that there is not": {"prompt": "a", "stop_token_ids": [400]},
    "a least length above the most": {"prompt": "a", "max_tokens": 2, "min_tokens": 3},
    "a temperature that is not finite": {"prompt": "a", "temperature": 1e99},
    "a top_p next to nothing": {"prompt": "a", "top_p": 1e-12},
    "a thousand answers": {"prompt": "a", "n": 1000},
    "too many tokens": {"prompt": "a", "max_tokens": 10**9},
    "a regular expression that is none": {"prompt": "a", **shaped(regex="(a")},
    "a regular expression without end": {"prompt": "a", **shaped(regex="a" * 9000)},
    "half a character in a regular expression": {"prompt": "a", **shaped(regex=HALF)},
    "half a character in a choice": {"prompt": "a", **shaped(choice=[HALF])},
    "a grammar without its root": {"prompt": "a", **shaped(grammar="a ::= b")},
    "a grammar without end": {"prompt": "a", **shaped(grammar="root ::= " + "(" * 5000)},
    "a model that there is not": {"prompt": "a", "model": "../../etc/passwd"},
}
CHATS: dict[str, dict[str, Any]] = {
    "half a character in a turn": {"messages": [{"role": "user", "content": HALF}]},
    "turns that the template refuses": {"messages": [USER, {"role": "system", "content": "a"}]},
    "a role that there is not": {"messages": [{"role": "tea", "content": "a"}]},
    "a picture": {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
    "a result of no call": {"messages": [{"role": "tool", "content": "a"}]},
    "a field that there is not": {"messages": [USER], "surprise": 1},
    "a schema of no type": {"messages": [USER], **schema({"type": "nothing"})},
    "a schema that is too deep": {"messages": [USER], **schema(nested(90))},
    "a schema from elsewhere": {"messages": [USER], **schema({"$ref": "http://a.example/b"})},
    "a schema of 50,000 words": {
        "messages": [USER],
        **schema({"enum": [str(n) for n in range(50_000)]}),
    },
    "a tool of no type": {"messages": [USER], **tool(parameters={"type": "nothing"})},
    "a tool that is too deep": {"messages": [USER], **tool(parameters=nested(90))},
    "a tool with half a character": {"messages": [USER], **tool(description=HALF)},
    "a template's own messages": {"messages": [USER], **template(messages="a")},
    "a template's loop without end": {"messages": [USER], **template(range=10**30)},
    "a template of one's own": {"messages": [USER], "chat_template": "{{ 7 }}"},
    "a choice of no tool": {"messages": [USER], **tool(), "tool_choice": "tea"},
    "tools and no room for them": {"messages": [USER], **tool(description="tea " * 200)},
}
EMBEDDINGS: dict[str, dict[str, Any]] = {
    "a bad token to embed": {"input": [[5], [400]]},
    "half a character to embed": {"input": HALF},
    "more dimensions than there are": {"input": "a", "dimensions": 10_000},
}
BODIES: dict[str, tuple[bytes, dict[str, str]]] = {
    "a form": (b"model=base&prompt=a", {"content-type": "application/x-www-form-urlencoded"}),
    "no JSON": (b"{", JSON),
    "brackets": (b"[" * 100_000, JSON),
    "a long body": (b'{"prompt":"' + b"a" * 3_000_000 + b'"}', JSON),
}

LOAD = b'{"lora_name": "evil", "lora_path": "../../etc"}'
ENDLESS = b"""{"model": "base", "input": "a", "tool_choice": "none", "tools":
    [{"type": "function", "name": "f", "parameters": {"maximum": 1e999}}]}"""

POISON = [
    *(
        (what, "completions", json.dumps({"model": "base", **body}).encode(), JSON)
        for what, body in COMPLETIONS.items()
    ),
    *(
        (what, "chat/completions", json.dumps({"model": "base", **body}).encode(), JSON)
        for what, body in CHATS.items()
    ),
    *(
        (what, "embeddings", json.dumps({"model": "base", **body}).encode(), JSON)
        for what, body in EMBEDDINGS.items()
    ),
    *((what, "completions", *body) for what, body in BODIES.items()),
    ("a load of what is elsewhere", "load_lora_adapter", LOAD, JSON),
    ("a tool of 1e999", "responses", ENDLESS, JSON),
]
#: Two of them streams, one a chat, two drawn, one bound by a schema.
GOOD: list[tuple[str, dict[str, Any]]] = [
    ("completions", {"prompt": "the best"}),
    ("completions", {"prompt": "buy two packs", "logprobs": 2}),
    ("completions", {"prompt": "fresh", "stream": True}),
    ("completions", {"prompt": "a warm coat", "temperature": 1.0, "seed": 5}),
    ("completions", {"prompt": "a light", "temperature": 0.7, "seed": 9, "n": 2}),
    ("completions", {"prompt": "user", "presence_penalty": 0.5}),
    ("chat/completions", {"messages": [USER], "stream": True}),
    ("chat/completions", {"messages": [USER], **schema({"enum": ["tea", "coffee"]})}),
]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    models = models_of({}, config=ServingConfig(drive="thread"))
    app = create_lm_app(
        LmServiceConfig(allowed_hosts=("test",)), {"base": models["base"]}, clock=FixedClock()
    )
    with running(app) as client:
        yield client
    models.close()


@pytest.fixture(scope="module")
def alone(client: Client) -> list[Any]:
    """What the good ones answer, one after the other."""
    return [told(start(client, path, body).result(30)) for path, body in GOOD]


def start(client: Client, path: str, body: dict[str, Any]) -> Any:
    fields = {"model": "base", "max_tokens": 8, "temperature": 0, **body}
    return client.start("POST", f"/v1/{path}", json=fields)


def told(answer: Any) -> Any:
    """The answer but for its name, the last digits of its log-probabilities, and how many tokens
    were read before."""
    assert answer.status_code == 200, answer.text
    if not answer.headers["content-type"].startswith("text/event-stream"):
        choices = answer.json()["choices"]
        for one in choices:
            one["logprobs"] = one["logprobs"] and list(map(list, one["logprobs"]["top_logprobs"]))
        usage = answer.json()["usage"]
        return choices, usage["prompt_tokens"], usage["completion_tokens"]
    *events, last = (one.removeprefix("data: ") for one in answer.text.split("\n\n") if one)
    assert last == "[DONE]"
    choices = [json.loads(one)["choices"][0] for one in events]
    return "".join(
        one.get("text", "") or one.get("delta", {}).get("content", "") for one in choices
    )


def test_there_are_forty_kinds() -> None:
    assert len({what for what, *_ in POISON}) >= 40


@pytest.mark.parametrize(
    ("path", "body", "headers"), [one[1:] for one in POISON], ids=[one[0] for one in POISON]
)
def test_the_good_ones_end_unchanged(
    client: Client, alone: list[Any], path: str, body: bytes, headers: dict[str, str]
) -> None:
    before = [start(client, path, body) for path, body in GOOD[:4]]
    poisoned = client.start("POST", f"/v1/{path}", content=body, headers=headers)
    after = [start(client, path, body) for path, body in GOOD[4:]]
    answer = poisoned.result(30)
    assert [told(one.result(30)) for one in (*before, *after)] == alone
    assert answer.status_code in (400, 404, 413, 415), answer.text
    error = answer.json()["error"]
    assert error["type"] in ("invalid_request_error", "not_found_error")
    assert len(error["message"]) > 10
