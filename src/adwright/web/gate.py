"""What every request passes first: how many at once, how long a body, which headers go out.

A plain ASGI layer, so that a request that is shed costs next to nothing: it is refused before it
is parsed.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adwright.core.clock import Clock
from adwright.web.errors import Busy, error_response
from adwright.web.limits import GateLimits
from adwright.web.metrics import ServiceMetrics

__all__ = ["Gate"]

_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]
#: Never shed: whoever watches the service must see it when it is busiest.
_ALWAYS = frozenset(("/healthz", "/readyz", "/metrics"))


class Gate:
    """Counts requests in flight, limits bodies, times answers and adds headers to them."""

    def __init__(
        self, app: ASGIApp, limits: GateLimits, metrics: ServiceMetrics, clock: Clock
    ) -> None:
        self._app = app
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._in_flight = 0
        self._headers = list(_SECURITY)
        if limits.replica:
            self._headers.append((b"x-replica", limits.replica.encode("ascii")))
        metrics.gauge("in_flight", "Requests in work.", lambda: self._in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of the ASGI protocol."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._clock.monotonic()
        status = 500

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *self._headers]}
            await send(message)

        self._in_flight += 1
        try:
            await self._pass(scope, receive, send_on)
        finally:
            self._in_flight -= 1
            route = getattr(scope.get("route"), "path_format", "other")
            method = scope["method"] if route != "other" else "other"
            self._metrics.requests.labels(route, method, str(status)).inc()
            self._metrics.seconds.labels(route).observe(self._clock.monotonic() - began)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._in_flight > self._limits.max_in_flight and scope["path"] not in _ALWAYS:
            busy = Busy("in_flight", 1.0)
            self._metrics.shed.labels(busy.reason).inc()
            await busy.response()(scope, receive, send)
        elif _announced(scope) > self._limits.max_body_bytes:
            await _too_large(self._limits.max_body_bytes)(scope, receive, send)
        else:
            await self._limited(scope, receive, send)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the body while it arrives; the answer is 413 as soon as it is too long."""
        received, complete, begun = 0, False, False
        limit, seconds = self._limits.max_body_bytes, self._limits.body_seconds
        over = asyncio.get_running_loop().time() + seconds

        async def receive_on() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(over):
                    message = await receive()
            except TimeoutError:
                raise _Refused(_too_slow(seconds)) from None
            complete = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > limit:
                raise _Refused(_too_large(limit))
            return message

        async def send_on(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive_on, send_on)
        except _Refused as refused:
            if begun:
                raise
            await refused.response(scope, receive, send)


class _Refused(BaseException):
    """Ends the reading of a body; no error, so that no handler of errors in between takes it."""

    def __init__(self, response: ASGIApp) -> None:
        super().__init__()
        self.response = response


def _too_large(limit: int) -> ASGIApp:
    # The rest of the body is not read: the connection cannot be used again.
    return _closing(413, f"the body is longer than {limit} bytes", "send it in several requests")


def _too_slow(seconds: float) -> ASGIApp:
    what = f"the body did not arrive within {seconds:g} s"
    return _closing(408, what, "send it faster, or in several requests")


def _closing(status: int, what: str, hint: str) -> ASGIApp:
    return error_response(status, what, hint=hint, headers={"Connection": "close"})


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0
