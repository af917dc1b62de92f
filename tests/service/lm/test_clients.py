"""What the official client, LangChain and DSPy do with the endpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import openai
import pytest

from adwright.core.clock import FixedClock
from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.serving.adapter_folder import AdapterFolder
from adwright.lm.serving.config import ServingConfig
from adwright.lm.serving.engine import AdapterModels
from adwright.service.lm.app import create_lm_app
from adwright.service.lm.config import LmServiceConfig
from adwright.service.lm.routes import Adapters
from adwright.tuning.efficient import LadderTuning
from adwright.tuning.reparameterised.lora import LoRA
from adwright.web.server import on_loopback
from tests.support.lm.adapter_engine import alone, models_of, saved_parts
from tests.support.lm.tiny_llama import tiny_llama, tiny_tokens
from tests.support.lm.tuning_methods import SOURCE
from tests.support.service.lm_frameworks import NAMED, TOOL, Cup
from tests.support.service.scripted_models import Recorded, app_of
from tests.support.service.small_shop import Client, running, wait_until

pytest.importorskip("transformers", reason="the extra lm is not installed")
pytest.importorskip("llguidance", reason="the extra lm is not installed")
pytest.importorskip("openai", reason="the extra lm is not installed")
pytest.importorskip("fastapi", reason="the extra service is not installed")


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


pytest.importorskip("transformers", reason="the extra lm is not installed")


ALONE = LadderTuning(reduction=4)
PLAIN = LoRA(rank=2)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    saved_parts(top, {"shop-1": PLAIN})
    return top


@pytest.fixture
def models(top: Path) -> Iterator[AdapterModels]:
    models = models_of({}, config=ServingConfig(drive="thread"))
    yield models
    models.close()


@contextmanager
def served(models: AdapterModels, top: Path, **settings: Any) -> Iterator[Client]:
    folder = AdapterFolder(models, top)
    folder.rescan()
    limits = LmServiceConfig(**({"key": "k"} | settings))
    app = create_lm_app(limits, models, adapters=Adapters(models, folder))
    with running(app) as client:
        client.headers["authorization"] = "Bearer k"
        yield client


@pytest.fixture
def loading_client(models: AdapterModels, top: Path) -> Iterator[Client]:
    with served(models, top) as client:
        yield client


def load(loading_client: Client, name: str, path: str, status: int = 200) -> str:
    body = {"lora_name": name, "lora_path": path}
    head = {"content-type": "application/json"}
    answer = loading_client.post("/v1/load_lora_adapter", content=json.dumps(body), headers=head)
    assert answer.status_code == status, answer.text
    return str(answer.text if status == 200 else answer.json()["error"]["message"])


def unload(loading_client: Client, name: str, status: int = 200) -> str:
    answer = loading_client.post("/v1/unload_lora_adapter", json={"lora_name": name})
    assert answer.status_code == status, answer.text
    return str(answer.text if status == 200 else answer.json()["error"]["message"])


def names(loading_client: Client) -> list[str]:
    return [one["id"] for one in loading_client.get("/v1/models").json()["data"]]


def asked(loading_client: Client, model: str, tokens: int = 4) -> Any:
    body = {"model": model, "prompt": "the best", "max_tokens": tokens, "ignore_eos": True}
    return loading_client.post("/v1/completions", json=body | {"temperature": 0})


@pytest.mark.parametrize("method", [PLAIN, ALONE], ids=lambda one: type(one).__name__)
def test_one_comes_and_goes(loading_client: Client, top: Path, method: Any) -> None:
    saved_parts(top / "more" / "shop-2", {"tuned": method})
    before = asked(loading_client, "shop-1").json()["choices"]
    assert asked(loading_client, "shop-2").status_code == 404
    assert load(loading_client, "shop-2", "more/shop-2").startswith("Success")
    assert names(loading_client) == ["base", "shop-1", "shop-2"]
    assert asked(loading_client, "shop-2").status_code == 200
    assert unload(loading_client, "shop-2").startswith("Success")
    assert names(loading_client) == ["base", "shop-1"]
    assert asked(loading_client, "shop-2").status_code == 404
    # A path may be whole, and the name another.
    load(loading_client, "again", str(top / "more" / "shop-2"))
    assert asked(loading_client, "again").status_code == 200
    assert asked(loading_client, "shop-1").json()["choices"] == before
    # Scans leave it alone.
    assert loading_client.post("/v1/adapters/rescan").json()["removed"] == []
    assert "again" in names(loading_client)


def test_what_was_unloaded_stays_away(loading_client: Client, top: Path) -> None:
    unload(loading_client, "shop-1")
    assert loading_client.post("/v1/adapters/rescan").json()["added"] == []
    load(loading_client, "shop-1", "shop-1")
    assert loading_client.post("/v1/adapters/rescan").json() == {
        "added": [],
        "removed": [],
        "refused": {},
    }
    unload(loading_client, "shop-1")
    manifest = top / "shop-1" / "manifest.json"
    os.utime(manifest, ns=(1, 1))
    assert loading_client.post("/v1/adapters/rescan").json()["added"] == ["shop-1"]


def test_refusals(loading_client: Client, top: Path) -> None:
    assert "has this name" in load(loading_client, "shop-1", "shop-1", 409)
    assert "has this name" in load(loading_client, "base", "shop-1", 409)
    assert "no such folder" in load(loading_client, "shop-2", "shop-2", 404)
    assert "other signs" in load(loading_client, "a b", "shop-1", 400)
    (top / "empty").mkdir()
    load(loading_client, "shop-2", "empty", 400)
    os.mkfifo(top / "empty" / "manifest.json")
    assert "no regular file" in load(loading_client, "shop-2", "empty", 400)
    assert "no adapter of this name" in unload(loading_client, "shop-2", 404)
    assert "the base" in unload(loading_client, "base", 400)
    for body in ({}, {"lora_name": "a"}, {"lora_name": "", "lora_path": "a"}, {"name": "a"}):
        assert loading_client.post("/v1/load_lora_adapter", json=body).status_code == 400
    assert names(loading_client) == ["base", "shop-1"]


@pytest.mark.parametrize(
    "path",
    [
        *(".", "..", "/", "../other", "shop-1/..", "shop-1/../..", "shop-1/../../other", "{other}"),
        *("link", "link/tuned", "inner", "ring", "a\0b", "a" * 300, "/proc/self", "//etc", "~"),
    ],
)
def test_nothing_outside_is_loaded(loading_client: Client, top: Path, path: str) -> None:
    """What is outside is one and the same refusal, whether it is there or not."""
    other = top.parent / "other"
    saved_parts(other.parent, {"other": PLAIN})
    saved_parts(other, {"tuned": PLAIN})
    (top / "link").symlink_to(other)
    (top / "inner").mkdir()
    (top / "inner" / "tuned").symlink_to(other)
    (top / "ring").symlink_to(top / "ring")
    (top / "~").symlink_to(Path.home())
    told = load(loading_client, "evil", path.format(other=other), 400)
    assert told == "the path leads out of the folder of adapters (name a folder below it)"
    assert names(loading_client) == ["base", "shop-1"]


@pytest.mark.parametrize("method", [PLAIN, ALONE], ids=lambda one: type(one).__name__)
def test_who_is_being_answered_is_answered_to_the_end(
    models: AdapterModels, top: Path, method: Any
) -> None:
    saved_parts(top, {"slow": method})
    with served(models, top) as client, ThreadPoolExecutor(3) as pool:
        wanted = asked(client, "slow", 80).json()["choices"][0]["text"]
        state = client.app.state.service
        running_now = [pool.submit(asked, client, "slow", 80) for _ in range(2)]
        wait_until(lambda: state.work.asks("slow"))
        gone = pool.submit(unload, client, "slow")
        wait_until(lambda: "slow" in state.leaving or gone.done())
        # Nobody new gets in.
        assert asked(client, "slow").status_code == 404
        assert "slow" not in names(client)
        for one in running_now:
            assert one.result(60).json()["choices"][0]["text"] == wanted
        gone.result(60)
    assert "slow" not in models


def test_one_that_is_used_for_long_stays(top: Path) -> None:
    models = models_of({})  # nobody computes but who takes the stream
    with served(models, top, max_seconds=0.1) as client:
        stream = models["shop-1"].stream("tea", GenerationConfig(max_tokens=50))
        next(stream)
        assert "in use" in unload(client, "shop-1", 409)
        assert "shop-1" in names(client)
        stream.close()
        unload(client, "shop-1")


def test_two_calls_for_one_name(loading_client: Client) -> None:
    unload(loading_client, "shop-1")
    barrier = threading.Barrier(4)

    def call(_: int) -> int:
        barrier.wait(20)
        body = {"lora_name": "shop-1", "lora_path": "shop-1"}
        return int(loading_client.post("/v1/load_lora_adapter", json=body).status_code)

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(call, range(4))) == [200, 409, 409, 409]


def test_only_the_operator_may(models: AdapterModels, top: Path) -> None:
    with served(models, top, keys={"tenant": "t"}) as client:
        for key, status in (("t", 403), ("x", 401), ("", 401)):
            client.headers["authorization"] = f"Bearer {key}"
            load(client, "more", "shop-1", status)
            unload(client, "shop-1", status)
        client.headers["authorization"] = "Bearer k"
        unload(client, "shop-1")
    with served(models, top, key="", keys={"tenant": "k"}) as client:
        unload(client, "shop-1", 403)


def test_services_without_a_folder() -> None:
    with running(app_of(Recorded())) as client:
        load(client, "a", "a", 404)
        unload(client, "a", 404)


pytest.importorskip("transformers", reason="the extra lm is not installed")


METHODS = {"shop-1": SOURCE, "shop-2": SOURCE}


@pytest.fixture
def adapters_top(tmp_path: Path) -> Path:
    saved_parts(tmp_path, METHODS)
    return tmp_path


@pytest.fixture
def adapters_models(adapters_top: Path) -> Iterator[AdapterModels]:
    models = models_of({}, config=ServingConfig(drive="thread"))
    yield models
    models.close()


@pytest.fixture
def adapters_client(adapters_models: AdapterModels, adapters_top: Path) -> Iterator[Client]:
    folder = AdapterFolder(adapters_models, adapters_top)
    folder.rescan()
    app = create_lm_app(
        LmServiceConfig(key="k"),
        adapters_models,
        adapters=Adapters(adapters_models, folder),
        clock=FixedClock(),
    )
    with running(app) as client:
        client.headers["authorization"] = "Bearer k"
        yield client


def completed(adapters_client: Client, model: str, status: int = 200) -> Any:
    body = {"model": model, "prompt": "the best", "max_tokens": 6, "temperature": 0}
    answer = adapters_client.post("/v1/completions", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_each_part_is_a_model(adapters_client: Client, adapters_top: Path) -> None:
    names = [one["id"] for one in adapters_client.get("/v1/models").json()["data"]]
    assert names == ["base", "shop-1", "shop-2"]
    for name in names:
        wanted = alone(name, {name: adapters_top / name}).generate(["the best"]).texts[0]
        found = completed(adapters_client, name)["choices"][0]["text"]
        assert found
        assert wanted.startswith(found)
    completed(adapters_client, "shop-3", 404)


def test_a_token_that_the_model_lacks_ends_its_own_request_alone(adapters_client: Client) -> None:
    wanted = completed(adapters_client, "shop-1")["choices"]
    body = {"model": "shop-1", "max_tokens": 6, "temperature": 0}
    prompts: list[Any] = ["the best", [5, 10**8], "the best"]
    with ThreadPoolExecutor(3) as pool:
        sent = [{**body, "prompt": prompt} for prompt in prompts]
        answers = list(
            pool.map(lambda one: adapters_client.post("/v1/completions", json=one), sent)
        )
    assert [answer.status_code for answer in answers] == [200, 400, 200]
    assert "no such token" in answers[1].json()["error"]["message"]
    assert [answers[at].json()["choices"] for at in (0, 2)] == [wanted, wanted]


def test_where_the_parts_are(adapters_client: Client) -> None:
    completed(adapters_client, "shop-1")
    completed(adapters_client, "shop-1")
    found = adapters_client.get("/v1/adapters").json()
    first, second = found["data"]
    assert (first["id"], first["where"], first["hits"], first["pins"]) == ("shop-1", "pool", 1, 0)
    assert first["bytes"] > 0
    assert (second["where"], second["bytes"], second["method"]) == ("disk", 0, "LoRA")
    assert (found["totals"]["hits"], found["totals"]["loads_from_disk"]) == (1, 1)
    assert found["pages"]["adapters"] == first["pages"]
    assert found["pages"]["keys"] == 0


def test_measures(adapters_client: Client) -> None:
    completed(adapters_client, "shop-2")
    text = adapters_client.get("/metrics").text
    assert 'adwright_lm_adapter_loads_total{source="disk"} 1.0' in text
    assert "adwright_lm_adapter_hits_total 0.0" in text
    assert 'adwright_lm_pages{use="keys"} 0.0' in text
    assert 'adwright_lm_pages{use="prefixes"}' in text
    assert "adwright_lm_shared_tokens_total" in text
    # Who may scrape sees no tenant.
    assert "shop-2" not in text


def test_looking_again(adapters_client: Client, adapters_top: Path) -> None:
    saved_parts(adapters_top, {"shop-3": SOURCE})
    found = adapters_client.post("/v1/adapters/rescan").json()
    assert found == {"added": ["shop-3"], "removed": [], "refused": {}}
    assert completed(adapters_client, "shop-3")["choices"]


def test_the_key_is_asked_for(adapters_client: Client) -> None:
    del adapters_client.headers["authorization"]
    assert adapters_client.get("/v1/adapters").status_code == 401
    assert adapters_client.post("/v1/adapters/rescan").status_code == 401


def test_services_without_parts() -> None:
    with running(app_of(Recorded())) as client:
        assert client.get("/v1/adapters").status_code == 404
        assert client.post("/v1/adapters/rescan").status_code == 404


def test_fixed_parts(adapters_models: AdapterModels) -> None:
    app = create_lm_app(
        LmServiceConfig(allowed_hosts=("test",)),
        adapters_models,
        adapters=Adapters(adapters_models),
        clock=FixedClock(),
    )
    with running(app) as client:
        assert client.get("/v1/adapters").json()["data"] == []
        assert client.post("/v1/adapters/rescan").status_code == 404
