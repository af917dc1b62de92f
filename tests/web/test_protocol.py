"""Tests of the bounds on what comes before a request, over real connections."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.responses import PlainTextResponse, Response

from adwright.web.gate import ServiceMetrics
from adwright.web.limits import GateLimits
from adwright.web.server import Connections, DoorProtocol, door_protocol, on_loopback

GET = b"GET /size HTTP/1.1\r\nHost: a\r\n"
LARGE = 8 << 20


def app_of(**settings: Any) -> FastAPI:
    app = FastAPI()
    app.state.connections = Connections(GateLimits(**settings), ServiceMetrics())

    @app.get("/size")
    async def size(request: Request) -> int:
        return sum(len(name) + len(value) for name, value in request.headers.items())

    @app.post("/size")
    async def body(request: Request) -> int:
        return len(await request.body())

    @app.get("/large")
    async def large() -> Response:
        return PlainTextResponse(b"x" * LARGE)

    return app


@contextmanager
def served(**settings: Any) -> Iterator[int]:
    with on_loopback(app_of(**settings)) as url:
        yield int(url.rpartition(":")[2])


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), 20) as door:
        yield door


def answer(door: socket.socket, *pieces: bytes) -> bytes:
    """What comes back until there is an answer or the connection is closed."""
    with suppress(OSError):
        for piece in pieces:
            door.sendall(piece)
    came = b""
    with suppress(ConnectionResetError):
        while b"\r\n\r\n" not in came or came.endswith(b"\r\n\r\n"):
            more = door.recv(65536)
            if not more:
                break
            came += more
    return came


def ended(door: socket.socket) -> bool:
    try:
        return door.recv(65536) == b""
    except ConnectionResetError:
        return True


def test_a_head_of_64_kib_is_the_longest() -> None:
    with served() as port:
        with connected(port) as door:
            room = (1 << 16) - len(GET) - len(b"X: \r\n\r\n")
            assert b" 200 " in answer(door, GET + b"X: " + b"a" * (room - 1) + b"\r\n\r\n")
            # Each request of a connection has the whole room.
            assert b" 200 " in answer(door, GET + b"X: " + b"a" * (room - 1) + b"\r\n\r\n")
        for head in (
            [GET, b"X: " + b"a" * (1 << 17), b"\r\n\r\n"],
            [GET, *[b"X-%d: %s\r\n" % (n, b"a" * 1000) for n in range(100)], b"\r\n"],
            [b"GET /" + b"a" * (1 << 17), b" HTTP/1.1\r\n\r\n"],
            [GET, b"x:\r\n" * 300, b"\r\n"],
        ):
            with connected(port) as door:
                said = answer(door, *head)
                assert said.startswith(b"HTTP/1.1 431 ")
                assert b'"code":"head_too_large"' in said
                assert ended(door)


def test_trailers_are_bounded_too() -> None:
    with served() as port, connected(port) as door:
        head = b"POST /size HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        said = answer(door, head, b"2\r\nab\r\n0\r\nX: ", b"a" * (1 << 17))
        assert b" 200 " not in said
        assert ended(door)


def test_a_large_body_passes() -> None:
    with served() as port, connected(port) as door:
        head = b"POST /size HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
        assert answer(door, head, b"a" * 1_000_000).endswith(b"1000000")
        chunked = b"POST /size HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert answer(door, chunked, b"1\r\na\r\n" * 20_000, b"0\r\n\r\n").endswith(b"20000")


def test_a_head_has_its_time() -> None:
    with served(head_seconds=0.3) as port:
        with connected(port) as silent:
            assert ended(silent)
        with connected(port) as slow:
            slow.sendall(GET)
            said = answer(slow)
            assert said.startswith(b"HTTP/1.1 408 ")
            assert b'"code":"too_slow"' in said
        with connected(port) as second:
            assert b" 200 " in answer(second, GET + b"\r\n")
            assert answer(second, GET).startswith(b"HTTP/1.1 408 ")
        with connected(port) as kept:
            # A connection that rests between two requests has more time than a head.
            assert b" 200 " in answer(kept, GET + b"\r\n")
            time.sleep(1.5)
            assert b" 200 " in answer(kept, GET + b"\r\n")


def test_newcomers_are_served_where_all_places_are_taken() -> None:
    with served(max_connections=20) as port:
        held = [socket.create_connection(("127.0.0.1", port), 20) for _ in range(60)]
        try:
            for one in held[30:]:
                with suppress(OSError):
                    one.sendall(GET)
            with connected(port) as newcomer:
                assert b" 200 " in answer(newcomer, GET + b"\r\n")
            assert ended(held[0])
        finally:
            for one in held:
                one.close()


def test_where_all_are_at_work_a_newcomer_is_told() -> None:
    with served(max_connections=1) as port, connected(port) as busy:
        busy.sendall(b"POST /size HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
        time.sleep(0.3)
        with connected(port) as newcomer:
            said = answer(newcomer)
            assert said.startswith(b"HTTP/1.1 503 ")
            assert ended(newcomer)
        assert answer(busy, b"ab").endswith(b"2")


def test_pipelined_requests_are_answered() -> None:
    with served() as port, connected(port) as door:
        door.sendall((GET + b"\r\n") * 3)
        came = b""
        while came.count(b" 200 ") < 3:
            more = door.recv(65536)
            assert more
            came += more


def test_what_is_no_http_is_refused_and_does_not_fill_the_log(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with served() as port, connected(port) as door:
        assert answer(door, b"\x16\x03\x01\x02\x00\x01\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        assert ended(door)
    assert capfd.readouterr().err == ""


def test_a_client_that_reads_nothing_may_be_closed_for_others() -> None:
    with served(max_connections=1) as port, connected(port) as deaf:
        deaf.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.5)
        with connected(port) as newcomer:
            assert b" 200 " in answer(newcomer, GET + b"\r\n")
        received = 0
        with suppress(ConnectionResetError):
            while more := deaf.recv(1 << 20):
                received += len(more)
        assert received < LARGE


@pytest.mark.parametrize("read", [1, 1 << 20])
def test_a_long_answer_is_sent_whole(read: int) -> None:
    with served() as port, connected(port) as door:
        door.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        time.sleep(0.2 if read == 1 else 0)
        received = len(door.recv(read))
        while more := door.recv(1 << 20):
            received += len(more)
        assert received > LARGE


def test_each_server_has_a_book_of_its_own() -> None:
    books = [Connections(GateLimits(), ServiceMetrics()) for _ in range(2)]
    first, second = map(door_protocol, books)
    assert issubclass(first, DoorProtocol)
    assert issubclass(second, DoorProtocol)
    assert (first.book, second.book) == (books[0], books[1])
