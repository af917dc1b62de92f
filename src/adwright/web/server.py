"""The app under uvicorn: one process that starts, serves, drains and ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING

from adwright.core.errors import MissingExtraError, ResourceError
from adwright.core.log_repeats import fewer_repeats
from adwright.web.connections import Connections, raise_file_limit
from adwright.web.limits import GateLimits
from adwright.web.metrics import ServiceMetrics

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

__all__ = ["listen", "serve", "uvicorn_config", "wait_for_signal"]

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

        from adwright.web.protocol import PARSER_LOG, door_protocol
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
