"""What the official client, LangChain and DSPy do with the endpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")
pytest.importorskip("llguidance", reason="the extra lm is not installed")
pytest.importorskip("openai", reason="the extra lm is not installed")
pytest.importorskip("fastapi", reason="the extra service is not installed")

import openai

from adwright.lm.serving.config import ServingConfig
from adwright.lm.serving.engine import AdapterModels
from adwright.service.lm.app import create_lm_app
from adwright.service.lm.config import LmServiceConfig
from adwright.web.server import on_loopback
from tests.support.lm.tiny_llama import tiny_llama, tiny_tokens
from tests.support.service.lm_frameworks import NAMED, TOOL, Cup
from tests.support.service.scripted_models import Recorded, app_of

USER: Any = [{"role": "user", "content": "name three teas"}]
ALWAYS: Any = {"model": "tiny", "temperature": 0, "max_tokens": 40}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    model = tiny_llama()
    model.config.max_position_embeddings = 4096  # tools are long in its tokens
    config = ServingConfig(pool_bytes=16 << 20, drive="thread")
    models = AdapterModels(model, tiny_tokens(), name="tiny", config=config)
    with on_loopback(create_lm_app(LmServiceConfig(key="k"), models)) as url:
        yield f"{url}/v1"
    models.close()


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client:
        yield client


def test_chats(client: Any) -> None:
    found = client.chat.completions.create(
        messages=[{"role": "developer", "content": "be brief"}, *USER],
        **{**ALWAYS, "max_tokens": 5},
        logprobs=True,
        top_logprobs=3,
        store=True,
        metadata={"run": "1"},
        service_tier="auto",
        parallel_tool_calls=True,
        user="u",
    )
    (choice,) = found.choices
    assert choice.finish_reason == "length"
    assert found.usage.completion_tokens == 5
    for token in choice.logprobs.content:
        assert len(token.top_logprobs) == 3
        # What is greedily taken is the likeliest.
        assert token.top_logprobs[0].logprob == pytest.approx(token.logprob, abs=1e-5)
    again = client.chat.completions.create(messages=USER, n=2, seed=3, model="tiny", max_tokens=5)
    assert len(again.choices) == 2


def test_streams(client: Any) -> None:
    whole = client.chat.completions.create(messages=USER, **ALWAYS)
    parts: dict[int, str] = {0: "", 1: ""}
    for chunk in client.chat.completions.create(
        messages=USER, n=2, stream=True, stream_options={"include_usage": True}, **ALWAYS
    ):
        for one in chunk.choices:
            parts[one.index] += one.delta.content or ""
    assert parts[0] == parts[1] == whole.choices[0].message.content
    assert chunk.usage.prompt_tokens == whole.usage.prompt_tokens


def test_tools(client: Any) -> None:
    asked = {**ALWAYS, "messages": USER, "tools": [TOOL], "max_tokens": 160}
    asked["parallel_tool_calls"] = False
    for choice in ("required", {"type": "function", "function": {"name": "price"}}):
        found = client.chat.completions.create(tool_choice=choice, **asked).choices[0]
        assert found.finish_reason == "tool_calls"
        (call,) = found.message.tool_calls
        told = json.loads(call.function.arguments)
        assert (call.function.name, set(told)) == ("price", {"item", "count"})
        assert told["item"] in ("tea", "coffee")
    with client.chat.completions.stream(tool_choice="required", **asked) as stream:
        final = stream.get_final_completion().choices[0]
    assert final.message.tool_calls[0].function.arguments == call.function.arguments
    result = {"role": "tool", "tool_call_id": call.id, "content": "12.50"}
    turns = [*USER, found.message, result]
    for after in ("auto", "none"):
        free = client.chat.completions.create(
            **{**asked, "messages": turns, "max_tokens": 8}, tool_choice=after
        )
        assert free.choices[0].message.content


def test_parse(client: Any) -> None:
    found = client.chat.completions.parse(messages=USER, response_format=Cup, **ALWAYS)
    assert isinstance(found.choices[0].message.parsed, Cup)
    function = openai.pydantic_function_tool(Cup)
    found = client.chat.completions.parse(
        messages=USER,
        tools=[function],
        tool_choice="required",
        parallel_tool_calls=False,
        **{**ALWAYS, "max_tokens": 160},
    )
    (call,) = found.choices[0].message.tool_calls[:1]
    assert isinstance(call.function.parsed_arguments, Cup)


def test_responses(client: Any) -> None:
    asked: Any = {"model": "tiny", "temperature": 0, "max_output_tokens": 160}
    found = client.responses.create(input="name three teas", instructions="be brief", **asked)
    assert found.output_text
    text = "".join(
        event.delta
        for event in client.responses.create(
            input="name three teas", instructions="be brief", stream=True, **asked
        )
        if event.type == "response.output_text.delta"
    )
    assert text == found.output_text
    assert isinstance(
        client.responses.parse(input=USER, text_format=Cup, **asked).output_parsed, Cup
    )
    with client.responses.stream(
        input=USER,
        tools=[{"type": "function", **NAMED}],
        tool_choice="required",
        parallel_tool_calls=False,
        **asked,
    ) as stream:
        final = stream.get_final_response()
    call = final.output[0]
    assert (call.type, call.name) == ("function_call", "price")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "12.50"}
    after = client.responses.create(input=[*USER, call, result], **asked)
    assert after.output_text


def test_embeddings(client: Any) -> None:
    (text,) = client.embeddings.create(model="tiny", input="tea").data
    ids = tiny_tokens().encode("tea")
    for given in (ids, [ids]):
        (tokens,) = client.embeddings.create(model="tiny", input=given).data
        assert tokens.embedding == pytest.approx(text.embedding, abs=1e-6)
    (few,) = client.embeddings.create(model="tiny", input="tea", dimensions=8).data
    assert sum(one * one for one in few.embedding) == pytest.approx(1, abs=1e-5)
    assert few.embedding[0] / few.embedding[1] == pytest.approx(
        text.embedding[0] / text.embedding[1], rel=1e-4
    )


def test_models(client: Any) -> None:
    assert [one.id for one in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "adwright"


def test_errors(client: Any, url: str) -> None:
    with pytest.raises(openai.BadRequestError, match="temperature") as wrong:
        client.chat.completions.create(messages=USER, model="tiny", temperature=9)
    assert (wrong.value.param, wrong.value.type) == ("temperature", "invalid_request_error")
    with pytest.raises(openai.NotFoundError, match="no model of this name"):
        client.models.retrieve("coffee")
    with (
        openai.OpenAI(base_url=url, api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()


def test_further_settings(client: Any) -> None:
    def ask(**fields: Any) -> Any:
        body = {"model": "tiny", "prompt": "the best", "temperature": 0, "max_tokens": 6}
        names = {"logit_bias", "logprobs"}
        extra = {name: value for name, value in fields.items() if name not in names}
        own = {name: value for name, value in fields.items() if name in names}
        return client.completions.create(**body, **own, extra_body=extra).choices[0]

    plain = ask(logprobs=2)
    # Two pieces of a character may have the same name.
    assert {len(one) for one in plain.logprobs.top_logprobs} <= {1, 2}
    token = tiny_tokens().encode(" tea", special=False)[0]
    word = tiny_tokens().decode([token])
    assert ask(logit_bias={str(token): 100}).text == word * 6
    assert ask(logit_bias={str(token): 100}, stop_token_ids=[token]).text == ""
    assert ask(structured_outputs={"choice": ["tea", "coffee"]}).text in ("tea", "coffee")
    assert set(ask(structured_outputs={"regex": "[ab]{4}"}).text) <= set("ab")
    assert ask(min_p=0.5, min_tokens=6, ignore_eos=True).finish_reason == "length"


def test_an_echo_and_the_tokens_of_it(client: Any, url: str) -> None:
    asked: Any = {"model": "tiny", "prompt": "the best", "temperature": 0, "max_tokens": 4}
    plain = client.completions.create(logprobs=1, **asked).choices[0]
    told = client.completions.create(logprobs=1, echo=True, **asked).choices[0]
    assert told.text == f"the best{plain.text}"
    assert told.logprobs.token_logprobs[-4:] == pytest.approx(plain.logprobs.token_logprobs)
    streamed = client.completions.create(echo=True, stream=True, **asked)
    assert "".join(one.choices[0].text for one in streamed) == told.text
    root = client.with_options(base_url=url.removesuffix("/v1"))
    tokens = root.post("/tokenize", cast_to=dict, body={"prompt": "the best"})["tokens"]
    assert len(tokens) + 4 == len(told.logprobs.tokens)
    assert root.post("/detokenize", cast_to=dict, body={"tokens": tokens})["prompt"] == "the best"
    settings = {"chat_template_kwargs": {"enable_thinking": False}}
    with pytest.raises(openai.BadRequestError, match="has no such setting") as wrong:
        client.chat.completions.create(messages=USER, model="tiny", extra_body=settings)
    assert wrong.value.param == "chat_template_kwargs"


def in_its_own_process(tmp_path: Path, *asked: str) -> None:
    # Else DSPy asks the net for the prices of hosted models, and caches in the home folder.
    own = {"LITELLM_LOCAL_MODEL_COST_MAP": "true", "DSPY_CACHEDIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.support.service.lm_frameworks", *asked]
    found = subprocess.run(
        command, env=os.environ | own, capture_output=True, text=True, timeout=300, check=False
    )
    assert found.returncode == 0, found.stderr


def test_langchain(url: str, tmp_path: Path) -> None:
    if find_spec("langchain_openai") is None:
        pytest.skip("langchain-openai is not installed")
    in_its_own_process(tmp_path, "langchain", url)


def test_dspy(url: str, tmp_path: Path) -> None:
    if find_spec("dspy") is None:
        pytest.skip("dspy is not installed")
    answer = "[[ ## tea ## ]]\ngreen\n\n[[ ## completed ## ]]"
    with on_loopback(app_of(Recorded(answer))) as scripted:
        in_its_own_process(tmp_path, "dspy", url, f"{scripted}/v1")
