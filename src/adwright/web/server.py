"""The app under uvicorn: one process that starts, serves, drains and ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, ClassVar, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from adwright.core.errors import MissingExtraError, ResourceError
from adwright.core.log_repeats import fewer_repeats
from adwright.web.errors import error_response
from adwright.web.gate import ServiceMetrics
from adwright.web.limits import GateLimits

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI


# --------------------------------------------------------------------------------------------------
# Which connections are open, and which of them must go.
#
# A connection waits while it has no complete head of a request, and while its client does not take
# what was sent. Whoever waits has a time to do it in, and is the first to go where there are too
# many: so callers who connect and say nothing, or half of something, shut nobody out.

_log = logging.getLogger("adwright.service")
#: Descriptors that are kept for the store, models, logs and whatever else is opened.
_FILES_KEPT = 256
_FILES_WANTED = 65_536
_LOOK_SECONDS = 0.5
_TELL_SECONDS = 10.0


class Connection(Protocol):
    """One connection, as it is known here."""

    def give_up(self, reason: str) -> None:
        """Close it, at once."""


class Connections:
    """The connections of one server; belongs to one event loop."""

    def __init__(self, limits: GateLimits, metrics: ServiceMetrics) -> None:
        self.limits = limits
        self._gone = metrics.connections_closed
        self._address: dict[Connection, str] = {}
        self._of_address: Counter[str] = Counter()
        # By when each that waits must be done; those that have waited longest come first.
        self._waiting: dict[Connection, float] = {}
        self._looking = False
        self._told = float("-inf")
        self._most = 0
        metrics.gauge("connections", "Open connections.", lambda: len(self._address))

    @property
    def most(self) -> int:
        """How many there may be: by the setting and the limit on open files."""
        if not self._most:
            files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            room = self.limits.max_connections
            if files != resource.RLIM_INFINITY:
                room = min(room, max(files - _FILES_KEPT, files // 2))
            self._most = room
        return self._most

    def opened(self, one: Connection, address: str) -> bool:
        """Count a new connection, which waits from now on; False where there is no room."""
        if len(self._address) >= self.most and not self._make_room("most", None):
            return False
        bound = self.limits.connections_per_address
        full = bound and self._of_address[address] >= bound
        if full and not self._make_room("address", address):
            return False
        self._address[one] = address
        self._of_address[address] += 1
        self.waits(one, self.limits.head_seconds)
        return True

    def closed(self, one: Connection) -> None:
        """Forget it; it may be forgotten already."""
        self._waiting.pop(one, None)
        address = self._address.pop(one, None)
        if address is not None:
            self._of_address[address] -= 1
            if not self._of_address[address]:
                del self._of_address[address]

    def waits(self, one: Connection, seconds: float) -> None:
        """It waits for its client from now on, and is closed after so long."""
        if one not in self._address:
            return
        loop = asyncio.get_running_loop()
        self._waiting.pop(one, None)
        self._waiting[one] = loop.time() + seconds
        if not self._looking:
            self._looking = True
            loop.call_later(_LOOK_SECONDS, self._look)

    def works(self, one: Connection) -> None:
        """It has sent a whole head, or takes what is sent: it does not wait any more."""
        self._waiting.pop(one, None)

    def end(self, one: Connection, reason: str) -> None:
        """Close it, and count why."""
        self.closed(one)
        self._gone.labels(reason).inc()
        one.give_up(reason)

    def _make_room(self, reason: str, address: str | None) -> bool:
        self._tell(reason)
        for one in self._waiting:
            if address is None or self._address[one] == address:
                self.end(one, reason)
                return True
        self._gone.labels("refused").inc()
        return False

    def _tell(self, reason: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._told > _TELL_SECONDS:
            self._told = now
            count = len(self._address)
            _log.warning("too many connections (%s): %d are open, the oldest go", reason, count)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for one in [one for one, end in self._waiting.items() if end <= now]:
            self.end(one, "time")
        self._looking = bool(self._waiting)
        if self._looking:
            loop.call_later(_LOOK_SECONDS, self._look)


def raise_file_limit() -> None:
    """Let this process open as many files as it may, up to 65,536: connections are files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, _FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


# --------------------------------------------------------------------------------------------------
# uvicorn's HTTP protocol with bounds on what a client may send before its request is there.
#
# uvicorn has settings for neither the size nor the time of a head with its fast parser, and that
# parser takes quadratic time for a long one.

#: The parser's own logger. Whoever sends what is no HTTP would fill the log with warnings of it;
#: they are counted instead.
PARSER_LOG = "uvicorn.error.door"
#: Of a head; and of everything else that is not the content of a body, such as trailers.
_HEAD_BYTES = 1 << 16
_HEADERS = 256
#: A client that takes nothing of its answer for so long is gone.
_STUCK_SECONDS = 30.0


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection. A longer head is answered 431, a slower one 408; both are closed."""

    book: ClassVar[Connections]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it, or refuse it where there is no room."""
        super().connection_made(transport)
        self.logger = logging.getLogger(PARSER_LOG)
        # Bytes since a head was complete or content of a body came.
        self._loose = 0
        self._in_head = False
        self._oversized = False
        address = self.client[0] if self.client else ""
        if not self.book.opened(self, address):
            self._refuse(503, "there is no room for another connection")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        self.book.closed(self)

    def data_received(self, data: bytes) -> None:
        """Parse in pieces, so that no head grows beyond its bound before it is counted."""
        while data and not self.transport.is_closing():
            room = _HEAD_BYTES - self._loose
            piece, data = data[:room], data[room:]
            self._loose += len(piece)
            super().data_received(piece)
            if self._loose >= _HEAD_BYTES and not self.transport.is_closing():
                self.book.end(self, "size")

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._in_head = True
        if self._is_idle():
            self.book.waits(self, self.book.limits.head_seconds)

    def on_headers_complete(self) -> None:
        """A head is complete: there is a request."""
        if len(self.headers) > _HEADERS:
            self._oversized = True
            raise ValueError("too many headers")
        self._loose = 0
        self._in_head = False
        super().on_headers_complete()
        self.book.works(self)

    def on_body(self, body: bytes) -> None:
        """Content of a body."""
        self._loose = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """The answer is sent: the connection waits for the next head."""
        super().on_response_complete()
        self._rest()

    def pause_writing(self) -> None:
        """The client does not take its answer as fast as it is made."""
        super().pause_writing()
        self.book.waits(self, _STUCK_SECONDS)

    def resume_writing(self) -> None:
        """It has taken what was sent."""
        super().resume_writing()
        self.book.works(self)
        self._rest()

    def send_400_response(self, msg: str) -> None:
        """What the parser refuses."""
        self.book.end(self, "size" if self._oversized else "http")

    def give_up(self, reason: str) -> None:
        """Close it; who was in the middle of a head is told why."""
        if reason == "http":
            super().send_400_response("Invalid HTTP request received.")
        elif reason == "size" and self._is_idle():
            self._refuse(431, "the head of the request is too long")
        elif reason == "time" and self._in_head and self._is_idle():
            self._refuse(408, "the head of the request did not arrive in time")
        else:
            self.transport.abort()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _rest(self) -> None:
        """Wait for the next head where nothing is in work."""
        if self._is_idle() and not self.pipeline and self.cycle is not None:
            limits = self.book.limits
            seconds = limits.head_seconds if self._in_head else self.timeout_keep_alive
            self.book.waits(self, seconds)

    def _refuse(self, status: int, message: str) -> None:
        answer = error_response(status, message)
        phrase = {408: b"Request Timeout", 431: b"Request Header Fields Too Large"}
        lines = [b"HTTP/1.1 %d %s" % (status, phrase.get(status, b"Service Unavailable"))]
        lines += [b"%s: %s" % pair for pair in answer.raw_headers]
        lines += [b"connection: close", b"", bytes(answer.body)]
        self.transport.write(b"\r\n".join(lines))
        self.transport.close()


def door_protocol(book: Connections) -> type[asyncio.Protocol]:
    """The protocol of a server whose connections are counted in `book`."""
    return type("Door", (LimitedHttpProtocol,), {"book": book})


#: The event loop and the models share one interpreter. With Python's own 5 ms, every answer would
#: wait that long for a model that is busy in Python.
_SWITCH_SECONDS = 0.0005
_BACKLOG = 2048
#: What the services say; while a database is away, each request would say it.
_LOG = "adwright.service"
_KEEP_ALIVE_SECONDS = 30
_SHUTDOWN_SECONDS = 30


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one, which `getsockname` tells.

    Raises ResourceError where the address is taken or is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        opened.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        opened.close()
        hint = "choose another port, or stop what uses it"
        if isinstance(error, PermissionError):
            hint = "choose a port from 1024 on: those below are for the administrator"
        raise ResourceError(
            f"the address cannot be listened on: {error}", where=f"{host}:{port}", hint=hint
        ) from error
    opened.set_inheritable(True)
    return opened


def uvicorn_config(app: FastAPI) -> uvicorn.Config:
    """The settings of the server. Raises MissingExtraError without uvicorn."""
    try:
        import uvicorn

    except ImportError as error:
        raise MissingExtraError("the HTTP service", "service") from error
    book = getattr(app.state, "connections", None) or Connections(GateLimits(), ServiceMetrics())
    config = uvicorn.Config(
        app,
        http=door_protocol(book),
        ws="none",
        access_log=False,
        log_level="warning",
        lifespan="on",
        server_header=False,
        proxy_headers=False,  # nothing depends on where a request came from
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    # After the configuration, which resets it.
    logging.getLogger(PARSER_LOG).setLevel(logging.ERROR)
    return config


def serve(app: FastAPI, opened: socket.socket) -> None:
    """Serve `app` on a listening socket until SIGINT or SIGTERM; returns when all is written.

    At the signal /readyz says no for `drain_seconds`, so that a balancer sends no more; then the
    socket is closed, requests in work are answered, and what was decided is written. A second
    signal ends the wait.
    Raises MissingExtraError without uvicorn.
    """
    config = uvicorn_config(app)
    raise_file_limit()
    import uvicorn

    class Server(uvicorn.Server):
        """Says that it will end before it does."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            """Begin, and let the collector of garbage pass over what is here to stay.

            A look at all modules and models would stop every thread for a tenth of a second,
            again and again. The modules, most of it, are looked at before anybody is let in.
            """
            gc.collect()
            gc.freeze()
            await super().startup(sockets)
            gc.collect()
            gc.freeze()

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            """At a signal, in the thread of the event loop.

            uvicorn's own would raise the signal again when all is done, and so end the caller.
            """
            state = app.state.service
            self.force_exit = self.should_exit
            if state.draining or state.config.drain_seconds == 0:
                self.should_exit = True
                return
            state.draining = True
            loop = asyncio.get_running_loop()
            wait = state.config.drain_seconds
            loop.call_soon_threadsafe(loop.call_later, wait, self.end)

        def end(self) -> None:
            """Take no more connections, answer what is in work, and end."""
            self.should_exit = True

    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        with fewer_repeats(_LOG):
            Server(config).run(sockets=[opened])
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before)
        opened.close()


def wait_for_signal() -> None:
    """Return at SIGINT or SIGTERM; called in the main thread."""
    told = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: told.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        while not told.wait(3600):
            pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --------------------------------------------------------------------------------------------------
# The service for a while, on a free port of this machine that nobody else can reach.
#
#     with on_loopback(app) as url:
#         ...
#
# For simulations, examples and tests; `server.serve` is for use.

_PATIENCE = 60.0
_LOOK = 0.01


@contextmanager
def on_loopback(app: FastAPI) -> Iterator[str]:
    """Serve `app` from another thread until the block ends; its URL.

    At the end, requests in work are answered and what was decided is written.
    Raises MissingExtraError without uvicorn, ResourceError where the app does not start.
    """
    config = uvicorn_config(app)
    import uvicorn

    opened, server = listen("127.0.0.1", 0), uvicorn.Server(config)

    def run() -> None:
        # It has logged what failed, and that it did not start is noticed below.
        with suppress(SystemExit):
            server.run(sockets=[opened])

    thread = threading.Thread(target=run, name="adwright-loopback")
    thread.start()
    try:
        ends = time.monotonic() + _PATIENCE
        while not server.started:
            if not thread.is_alive() or time.monotonic() > ends:
                raise ResourceError(
                    "the service did not start",
                    where="127.0.0.1",
                    hint="the lines above say why",
                )
            time.sleep(_LOOK)
        yield f"http://127.0.0.1:{opened.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        opened.close()
