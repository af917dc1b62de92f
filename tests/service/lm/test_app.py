from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from adwright.core.errors import ResourceError
from adwright.lm.engine.generation import GenerationConfig, Message, TokenPrompt
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from adwright.web.server import on_loopback
from tests.support.service.scripted_models import Recorded, app_of, events_of
from tests.support.service.small_shop import Client, running

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def model() -> Recorded:
    return Recorded("fresh tea", "hot tea")


@pytest.fixture
def client(model: Recorded) -> Iterator[Client]:
    with running(app_of(model)) as client:
        yield client


def chat(client: Client, **fields: Any) -> Any:
    answer = client.post("/v1/chat/completions", json={"model": "m", "messages": HELLO, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_chat(client: Client, model: Recorded) -> None:
    found = chat(client, max_tokens=5, seed=3, temperature=0.5, stop=["x"], top_k=4)
    assert found["object"] == "chat.completion"
    assert found["choices"][0]["message"] == {"role": "assistant", "content": "fresh"}
    assert found["choices"][0]["finish_reason"] == "length"
    assert found["usage"]["completion_tokens"] == 5
    prompt, config = model.asked[0]
    assert prompt == (Message("user", "hello"),)
    assert config == GenerationConfig(max_tokens=5, seed=3, temperature=0.5, stop=("x",), top_k=4)


def test_several_answers(client: Client) -> None:
    found = chat(client, n=2)
    assert [one["message"]["content"] for one in found["choices"]] == ["fresh tea", "hot tea"]
    assert [one["index"] for one in found["choices"]] == [0, 1]


def test_logprobs(client: Client) -> None:
    content = chat(client, logprobs=True, max_tokens=2)["choices"][0]["logprobs"]["content"]
    assert [one["token"] for one in content] == ["f", "r"]
    assert content[0]["logprob"] == pytest.approx(-5.545, abs=1e-3)
    answer = client.post("/v1/completions", json={"model": "m", "prompt": "a", "logprobs": 1})
    assert answer.json()["choices"][0]["logprobs"]["tokens"] == list("hot tea")


@pytest.mark.parametrize(
    ("sent", "prompts"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([5, 6], [TokenPrompt((5, 6))]),
        ([[5], [6]], [TokenPrompt((5,)), TokenPrompt((6,))]),
    ],
)
def test_prompts_of_completions(
    client: Client, model: Recorded, sent: Any, prompts: list[Any]
) -> None:
    answer = client.post("/v1/completions", json={"model": "m", "prompt": sent})
    assert len(answer.json()["choices"]) == len(prompts)
    assert [prompt for prompt, _ in model.asked] == prompts


def test_an_echo_tells_how_likely_a_text_is(client: Client) -> None:
    body = {"model": "m", "prompt": ["ab", "xyz"], "max_tokens": 0, "echo": True, "logprobs": 1}
    choices = client.post("/v1/completions", json=body).json()["choices"]
    assert [one["text"] for one in choices] == ["ab", "xyz"]
    told = choices[1]["logprobs"]
    assert told["tokens"] == ["x", "y", "z"]
    assert told["text_offset"] == [0, 1, 2]
    assert told["token_logprobs"] == [None, *[pytest.approx(-5.545, abs=1e-3)] * 2]
    (one,) = client.post("/v1/completions", json={**body, "prompt": "a"}).json()["choices"]
    assert one["logprobs"]["token_logprobs"] == [None]


def test_streams(client: Client) -> None:
    body = {"model": "m", "messages": HELLO, "stream": True}
    answer = client.post(
        "/v1/chat/completions", json={**body, "stream_options": {"include_usage": True}}
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer)
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    text = [one["choices"][0]["delta"]["content"] for one in events[1:-1]]
    assert "".join(text) == "fresh tea"
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    assert events[-1]["usage"]["completion_tokens"] == 10
    assert len({one["id"] for one in events}) == 1
    plain = events_of(
        client.post("/v1/completions", json={"model": "m", "prompt": "a", "stream": True})
    )
    assert "".join(one["choices"][0]["text"] for one in plain) == "hot tea"
    assert all("usage" not in one for one in plain)


def test_embeddings(client: Client) -> None:
    body = {"model": "m", "input": ["a", "b"]}
    found = client.post("/v1/embeddings", json=body).json()
    assert [len(one["embedding"]) for one in found["data"]] == [16, 16]
    assert found["usage"]["prompt_tokens"] == 2
    packed = client.post("/v1/embeddings", json={**body, "encoding_format": "base64"}).json()
    assert isinstance(packed["data"][0]["embedding"], str)


def test_models_and_health(client: Client) -> None:
    (one,) = client.get("/v1/models").json()["data"]
    assert (one["id"], one["engine"]) == ("m", "scripted")
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").json() == {"ready": True, "models": {"m": "ready"}}
    assert "adwright_lm_pending 0.0" in client.get("/metrics").text


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("chat/completions", {"messages": HELLO, "model": "other"}, 404),
        ("embeddings", {"input": "a", "model": "other"}, 404),
        ("chat/completions", {"messages": []}, 400),
        ("chat/completions", {"messages": HELLO, "unknown": 1}, 400),
        ("chat/completions", {"messages": HELLO, "frequency_penalty": 2.5}, 400),
        ("chat/completions", {"messages": HELLO, "max_tokens": 100_000}, 400),
        ("chat/completions", {"messages": HELLO, "n": 1000}, 400),
        ("chat/completions", {"messages": HELLO, "n": 1000, "stream": True}, 400),
        ("completions", {"prompt": "a", "echo": True, "max_tokens": 0}, 400),
        ("embeddings", {"input": ["a"] * 1000}, 400),
        ("completions", {"prompt": [5, 300]}, 400),
        ("completions", {"prompt": [[5], [99_999_999]]}, 400),
        ("completions", {"prompt": [5, 300], "stream": True}, 400),
        ("completions", {"prompt": [5, 300], "max_tokens": 0, "echo": True, "logprobs": 1}, 400),
    ],
)
def test_what_is_refused(client: Client, path: str, fields: dict[str, Any], status: int) -> None:
    answer = client.post(f"/v1/{path}", json={"model": "m", **fields})
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_every_path_that_takes_a_body_needs_the_key(model: Recorded) -> None:
    app = app_of(model, key="k")
    with running(app) as client:
        paths = [path for path, kinds in app.openapi()["paths"].items() if "post" in kinds]
        assert {"/tokenize", "/detokenize", "/v1/load_lora_adapter"} < set(paths)
        assert {client.post(path, json={}).status_code for path in paths} == {401}


def test_a_key_is_asked_for(model: Recorded) -> None:
    with running(app_of(model, key="s3cret")) as client:
        assert client.get("/v1/models").status_code == 401
        wrong = {"Authorization": "Bearer other"}
        assert client.post("/v1/embeddings", json={}, headers=wrong).status_code == 401
        client.headers = {"Authorization": "Bearer s3cret"}
        assert chat(client)["choices"]
        assert client.get("/healthz").status_code == 200


def test_too_much_is_shed(model: Recorded) -> None:
    model.go_on.clear()
    with running(app_of(model, max_running=1, max_queue=1)) as client:
        body = {"model": "m", "messages": HELLO}
        waiting = [client.start("POST", "/v1/chat/completions", json=body) for _ in range(2)]
        assert model.entered.wait(10)
        while "adwright_lm_pending 2.0" not in client.get("/metrics").text:
            time.sleep(0.01)
        for stream in (False, True):
            shed = client.post("/v1/chat/completions", json={**body, "stream": stream})
            assert shed.status_code == 429
            assert int(shed.headers["retry-after"]) >= 1
        model.go_on.set()
        assert [one.result(30).status_code for one in waiting] == [200, 200]
        assert 'adwright_shed_total{reason="lm_queue"} 2.0' in client.get("/metrics").text


@pytest.mark.parametrize("stream", [True, False])
def test_a_closed_connection_ends_the_work(model: Recorded, stream: bool) -> None:
    model.go_on.clear()
    app = app_of(model)
    body = {"model": "m", "messages": HELLO, "stream": stream}
    with on_loopback(app) as url, httpx.Client() as client:
        try:
            timeout = httpx.Timeout(30, read=30 if stream else 3)
            with client.stream(
                "POST", f"{url}/v1/chat/completions", json=body, timeout=timeout
            ) as answer:
                assert model.entered.wait(10)
                next(answer.iter_raw())
        except httpx.ReadTimeout:
            assert not stream
        client.close()
        until = time.monotonic() + 20
        while app.state.service.work.pending:
            assert time.monotonic() < until
            time.sleep(0.01)
    assert model.cancelled
    assert model.ended.is_set() or not stream


def test_a_long_body_is_refused(model: Recorded) -> None:
    with running(app_of(model, max_body_bytes=100)) as client:
        answer = client.post("/v1/completions", json={"model": "m", "prompt": "long " * 100})
        assert answer.status_code == 413


class Broken(ScriptedModel):
    def generate(self, *_: Any, **__: Any) -> Any:
        raise ResourceError("it broke on SECRET")

    def stream(self, *_: Any, **__: Any) -> Any:
        chunks = super().stream("a")
        yield next(chunks)
        raise ResourceError("it broke on SECRET")


def test_a_broken_model() -> None:
    with running(app_of(Broken(ScriptedConfig(("ab",))))) as client:
        body = {"model": "m", "messages": HELLO}
        answer = client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 503
        assert "SECRET" not in answer.text
        streamed = client.post("/v1/chat/completions", json={**body, "stream": True})
        assert "the answer broke off" in streamed.text
        assert "SECRET" not in streamed.text


def test_models_may_be_exchanged_while_it_runs(model: Recorded) -> None:
    app = app_of(model)
    with running(app) as client:
        app.state.service.models["other"] = ScriptedModel(ScriptedConfig(("second",)))
        assert chat(client, model="other")["choices"][0]["message"]["content"] == "second"
        del app.state.service.models["m"]
        assert client.post("/v1/embeddings", json={"model": "m", "input": "a"}).status_code == 404


def test_a_web_page_of_another_site_calls_nothing_without_a_key() -> None:
    with running(app_of(Recorded())) as client:
        body = {"model": "m", "prompt": "a"}
        for headers in (
            {"Origin": "https://evil.example"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Host": "evil.example"},
        ):
            for path in ("/v1/completions", "/v1/adapters/rescan"):
                answer = client.post(path, json=body, headers=headers)
                assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
        assert client.post("/v1/completions", json=body).status_code == 200
    with running(app_of(Recorded(), key="s3cret", allowed_hosts=())) as client:
        headers = {"Host": "models.example", "Authorization": "bearer s3cret"}
        assert client.get("/v1/models", headers=headers).status_code == 200


def test_a_slash_too_many_is_not_redirected() -> None:
    with running(app_of(Recorded())) as client:
        assert client.post("/v1/models/", json={}).status_code == 405
        assert client.get("/v1/models/").status_code == 404
