"""?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, ResourceError
from adwright.lm.engine.generation import (
    FURTHER,
    Cancellation,
    Chat,
    Chunk,
    GenerationConfig,
    Message,
    TokenPrompt,
    Usage,
)
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from adwright.service.lm.config import Callers, LmServiceConfig, read_keys, require_keys
from adwright.service.lm.protocol.schemas import ChatIn, CompletionIn, EmbeddingIn
from adwright.service.lm.protocol.tools import prompts_of, settings_of, texts_of, tool_form_of
from adwright.service.lm.routes import LmMeasures, LmState, Watch
from adwright.service.lm.work import LmShares, LmWork, pieces
from adwright.web.errors import ApiError
from adwright.web.gate import ServiceMetrics
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


def test_state() -> None:
    clock = FixedClock()
    work = LmWork(LmShares(running=1, waiting=0), clock=clock)
    model = ScriptedModel(ScriptedConfig())
    state = LmState(
        LmServiceConfig(),
        {"m": model},
        work,
        metrics=ServiceMetrics(),
        clock=clock,
        callers=Callers("", {}),
    )
    assert state.model("m") is model
    assert state.now() == int(clock.now().timestamp())
    with pytest.raises(ApiError, match="no model of this name"):
        state.model("x")
    work.close()


def test_several_answers_in_a_stream() -> None:
    with running(app_of(Recorded("abc", "xy"))) as client:
        body = {"model": "m", "prompt": "ab", "stream": True, "n": 2}
        told = client.post(
            "/v1/completions", json={**body, "stream_options": {"include_usage": True}}
        )
        metrics = client.get("/metrics").text
    *events, usage = events_of(told)
    for index, text in enumerate(("abc", "xy")):
        own = [one["choices"][0] for one in events if one["choices"][0]["index"] == index]
        assert "".join(one["text"] for one in own) == text
        assert own[-1]["finish_reason"] == "stop"
    assert usage["usage"] == {
        "prompt_tokens": 2,
        "completion_tokens": 7,
        "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    assert 'adwright_lm_tokens_total{kind="answer"} 7.0' in metrics
    assert "adwright_lm_first_token_seconds_count 1.0" in metrics


def test_several_answers_in_turns() -> None:
    model = Recorded("abc", "xy")
    found = list(pieces(model, ["1", "2"], GenerationConfig(seed=7), Cancellation()))
    for index, text in enumerate(("abc", "xy")):
        own = [chunk for at, chunk in found if at == index]
        assert "".join(chunk.text for chunk in own) == text
        assert own[-1].finish_reason == "stop"
    assert [at for at, _ in found[:4]] == [0, 1, 0, 1]
    assert [config.seed for _, config in model.asked] == [7, 8]


def test_leaving_ends_all_of_them() -> None:
    model = Recorded("abc")
    left = pieces(model, ["1"], GenerationConfig(), Cancellation())
    next(left)
    left.close()  # type: ignore[attr-defined]
    assert model.ended.is_set()
    cancel = Cancellation()
    cancel.cancel()
    slow = ScriptedModel(ScriptedConfig(("abc",)))
    assert [one.finish_reason for _, one in pieces(slow, ["1"], GenerationConfig(), cancel)] == [
        "cancelled"
    ]


LIMITS = LmServiceConfig(max_tokens=50, max_texts=3)


def requested_chat(**fields: Any) -> ChatIn:
    messages = [{"role": "user", "content": [{"type": "text", "text": t} for t in ("a", "b")]}]
    return ChatIn.model_validate({"model": "m", "messages": messages, **fields})


def completion(**fields: Any) -> CompletionIn:
    return CompletionIn.model_validate({"model": "m", "prompt": "a", **fields})


def test_settings() -> None:
    assert settings_of(requested_chat(), LIMITS).max_tokens == 50
    assert (
        settings_of(requested_chat(max_completion_tokens=7, max_tokens=9), LIMITS).max_tokens == 7
    )
    assert settings_of(completion(), LIMITS).max_tokens == 16
    assert settings_of(requested_chat(stop="x"), LIMITS).stop == ("x",)
    assert settings_of(requested_chat(top_k=-1), LIMITS).top_k == 0
    assert settings_of(requested_chat(logprobs=True), LIMITS).logprobs
    assert settings_of(completion(logprobs=0), LIMITS).logprobs
    assert settings_of(requested_chat(seed=5), LIMITS).seed == 5
    # Two callers who name no seed want two answers.
    assert settings_of(requested_chat(), LIMITS).seed != settings_of(requested_chat(), LIMITS).seed
    with pytest.raises(ApiError, match="at most 50"):
        settings_of(requested_chat(max_tokens=51), LIMITS)


def test_forms() -> None:
    schema = {"type": "object", "properties": {}}
    told = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert settings_of(requested_chat(response_format=told), LIMITS).json_schema == schema
    plain = settings_of(requested_chat(response_format={"type": "json_object"}), LIMITS)
    assert plain.json_schema == {"type": "object"}
    assert not settings_of(requested_chat(response_format={"type": "text"}), LIMITS).constrained
    vllm = settings_of(requested_chat(structured_outputs={"json": schema}), LIMITS)
    assert vllm.json_schema == schema
    grammar = settings_of(requested_chat(structured_outputs={"grammar": "root ::= [a]"}), LIMITS)
    assert grammar.grammar == "root ::= [a]"


def test_prompts() -> None:
    assert prompts_of(requested_chat(n=2), LIMITS) == [(Message("user", "ab"),)] * 2
    assert prompts_of(completion(prompt=["a", "b"]), LIMITS) == ["a", "b"]
    assert prompts_of(completion(prompt=[[1], [2]]), LIMITS) == [
        TokenPrompt((1,)),
        TokenPrompt((2,)),
    ]
    told = prompts_of(requested_chat(chat_template_kwargs={"loud": True}), LIMITS)
    assert told == [Chat((Message("user", "ab"),), {"loud": True})]
    with pytest.raises(ApiError, match="at most 3"):
        prompts_of(completion(prompt=["a", "b"], n=2), LIMITS)


def test_further_settings() -> None:
    found = settings_of(
        completion(
            min_p=0.1,
            frequency_penalty=0.5,
            presence_penalty=-0.5,
            logit_bias={"65": 5, "66": -100},
            stop_token_ids=[7],
            min_tokens=2,
            ignore_eos=True,
            logprobs=3,
        ),
        LIMITS,
    )
    assert (found.min_p, found.frequency_penalty, found.presence_penalty) == (0.1, 0.5, -0.5)
    assert found.logit_bias == ((65, 5.0), (66, -100.0))
    assert (found.stop_token_ids, found.min_tokens, found.ignore_eos) == ((7,), 2, True)
    assert found.top_logprobs == 3
    assert settings_of(completion(logprobs=1), LIMITS).top_logprobs == 0
    assert settings_of(requested_chat(logprobs=True, top_logprobs=4), LIMITS).top_logprobs == 4
    assert settings_of(requested_chat(), LIMITS).further == frozenset()


def test_further_forms() -> None:
    def form(**fields: Any) -> Any:
        return settings_of(requested_chat(structured_outputs=fields), LIMITS)

    assert form(regex="[ab]+").regex == "[ab]+"
    assert form(choice=["tea", 'a "b"']).grammar == r'root ::= "tea" | "a \"b\""'
    assert form(json_object=True).json_schema == {"type": "object"}


def test_tools_shape_the_answer() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    body = requested_chat(tools=[tool])
    form = tool_form_of(body, FURTHER)
    assert form is not None
    assert settings_of(body, LIMITS, form).lark == form.lark
    assert tool_form_of(completion(), FURTHER) is None
    assert tool_form_of(requested_chat(), FURTHER) is None


def test_what_is_embedded() -> None:
    def texts(given: Any) -> Any:
        return texts_of(EmbeddingIn(model="m", input=given))

    assert texts("a") == ["a"]
    assert texts(["a", "b"]) == ["a", "b"]
    assert texts([5, 6]) == [TokenPrompt((5, 6))]
    assert texts([[5], [6]]) == [TokenPrompt((5,)), TokenPrompt((6,))]


def test_tokens_and_times() -> None:
    registry = CollectorRegistry()
    measures = LmMeasures(registry)
    measures.used(Usage(3, 4))
    times = iter((10.0, 11.0, 11.5, 12.0, 14.0))
    watch = measures.watch(lambda: next(times))
    assert isinstance(watch, Watch)
    watch.saw((0, Chunk("a", (1,))))
    watch.saw((1, Chunk("a", (1,))))
    watch.saw((0, Chunk("b", (2,), None, "stop", Usage(5, 3))))
    watch.saw((1, Chunk("b", (2,), None, "stop", Usage(5, 1))))
    # Both are answers to one prompt.
    assert watch.end(2) == Usage(5, 4)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"adwright_lm_{name}", labels)

    assert value("tokens_total", kind="prompt") == 8
    assert value("tokens_total", kind="answer") == 8
    assert (value("first_token_seconds_sum"), value("first_token_seconds_count")) == (1.0, 1)
    # One token alone has no next one.
    assert (value("token_seconds_sum"), value("token_seconds_count")) == (0.5, 1)


def test_who_calls() -> None:
    assert Callers("", {}).tenant_of("") == ""
    callers = Callers("k0", {"a": "k1", "b": "k2"})
    assert callers.several
    assert not Callers("k0", {}).several
    found = [callers.tenant_of(f"Bearer {key}") for key in ("k0", "k1", "k2", "k3", "")]
    assert found == ["", "a", "b", None, None]
    assert [callers.tenant_of(text) for text in ("k1", "Basic k1", "")] == [None] * 3
    assert callers.tenant_of("bearer k1") == "a"
    assert callers.tenant_of("Bearer \udce9") is None


def test_a_file_of_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# who  key\n\nshop-1 k1\n  shop-2\tk2  \n")
    assert read_keys(file) == {"shop-1": "k1", "shop-2": "k2"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a k1\nb", "line 2"),
        ("a k1\na k2", "line 2"),
        ("a k1\nb k1", "line 2"),
        ("a s3crèt", "line 1"),
        ("a b s3cret", "line 1"),
    ],
)
def test_what_is_wrong_is_named_without_a_key(text: str, line: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as told:
        read_keys(file)
    assert line in str(told.value)
    assert "s3cr" not in str(told.value)


def test_no_file_and_no_key(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# nobody\n")
    for path in (tmp_path / "none", tmp_path, tmp_path / "empty"):
        with pytest.raises(ConfigError):
            read_keys(path)
    with pytest.raises(ConfigError, match="same key"):
        require_keys({"a": "k", "b": "k"})


def test_the_key_is_never_shown() -> None:
    assert "s3cret" not in repr(LmServiceConfig(key="s3cret", keys={"a": "s3cret-2"}))
    with pytest.raises(ConfigError) as caught:
        LmServiceConfig(key="s3cret\n")
    assert "s3cret" not in str(caught.value)


def test_the_gate_has_the_same_limits() -> None:
    gate = LmServiceConfig(max_in_flight=7, max_body_bytes=9, body_seconds=3.0).gate()
    assert (gate.max_in_flight, gate.max_body_bytes, gate.body_seconds) == (7, 9, 3.0)


def test_without_a_key_only_local_names_call_it() -> None:
    assert LmServiceConfig().gate().allowed_hosts == ("localhost", "127.0.0.1", "::1")
    assert LmServiceConfig(key="k").gate().allowed_hosts == ()
    assert LmServiceConfig(key="k", allowed_hosts=("a",)).gate().allowed_hosts == ("a",)


@pytest.mark.parametrize("wrong", [{"key": "a\nb"}, {"keys": {"a": "k k"}}])
def test_wrong_settings_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        LmServiceConfig(**wrong)
