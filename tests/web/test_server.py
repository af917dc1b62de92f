from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.responses import PlainTextResponse, Response

from adwright.campaigns.store.store import Store
from adwright.core.clock import SystemClock
from adwright.core.errors import MissingExtraError, ResourceError
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry.registry import FixedModels, publish
from adwright.web.gate import ServiceMetrics
from adwright.web.limits import GateLimits
from adwright.web.server import (
    Connection,
    Connections,
    LimitedHttpProtocol,
    door_protocol,
    listen,
    on_loopback,
    raise_file_limit,
    serve,
    uvicorn_config,
)
from tests.support.looped import in_a_loop
from tests.support.service.small_shop import NOW, deployed, save_version, wait_until

PROGRAM = Path(__file__).parents[1] / "support" / "service" / "service_process.py"


@contextmanager
def service(folder: Path, **settings: Any) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process and its address; killed at the end where it has not ended by itself."""
    save_version(folder / "models", "acme", "v1")
    publish(folder / "models", "acme", "v1")
    with listen("127.0.0.1", 0) as opened:
        arguments = [f"sqlite:///{folder}/store.db", folder / "models", opened.fileno()]
        process = subprocess.Popen(
            [sys.executable, PROGRAM, *map(str, arguments), json.dumps(settings)],
            pass_fds=[opened.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        address = f"http://127.0.0.1:{opened.getsockname()[1]}"
    try:
        wait_until(lambda: ready(address) or process.poll() is not None, 120)
        yield process, address
    finally:
        process.kill()
        process.communicate()


def ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def test_a_signal_drains_and_ends(tmp_path: Path) -> None:
    with service(tmp_path, drain_seconds=3.0, deadline_ms=1000) as (process, address):
        store = Store.open(f"sqlite:///{tmp_path}/store.db")
        headers = {"X-API-Key": store.create_key("acme")}
        answers: list[httpx.Response] = []
        stop = threading.Event()

        def load() -> None:
            number = 0
            with httpx.Client(headers=headers) as client:
                while not stop.is_set():
                    body = {"request_id": f"r{number}", "user_id": "u1", "time": NOW.isoformat()}
                    try:
                        answers.append(client.post(f"{address}/v1/decide", json=body))
                    except httpx.HTTPError:
                        return
                    number += 1

        thread = threading.Thread(target=load)
        thread.start()
        wait_until(lambda: len(answers) > 5)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: not ready(address))
        said_no = time.monotonic()
        during = len(answers)
        out, err = process.communicate(timeout=20)
        stop.set()
        thread.join()
        assert (process.returncode, out, err) == (0, b"ended\n", b"")
        assert time.monotonic() - said_no < 15
        assert len(answers) > during, "it answers while it drains"
        assert {answer.status_code for answer in answers} == {200}
        kept = set(store.decisions("acme")["request_id"])
        assert {answer.json()["request_id"] for answer in answers} <= kept
        store.close()


def test_an_interrupt_ends_it_without_a_traceback(tmp_path: Path) -> None:
    with service(tmp_path) as (process, address):
        answer = httpx.get(f"{address}/healthz")
        assert "server" not in answer.headers
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (0, b"ended\n", b"")


def test_a_taken_port_is_said_in_words() -> None:
    with listen("127.0.0.1", 0) as opened:
        port = opened.getsockname()[1]
        with pytest.raises(ResourceError, match=f"cannot be listened on.*127.0.0.1:{port}"):
            listen("127.0.0.1", port)
    with pytest.raises(ResourceError, match="cannot be listened on"):
        listen("127.0.0.1", 99_999)
    with pytest.raises(ResourceError, match="cannot be listened on"):
        listen("192.0.2.1", 0)


def test_a_port_of_the_administrator_is_no_port_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(ResourceError, match="choose a port from 1024 on") as caught:
        listen("127.0.0.1", 80)
    assert "stop what uses it" not in caught.value.hint


def test_without_uvicorn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with socket.socket() as opened, pytest.raises(MissingExtraError, match=r"adwright\[service\]"):
        serve(object(), opened)  # type: ignore[arg-type]


def test_the_server_tells_nothing_of_itself_and_trusts_no_proxy() -> None:
    config = uvicorn_config(FastAPI())
    assert (config.server_header, config.proxy_headers, config.access_log) == (False, False, False)
    assert config.lifespan == "on"


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
    assert issubclass(first, LimitedHttpProtocol)
    assert issubclass(second, LimitedHttpProtocol)
    assert (first.book, second.book) == (books[0], books[1])


class Recorded(Connection):
    """Remembers why it was closed."""

    def __init__(self) -> None:
        self.why = ""

    def give_up(self, reason: str) -> None:
        self.why = reason


def book_of(**settings: Any) -> tuple[Connections, ServiceMetrics]:
    metrics = ServiceMetrics()
    return Connections(GateLimits(**settings), metrics), metrics


def closed(metrics: ServiceMetrics, reason: str) -> float:
    name = "adwright_connections_closed_total"
    return metrics.registry.get_sample_value(name, {"reason": reason}) or 0


@in_a_loop
async def test_for_one_more_the_one_goes_that_has_waited_longest() -> None:
    book, metrics = book_of(max_connections=3)
    busy, first, second, newcomer = (Recorded() for _ in range(4))
    for one in (busy, first, second):
        assert book.opened(one, "a")
    book.works(busy)
    assert book.opened(newcomer, "a")
    assert [one.why for one in (busy, first, second, newcomer)] == ["", "most", "", ""]
    assert closed(metrics, "most") == 1
    assert metrics.registry.get_sample_value("adwright_connections") == 3
    # Who waits anew has waited for the least time.
    book.waits(second, 10)
    assert book.opened(Recorded(), "a")
    assert (second.why, newcomer.why) == ("", "most")


@in_a_loop
async def test_where_none_waits_there_is_no_room() -> None:
    book, metrics = book_of(max_connections=1)
    busy, late = Recorded(), Recorded()
    assert book.opened(busy, "a")
    book.works(busy)
    assert not book.opened(late, "b")
    assert (busy.why, closed(metrics, "refused")) == ("", 1)
    book.closed(busy)
    book.closed(busy)
    book.closed(late)
    assert book.opened(late, "b")


@in_a_loop
async def test_an_address_may_have_a_bound_of_its_own() -> None:
    book, metrics = book_of(connections_per_address=1)
    other, first, second = Recorded(), Recorded(), Recorded()
    assert book.opened(other, "b")
    assert book.opened(first, "a")
    assert book.opened(second, "a")
    assert (other.why, first.why, second.why) == ("", "address", "")
    assert closed(metrics, "address") == 1
    book.works(second)
    assert not book.opened(Recorded(), "a")


@in_a_loop
async def test_who_does_not_come_to_the_point_is_closed() -> None:
    book, metrics = book_of(head_seconds=0.01)
    silent, busy, patient = Recorded(), Recorded(), Recorded()
    for one in (silent, busy, patient):
        assert book.opened(one, "a")
    book.works(busy)
    book.waits(patient, 60)
    async with asyncio.timeout(20):
        while not silent.why:
            await asyncio.sleep(0.01)
    assert (silent.why, busy.why, patient.why) == ("time", "", "")
    # What is closed is forgotten, whatever comes of it later.
    book.waits(silent, 0)
    assert metrics.registry.get_sample_value("adwright_connections") == 2


@in_a_loop
async def test_crowds_are_told_to_the_log_but_not_each(caplog: pytest.LogCaptureFixture) -> None:
    book, _ = book_of(max_connections=1)
    for _ in range(5):
        assert book.opened(Recorded(), "a")

    (record,) = caplog.records
    assert "too many connections" in record.getMessage()


def test_there_are_no_more_connections_than_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for files, most in ((1024, 768), (300, 150), (resource.RLIM_INFINITY, 2048), (9999, 2048)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=files: (soft, soft))
        assert book_of()[0].most == most


@pytest.mark.parametrize(
    ("soft", "hard", "then"),
    [
        (1024, 4096, [(4096, 4096)]),
        (1024, 1 << 20, [(65_536, 1 << 20)]),
        (1024, resource.RLIM_INFINITY, [(65_536, resource.RLIM_INFINITY)]),
        (4096, 4096, []),
        (1 << 20, 1 << 20, []),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, []),
    ],
)
def test_the_limit_on_files_is_raised_where_it_may_be(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, then: list[tuple[int, int]]
) -> None:
    made = list[tuple[int, int]]()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: made.append(limits))
    raise_file_limit()
    assert made == then


def test_the_service_answers_and_ends(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        key = store.create_key("t")
        models = FixedModels({"t": deployed()}, SystemClock())
        with (
            on_loopback(create_app(ServiceConfig(), store, models)) as url,
            httpx.Client(base_url=url, headers={"X-API-Key": key}) as client,
        ):
            wait_until(lambda: client.get("/readyz").json()["status"] == "ready")
            body = {"request_id": "r", "user_id": "u", "time": NOW.isoformat(), "k": 2}
            body["deadline_ms"] = 2000.0  # the machine may be busy
            assert len(client.post("/v1/decide", json=body).json()["items"]) == 2
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/healthz")
        assert store.events("t").height == 2
    assert not [one for one in threading.enumerate() if one.name == "adwright-loopback"]


def test_an_app_that_does_not_start() -> None:
    def fail() -> None:
        raise RuntimeError("no")

    app = FastAPI()
    app.router.on_startup.append(fail)
    with pytest.raises(ResourceError, match="did not start"), on_loopback(app):
        raise AssertionError("it started")
