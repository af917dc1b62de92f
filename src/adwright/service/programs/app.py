"""Programs of semantic variables behind HTTP, as an ASGI application.

    room = EngineRoom({"e0": PagedEngine(config)}, text.count)
    app = create_programs_app(ProgramServiceConfig(), room, {"smollm2": text}, beside=room)

Clients of the OpenAI protocol that know nothing of programs can call it, too: their chats are
programs of one call, and share engines and prefixes with all others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from fastapi import FastAPI
from prometheus_client.registry import Collector

from adwright.core.clock import Clock, SystemClock
from adwright.core.errors import AdwrightError
from adwright.programs.persistence import KeptFolder
from adwright.service.lm.config import Callers
from adwright.service.lm.endpoint import endpoint_app, probes
from adwright.service.lm.protocol.errors import respond
from adwright.service.programs.book import (
    ChainRouter,
    ProgramBook,
    ProgramServiceConfig,
    Refused,
)
from adwright.service.programs.chats import chats_router
from adwright.service.programs.engine_room import ServedText
from adwright.service.programs.state import ProgramState, health_router, programs_router
from adwright.web.errors import answers
from adwright.web.gate import ServiceMetrics

_DESCRIPTION = """
Programs of language-model calls: a graph is sent as a whole, and its texts pass from call to call
inside the service.

* What is not understood is refused with the path of the field, never ignored.
* A program is kept until nobody has called for it for a while; another tenant's is not there.
* When there is too much to do the answer is 429 with `Retry-After`.
"""


def create_programs_app(
    config: ProgramServiceConfig,
    router: ChainRouter,
    texts: Mapping[str, ServedText],
    *,
    ready: Callable[[], Awaitable[Mapping[str, bool]]] | None = None,
    clock: Clock | None = None,
    beside: AbstractAsyncContextManager[object] | None = None,
    measures: Iterable[Collector] = (),
) -> FastAPI:
    """Make the application.

    router: runs the chains, in the event loop of the application. texts: of the models, by name,
    the default first. ready: whether each engine answers, None: there is one that does. beside: is
    open while the application runs, such as the engines. measures: further ones for Prometheus.
    What kept programs could not be read for is `app.state.error`, for whoever only sees that the
    service did not start.
    """
    clock = SystemClock() if clock is None else clock
    metrics = ServiceMetrics()
    for each in measures:
        metrics.registry.register(each)
    keep = None if config.keep_folder is None else KeptFolder(config.keep_folder)
    book = ProgramBook(router, config, clock, texts, keep)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with nullcontext() if beside is None else beside:
            try:
                await book.restore()
            except AdwrightError as error:
                app.state.error = error
                raise
            book.start()
            try:
                yield
            finally:
                state.draining = True
                await book.close()

    state = ProgramState(
        config,
        book,
        texts,
        ready or _one_answers,
        metrics=metrics,
        clock=clock,
        callers=Callers(config.key, config.keys),
    )
    routers = (programs_router, chats_router, health_router, probes)
    app = endpoint_app("adwright programs", _DESCRIPTION, lifespan, config, state, routers)
    app.state.error = None
    answers(app, Refused, lambda _, error: respond(error, param=error.param))
    return app


async def _one_answers() -> Mapping[str, bool]:
    return {"engine": True}
