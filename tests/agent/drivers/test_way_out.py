"""The proxy by which Chromium reaches servers: what has a permit leaves, once, and nothing else."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, RemoteDisconnected
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from adwright.agent.drivers.protocol import DriverError, GateDecision
from adwright.agent.drivers.way_out import WayOut, way_out
from adwright.core.clock import FixedClock, SystemClock
from tests.support.agent.site.browsing import chromium_or_skip

Asked = list[tuple[str, str, int]]


class Echo(BaseHTTPRequestHandler):
    """Counts what comes; answers in pieces, and a page that posts a large body."""

    protocol_version = "HTTP/1.1"
    asked: Asked

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(size)
        self.asked.append((self.command, self.path, size))
        if self.headers.get("Upgrade") == "websocket":
            self.wfile.write(b"HTTP/1.1 101 Switching\r\n\r\n" + self.rfile.read(4))
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Set-Cookie", "a=1")
        self.send_header("Set-Cookie", "b=2")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        script = "<script>fetch('/big', {method: 'POST', body: 'x'.repeat(3e5)})</script>"
        self.wfile.write(b"3\r\nTea\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(script), script.encode()))

    do_POST = do_GET


@contextmanager
def served(context: ssl.SSLContext | None = None) -> Iterator[tuple[int, Asked]]:
    asked: Asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("_", (Echo,), {"asked": asked}))
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_port, asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def way() -> Iterator[WayOut]:
    with way_out({"shop.example": "127.0.0.1", "127.0.0.1": "127.0.0.1"}, SystemClock()) as way:
        yield way


def through(way: WayOut, method: str, url: str, body: bytes | None = None) -> tuple[bytes, object]:
    with closing(HTTPConnection(way.url.removeprefix("http://"), timeout=10)) as connection:
        connection.request(method, url, body)
        answer = connection.getresponse()
        return answer.read(), answer.headers.get_all("Set-Cookie")


def test_a_permit_is_for_one_request_of_one_body(way: WayOut) -> None:
    with served() as (port, asked):
        url = f"http://shop.example:{port}/offers?a=1"
        way.permit("GET", f"{url}#top")
        body, cookies = through(way, "GET", url)
        assert body.startswith(b"Tea<script>")
        assert cookies == ["a=1", "b=2"]
        way.permit("POST", url, b"x=1")
        for method, other in (("GET", None), ("POST", b"x=2"), ("PUT", b"x=1"), ("POST", None)):
            with pytest.raises(RemoteDisconnected):
                through(way, method, url, other)
        through(way, "POST", url, b"x=1")
        with pytest.raises(RemoteDisconnected):
            through(way, "POST", url, b"x=1")
        assert asked == [("GET", "/offers?a=1", 0), ("POST", "/offers?a=1", 3)]
        assert [one for one, _ in way.take_refused()] == ["GET", "POST", "PUT", "POST", "POST"]
        assert way.take_refused() == []


def test_permits_lapse_and_hosts_are_those_that_were_checked(way: WayOut) -> None:
    clock = FixedClock()
    with served() as (port, asked), way_out({}, clock) as other:
        url = f"http://127.0.0.1:{port}/"
        other.permit("GET", url)
        clock.advance(61)
        way.permit("GET", url)
        way.clear()
        way.permit("GET", f"http://localhost:{port}/")
        for one, host in ((other, "127.0.0.1"), (way, "127.0.0.1"), (way, "localhost")):
            with pytest.raises(RemoteDisconnected):
                through(one, "GET", f"http://{host}:{port}/")
        assert asked == []
        assert "localhost is not among the hosts" in way.failure


def test_a_socket_is_let_through_as_it_is(way: WayOut) -> None:
    with served() as (port, _):
        for is_permitted in (True, False):
            if is_permitted:
                way.permit("GET", f"ws://127.0.0.1:{port}/live")
            proxy = way.url.rpartition(":")[2]
            with socket.create_connection(("127.0.0.1", int(proxy)), 10) as client:
                client.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % port)
                assert client.recv(100).startswith(b"HTTP/1.1 200")
                client.sendall(b"GET /live HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")
                client.sendall(b"ping")
                found = b"".join(iter(lambda to=client: to.recv(100), b""))  # type: ignore[misc]
                assert found == (b"HTTP/1.1 101 Switching\r\n\r\nping" if is_permitted else b"")


def test_what_is_encrypted_is_asked_about_and_its_server_checked(
    way: WayOut, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def allowed(request: object) -> GateDecision:
        return GateDecision(True)

    with chromium_or_skip() as browser, served(way.context("localhost")) as (port, asked):
        url = f"https://localhost:{port}/"
        with (
            browser.driver(allowed) as driver,
            pytest.raises(DriverError, match="does not open") as refused,
        ):
            driver.open(url)
        assert "certificate verify failed" in refused.value.where
        assert asked == []
        certificate = tmp_path / "authority.pem"
        certificate.write_text(ssl.get_server_certificate(("localhost", port)))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with browser.driver(allowed) as driver:
            driver.open(url)
            assert driver.observe().url == url
            assert driver.fetch(url).body.startswith(b"Tea")
            assert [one for one in asked if "icon" not in one[1]] == [
                *(("GET", "/", 0), ("POST", "/big", 300_000), ("GET", "/", 0))
            ]
            assert [one for one in driver.requests() if not one.decision.allowed] == []
