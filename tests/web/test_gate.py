from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import Message, Receive, Scope

from adwright.core.clock import SystemClock
from adwright.core.errors import ConfigError, ResourceError
from adwright.web.errors import ApiError
from adwright.web.gate import (
    CONTENT_TYPE,
    LOCAL_HOSTS,
    ArrivingBodies,
    Authenticate,
    Gate,
    Refusals,
    ServiceMetrics,
    admitted,
    header,
    stranger,
    too_large,
)
from adwright.web.limits import GateLimits, require
from tests.support.looped import in_a_loop
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


def receiver(*pieces: bytes, ends: bool = True) -> Receive:
    """Gives the pieces; then, unless it ends, nothing comes any more."""
    left = list(pieces)

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left) or not ends}

    return receive


def arrivals(**settings: Any) -> ArrivingBodies:
    return ArrivingBodies(GateLimits(**settings))


async def status(receiving: ArrivingBodies, tenant: str, receive: Receive) -> int | bytes | None:
    try:
        return await receiving.body(tenant, receive)
    except ApiError as error:
        return error.status


@in_a_loop
async def test_a_body_is_received_whole_and_no_longer_than_allowed() -> None:
    receiving = arrivals(max_body_bytes=4)
    assert await receiving.body("a", receiver(b"ab", b"", b"cd")) == b"abcd"
    assert await status(receiving, "a", receiver(b"ab", b"cde", ends=False)) == 413
    assert receiving.count == 0


@in_a_loop
async def test_a_caller_that_goes_away_leaves_nothing() -> None:
    async def gone() -> Message:
        return {"type": "http.disconnect"}

    receiving = arrivals()
    assert await receiving.body("a", gone) is None
    assert receiving.count == 0


@in_a_loop
async def test_what_does_not_come_is_given_up() -> None:
    receiving = arrivals(body_seconds=0.01)
    with pytest.raises(ApiError, match=r"within 0.01 s") as caught:
        await receiving.body("a", receiver(b"a", ends=False))
    assert (caught.value.status, receiving.count) == (408, 0)


@in_a_loop
async def test_a_tenant_with_too_many_loses_its_oldest() -> None:
    receiving = arrivals(max_arriving=4, tenant_share=0.5)

    def slow(tenant: str) -> asyncio.Task[int | bytes | None]:
        return asyncio.create_task(status(receiving, tenant, receiver(b"a", ends=False)))

    first, second, other = slow("a"), slow("a"), slow("b")
    await asyncio.sleep(0)
    assert receiving.count == 3
    # Honest callers of the same tenant and of others come through.
    assert await receiving.body("a", receiver(b"x")) == b"x"
    assert await receiving.body("b", receiver(b"y")) == b"y"
    assert await first == 408
    assert not second.done()
    assert not other.done()
    for task in (second, other):
        task.cancel()
    await asyncio.gather(second, other, return_exceptions=True)
    assert receiving.count == 0


@in_a_loop
async def test_where_all_have_too_many_it_is_from_the_one_that_has_most() -> None:
    receiving = arrivals(max_arriving=3, tenant_share=1.0)

    def slow(tenant: str) -> asyncio.Task[int | bytes | None]:
        return asyncio.create_task(status(receiving, tenant, receiver(b"a", ends=False)))

    tasks = [slow(tenant) for tenant in "baac"]
    assert await tasks[1] == 408
    assert [task.done() for task in tasks] == [False, True, False, False]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_a_body_that_is_too_long_is_said_to_be() -> None:
    assert (too_large(7).status, too_large(7).code) == (413, "too_large")
    assert "7 bytes" in str(too_large(7))


def scope(**headers: str) -> Scope:
    pairs = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    return {"type": "http", "headers": pairs}


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "localhost:8001"},
        {"host": "LOCALHOST"},
        {"host": "127.0.0.1:1"},
        {"host": "[::1]:8001"},
        {"host": "localhost", "origin": "http://localhost:3000"},
        {"host": "localhost", "sec_fetch_site": "same-origin"},
        {"host": "localhost", "sec_fetch_site": "none"},
    ],
)
def test_programs_and_pages_of_this_machine_may_come_in(headers: dict[str, str]) -> None:
    assert stranger(scope(**headers), LOCAL_HOSTS) == ""


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({}, "name"),
        ({"host": ""}, "name"),
        ({"host": "evil.example:8001"}, "name"),
        ({"host": "localhost.evil.example"}, "name"),
        ({"host": "localhost@evil.example"}, "name"),
        ({"host": "[::1"}, "name"),
        ({"host": "localhost", "origin": "https://evil.example"}, "pages"),
        ({"host": "localhost", "origin": "null"}, "pages"),
        ({"host": "localhost", "origin": "http://localhost.evil.example"}, "pages"),
        ({"host": "localhost", "sec_fetch_site": "cross-site"}, "pages"),
    ],
)
def test_other_names_and_other_sites_may_not(headers: dict[str, str], why: str) -> None:
    assert why in stranger(scope(**headers), LOCAL_HOSTS)
    assert stranger(scope(**headers), ()) == ""


def test_a_header_is_the_first_of_its_name() -> None:
    found = scope(x="1", y="\xe9")
    found["headers"].append((b"x", b"2"))
    assert header(found, b"x") == "1"
    assert header(found, b"z") == ""


def test_a_caller_is_refused_at_once_within_its_share() -> None:
    refusals = Refusals(at_once=4)
    assert [refusals.wait("a", now=1) for _ in range(4)] == [0] * 4
    # Whoever comes back before the second is over comes one after the other.
    assert refusals.wait("a", now=1) == 0
    assert refusals.wait("a", now=1) == pytest.approx(0.01)
    assert refusals.wait("a", now=1.005) == pytest.approx(0.015)
    assert refusals.wait("b", now=1) == 0
    # What it may have comes back bit by bit: so many a second are never held back.
    assert [refusals.wait("a", now=2 + n / 4) for n in range(40)] == [0] * 40
    assert refusals.wait("a", now=50) == 0


def test_none_is_held_back_for_longer_than_a_second() -> None:
    refusals = Refusals()
    assert max(refusals.wait("a", now=1) for _ in range(500)) == pytest.approx(1)


def test_a_rush_hour_is_refused_at_once_and_a_flood_is_not() -> None:
    refusals, flood = Refusals(256), Refusals(256)
    assert not any(refusals.wait("shop", now=n / 200) for n in range(2_000))
    held = [flood.wait("flood", now=n / 5_000) for n in range(10_000)]
    # Its share is gone for ten seconds, and then for as long as it goes on.
    assert sum(wait == 0 for wait in held) < 256 * 1.1
    assert all(flood.wait("flood", now=2 + n / 500) for n in range(1, 10_000))
    # As many as it may have in work, each back after the second that it was told: never held.
    assert not any(refusals.wait("heeds", now=n // 256) for n in range(256 * 20))
    # After ten quieter seconds the share is there again.
    assert not any(flood.wait("flood", now=40 + n / 200) for n in range(2_000))


def test_two_services_in_one_process_count_apart() -> None:
    one, two = ServiceMetrics(), ServiceMetrics()
    one.requests.labels("/v1/decide", "POST", "200").inc()
    labels = {"route": "/v1/decide", "method": "POST", "status": "200"}
    assert one.registry.get_sample_value("adwright_requests_total", labels) == 1
    assert two.registry.get_sample_value("adwright_requests_total", labels) is None


def test_the_text_is_what_prometheus_reads() -> None:
    metrics = ServiceMetrics()
    level = [3.0]
    metrics.gauge("level", "A level.", lambda: level[0])
    metrics.seconds.labels("/healthz").observe(0.002)
    level[0] = 5.0
    families = {f.name: f for f in text_string_to_metric_families(metrics.text().decode())}
    assert families["adwright_level"].samples[0].value == 5
    assert families["adwright_request_seconds"].type == "histogram"
    assert all(name.startswith("adwright_") for name in families)
    assert CONTENT_TYPE.startswith("text/plain")


def test_no_measure_names_a_tenant() -> None:
    for family in ServiceMetrics().registry.collect():
        for sample in family.samples:
            assert not {"tenant", "user"} & sample.labels.keys()


@dataclass(frozen=True)
class Door:
    """Settings of which one must not be shown."""

    width: float
    code: str = field(repr=False)


def test_a_setting_that_holds_is_let_through_and_another_is_shown() -> None:
    door = Door(-1.0, "hunter2")
    assert require(door, "width", True, "must be above 0") is None
    with pytest.raises(ConfigError, match="width must be above 0") as caught:
        require(door, "width", False, "must be above 0")
    assert (caught.value.where, caught.value.hint) == ("width -1.0", "correct it")


def test_a_secret_is_named_and_not_shown() -> None:
    with pytest.raises(ConfigError, match="code is too short") as caught:
        require(Door(1.0, "hunter2"), "code", False, "is too short")
    assert caught.value.where == "code"
    assert "hunter2" not in str(caught.value)


def test_a_share_is_at_least_one() -> None:
    limits = GateLimits(tenant_share=0.5)
    assert [limits.share_of(most) for most in (1, 2, 3, 512)] == [1, 1, 1, 256]
    assert GateLimits(tenant_share=1.0).share_of(7) == 7
