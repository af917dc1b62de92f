"""What every request passes first: who calls, how long a body, how many at once.

A plain ASGI layer, so that a request that is refused costs next to nothing. The order is that of
trust: the head says by what name and with which key the service is called, and only then a byte
of the body is read; only a whole body counts as work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adwright.core.clock import Clock
from adwright.core.errors import AdwrightError
from adwright.web.arrival import ArrivingBodies, too_large
from adwright.web.errors import ApiError, Busy, own_error_response
from adwright.web.limits import GateLimits
from adwright.web.metrics import ServiceMetrics
from adwright.web.origin import header, stranger
from adwright.web.refusals import Refusals
from adwright.web.turns import Turns

__all__ = ["Admitted", "Authenticate", "Gate", "admitted", "waited"]

_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]
#: What stands below it needs a key and counts as work. The rest says how the service is, and must
#: be answered when it is busiest.
_GUARDED = "/v1/"
_ADMITTED = "adwright.admitted"
_WAITED = "adwright.waited"
#: Methods that have a body only where the head announces one.
_BARE = frozenset(("GET", "HEAD", "OPTIONS", "DELETE"))
#: nginx's word for a caller that went away before the answer.
_GONE = 499

#: The tenant of a request, from its head alone; raises ApiError where it has none.
Authenticate = Callable[[Scope], Awaitable[str]]


@dataclass(eq=False)
class Admitted:
    """A tenant with requests in work. turn: held by the one that parses a large body."""

    tenant: str
    requests: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


def admitted(scope: Scope) -> Admitted:
    """Who called, as the gate found it."""
    found: Admitted = scope[_ADMITTED]
    return found


def waited(scope: Scope) -> float:
    """Seconds that a request waited for the turn of its tenant."""
    found: float = scope[_WAITED]
    return found


class Gate:
    """Lets requests in, times answers and adds headers to them, but those that they have already.

    authenticate: None where nobody needs a key, and all are one tenant. turns: of the
    tenants, told by its owner how late the event loop is; None where requests never wait for one.
    respond: the form of a refusal. guarded: what paths begin with that need a key; others are
    for whoever looks after the service, and take no body.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: GateLimits,
        metrics: ServiceMetrics,
        clock: Clock,
        authenticate: Authenticate | None = None,
        turns: Turns | None = None,
        respond: Callable[[ApiError], Response] = ApiError.response,
        guarded: tuple[str, ...] = (_GUARDED,),
    ) -> None:
        self._app = app
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._authenticate = authenticate
        self._turns = turns
        self._respond, self._guarded = respond, guarded
        self._arrivals = ArrivingBodies(limits)
        most = limits.max_in_flight
        self._share = most if authenticate is None else limits.share_of(most)
        self._strangers = Refusals()
        self._in_flight = 0
        self._tenants: dict[str, Admitted] = {}
        self._headers = list(_SECURITY)
        if limits.replica:
            self._headers.append((b"x-replica", limits.replica.encode("ascii")))
        metrics.gauge("in_flight", "Requests in work.", lambda: self._in_flight)
        metrics.gauge("arriving", "Bodies that are being received.", lambda: self._arrivals.count)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of the ASGI protocol."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._clock.monotonic()
        request = _Request(scope, receive)
        status = 500

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = {name.lower() for name, _ in message["headers"]}
                added = [(name, value) for name, value in self._headers if name not in own]
                headers = [*message["headers"], *added]
                if not request.complete:
                    # The rest of the body is not read: the connection cannot be used again.
                    headers.append((b"connection", b"close"))
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._pass(scope, request, send_on)
        except ApiError as error:
            if isinstance(error, Busy):
                self._metrics.shed.labels(error.reason).inc()
            await self._respond(error)(scope, receive, send_on)
        finally:
            status = _GONE if request.gone else status
            route = getattr(scope.get("route"), "path_format", "other")
            method = scope["method"] if route != "other" else "other"
            self._metrics.requests.labels(route, method, str(status)).inc()
            self._metrics.seconds.labels(route).observe(self._clock.monotonic() - began)

    async def _pass(self, scope: Scope, request: _Request, send: Send) -> None:
        why = stranger(scope, self._limits.allowed_hosts)
        if why:
            raise ApiError(403, why, hint="call it by a name of allowed_hosts, from a program")
        if not scope["path"].startswith(self._guarded):
            await self._app(scope, request.receive, send)
            return
        try:
            tenant = "" if self._authenticate is None else await self._authenticate(scope)
        except AdwrightError as error:
            await own_error_response(error)(scope, request.receive, send)
            return
        except ApiError:
            await asyncio.sleep(self._strangers.wait("", self._clock.monotonic()))
            raise
        if request.announced > self._limits.max_body_bytes:
            raise too_large(self._limits.max_body_bytes)
        if not request.complete and not await request.read(self._arrivals, tenant):
            return
        await self._work(tenant, scope, request, send)

    async def _work(self, tenant: str, scope: Scope, request: _Request, send: Send) -> None:
        mine = self._tenants.setdefault(tenant, Admitted(tenant))
        if self._in_flight >= self._limits.max_in_flight or mine.requests >= self._share:
            if not mine.requests:
                del self._tenants[tenant]
            raise Busy("in_flight", 1.0)
        self._in_flight += 1
        mine.requests += 1
        scope[_ADMITTED] = mine
        try:
            async with nullcontext(0.0) if self._turns is None else self._turns.turn(tenant) as at:
                scope[_WAITED] = at
                await self._app(scope, request.receive, send)
        finally:
            self._in_flight -= 1
            mine.requests -= 1
            if not mine.requests:
                del self._tenants[tenant]


class _Request:
    """The body of one request: announced, then read as a whole, then handed on once."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        length = header(scope, b"content-length")
        # Longer numbers than of 18 digits are left to the count.
        self.announced = int(length[:18]) if length.isascii() and length.isdigit() else 0
        bare = scope["method"] in _BARE and not header(scope, b"transfer-encoding")
        #: Whether nothing of the body is left to read.
        self.complete = bare and not length.strip("0")
        self.gone = False
        self._receive = receive
        self._read: bytes | None = None

    async def read(self, arrivals: ArrivingBodies, tenant: str) -> bool:
        """Read the whole body; False where the caller went away."""
        self._read = await arrivals.body(tenant, self._receive)
        self.complete = self._read is not None
        self.gone = not self.complete
        return self.complete

    async def receive(self) -> Message:
        """What the app receives: the body where it was read, and then what follows it."""
        if self._read is None:
            return await self._receive()
        body, self._read = self._read, None
        return {"type": "http.request", "body": body, "more_body": False}
