"""Serves the small ad platform on loopback, and counts what it was asked to write."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from tests.support.agent.site.pages import SiteVariant, edit_page, offers_page, page

PASSWORD = "correct horse"
_LOGIN = """<form action="/login" method="post"><label>User <input name="user"></label>
<label>Password <input type="password" name="password"></label><button>Sign in</button></form>"""


class SmallSite:
    """offers: what is stored. written: requests that would change it. asked: paths, in order.
    extra: further pages, by their paths. redirects: paths that lead elsewhere."""

    def __init__(self, variant: SiteVariant) -> None:
        self.variant = variant
        self.url = ""
        self.offers = {
            number: {"title": title, "price": str(number + 2)}
            for number, title in enumerate(("Assam tea", "Blue mug", "Oak lamp"), start=1)
        }
        self.written: list[tuple[str, str, dict[str, str]]] = []
        self.asked: list[str] = []
        self.extra: dict[str, str] = {}
        self.redirects: dict[str, str] = {}

    def answer(self, path: str) -> str | None:
        """The page of a path."""
        parts = [one for one in path.split("/") if one]
        if path in self.extra:
            return self.extra[path]
        if path == "/":
            return page("Home", "<p>Welcome.</p>")
        if path == "/offers":
            return offers_page(self.offers)
        if path in ("/reports", "/search"):
            return page(path[1:].title(), "<p>Nothing yet.</p>")
        if parts[:1] == ["offers"] and parts[1].isdigit() and int(parts[1]) in self.offers:
            number = int(parts[1])
            if len(parts) == 2:
                return edit_page(number, self.offers[number], self.variant)
            verb = "Delete" if parts[2] == "delete" else "Save"
            button = f'<form method="post"><button>Yes, {verb.lower()}</button></form>'
            return page(f"{verb} this offer?", button)
        return None


@contextmanager
def small_site(variant: SiteVariant | None = None, *, key: bool = False) -> Iterator[SmallSite]:
    """The site until the block ends. key: pages are only for who has signed in."""
    site = SmallSite(variant or SiteVariant())

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            site.asked.append(self.path)
            if path in site.redirects:
                return self._send(302, "", Location=site.redirects[path])
            if path == "/login" or (key and "session=yes" not in self.headers.get("Cookie", "")):
                return self._send(200, page("Sign in", _LOGIN))
            found = site.answer(path)
            self._send(404 if found is None else 200, found or "<p>no such page</p>")

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            fields = dict(parse_qsl(self.rfile.read(size).decode(), keep_blank_values=True))
            path = urlsplit(self.path).path
            if path == "/login":
                good = fields.get("password") == PASSWORD
                cookie = {"Set-Cookie": "session=yes; Path=/"} if good else {}
                return self._send(303, "", Location="/" if good else "/login", **cookie)
            site.written.append(("POST", path, fields))
            parts = path.split("/")
            if len(parts) == 3 and parts[1] == "offers" and {"name", "price"} <= fields.keys():
                site.offers[int(parts[2])] = {"title": fields["name"], "price": fields["price"]}
            self._send(303, "", Location="/offers")

        def _send(self, status: int, text: str, **headers: str) -> None:
            body = text.encode()
            self.send_response(status)
            kind = "javascript" if urlsplit(self.path).path.endswith(".js") else "html"
            for name, value in {"Content-Type": f"text/{kind}; charset=utf-8", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
