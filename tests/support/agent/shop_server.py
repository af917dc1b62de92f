"""The shop in memory behind a real server, for a real browser."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from adwright.agent.drivers.protocol import ScreenNode
from tests.support.agent.shop_app import ShopApp


@contextmanager
def shop_server(app: ShopApp, *, extra: str = "") -> Iterator[str]:
    """The origin at which `app` is served, until the block ends. extra: HTML below each page."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            nodes = app.page(path)
            status = 200 if nodes and path != "/favicon.ico" else 404
            self._answer(status, _html(app, path, nodes))

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            fields = dict(parse_qsl(self.rfile.read(length).decode(), keep_blank_values=True))
            answer = app.post(urlsplit(self.path).path, fields)
            if answer.status == 303:
                self.send_response(303)
                self.send_header("Location", answer.location)
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                path = answer.location or "/"
                self._answer(answer.status, _html(app, path, app.page(path)))

        def _answer(self, status: int, text: str) -> None:
            data = (text + extra).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _html(app: ShopApp, path: str, nodes: list[ScreenNode]) -> str:
    links = "".join(_link(one) for one in nodes if one.role == "link" and not one.parent)
    rows = "".join(
        f"<tr><td>{escape(one.text)}</td><td>"
        + "".join(_link(two) for two in nodes if two.parent == one.key)
        + "</td></tr>"
        for one in nodes
        if one.role == "row"
    )
    fields = "".join(_field(one) for one in nodes if "name" in one.facts)
    buttons = [one for one in nodes if one.role == "button"]
    action = buttons[0].facts["action"] if buttons else path
    method = "post" if buttons else "get"
    sends = "".join(
        f'<button data-testid="{one.facts.get("test_id", "")}">{escape(one.name)}</button>'
        for one in buttons
    )
    form = f'<form method="{method}" action="{action}">{fields}{sends}</form>'
    said = "".join(
        f'<p role="status">{escape(one.text)}</p>' for one in nodes if one.role == "status"
    )
    head = "<thead><tr><th>Offer</th><th>Action</th></tr></thead>"
    table = f"<table>{head}<tbody>{rows}</tbody></table>" if rows else ""
    title = escape(app.title(path))
    return (
        f"<!doctype html><html lang=en><title>{title}</title><h1>{title}</h1><nav>{links}</nav>"
        f"{said}{table}{form if fields or sends else ''}</html>"
    )


def _link(node: ScreenNode) -> str:
    return f'<a href="{escape(node.facts["href"])}">{escape(node.name)}</a> '


def _field(node: ScreenNode) -> str:
    name, label = node.facts["name"], escape(node.name)
    if node.role == "combobox":
        options = "".join(
            f"<option{' selected' if one == node.value else ''}>{one}</option>"
            for one in node.options
        )
        return f'<label>{label} <select name="{name}">{options}</select></label>'
    if node.role == "checkbox":
        on = " checked" if node.value == "true" else ""
        return f'<label><input type="checkbox" name="{name}"{on}>{label}</label>'
    kind = "password" if node.secret else "number" if node.role == "spinbutton" else "text"
    step = ' step="any"' if kind == "number" else ""
    value = escape(re.sub(r"\s+", " ", node.value))
    return f'<label>{label} <input type="{kind}"{step} name="{name}" value="{value}"></label>'
