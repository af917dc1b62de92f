"""Programs of semantic variables behind HTTP, as an ASGI application.

    room = EngineRoom({"e0": PagedEngine(config)}, text.count)
    app = create_programs_app(ProgramServiceConfig(), room, {"smollm2": text}, beside=room)

Clients of the OpenAI protocol that know nothing of programs can call it, too: their chats are
programs of one call, and share engines and prefixes with all others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI
from prometheus_client.registry import Collector

from adwright.core.clock import Clock, SystemClock
from adwright.core.errors import AdwrightError
from adwright.core.version import __version__
from adwright.programs.persistence import KeptFolder
from adwright.service.lm.keys import Callers, by_key
from adwright.service.lm.protocol.errors import add_lm_errors, respond
from adwright.service.programs.book import ProgramBook
from adwright.service.programs.chats import chats_router
from adwright.service.programs.config import ProgramServiceConfig
from adwright.service.programs.health import health_router
from adwright.service.programs.open_program import ChainRouter
from adwright.service.programs.refusals import Refused, on_refused
from adwright.service.programs.routes import programs_router
from adwright.service.programs.state import ProgramState
from adwright.service.programs.texts import ServedText
from adwright.web.gate import Gate, ServiceMetrics
from adwright.web.server import Connections

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
    callers = Callers(config.key, config.keys)
    keep = None if config.keep_folder is None else KeptFolder(config.keep_folder)
    book = ProgramBook(router, config, clock, texts, keep)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with _opened(beside):
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

    app = FastAPI(
        title="adwright programs",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        # Their pages would load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    state = ProgramState(config, book, texts, metrics, clock, callers, ready or _one_answers)
    app.state.service, app.state.error = state, None
    for one in (programs_router, chats_router, health_router):
        app.include_router(one)
    add_lm_errors(app)
    app.add_exception_handler(Refused, on_refused)
    limits = config.gate()
    app.state.connections = Connections(limits, metrics)
    app.add_middleware(
        Gate,
        limits=limits,
        metrics=metrics,
        clock=clock,
        authenticate=by_key(callers) if config.key or config.keys else None,
        respond=respond,
    )
    return app


async def _one_answers() -> Mapping[str, bool]:
    return {"engine": True}


@asynccontextmanager
async def _opened(beside: AbstractAsyncContextManager[object] | None) -> AsyncIterator[None]:
    if beside is None:
        yield
    else:
        async with beside:
            yield
