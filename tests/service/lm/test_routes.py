from __future__ import annotations

import threading
import time
from collections import UserDict
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest

from adwright.core.clock import FixedClock
from adwright.lm.engine.generation import Health, LanguageModel, ModelInfo
from adwright.lm.engine.scripted import ByteTokens, ScriptedConfig, ScriptedModel
from adwright.web.server import on_loopback
from tests.support.service.scripted_models import Recorded, app_of, events_of
from tests.support.service.small_shop import Client, running


class Dead(ScriptedModel):
    """Its process cannot be started."""

    def health(self) -> Health:
        return "dead"


def test_not_ready_without_a_model_or_while_it_drains() -> None:
    app = app_of(Recorded())
    with running(app) as client:
        app.state.service.draining = True
        assert client.get("/readyz").status_code == 503
        app.state.service.draining = False
        assert client.get("/readyz").json() == {"ready": True, "models": {"m": "ready"}}
        app.state.service.models["other"] = Dead(ScriptedConfig())
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["models"]["other"]) == (503, "dead")
        app.state.service.models.clear()
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200


def test_a_model_that_goes_while_they_are_listed() -> None:
    class Going(UserDict[str, LanguageModel]):
        """Another thread removes one after the names were read."""

        def __iter__(self) -> Iterator[str]:
            return iter(["gone", *self.data])

    app = app_of(Recorded())
    with running(app) as client:
        names = [one["id"] for one in client.get("/v1/models").json()["data"]]
        app.state.service.models = Going(app.state.service.models)
        found = client.get("/v1/models")
    assert found.status_code == 200
    assert [one["id"] for one in found.json()["data"]] == names


def test_the_openapi_is_made() -> None:
    with running(app_of(Recorded())) as client:
        assert "/v1/chat/completions" in client.get("/openapi.json").json()["paths"]


HELLO = [{"role": "user", "content": "hello"}]
ECHO = {"prompt": "hello", "max_tokens": 0, "echo": True, "logprobs": 1}
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("chat/completions", {"messages": HELLO}),
    ("chat/completions", {"messages": HELLO, "stream": True}),
    ("completions", {"prompt": "hello"}),
    ("completions", {"prompt": "hello", "stream": True}),
    ("completions", ECHO),
    ("embeddings", {"input": "hello"}),
]


@pytest.mark.parametrize(("path", "body"), CALLS)
def test_without_the_key_no_model_is_asked(path: str, body: dict[str, Any]) -> None:
    model = Recorded()
    with running(app_of(model, key="s3cret")) as client:
        for key in ("", "Bearer ", "Bearer s3cre", "Basic s3cret", "s3cret", "Bearers3cret"):
            sent = {"Authorization": key} if key else {}
            answer = client.post(f"/v1/{path}", json={"model": "m", **body}, headers=sent)
            assert answer.status_code == 401
            assert "s3cret" not in answer.text
        right = {"Authorization": "Bearer s3cret"}
        answer = client.post(f"/v1/{path}", json={"model": "m", **body}, headers=right)
        assert answer.status_code == 200
    assert len(model.asked) <= 1


def test_paths_of_adapters_need_the_key_too() -> None:
    with running(app_of(Recorded(), key="s3cret")) as client:
        assert client.get("/v1/adapters").status_code == 401
        assert client.post("/v1/adapters/rescan").status_code == 401
        for open_to_all in ("/healthz", "/readyz", "/metrics"):
            assert client.get(open_to_all).status_code == 200


class Small(ScriptedModel):
    """Has room for three tokens."""

    @property
    def info(self) -> ModelInfo:
        return ModelInfo("small", "scripted", 3)


@pytest.mark.parametrize(("path", "body"), CALLS)
def test_what_the_model_refuses_is_the_callers_to_correct(path: str, body: dict[str, Any]) -> None:
    with running(app_of(Small(ScriptedConfig()))) as client:
        answer = client.post(f"/v1/{path}", json={"model": "m", **body})
        # Before the head of a stream too.
        assert answer.status_code == 400
        assert "no room in a context of 3" in answer.json()["error"]["message"]
        assert "hello" not in answer.text


def test_pieces_of_a_character_are_no_events_of_their_own() -> None:
    with running(app_of(Recorded("\u00e9t\u00e9"))) as client:
        body = {"model": "m", "prompt": "a", "stream": True}
        events = events_of(client.post("/v1/completions", json=body))
        texts = [one["choices"][0]["text"] for one in events]
        assert texts == ["\u00e9", "t", "\u00e9", ""]
        assert [one["choices"][0]["finish_reason"] for one in events] == [None, None, None, "stop"]
        # With log-probabilities each token is told.
        events = events_of(client.post("/v1/completions", json={**body, "logprobs": 1}))
        told = [one["choices"][0]["logprobs"]["token_logprobs"] for one in events]
        assert sum(map(len, told)) == 5


class Spelling(ByteTokens):
    """Its tokeniser takes its time for the text of a token that is asked for alone."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.go_on = threading.Event()

    def decode(self, ids: Sequence[int]) -> str:
        if len(ids) == 1 and threading.current_thread().name == "adwright-aside":
            self.asked.set()
            self.go_on.wait(20)
        return super().decode(ids)


def test_the_likeliest_tokens_are_spelled_beside_the_loop() -> None:
    tokens = Spelling()

    class Slow(ScriptedModel):
        @property
        def tokens(self) -> Spelling:
            return tokens

    with running(app_of(Slow(ScriptedConfig()))) as client:
        body = {"model": "m", "prompt": "a", "logprobs": 5}
        answer = client.start("POST", "/v1/completions", json=body)
        assert tokens.asked.wait(20)
        assert client.get("/healthz").status_code == 200
        tokens.go_on.set()
        assert len(answer.result(30).json()["choices"][0]["logprobs"]["tokens"]) == 2


def test_a_stream_tells_its_usage_only_where_it_is_asked_for() -> None:
    with running(app_of(Recorded())) as client:
        body = {"model": "m", "prompt": "ab", "stream": True}
        assert all("usage" not in one for one in told(client, body))
        *_, last = told(client, {**body, "stream_options": {"include_usage": True}})
        assert last["choices"] == []
        assert last["usage"] == {
            "prompt_tokens": 2,
            "completion_tokens": 10,
            "total_tokens": 12,
            "prompt_tokens_details": {"cached_tokens": 0},
        }


def told(client: Client, body: dict[str, Any]) -> list[Any]:
    return events_of(client.post("/v1/completions", json=body))


def test_each_answer_has_a_name_of_its_kind() -> None:
    with running(app_of(Recorded())) as client:
        chat = client.post("/v1/chat/completions", json={"model": "m", "messages": HELLO}).json()
        text = client.post("/v1/completions", json={"model": "m", "prompt": "a"}).json()
    assert chat["id"].startswith("chatcmpl-")
    assert text["id"].startswith("cmpl-")
    assert chat["created"] == text["created"] == int(FixedClock().now().timestamp())


@pytest.mark.parametrize("path", ["completions", "embeddings"])
def test_who_goes_away_is_counted_and_not_answered(path: str) -> None:
    model = Waiting(ScriptedConfig())
    app = app_of(model)
    body = {"model": "m", **(ECHO if path == "completions" else {"input": "hello"})}
    with on_loopback(app) as url, httpx.Client(timeout=30) as client:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v1/{path}", json=body, timeout=httpx.Timeout(30, read=1))
        assert model.entered.wait(10)
        try:
            until = time.monotonic() + 20
            while not counted(client.get(f"{url}/metrics").text, path):
                assert time.monotonic() < until
                time.sleep(0.02)
        finally:
            model.go_on.set()


def counted(metrics: str, path: str) -> bool:
    """Whether a request to the path was counted as closed by its caller."""
    lines = [line for line in metrics.splitlines() if line.startswith("adwright_requests_total")]
    return any(f'"/v1/{path}"' in line and 'status="499"' in line for line in lines)


class Waiting(ScriptedModel):
    """Scores and embeds once it is told to go on."""

    def __init__(self, config: ScriptedConfig) -> None:
        super().__init__(config)
        self.entered, self.go_on = threading.Event(), threading.Event()

    def score(self, *given: Any, **named: Any) -> Any:
        self._wait()
        return super().score(*given, **named)

    def embed(self, *given: Any, **named: Any) -> Any:
        self._wait()
        return super().embed(*given, **named)

    def _wait(self) -> None:
        self.entered.set()
        self.go_on.wait(20)


@pytest.mark.parametrize("stream", [False, True])
def test_what_takes_too_long_ends(stream: bool) -> None:
    model = ScriptedModel(ScriptedConfig(replies=("a" * 1000,), seconds_per_token=0.02))
    with running(app_of(model, max_seconds=0.3)) as client:
        body = {"model": "m", "prompt": "a", "max_tokens": 900, "stream": stream}
        answer = client.post("/v1/completions", json=body)
    assert answer.status_code == 200
    last = events_of(answer)[-1] if stream else answer.json()
    assert last["choices"][0]["finish_reason"] == "length"


def test_what_has_nothing_in_time_is_unavailable() -> None:
    model = Recorded()
    model.go_on.clear()
    with running(app_of(model, max_seconds=0.2)) as client:
        answer = client.post("/v1/completions", json={"model": "m", "prompt": "a"})
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert model.cancelled
        model.go_on.set()


def test_tenants_have_keys_of_their_own() -> None:
    keys = {"shop-1": "k1", "shop-2": "k2"}
    with running(app_of(Recorded(), keys=keys)) as client:
        body = {"model": "m", "prompt": "a"}
        codes = [
            client.post(
                "/v1/completions", json=body, headers={"Authorization": f"Bearer {key}"}
            ).status_code
            for key in ("k1", "k2", "k3")
        ]
        assert codes == [200, 200, 401]
        shown = client.get("/metrics").text + client.get("/readyz").text
        assert not any(text in shown for text in ("shop-1", "k1", "shop-2"))
