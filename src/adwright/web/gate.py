"""What every request passes first: who calls, how long a body, how many at once.

A plain ASGI layer, so that a request that is refused costs next to nothing. The order is that of
trust: the head says by what name and with which key the service is called, and only then a byte
of the body is read; only a whole body counts as work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adwright.core.clock import Clock
from adwright.core.errors import AdwrightError
from adwright.web.errors import ApiError, Busy, own_error_response
from adwright.web.limits import GateLimits
from adwright.web.turns import AdaptiveConcurrency

# --------------------------------------------------------------------------------------------------
# Bodies that are being received: how long, how large, and how many for each tenant.
#
# They count apart from what is in work. Where a tenant has too many, the one that has been coming
# for longest gives way, so that callers who send a byte now and then shut out nobody, not even
# honest callers of the same tenant.


class ArrivingBodies:
    """Receives bodies; belongs to one event loop."""

    def __init__(self, limits: GateLimits) -> None:
        self._limits = limits
        self._share = limits.share_of(limits.max_arriving)
        # Of each tenant, those that have been coming for longest first.
        self._tenants: dict[str, dict[asyncio.Timeout, None]] = {}
        self._count = 0

    @property
    def count(self) -> int:
        """Bodies that are being received."""
        return self._count

    async def body(self, tenant: str, receive: Receive) -> bytes | None:
        """The whole body; None where the caller went away.

        Raises ApiError with 413 where it is too long, 408 where it takes too long.
        """
        seconds = self._limits.body_seconds
        try:
            async with asyncio.timeout(seconds) as time:
                self._add(tenant, time)
                try:
                    return await self._whole(receive)
                finally:
                    self._remove(tenant, time)
        except TimeoutError:
            raise ApiError(
                408,
                f"the body did not arrive within {seconds:g} s, or too many others were coming",
                hint="send it faster, or in several requests",
            ) from None

    async def _whole(self, receive: Receive) -> bytes | None:
        pieces, size, limit = list[bytes](), 0, self._limits.max_body_bytes
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if size > limit:
                raise too_large(limit)
            pieces.append(piece)
            if not message.get("more_body", False):
                return b"".join(pieces)

    def _add(self, tenant: str, time: asyncio.Timeout) -> None:
        mine = self._tenants.setdefault(tenant, {})
        mine[time] = None
        self._count += 1
        if len(mine) > self._share:
            self._give_up(tenant)
        elif self._count > self._limits.max_arriving:
            self._give_up(max(self._tenants, key=lambda name: len(self._tenants[name])))

    def _give_up(self, tenant: str) -> None:
        oldest = next(iter(self._tenants[tenant]))
        self._remove(tenant, oldest)
        oldest.reschedule(0.0)

    def _remove(self, tenant: str, time: asyncio.Timeout) -> None:
        mine = self._tenants.get(tenant, {})
        if time in mine:
            del mine[time]
            self._count -= 1
            if not mine:
                del self._tenants[tenant]


def too_large(limit: int) -> ApiError:
    """The refusal of a body that is longer than `limit` bytes."""
    return ApiError(
        413, f"the body is longer than {limit} bytes", hint="send it in several requests"
    )


# --------------------------------------------------------------------------------------------------
# The service's own measures, for Prometheus. They name no tenant: whoever may scrape sees none.

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 512, 2048, 8192)


class ServiceMetrics:
    """All measures of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        count, spread = self._counter, self._histogram
        self.requests = count(
            "requests", "Answers by route, method and status.", "route", "method", "status"
        )
        self.seconds = spread(
            "request_seconds", "From a request's head to its answer's end.", _SECONDS, "route"
        )
        self.decisions = count("decisions", "Decisions by the order they came from.", "stage")
        self.repeats = count(
            "decisions_repeated", "Decisions that were recorded before and were answered again."
        )
        self.rescued = count(
            "decisions_rescued",
            "Decisions from the fallback, because the model failed or was late.",
            "reason",
        )
        self.shed = count("shed", "Requests refused with 429, by what was full.", "reason")
        self.connections_closed = count(
            "connections_closed",
            "Connections that were closed by the service before they had an answer.",
            "reason",
        )
        self.events = count("events", "Acknowledged events.", "outcome")
        self.batch = spread("batch_size", "Decisions computed together.", _SIZES)
        self.model_seconds = spread(
            "batch_seconds", "Time of the model and the policy for one batch.", _SECONDS
        )
        self.commit_rows = spread("commit_rows", "Rows written together.", _SIZES)
        self.commit_seconds = spread(
            "commit_seconds", "Time until the store had committed.", _SECONDS
        )
        self.commit_failures = count("commit_failures", "Writes that the store refused.")

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a measure that is read when Prometheus asks."""
        Gauge(f"adwright_{name}", text, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """Everything, in the text format of CONTENT_TYPE."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"adwright_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"adwright_{name}", text, labels, buckets=buckets, registry=self.registry)


# --------------------------------------------------------------------------------------------------
# Under which names a service may be called, and from which web pages.
#
# A browser lets any page send requests to any address, this machine's own too. A page can even give
# its own name an address of this machine (DNS rebinding); the header Host then has that name.

#: The names that a machine has for itself.
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


def header(scope: Scope, name: bytes) -> str:
    """The first header of that name in lower case; empty where there is none."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return ""


def stranger(scope: Scope, allowed: tuple[str, ...]) -> str:
    """Why a request is refused; empty where it may come in. allowed: empty for any name."""
    if not allowed:
        return ""
    if _name("//" + header(scope, b"host")) not in allowed:
        return "the service is not called by this name"
    origin = header(scope, b"origin")
    if origin and _name(origin) not in allowed:
        return "pages of other sites may not call the service"
    if header(scope, b"sec-fetch-site") == "cross-site":
        return "pages of other sites may not call the service"
    return ""


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


# --------------------------------------------------------------------------------------------------
# How fast those are refused who send again at once.

#: Seconds from one refusal of a caller that is slowed down to its next, and the longest that one is
#: held back; a refusal says Retry-After: 1. For how long one who did not heed it is slowed down.
_BETWEEN, _LONGEST, _AFTER, _SLOWED = 0.01, 1.0, 1.0, 10.0


class Refusals:
    """Refuses at once, and slows down a caller who comes back before it was told to.

    A refusal costs the event loop a part of what an answer costs, so that callers who send again
    at once would fill it with refusals alone. at_once: refusals of a caller within the second of
    Retry-After that are not held back: as much as it may have in work, so that one who heeds it
    never exceeds them. Who does is refused one by one for ten seconds. Belongs to one event loop.
    """

    def __init__(self, at_once: int = 1) -> None:
        self._share = _AFTER / at_once
        self._spent: dict[str, float] = {}  # until when its share is spent
        self._next: dict[str, float] = {}

    def wait(self, caller: str, now: float) -> float:
        """Seconds until a refusal of this caller is due; none within its share.

        now: seconds of a monotonic clock.
        """
        spent = max(now, self._spent.get(caller, now))
        if spent + self._share <= now + _AFTER:
            self._spent[caller] = spent + self._share
            return 0.0
        if spent <= now + _AFTER:
            self._spent[caller] = now + _AFTER + _SLOWED
        due = min(max(now, self._next.get(caller, now)), now + _LONGEST)
        self._next[caller] = due + _BETWEEN
        return due - now


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


class ShortAnswer(Protocol):
    """Answers one endpoint past the framework. path_format: as in its route."""

    path_format: str

    async def __call__(self, scope: Scope, body: bytes) -> Response | None:
        """The answer; None where the framework is to give it."""


class Gate:
    """Lets requests in, times answers and adds headers to them, but those that they have already.

    authenticate: None where nobody needs a key, and all are one tenant. turns: of the
    tenants, told by its owner how late the event loop is; None where requests never wait for one.
    respond: the form of a refusal. guarded: what paths begin with that need a key; others are
    for whoever looks after the service, and take no body. short: by method and path, what is
    answered past the framework.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: GateLimits,
        metrics: ServiceMetrics,
        clock: Clock,
        authenticate: Authenticate | None = None,
        turns: AdaptiveConcurrency | None = None,
        respond: Callable[[ApiError], Response] = ApiError.response,
        guarded: tuple[str, ...] = (_GUARDED,),
        short: Mapping[tuple[str, str], ShortAnswer] | None = None,
    ) -> None:
        self._app = app
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._authenticate = authenticate
        self._turns = turns
        self._respond, self._guarded, self._short = respond, guarded, short or {}
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
                way = self._short.get((scope["method"], scope["path"]))
                answer = None
                if way is not None and request.body is not None:
                    answer = await way(scope, request.body)
                if answer is None:
                    await self._app(scope, request.receive, send)
                else:
                    scope["route"] = way
                    await answer(scope, request.receive, send)
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
        #: The whole body, where it was read and not handed on.
        self.body: bytes | None = None

    async def read(self, arrivals: ArrivingBodies, tenant: str) -> bool:
        """Read the whole body; False where the caller went away."""
        self.body = await arrivals.body(tenant, self._receive)
        self.complete = self.body is not None
        self.gone = not self.complete
        return self.complete

    async def receive(self) -> Message:
        """What the app receives: the body where it was read, and then what follows it."""
        if self.body is None:
            return await self._receive()
        body, self.body = self.body, None
        return {"type": "http.request", "body": body, "more_body": False}
