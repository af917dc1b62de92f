from __future__ import annotations

import json
from typing import get_args

import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.exceptions import HTTPException

from adwright.core.errors import ConfigError, ResourceError
from adwright.web.errors import (
    ApiError,
    Busy,
    ErrorBody,
    ErrorCode,
    ErrorDetail,
    add_error_handlers,
    error_docs,
    error_response,
)
from tests.support.service.small_shop import running


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: int


def make_app() -> FastAPI:
    app = FastAPI()
    add_error_handlers(app)

    @app.post("/body")
    async def body(body: Body) -> None: ...

    @app.get("/raise/{name}")
    async def fail(name: str) -> None:
        raise {
            "api": ApiError(409, "taken", hint="another"),
            "code": ApiError(409, "none", code="no_model"),
            "busy": Busy("queue", 3.2),
            "http": HTTPException(418, "teapot"),
            "store": ResourceError("the password is hunter2"),
            "own": ConfigError("the password is hunter2"),
            "bug": ZeroDivisionError("the password is hunter2"),
        }[name]

    return app


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("api", 409, "conflict"),
        ("code", 409, "no_model"),
        ("busy", 429, "too_busy"),
        ("http", 418, "internal"),
        ("store", 503, "unavailable"),
        ("own", 500, "internal"),
        ("bug", 500, "internal"),
    ],
)
def test_every_error_has_one_shape_and_tells_no_secret(name: str, status: int, code: str) -> None:
    with running(make_app()) as client:
        answer = client.get(f"/raise/{name}")
    assert answer.status_code == status
    assert "hunter2" not in answer.text
    assert ErrorBody.model_validate_json(answer.content).error.code == code
    if name == "busy":
        assert answer.headers["retry-after"] == "4"


def test_the_framework_s_own_errors_too() -> None:
    with running(make_app()) as client:
        for method, path, status, code in (
            ("GET", "/nowhere", 404, "not_found"),
            ("DELETE", "/body", 405, "method_not_allowed"),
        ):
            answer = client.send(method, path)
            assert answer.status_code == status
            assert ErrorBody.model_validate_json(answer.content).error.code == code
        assert answer.headers["allow"] == "POST"


def test_an_invalid_body_names_its_fields_and_repeats_nothing() -> None:
    with running(make_app()) as client:
        answer = client.post("/body", json={"number": "SECRET", "x": "SECRET"})
        body = ErrorBody.model_validate_json(answer.content)
        assert answer.status_code == 422
        assert [detail.where for detail in body.error.details] == ["body.number", "body.x"]
        assert "SECRET" not in answer.text
        headers = {"content-type": "application/json"}
        broken = client.post("/body", content=b"{", headers=headers)
        assert (broken.status_code, broken.json()["error"]["code"]) == (400, "bad_request")
        # The names of unknown fields come from the caller: they may be anything.
        wild = {"number": 1, "\ud800\0\x1b" + "x" * 999: 1}
        answer = client.post("/body", content=json.dumps(wild), headers=headers)
        (detail,) = ErrorBody.model_validate_json(answer.content).error.details
        assert len(detail.where) < 100
        assert detail.where.isprintable()
        many = {f"f{n}": n for n in range(100)}
        answer = client.post("/body", json=many)
        assert len(answer.json()["error"]["details"]) == 20


def test_every_documented_error_has_a_body_and_an_example() -> None:
    for status, doc in error_docs(400, 401, 404, 408, 409, 413, 422, 429, 503).items():
        example = doc["content"]["application/json"]["example"]
        assert ErrorBody.model_validate(example).error.code in get_args(ErrorCode)
        assert ("headers" in doc) == (status in (429, 503))


@pytest.mark.parametrize(("seconds", "retry"), [(-1, "1"), (0, "1"), (2.1, "3"), (1e9, "60")])
def test_a_busy_service_says_when_to_come_back(seconds: float, retry: str) -> None:
    assert Busy("queue", seconds).headers == {"Retry-After": retry}


def test_a_status_without_a_code_of_its_own_is_internal() -> None:
    answer = error_response(507, "full", headers={"X-A": "b"})
    assert json.loads(bytes(answer.body))["error"]["code"] == "internal"
    assert answer.headers["x-a"] == "b"


def test_an_error_answers_for_itself() -> None:
    error = ApiError(409, "taken", code="no_model", hint="free it", headers={"X-Own": "1"})
    answer = error.response()
    assert answer.status_code == 409
    assert answer.headers["X-Own"] == "1"
    said = json.loads(bytes(answer.body))["error"]
    assert said == {"code": "no_model", "message": "taken", "hint": "free it", "details": []}
    busy = Busy("queue", 2.2).response()
    assert (busy.status_code, busy.headers["Retry-After"]) == (429, "3")


def test_every_documented_status_answers_with_the_code_of_its_example() -> None:
    for status, doc in error_docs(400, 401, 404, 408, 409, 413, 422, 429, 503).items():
        example = doc["content"]["application/json"]["example"]["error"]
        answer = error_response(int(status), "any")
        assert answer.status_code == status
        assert json.loads(bytes(answer.body))["error"]["code"] == example["code"]
        assert doc["description"] == example["message"]
    assert error_docs() == {}


def test_details_are_passed_on_in_their_order() -> None:
    details = [ErrorDetail(where=f"body.{name}", message="wrong") for name in "ba"]
    said = json.loads(bytes(error_response(422, "no", hint="h", details=details).body))["error"]
    assert [one["where"] for one in said["details"]] == ["body.b", "body.a"]
    assert (said["code"], said["message"], said["hint"]) == ("invalid", "no", "h")


def test_an_error_keeps_headers_of_its_own() -> None:
    headers = {"X-Own": "1"}
    error = ApiError(401, "who?", headers=headers)
    headers["X-Own"] = "2"
    assert error.headers == {"X-Own": "1"}
    assert (error.code, str(error), error.hint) == ("unauthorized", "who?", "")
    assert ApiError(404, "gone").headers == {}


def test_a_busy_service_says_what_is_full_to_the_metrics_alone() -> None:
    busy = Busy("the queue of secrets", 1.0)
    assert busy.reason == "the queue of secrets"
    assert b"secrets" not in bytes(busy.response().body)


def test_an_answer_of_another_shape_is_no_error_body() -> None:
    good = {"code": "invalid", "message": "m"}
    assert ErrorBody.model_validate({"error": good}).error.details == []
    for wrong in ({**good, "code": "odd"}, {**good, "more": 1}, {"code": "invalid"}):
        with pytest.raises(ValidationError):
            ErrorBody.model_validate({"error": wrong})


def test_a_method_that_a_path_lacks_is_told_all_that_it_has() -> None:
    app, router = make_app(), APIRouter()

    @router.get("/{name:path}/both")
    async def read(name: str) -> str:
        return name

    @router.post("/{name:path}/both")
    async def write(name: str) -> str:
        return name

    app.include_router(router)
    with running(app) as client:
        answer = client.send("DELETE", "/a/b/both")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
