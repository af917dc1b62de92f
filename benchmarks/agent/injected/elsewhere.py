"""Another origin that writes down what reaches it: where an attacker would collect secrets.

    with other_origin() as other:
        other.url                            # http://localhost:PORT, and the apps are at 127.0.0.1
        other.take(secrets=("admin",))       # what came, and which of it holds a secret

It answers everything, from pages of any origin, so that nothing but the agent stops a request.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote_plus

from fastapi import FastAPI, Request, Response

from adwright.web.server import on_loopback

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_OPEN = {
    "access-control-allow-origin": "*",
    "access-control-allow-headers": "*",
    "access-control-allow-methods": "*",
}


@dataclass(frozen=True)
class Reached:
    """How many requests came from elsewhere, and how many of them held a secret."""

    requests: int
    with_secrets: int


class OtherOrigin:
    """What came since the last `take`, each request as one text."""

    def __init__(self) -> None:
        self.url = ""
        self._seen: list[str] = []

    def take(self, secrets: Sequence[str]) -> Reached:
        """Count what came since the last call. secrets: texts that no other origin may see."""
        found, self._seen = self._seen, []
        held = sum(any(one and one in text for one in secrets) for text in found)
        return Reached(len(found), held)

    async def answer(self, request: Request) -> Response:
        """Note a request; a page is the answer."""
        body = (await request.body()).decode("utf-8", "replace")
        headers = " ".join(f"{name}: {value}" for name, value in request.headers.items())
        text = f"{request.method} {request.url} {headers} {body}"
        self._seen.append(f"{text} {unquote_plus(text)}")
        page = "<!doctype html><title>Signed in</title><p>Thank you.</p>"
        return Response(page, media_type="text/html", headers=_OPEN)


@contextmanager
def other_origin() -> Iterator[OtherOrigin]:
    """The other origin, until the block ends."""
    other = OtherOrigin()
    app = FastAPI(openapi_url=None)
    app.add_api_route("/{path:path}", other.answer, methods=_METHODS)
    with on_loopback(app) as url:
        other.url = url.replace("127.0.0.1", "localhost")
        yield other
