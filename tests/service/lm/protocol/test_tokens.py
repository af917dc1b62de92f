from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

from adwright.core.errors import ResourceError
from adwright.lm.engine.generation import Cancellation
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from adwright.service.lm.protocol.schemas import DetokenizeIn, TokenizeIn, text_of, tokens_of
from tests.support.lm.tiny_llama import tiny_model, tiny_tokens
from tests.support.service.scripted_models import app_of
from tests.support.service.small_shop import Client, running

USER = [{"role": "user", "content": "tea?"}]
TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with closing(tiny_model()) as model, running(app_of(model)) as client:
        yield client


def test_there_and_back(client: Client) -> None:
    ids = tiny_tokens().encode("the best tea")
    found = client.post("/tokenize", json={"model": "m", "prompt": "the best tea"}).json()
    assert (found["tokens"], found["count"], found["token_strs"]) == (ids, len(ids), None)
    assert found["max_model_len"] > 0
    # The only model need not be named.
    more = {"prompt": "the best tea", "return_token_strs": True, "add_special_tokens": False}
    found = client.post("/tokenize", json=more).json()
    assert "".join(found["token_strs"]) == "the best tea"
    back = client.post("/detokenize", json={"tokens": found["tokens"]}).json()
    assert back == {"prompt": "the best tea"}
    assert client.post("/detokenize", json={"tokens": []}).json() == {"prompt": ""}


def test_a_chat_as_it_is_read(client: Client) -> None:
    found = client.post("/tokenize", json={"messages": USER}).json()
    chat = {"model": "m", "messages": USER, "max_tokens": 1}
    told = client.post("/v1/chat/completions", json=chat).json()
    assert found["count"] == told["usage"]["prompt_tokens"]
    longer = client.post("/tokenize", json={"messages": USER, "tools": [TOOL]}).json()
    assert longer["count"] > found["count"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("tokenize", {}),
        ("tokenize", {"prompt": "a", "messages": USER}),
        ("tokenize", {"prompt": "a", "tools": [TOOL]}),
        ("tokenize", {"prompt": "a", "chat_template_kwargs": {"a": 1}}),
        ("tokenize", {"messages": USER, "add_special_tokens": True}),
        ("tokenize", {"messages": USER, "add_generation_prompt": False}),
        ("tokenize", {"messages": USER, "chat_template": "{{ 7 }}"}),
        ("tokenize", {"messages": USER, "chat_template_kwargs": {"messages": "a"}}),
        ("tokenize", {"messages": USER, "tools": [{"type": "function"}]}),
        ("tokenize", {"messages": USER, "tools": [TOOL, TOOL]}),
        ("detokenize", {"tokens": [10**6]}),
        ("detokenize", {"tokens": [-1]}),
        ("detokenize", {"tokens": [2**31]}),
        ("detokenize", {"tokens": ["1"]}),
        ("detokenize", {"tokens": "a"}),
        ("detokenize", {}),
    ],
)
def test_what_is_refused(client: Client, path: str, body: dict[str, Any]) -> None:
    answer = client.post(f"/{path}", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_which_model(client: Client) -> None:
    assert client.post("/tokenize", json={"model": "x", "prompt": "a"}).status_code == 404
    assert client.post("/detokenize", json={"model": "x", "tokens": [5]}).status_code == 404


def test_the_key_is_asked_for() -> None:
    with running(app_of(ScriptedModel(ScriptedConfig()), key="k")) as client:
        assert client.post("/tokenize", json={"prompt": "a"}).status_code == 401
        assert client.post("/detokenize", json={"tokens": [5]}).status_code == 401


def test_texts_of_tokens_end_where_the_caller_goes() -> None:
    model, cancel = ScriptedModel(ScriptedConfig()), Cancellation()
    body = TokenizeIn(prompt="ab", return_token_strs=True)
    assert tokens_of(body, "ab", model, cancel)["token_strs"] == ["a", "b"]
    cancel.cancel()
    with pytest.raises(ResourceError, match="cancelled"):
        tokens_of(body, "ab", model, cancel)
    assert text_of(DetokenizeIn(tokens=[97]), model) == {"prompt": "a"}
