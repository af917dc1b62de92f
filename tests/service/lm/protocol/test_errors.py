from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from adwright.core.errors import ConfigError
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from adwright.service.lm.protocol.errors import LmErrorBody, broken_stream, lm_error_docs, respond
from adwright.web.errors import ApiError, Busy
from tests.support.service.scripted_models import Recorded, app_of
from tests.support.service.small_shop import Client, running

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
