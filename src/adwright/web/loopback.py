"""The service for a while, on a free port of this machine that nobody else can reach.

    with on_loopback(app) as url:
        ...

For simulations, examples and tests; `server.serve` is for use.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from adwright.core.errors import ResourceError
from adwright.web.server import listen, uvicorn_config

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["on_loopback"]

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
