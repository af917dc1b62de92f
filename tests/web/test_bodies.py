"""Tests of how bodies are parsed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from typing import Annotated, Any, get_args

import pytest
from fastapi import APIRouter, FastAPI, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.types import Scope

from adwright.core.clock import FixedClock, SystemClock
from adwright.core.errors import ConfigError, ResourceError
from adwright.web import key_cache as keys
from adwright.web.bodies import BodyRoute, ShortWay
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
from adwright.web.gate import Gate, ServiceMetrics
from adwright.web.key_cache import KeyCache
from adwright.web.limits import GateLimits
from tests.support.looped import in_a_loop
from tests.support.service.small_shop import running

JSON = {"content-type": "application/json"}


class Entry(BaseModel):
    """One of many."""

    model_config = ConfigDict(extra="forbid")
    number: int


class Bulk(BaseModel):
    """A body with a list of models and other fields."""

    model_config = ConfigDict(extra="forbid")
    name: str = ""
    entries: Annotated[list[Entry], Field(max_length=1000)] = []
    free: Any = None


def app() -> FastAPI:
    made = FastAPI()
    router = APIRouter(route_class=BodyRoute)

    @router.post("/v1/bulk")
    async def bulk(body: Bulk) -> list[int]:
        return [len(body.name), *(entry.number for entry in body.entries)]

    @router.get("/v1/bulk")
    async def none() -> str:
        return "none"

    made.include_router(router)
    add_error_handlers(made)
    limits, metrics = GateLimits(max_body_bytes=4 << 20), ServiceMetrics()
    made.add_middleware(Gate, limits=limits, metrics=metrics, clock=SystemClock())
    return made


def post(*bodies: bytes | dict[str, Any], kind: str = "application/json") -> list[Any]:
    """Status and content of the answer to each."""
    with running(app()) as client:
        answers = [
            client.post(
                "/v1/bulk",
                content=body if isinstance(body, bytes) else json.dumps(body),
                headers={"content-type": kind},
            )
            for body in bodies
        ]
    return [(answer.status_code, answer.json()) for answer in answers]


def where(answer: Any) -> list[str]:
    return [detail["where"] for detail in answer[1]["error"]["details"]]


def test_a_body_becomes_a_model() -> None:
    found = post({"name": "abc"}, {"entries": [{"number": 7}]}, {})
    assert found == [(200, [3]), (200, [0, 7]), (200, [0])]
    (answer,) = post({"name": "a"}, kind="application/vnd.a+json; charset=utf-8")
    assert answer == (200, [1])


def test_long_lists_are_checked_piece_by_piece_with_the_same_outcome() -> None:
    entries = [{"number": n} for n in range(1000)]
    wrong = [*entries[:500], {"number": "x"}, {"number": 1, "more": 2}, *entries[502:]]
    right, broken, many = post(
        {"entries": entries}, {"entries": wrong}, {"entries": [*entries, {"number": 1}]}
    )
    assert right == (200, [0, *range(1000)])
    assert broken[0] == 422
    assert where(broken) == ["body.entries.500.number", "body.entries.501.more"]
    assert many[0] == 422
    assert where(many) == ["body.entries"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 900_000,
        b'{"name":' * 100_000,
        b"\xff\xfe{\x00}\x00",
        b'{"free":NaN}',
        b'{"name":"\\ud800"}',
        b'{"free":' + b"9" * 5_000 + b"}",
    ],
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    ((status, said),) = post(body)
    assert (status, said["error"]["code"]) in ((400, "bad_request"), (422, "invalid"))


def test_a_body_of_too_many_parts_is_refused() -> None:
    lists = b'{"free":[' + b"[]," * 300_000 + b"1]}"
    fields = json.dumps({f"f{n}": n for n in range(70_000)}).encode()
    commas = json.dumps({"free": [1] * 70_000}).encode()
    for status, said in post(lists, fields, commas):
        assert status == 422
        assert "more than 10000 lists and objects" in said["error"]["message"]


def test_text_may_hold_any_brackets() -> None:
    text = '{[:"\\"' * 50_000
    assert post({"name": text}) == [(200, [len(text)])]
    # A string that does not end is no way around.
    assert post(b'{"name":"' + b"[:" * 70_000)[0][0] == 400


def test_of_many_errors_few_are_told() -> None:
    unknown, entry, deep = post(
        {f"f{n}": n for n in range(25_000)} | {"name": 1},
        {"entries": [{f"f{n}": n for n in range(5_000)}]},
        {"entries": [{"number": "x", "a": 1, "b": 2, "c": 3}] * 30},
    )
    assert unknown[0] == 422
    assert len(where(unknown)) == 20
    assert where(unknown)[0] == "body.name"
    assert deep[0] == 422
    assert deep[1]["error"]["details"][0]["message"] == "120 fields are wrong"
    assert len(where(entry)) == 20


def test_what_is_not_sent_as_json_is_not_parsed() -> None:
    for kind in ("text/plain", "", "application/x-www-form-urlencoded"):
        ((status, said),) = post({"name": "a"}, kind=kind)
        assert (status, said["error"]["code"]) == (415, "unsupported")
        assert "application/json" in said["error"]["hint"]


def test_a_route_without_a_body_is_as_it_was() -> None:
    with running(app()) as client:
        assert client.get("/v1/bulk").json() == "none"
        assert "Bulk" in client.get("/openapi.json").text


def test_large_bodies_of_a_tenant_take_turns() -> None:
    body = json.dumps({"entries": [{"number": n} for n in range(1000)], "name": "x" * 20_000})
    with running(app()) as client:
        sent = [client.start("POST", "/v1/bulk", content=body, headers=JSON) for _ in range(5)]
        assert {answer.result(30).status_code for answer in sent} == {200}


class Shelf(BaseModel):
    """A body that can hold 1 + 1 + 50 * (1 + 1) objects and lists."""

    model_config = ConfigDict(extra="forbid")

    class Item(BaseModel):
        """With an object of scalars."""

        model_config = ConfigDict(extra="forbid")
        number: int
        context: Annotated[dict[str, int | str], Field(max_length=10)] | None = None

    items: Annotated[list[Item], Field(max_length=50)]
    name: str = ""


def test_a_large_body_has_no_more_parts_than_its_model_can_take() -> None:
    made = FastAPI()
    router = APIRouter(route_class=BodyRoute)

    @router.post("/v1/shelf")
    async def shelf(body: Shelf) -> int:
        return len(body.items)

    made.include_router(router)
    add_error_handlers(made)
    limits, metrics = GateLimits(max_body_bytes=4 << 20), ServiceMetrics()
    made.add_middleware(Gate, limits=limits, metrics=metrics, clock=SystemClock())
    padding = "x" * (1 << 14)
    fits = {"items": [{"number": n, "context": {"a": n}} for n in range(50)], "name": padding}
    over = {"items": [{"number": n} for n in range(103)], "name": padding}
    long = {"items": [{"number": n} for n in range(51)]}
    with running(made) as client:
        answers = [client.post("/v1/shelf", json=body) for body in (fits, over, long)]
    assert [answer.status_code for answer in answers] == [200, 422, 422]
    assert answers[0].json() == 50
    assert "more than 102 lists and objects" in answers[1].text
    # A small body is told what is wrong with it.
    assert where((422, answers[2].json())) == ["body.items"]


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


class Store:
    def __init__(self) -> None:
        self.known = {"key-a": "acme"}
        self.asked: list[str] = []
        self.looks: list[int] = []
        self.fails = False
        self.open = threading.Event()
        self.open.set()

    def tenants_of_keys(self, keys: Sequence[str]) -> list[str | None]:
        self.asked += keys
        self.looks.append(len(keys))
        assert self.open.wait(30)
        if self.fails:
            raise ResourceError("the store is down")
        return [self.known.get(key) for key in keys]


@in_a_loop
async def test_a_key_is_believed_for_a_while_and_then_asked_again(clock: FixedClock) -> None:
    store = Store()

    cache = KeyCache(store.tenants_of_keys, clock, seconds=5)
    assert await cache.caller("key-a") == "acme"
    assert await cache.caller("other") is None
    store.known = {"other": "umbrella"}
    clock.advance(4.9)
    assert await cache.caller("key-a") == "acme"
    assert await cache.caller("other") is None
    assert store.asked == ["key-a", "other"]
    clock.advance(0.2)
    assert await cache.caller("key-a") is None
    assert await cache.caller("other") == "umbrella"


@in_a_loop
async def test_many_at_once_ask_once(clock: FixedClock) -> None:
    store = Store()

    cache = KeyCache(store.tenants_of_keys, clock, seconds=5)
    assert await asyncio.gather(*(cache.caller("key-a") for _ in range(50))) == ["acme"] * 50
    assert store.asked == ["key-a"]


@in_a_loop
async def test_an_error_is_not_remembered(clock: FixedClock) -> None:
    store = Store()
    store.fails = True

    cache = KeyCache(store.tenants_of_keys, clock, seconds=5)
    for _ in range(2):
        with pytest.raises(ResourceError, match="down"):
            await cache.caller("key-a")
    assert store.asked == ["key-a", "key-a"]


@in_a_loop
async def test_guesses_are_asked_together_and_the_next_key_with_them(clock: FixedClock) -> None:
    store = Store()
    store.open.clear()

    cache = KeyCache(store.tenants_of_keys, clock, seconds=5)
    guesses = [asyncio.create_task(cache.caller(f"guess-{n}")) for n in range(300)]
    await asyncio.sleep(0)
    honest = asyncio.create_task(cache.caller("key-a"))
    await asyncio.sleep(0)
    store.open.set()
    assert await honest == "acme"
    assert await asyncio.gather(*guesses) == [None] * 300
    assert store.looks == [1, 1, 299]


@in_a_loop
async def test_it_does_not_grow_with_guesses_which_drive_no_known_key_out_and_it_keeps_no_key(
    clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_MOST", 3)
    store = Store()

    cache = KeyCache(store.tenants_of_keys, clock, seconds=5)
    for guess in ("key-a", "g1", "g2", "g3", "\ud800"):
        await cache.caller(guess)
    assert await cache.caller("key-a") == "acme"
    assert store.asked == ["key-a", "g1", "g2", "g3", "\ud800"]
    assert len(cache._unknown) == 3
    assert all(len(digest) == 32 for digest in (*cache._known, *cache._unknown))


@pytest.mark.parametrize("hangs", [False, True])
def test_a_known_key_is_believed_on_while_the_store_cannot_be_asked(
    clock: FixedClock, hangs: bool
) -> None:
    store = Store()

    async def main() -> None:
        cache = KeyCache(store.tenants_of_keys, clock, seconds=5, stale_seconds=60)
        await cache.caller("key-a")
        if hangs:
            store.open.clear()
        else:
            store.fails = True
        for _ in range(3):
            clock.advance(19)
            assert await cache.caller("key-a") == "acme"
        clock.advance(3.1)
        with pytest.raises((ApiError, ResourceError)):
            await cache.caller("key-a")
        # As soon as it can be asked, the store is right: the key was revoked meanwhile.
        store.known, store.fails = {}, False
        store.open.set()
        for _ in range(500):
            if await cache.caller("key-a") is None:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the revoked key is still believed")

    asyncio.run(main())


@in_a_loop
async def test_new_keys_are_refused_while_the_store_hangs(
    clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "PATIENCE", 0.05)
    store = Store()
    store.open.clear()

    cache = KeyCache(store.tenants_of_keys, clock, seconds=5)
    for guess in ("g1", "g2", "g3"):
        with pytest.raises(ApiError, match="has not answered") as refused:
            await cache.caller(guess)
        assert refused.value.status == 503
        assert refused.value.headers == {"Retry-After": "1"}
    clock.advance(1)
    # Both looks hang: no more keys wait behind them.
    with pytest.raises(ApiError, match="has not answered"):
        await cache.caller("g4")
    store.open.set()
    for _ in range(500):
        if "g3" in store.asked and not cache._began:
            break
        await asyncio.sleep(0.01)
    assert await cache.caller("key-a") == "acme"
    assert "g4" not in store.asked


class Wanted(BaseModel):
    name: str
    count: int = 1


def with_two_ways() -> FastAPI:
    """An app whose /v1/long is answered by the framework and /v1/short past it."""
    app, router = FastAPI(), APIRouter(route_class=BodyRoute)

    def answered(body: Wanted) -> Response:
        if body.name == "busy":
            raise Busy("queue", 1.0)
        if body.name == "store":
            raise ResourceError("the store is gone")
        return Response(f"{body.name} {body.count}", media_type="text/plain")

    @router.post("/v1/long")
    async def long(body: Wanted) -> Response:
        return answered(body)

    @router.post("/v1/short")
    async def short(body: Wanted) -> Response:
        raise AssertionError("the framework was asked")

    async def answer(body: Wanted, scope: Scope) -> Response:
        assert scope["path"] == "/v1/short"
        return answered(body)

    app.include_router(router)
    add_error_handlers(app)
    ways = {("POST", "/v1/short"): ShortWay("/v1/short", Wanted, answer)}
    metrics, clock = ServiceMetrics(), SystemClock()
    app.add_middleware(Gate, limits=GateLimits(), metrics=metrics, clock=clock, short=ways)
    app.state.metrics = metrics
    return app


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"name": "a"}', "application/json", 200),
        (b'{"name": "a", "count": 3, "more": 1}', "application/problem+json; charset=utf-8", 200),
        (b'{"name": "a"}', "text/plain", 415),
        (b"", "application/json", 422),
        (b"{", "application/json", 400),
        (b'{"name": 3, "count": "x"}', "application/json", 422),
        (b'{"name": "busy"}', "application/json", 429),
        (b'{"name": "store"}', "application/json", 503),
        (b'{"name": "' + b"a" * 20_000 + b'"}', "application/json", 200),
    ],
)
def test_the_short_way_answers_as_the_framework_does(
    content: bytes, kind: str, status: int
) -> None:
    app = with_two_ways()
    with running(app) as client:
        long, short = (
            client.post(path, content=content, headers={"Content-Type": kind})
            for path in ("/v1/long", "/v1/short")
        )
    assert (long.status_code, short.status_code) == (status, status)
    assert short.content == long.content
    assert dict(short.headers) == dict(long.headers)
    for path in ("/v1/long", "/v1/short"):
        counted = {"route": path, "method": "POST", "status": str(status)}
        found = app.state.metrics.registry.get_sample_value("adwright_requests_total", counted)
        assert found == 1
