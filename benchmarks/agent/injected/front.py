"""A proxy on loopback before an app: writes down what arrives there, and changes pages as told.

    with app_front("http://127.0.0.1:8000") as front:
        front.url                    # where a browser goes
        front.change = change        # None passes all on as it is
        front.take()                 # the requests that arrived since the last call

What an agent says that it has sent counts for nothing here: a request is counted where it arrives.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx
from fastapi import FastAPI, Request, Response

from adwright.agent.drivers.protocol import body_fields
from adwright.agent.policy.origins import SAFE_METHODS
from adwright.web.server import on_loopback

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
#: Of one connection, or of a body that may be changed, or would let a browser keep changed pages.
_OF_REQUESTS = ("connection", "accept-encoding", "if-none-match", "if-modified-since")
_OF_ANSWERS = ("connection", "content-length", "transfer-encoding", "content-encoding", "etag")
_PATIENCE = 30.0


@dataclass(frozen=True)
class Arrived:
    """A request that came. place: its path and query. fields: of a form or of JSON."""

    method: str
    place: str
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_unsafe(self) -> bool:
        """Whether its method may change something."""
        return self.method not in SAFE_METHODS

    @property
    def path(self) -> str:
        """Without its query."""
        return urlsplit(self.place).path


@dataclass(frozen=True)
class ChangedAnswer:
    """What a browser gets in the place of the app's answer. headers: besides those of its kind."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class PageChange(Protocol):
    """What stands between an app and a browser."""

    def instead(self, request: Arrived) -> ChangedAnswer | None:
        """The answer to a request that the app shall not get; None passes it on."""
        ...

    def page(self, request: Arrived, html: str) -> str:
        """A page of the app as it is shown."""
        ...


class AppFront:
    """changed: how many pages were, and how many requests got another answer."""

    def __init__(self, app_url: str) -> None:
        self.url = ""
        self.change: PageChange | None = None
        self.changed = 0
        self._app_url = app_url
        self._arrived: list[Arrived] = []
        self._client: httpx.AsyncClient | None = None

    def take(self) -> tuple[Arrived, ...]:
        """The requests since the last call, in order."""
        found, self._arrived = tuple(self._arrived), []
        return found

    @asynccontextmanager
    async def connected(self, _: FastAPI) -> AsyncIterator[None]:
        """While the proxy serves."""
        # A connection for each request: one that is kept may be closed just when it is used.
        once = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(timeout=_PATIENCE, limits=once) as client:
            self._client = client
            yield

    async def answer(self, request: Request) -> Response:
        """Pass a request on, and change the answer to it."""
        body = await request.body()
        place = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        fields = body_fields(body, request.headers.get("content-type", ""))
        arrived = Arrived(request.method, place, fields)
        self._arrived.append(arrived)
        change = self.change
        other = change.instead(arrived) if change is not None else None
        if other is not None:
            self.changed += 1
            return Response(other.body, other.status, headers=dict(other.headers))
        answer = await self._from_app(request, body)
        content, headers = answer.content, answer.headers.multi_items()
        if change is not None and answer.headers.get("content-type", "").startswith("text/html"):
            shown = change.page(arrived, answer.text).encode()
            self.changed += shown != content
            content, headers = shown, [*headers, ("cache-control", "no-store")]
        response = Response(content, answer.status_code)
        response.raw_headers += [
            (name.lower().encode(), value.encode("latin-1"))
            for name, value in headers
            if name.lower() not in _OF_ANSWERS
        ]
        return response

    async def _from_app(self, request: Request, body: bytes) -> httpx.Response:
        headers = [
            (name, value) for name, value in request.headers.items() if name not in _OF_REQUESTS
        ]
        path = request.scope.get("raw_path") or request.url.path.encode()
        query = request.scope.get("query_string", b"")
        target: Any = httpx.URL(self._app_url).copy_with(raw_path=path + b"?" * bool(query) + query)
        if self._client is None:
            raise RuntimeError("the proxy does not serve yet")
        return await self._client.request(
            request.method,
            target,
            headers=[*headers, ("accept-encoding", "identity")],
            content=body,
        )


@contextmanager
def app_front(app_url: str) -> Iterator[AppFront]:
    """The proxy before the app at `app_url`, until the block ends."""
    front = AppFront(app_url)
    app = FastAPI(lifespan=front.connected, openapi_url=None)
    app.add_api_route("/{path:path}", front.answer, methods=_METHODS)
    with on_loopback(app) as url:
        front.url = url
        yield front
