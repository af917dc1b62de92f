from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from starlette.types import Scope

from adwright.core.clock import SystemClock
from adwright.core.errors import ResourceError
from adwright.web.errors import ApiError
from adwright.web.gate import Authenticate, Gate, ServiceMetrics, admitted, header
from adwright.web.limits import GateLimits
from tests.support.service.small_shop import Client, running


def make_app(
    metrics: ServiceMetrics, authenticate: Authenticate | None = None, **settings: Any
) -> FastAPI:
    app = FastAPI()
    app.state.waiting = asyncio.Event()

    @app.post("/v1/echo")
    async def echo(request: Request) -> int:
        return len(await request.body())

    @app.get("/v1/wait/{name}")
    async def wait(name: str) -> str:
        await app.state.waiting.wait()
        return name

    @app.get("/healthz")
    async def health() -> str:
        return "ok"

    @app.get("/kept")
    async def kept() -> Response:
        return Response("1", headers={"Cache-Control": "max-age=60"})

    limits, clock = GateLimits(**settings), SystemClock()
    app.add_middleware(Gate, limits=limits, metrics=metrics, clock=clock, authenticate=authenticate)
    return app


def value(metrics: ServiceMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_answers_carry_the_headers_and_are_counted() -> None:
    metrics = ServiceMetrics()
    with running(make_app(metrics, replica="a1")) as client:
        answer = client.post("/v1/echo", content=b"12345")
        missing = client.get("/v1/nowhere/SECRET")
    assert (answer.json(), missing.status_code) == (5, 404)
    for headers in (answer.headers, missing.headers):
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert headers["x-replica"] == "a1"
    counted = {"route": "/v1/echo", "method": "POST", "status": "200"}
    assert value(metrics, "adwright_requests_total", **counted) == 1
    assert value(metrics, "adwright_request_seconds_count", route="/v1/echo") == 1
    other = {"route": "other", "method": "other", "status": "404"}
    assert value(metrics, "adwright_requests_total", **other) == 1
    assert b"SECRET" not in metrics.text()


def test_a_header_that_an_answer_has_already_is_left_to_it() -> None:
    with running(make_app(ServiceMetrics())) as client:
        headers = client.get("/kept").headers
    assert headers.get_list("cache-control") == ["max-age=60"]
    assert headers.get_list("x-frame-options") == ["DENY"]


def test_without_a_name_there_is_no_replica_header() -> None:
    with running(make_app(ServiceMetrics())) as client:
        assert "x-replica" not in client.get("/healthz").headers


async def pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 10


def test_a_body_is_measured_while_it_arrives() -> None:
    with running(make_app(ServiceMetrics(), max_body_bytes=100)) as client:
        assert client.post("/v1/echo", content=b"x" * 100).json() == 100
        assert client.post("/v1/echo", content=pieces(10)).json() == 100
        for content in (b"x" * 101, pieces(11), pieces(1000)):
            answer = client.post("/v1/echo", content=content)
            assert answer.status_code == 413
            assert answer.json()["error"]["code"] == "too_large"
            assert answer.headers["connection"] == "close"


def call(app: Any, messages: Callable[[], AsyncIterator[Any]], *headers: Any) -> list[Any]:
    """What the app sends to a request whose parts come from `messages`."""
    sent: list[Any] = []

    async def main() -> None:
        parts = messages()

        async def receive() -> Any:
            return await anext(parts)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/echo",
            "raw_path": b"/v1/echo",
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "http_version": "1.1",
            "headers": list(headers),
            "app": app,
        }
        await app(scope, receive, send)

    asyncio.run(main())
    return sent


def test_no_more_of_a_long_body_is_read_than_its_limit() -> None:
    read = [0]

    async def messages() -> AsyncIterator[Any]:
        while True:
            read[0] += 1
            yield {"type": "http.request", "body": b"x" * 60, "more_body": True}

    sent = call(make_app(ServiceMetrics(), max_body_bytes=100), messages)
    assert (sent[0]["status"], read[0]) == (413, 2)
    announced = (b"content-length", b"101")
    sent = call(make_app(ServiceMetrics(), max_body_bytes=100), messages, announced)
    assert (sent[0]["status"], read[0]) == (413, 2)


@pytest.mark.parametrize("length", [b"x", b"-1", b"", b"\xb2"])
def test_a_length_that_is_no_number_is_left_to_the_count(length: bytes) -> None:
    async def messages() -> AsyncIterator[Any]:
        yield {"type": "http.request", "body": b"12345", "more_body": False}

    sent = call(make_app(ServiceMetrics()), messages, (b"content-length", length))
    assert (sent[0]["status"], sent[1]["body"]) == (200, b"5")


def test_a_body_that_does_not_come_is_given_up() -> None:
    async def messages() -> AsyncIterator[Any]:
        yield {"type": "http.request", "body": b"1", "more_body": True}
        await asyncio.sleep(30)

    sent = call(make_app(ServiceMetrics(), body_seconds=0.05), messages)
    assert sent[0]["status"] == 408
    assert b"too_slow" in sent[1]["body"]


def test_beyond_the_most_in_flight_a_request_is_shed_but_health_is_answered() -> None:
    metrics = ServiceMetrics()
    app = make_app(metrics, max_in_flight=3)
    with running(app) as client:
        held = [client.start("GET", f"/v1/wait/{n}") for n in range(3)]
        wait_for(client, metrics, 3)
        shed = client.get("/v1/wait/9")
        assert (shed.status_code, shed.headers["retry-after"]) == (429, "2")
        assert client.get("/healthz").status_code == 200

        async def go_on() -> None:
            app.state.waiting.set()

        client.run(go_on())
        assert [answer.result(10).json() for answer in held] == ["0", "1", "2"]
        assert client.get("/v1/wait/9").status_code == 200
    assert value(metrics, "adwright_shed_total", reason="in_flight") == 1
    assert value(metrics, "adwright_in_flight") == 0


def wait_for(client: Client, metrics: ServiceMetrics, count: int) -> None:
    async def until() -> None:
        while value(metrics, "adwright_in_flight") != count:
            await asyncio.sleep(0.001)

    client.run(until())


async def by_header(scope: Scope) -> str:
    key = header(scope, b"x-api-key")
    if key == "broken":
        raise ResourceError("the password is hunter2")
    if not key:
        raise ApiError(401, "no key")
    return key


def guarded(metrics: ServiceMetrics, **settings: Any) -> FastAPI:
    return make_app(metrics, by_header, **settings)


def test_without_a_key_no_byte_of_a_body_is_read() -> None:
    async def messages() -> AsyncIterator[Any]:
        raise AssertionError("it is read")
        yield

    length = (b"content-length", b"1000")
    sent = call(guarded(ServiceMetrics()), messages, length)
    assert (sent[0]["status"], (b"connection", b"close") in sent[0]["headers"]) == (401, True)


def test_a_store_that_cannot_say_who_calls_is_told_of() -> None:
    with running(guarded(ServiceMetrics())) as client:
        answer = client.get("/v1/wait/1", headers={"X-API-Key": "broken"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "hunter2" not in answer.text


def test_a_tenant_has_its_share_of_what_is_in_flight_and_bodies_in_arrival_have_none() -> None:
    metrics = ServiceMetrics()
    app = guarded(metrics, max_in_flight=4)
    with running(app) as client:
        a, b = {"X-API-Key": "a"}, {"X-API-Key": "b"}

        async def never() -> AsyncIterator[bytes]:
            yield b"x"
            await app.state.waiting.wait()

        slow = [client.start("POST", "/v1/echo", headers=a, content=never()) for _ in range(9)]
        held = [client.start("GET", f"/v1/wait/{n}", headers=a) for n in range(2)]
        wait_for(client, metrics, 2)
        assert client.get("/v1/wait/9", headers=a).status_code == 429
        held += [client.start("GET", f"/v1/wait/{n}", headers=b) for n in range(2)]
        wait_for(client, metrics, 4)
        assert client.get("/v1/wait/9", headers={"X-API-Key": "c"}).status_code == 429
        assert client.get("/v1/wait/9").status_code == 401
        assert client.get("/healthz").status_code == 200

        async def go_on() -> None:
            app.state.waiting.set()

        client.run(go_on())
        assert [answer.result(10).status_code for answer in held] == [200] * 4
        assert {answer.result(10).status_code for answer in slow} <= {200, 429}
    assert value(metrics, "adwright_in_flight") == 0
    assert value(metrics, "adwright_arriving") == 0


def test_only_its_own_names_call_it() -> None:
    with running(make_app(ServiceMetrics(), allowed_hosts=("test",))) as client:
        assert client.get("/v1/nowhere").status_code == 404
        answer = client.get("/healthz", headers={"Host": "evil.example"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")


def test_an_endpoint_finds_who_was_let_in() -> None:
    app = guarded(ServiceMetrics())

    @app.get("/v1/who")
    async def who(request: Request) -> list[Any]:
        found = admitted(request.scope)
        return [found.tenant, found.requests, found.turn.locked()]

    with running(app) as client:
        answer = client.get("/v1/who", headers={"X-API-Key": "acme"})
        assert answer.json() == ["acme", 1, False]
