"""A server on loopback that hands an app's pages on as they are after a drift.

    with drifting(url) as proxy:
        proxy.drift = Drift("labels", seed=2)
        proxy.url                        # the app lives here, too
        proxy.arrived                    # requests that may write, and reached the app

It can be switched while it runs. What an app answers that is no page passes as it is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.support.agent.drift.forms import confirmation_page
from tests.support.agent.drift.kinds import Drift
from tests.support.agent.drift.pages import drifted_page

_HOPS = frozenset(
    (
        *("connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"),
        *("content-length", "accept-encoding", "content-encoding", "date", "server"),
    )
)
#: The field by which the proxy knows a form that was confirmed; the app does not get to see it.
_CONFIRMED = "confirmed_by_clerk"
_URLENCODED, _MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
_PART = "content-disposition"
_PATIENCE = 60.0


@dataclass(frozen=True)
class ArrivedRequest:
    """A request that may write."""

    method: str
    path: str
    status: int


@dataclass
class DriftingProxy:
    """url: of the proxy. asked: paths of pages that confirm something, in their order."""

    url: str = ""
    drift: Drift = field(default_factory=Drift)
    arrived: list[ArrivedRequest] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    #: What renamed buttons are called, and what the app calls them, which it reads.
    said: dict[str, str] = field(default_factory=dict)


@contextmanager
def drifting(upstream: str) -> Iterator[DriftingProxy]:
    """A proxy before the app at `upstream`, until the block ends."""
    proxy, where = DriftingProxy(), urlsplit(upstream).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._pass_on(b"")

        def do_HEAD(self) -> None:
            self._pass_on(b"")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fields = _fields(body, self.headers)
            confirmed = any(name == _CONFIRMED for name, _ in fields or ())
            if proxy.drift.kind != "confirm" or not fields or confirmed or _signs_in(self.path):
                self._pass_on(body)
                return
            proxy.asked.append(self.path)
            kind = _URLENCODED if _kind(self.headers) == _URLENCODED else _MULTIPART
            page = confirmation_page(self.path, [*fields, (_CONFIRMED, "yes")], kind)
            self._answer(200, [("Content-Type", "text/html; charset=utf-8")], page)

        do_PUT = do_PATCH = do_DELETE = do_POST

        def _pass_on(self, body: bytes) -> None:
            headers = {
                key: value for key, value in self.headers.items() if key.lower() not in _HOPS
            }
            if proxy.drift.kind == "button":
                body = _as_before(body, self.headers, proxy.said)
            with closing(HTTPConnection(where, timeout=_PATIENCE)) as connection:
                connection.request(self.command, self.path, body or None, headers)
                answer = connection.getresponse()
                data = answer.read()
            if self.command not in ("GET", "HEAD"):
                proxy.arrived.append(ArrivedRequest(self.command, self.path, answer.status))
            if _is_page(answer) and data:
                data = drifted_page(data, proxy.drift, proxy.said)
            kept = [pair for pair in answer.getheaders() if pair[0].lower() not in _HOPS]
            self._answer(answer.status, kept, data)

        def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
            self.send_response(status)
            for key, value in headers:
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _as_before(body: bytes, headers: Message, said: dict[str, str]) -> bytes:
    """The body of a form in which a renamed button says what it was called."""
    if _kind(headers) == _URLENCODED:
        pairs = parse_qsl(body.decode(), keep_blank_values=True)
        return urlencode([(name, said.get(value, value)) for name, value in pairs]).encode()
    for new, old in said.items():
        body = body.replace(f"\r\n\r\n{new}\r\n".encode(), f"\r\n\r\n{old}\r\n".encode())
    return body


def _signs_in(path: str) -> bool:
    return "login" in path or "sign-in" in path


def _is_page(answer: HTTPResponse) -> bool:
    return (answer.getheader("Content-Type") or "").lower().startswith("text/html")


def _kind(headers: Message) -> str:
    return (headers.get("Content-Type") or "").partition(";")[0].strip().lower()


def _fields(body: bytes, headers: Message) -> list[tuple[str, str]] | None:
    """What a form sent; None where it was no form, or a file came with it."""
    if _kind(headers) == _URLENCODED:
        return parse_qsl(body.decode(), keep_blank_values=True)
    if _kind(headers) != _MULTIPART:
        return None
    head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
    found = []
    for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts():
        name = part.get_param("name", header=_PART)
        data = part.get_payload(decode=True)
        if part.get_filename():
            return None
        if isinstance(data, bytes) and part.get_param("filename", header=_PART) is None:
            found.append((str(name), data.decode()))
    return found
