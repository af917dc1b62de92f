"""Chromium's only way to the network: a proxy on loopback that sends on what the gate has allowed.

    with way_out({"shop.example": "93.184.216.34"}) as way:
        way.permit("GET", "https://shop.example/offers")
        # Chromium, started with way.url as its proxy, may now ask for that, once

The gate in the browser is asked about what pages send. What outlives its page, or is of none, goes
round it: a beacon or a kept-alive request as the page is left, a shared worker, what is fetched or
drawn ahead. It comes to here without a permit, and its connection is closed. A permit is for one
request: its method, its address, and the body that the gate has seen. What is encrypted is opened
here, with a key that this browser alone takes, and encrypted anew to the server, whose certificate
is checked as usual. Names lead where they led when they were checked.
"""

from __future__ import annotations

import base64
import select
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import SplitResult, urlsplit

from adwright.agent.drivers.protocol import (
    GateDecision,
    PendingRequest,
    RequestGate,
    SeenRequest,
    body_fields,
    kind_of,
)
from adwright.core.clock import Clock
from adwright.core.errors import MissingExtraError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from playwright.sync_api import BrowserContext, CDPSession, Page, Request, Route, WebSocketRoute


#: A permit that nobody takes lapses: a page may have changed its mind.
_PERMIT_SECONDS = 60.0
_ANSWER_SECONDS = 120.0
_MOST_BYTES = 64 << 20
_MOST_REFUSED = 1000
_PORTS = {"http": 80, "https": 443}
_READING = ("GET", "HEAD")
_HOP = frozenset(
    ("connection", "proxy-connection", "keep-alive", "proxy-authorization", "proxy-authenticate")
) | frozenset(("te", "trailer", "transfer-encoding", "upgrade"))
_Key = tuple[str, str, bytes]


class WayOut:
    """What may leave. url: of the proxy. pin: the hash of its key, as Chromium is told it. failure:
    why a server was last not reached."""

    def __init__(self, addresses: Mapping[str, str], clock: Clock, folder: Path) -> None:
        self.url, self.failure = "", ""
        self._addresses = dict(addresses)
        self._clock, self._folder = clock, folder
        self._lock = threading.Lock()
        self._permits: dict[_Key, list[float]] = {}
        self._hosts: set[str | None] = set()
        self._refused: list[tuple[str, str]] = []
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._key, self.pin = _made_key()

    def permit(self, method: str, url: str, body: bytes = b"") -> None:
        """Let this request leave, once."""
        ends = self._clock.monotonic() + _PERMIT_SECONDS
        with self._lock:
            self._permits.setdefault(_key(method, url, body), []).append(ends)
            self._hosts.add(urlsplit(url).hostname)

    def clear(self) -> None:
        """Let nothing leave any more of what was permitted."""
        with self._lock:
            self._permits.clear()

    def take_refused(self) -> list[tuple[str, str]]:
        """Method and address of what came without a permit since the last call, for hosts to which
        something was permitted before: Chromium calls others by itself."""
        with self._lock:
            found, self._refused = self._refused, []
        return found

    def may_leave(self, method: str, url: str, body: bytes) -> bool:
        """Whether there is a permit, which is then used up."""
        key, now = _key(method, url, body), self._clock.monotonic()
        with self._lock:
            ends = [one for one in self._permits.pop(key, []) if one >= now]
            if ends[1:]:
                self._permits[key] = ends[1:]
            known = urlsplit(url).hostname in self._hosts
            if not ends and known and len(self._refused) < _MOST_REFUSED:
                self._refused.append((method, url))
        return bool(ends)

    def connect(self, parts: SplitResult) -> socket.socket:
        """A connection to the server of an address. Raises OSError where there is none."""
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        address = self._addresses.get(host, "") if self._addresses else host
        if not address:
            raise OSError(f"{host} is not among the hosts that may be reached")
        found = socket.create_connection((address, port), _ANSWER_SECONDS)
        if parts.scheme == "http":
            return found
        try:
            return ssl.create_default_context().wrap_socket(found, server_hostname=host)
        except BaseException:
            found.close()
            raise

    def context(self, host: str) -> ssl.SSLContext:
        """What a server of this name would show of itself."""
        with self._lock:
            if host not in self._contexts:
                path = self._folder / f"{len(self._contexts)}.pem"
                path.write_bytes(_certificate(self._key, host, self._clock))
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(path)
                path.unlink()
                self._contexts[host] = context
            return self._contexts[host]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, way: WayOut) -> None:
        self.way = way
        super().__init__(("127.0.0.1", 0), _Relay)

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that broke; Chromium tells the page."""


class _Relay(BaseHTTPRequestHandler):
    """One connection of Chromium's, and the one to a server that it has open."""

    protocol_version = "HTTP/1.1"
    _base = ""
    _open: tuple[tuple[str, str], HTTPConnection] | None = None

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Close all of it."""
        with suppress(OSError):
            super().finish()
        self._leave()
        with suppress(OSError):
            self.request.close()

    def do_CONNECT(self) -> None:
        """What follows is encrypted, or a WebSocket; it is asked about as all else is."""
        self.send_response_only(200)
        self.end_headers()
        scheme = "http"
        if self.connection.recv(1, socket.MSG_PEEK) == b"\x16":
            host = self.path.rpartition(":")[0].strip("[]")
            self.request = self._way.context(host).wrap_socket(self.request, server_side=True)
            scheme = "https"
        self.setup()
        self._base, self.close_connection = f"{scheme}://{self.path}", False

    def _relay(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        if "Transfer-Encoding" in self.headers or not 0 <= size <= _MOST_BYTES:
            size = -1  # nobody has seen what it sends
        body = self.rfile.read(size) if size > 0 else b""
        url = self._base + self.path
        if size < 0 or not self._way.may_leave(self.command, url, body):
            self.close_connection = True
            return
        try:
            if self.headers.get("Upgrade", "").lower() == "websocket":
                return self._tunnel(urlsplit(url))
            self._send_back(self._answer(urlsplit(url), body))
        except (OSError, HTTPException, ValueError) as error:
            self._way.failure = f"{urlsplit(url).netloc}: {error}"
            if self.command in _READING:  # Chromium tries again by itself
                self._way.permit(self.command, url)
            self._leave()
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _relay

    @property
    def _way(self) -> WayOut:
        return cast(_Server, self.server).way

    def _answer(self, parts: SplitResult, body: bytes) -> HTTPResponse:
        """What the server says. A connection that was left open is used for reading alone, so that
        nothing is sent twice where the server has closed it."""
        place = parts.scheme, parts.netloc
        reads = self.command in _READING
        if self._open is not None and self._open[0] == place and reads:
            with suppress(OSError, HTTPException):
                return self._ask(self._open[1], parts, body)
        self._leave()
        connection = HTTPConnection(parts.hostname or "")
        connection.sock = self._way.connect(parts)
        self._open = place, connection
        return self._ask(connection, parts, body)

    def _ask(self, connection: HTTPConnection, parts: SplitResult, body: bytes) -> HTTPResponse:
        target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        connection.putrequest(self.command, target, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _HOP:
                connection.putheader(name, value)
        connection.endheaders(body or None)
        return connection.getresponse()

    def _send_back(self, answer: HTTPResponse) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        empty = self.command == "HEAD" or answer.status in (204, 304)
        chunked = not empty and answer.getheader("Content-Length") is None
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while not empty and (part := answer.read1(1 << 16)):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")
        answer.close()

    def _tunnel(self, parts: SplitResult) -> None:
        """A WebSocket that was allowed: whatever goes over it."""
        self.close_connection = True
        with self._way.connect(parts) as server:
            lines = [f"{self.command} {self.path} HTTP/1.1"]
            lines += [f"{name}: {value}" for name, value in self.headers.items()]
            server.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
            ends = {server: self.connection, self.connection: server}
            while True:
                held = [one for one in ends if isinstance(one, ssl.SSLSocket) and one.pending()]
                for one in held or select.select(list(ends), [], [])[0]:
                    data = one.recv(1 << 16)
                    if not data:
                        return
                    ends[one].sendall(data)

    def _leave(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None


@contextmanager
def way_out(addresses: Mapping[str, str], clock: Clock) -> Iterator[WayOut]:
    """The proxy until the block ends. addresses: names that may be reached, each with where it
    leads; empty for any. Raises MissingExtraError without what makes its key."""
    with TemporaryDirectory(prefix="adwright-") as folder:
        way = WayOut(addresses, clock, Path(folder))
        server = _Server(way)
        way.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        try:
            yield way
        finally:
            way.clear()
            server.shutdown()
            server.server_close()


def _key(method: str, url: str, body: bytes) -> _Key:
    parts = urlsplit(url)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    place = f"{scheme}://{parts.hostname}:{parts.port or _PORTS.get(scheme)}"
    return method.upper(), f"{place}{parts.path or '/'}?{parts.query}", sha256(body).digest()


def _made_key() -> tuple[EllipticCurvePrivateKey, str]:
    try:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    except ImportError as error:
        raise MissingExtraError("driving a browser", "agent") from error
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return key, base64.b64encode(sha256(public).digest()).decode()


def _certificate(key: EllipticCurvePrivateKey, host: str, clock: Clock) -> bytes:
    """The key and a certificate for a host, which nobody but this browser takes."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )
    from cryptography.x509.oid import NameOID

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    now = clock.now()
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + made.public_bytes(Encoding.PEM)


# --------------------------------------------------------------------------------------------------
# The gate at the network: every request of a browser's context is asked about before it leaves.
#
# The context's route sees the first request of everything: navigations, frames, what pages load,
# what
# scripts send, beacons, and the first request of a popup. Playwright lets the further steps of a
# redirect through unseen, so the browser's own protocol pauses these, and asks for each. WebSockets
# are asked about when they open. Refused without asking are service workers, popups and downloads.
# A refused request is aborted as if a person had stopped it: the page stays what it was. What none
# of
# this sees has no permit of the way out, and stands among what was refused as well.

_REFUSED_POPUP = GateDecision(False, "popup", "a page may not open another one")
_REFUSED_WORKER = GateDecision(False, "worker", "a service worker is not seen by the gate")
_REFUSED_DOWNLOAD = GateDecision(False, "download", "files are not taken")
_ROUND_THE_GATE = GateDecision(False, "past_gate", "it was sent without a page that could ask")
_ABORTED = "aborted"


class GatedNetwork:
    """Watches one context with one page; `seen` is what was decided since `take` was called."""

    def __init__(self, context: BrowserContext, gate: RequestGate, way: WayOut) -> None:
        self._gate, self._way = gate, way
        way.take_refused()  # none of this context's
        self._page: Page | None = None
        self._seen: list[SeenRequest] = []
        self._places: dict[Request, int] = {}
        self._offset = 0
        self._open: set[Request] = set()
        self._hops: dict[str, str] = {}
        context.route("**/*", self._on_route)
        context.route_web_socket("**/*", self._on_socket)
        context.on("request", self._on_request)
        context.on("requestfinished", self._on_end)
        context.on("requestfailed", self._on_end)
        context.on("response", self._on_response)

    def watch(self, page: Page, session: CDPSession) -> None:
        """`page` is the one that may load; every other one is closed."""
        self._page = page
        page.context.on("page", self._on_page)
        page.on("download", self._on_download)
        session.on("Page.windowOpen", self._on_window)
        session.on("Fetch.requestPaused", lambda event: self._on_paused(session, event))
        session.send("Fetch.enable", {"patterns": [{"urlPattern": "*"}]})

    @property
    def busy(self) -> bool:
        """Whether an answer is waited for."""
        return bool(self._open)

    def rest(self) -> None:
        """Wait no longer for what has not come."""
        self._open.clear()

    def take(self) -> tuple[SeenRequest, ...]:
        """What was decided since the last call."""
        for method, url in self._way.take_refused():
            self._record(PendingRequest(method, url, "beacon"), _ROUND_THE_GATE)
        found = tuple(self._seen)
        self._offset += len(found)
        self._seen.clear()
        return found

    def ask(self, request: PendingRequest) -> GateDecision:
        """The gate's answer, recorded; an exception of the gate's is a no."""
        try:
            decision = self._gate(request)
        except Exception as error:
            decision = GateDecision(False, "gate_failed", f"the gate failed: {error}")
        self._record(request, decision)
        if decision.allowed:
            self._way.permit(request.method, request.url, request.body)
        return decision

    def note_status(self, status: int) -> None:
        """The answer to what was recorded last."""
        if self._seen:
            self._seen[-1] = replace(self._seen[-1], status=status)

    def _record(self, request: PendingRequest, decision: GateDecision) -> int:
        self._seen.append(SeenRequest(request, decision))
        return self._offset + len(self._seen) - 1

    def _on_route(self, route: Route) -> None:
        request = route.request
        pending = PendingRequest(request.method, request.url, "worker")
        if getattr(request, "service_worker", None) is not None:
            self._record(pending, _REFUSED_WORKER)
            return route.abort(_ABORTED)
        if self._page is None or not self._is_of_page(request):
            self._record(replace(pending, kind="popup"), _REFUSED_POPUP)
            return route.abort(_ABORTED)
        decision = self.ask(_pending(request))
        self._places[request] = self._offset + len(self._seen) - 1
        if decision.allowed:
            return route.fallback()
        return route.abort(_ABORTED)

    def _is_of_page(self, request: Request) -> bool:
        # A navigation that opens a page has no frame yet, which is an error of Playwright's.
        with suppress(Exception):
            return request.frame.page is self._page
        return False

    def _on_paused(self, session: CDPSession, event: dict[str, Any]) -> None:
        """A step of a redirect is asked about; all else was already."""
        request, network = event["request"], event.get("networkId", "")
        before = self._hops.get(network, "")
        self._hops[network] = request["url"]
        allowed = True
        if event.get("redirectedRequestId"):
            body = request.get("postData", "").encode("utf-8", "surrogatepass")
            headers = {key.lower(): value for key, value in request.get("headers", {}).items()}
            allowed = self.ask(
                PendingRequest(
                    request["method"],
                    request["url"],
                    "redirect",
                    document_url=headers.get("referer", ""),
                    body=body,
                    fields=body_fields(body, headers.get("content-type", "")),
                    redirected_from=before,
                )
            ).allowed
        answer = {"requestId": event["requestId"]}
        with suppress(Exception):  # its page may be gone
            if allowed:
                session.send("Fetch.continueRequest", answer)
            else:
                session.send("Fetch.failRequest", answer | {"errorReason": "Aborted"})

    def _on_socket(self, socket: WebSocketRoute) -> None:
        if self.ask(PendingRequest("GET", socket.url, "socket")).allowed:
            socket.connect_to_server()
        else:
            socket.close(code=1008, reason="refused")

    def _on_window(self, event: dict[str, Any]) -> None:
        """A page opens another one: nothing of that is sent, and `_on_page` closes it."""
        self._record(PendingRequest("GET", event.get("url", ""), "popup"), _REFUSED_POPUP)

    def _on_page(self, page: Page) -> None:
        if page is not self._page:
            with suppress(Exception):
                page.close()

    def _on_download(self, download: Any) -> None:
        self._record(PendingRequest("GET", download.url, "download"), _REFUSED_DOWNLOAD)
        with suppress(Exception):
            download.cancel()

    def _on_request(self, request: Request) -> None:
        self._open.add(request)

    def _on_end(self, request: Request) -> None:
        self._open.discard(request)

    def _on_response(self, response: Any) -> None:
        place = self._places.pop(response.request, -1) - self._offset
        if place < 0 and response.request.redirected_from is not None:
            place = self._last_step_to(response.request.url)
        if 0 <= place < len(self._seen):
            self._seen[place] = replace(self._seen[place], status=response.status)

    def _last_step_to(self, url: str) -> int:
        for place in reversed(range(len(self._seen))):
            one = self._seen[place]
            if (one.request.kind, one.request.url, one.status) == ("redirect", url, 0):
                return place
        return -1


def _pending(request: Request) -> PendingRequest:
    navigates = request.is_navigation_request()
    document, is_main = "", True
    with suppress(Exception):  # a frame that is gone already
        document, is_main = request.frame.url, request.frame.parent_frame is None
    body = request.post_data_buffer or b""
    return PendingRequest(
        request.method,
        request.url,
        kind_of(request.resource_type, navigates=navigates, is_main=is_main),
        document_url=document,
        body=body,
        fields=body_fields(body, request.headers.get("content-type", "")),
    )
