"""What services of the OpenAI protocol have in common: the application, and answers as streams."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from starlette.responses import JSONResponse, StreamingResponse

from adwright.core.clock import Clock
from adwright.core.errors import AdwrightError
from adwright.core.version import __version__
from adwright.lm.engine.generation import Usage
from adwright.service.lm.config import Callers, EndpointConfig, by_key
from adwright.service.lm.protocol.answers import ReplyWriter
from adwright.service.lm.protocol.errors import add_lm_errors, respond
from adwright.service.lm.work import Gone, Piece, TimeUp
from adwright.web.errors import answers
from adwright.web.gate import CONTENT_TYPE, Gate, ServiceMetrics
from adwright.web.server import Connections

_log = logging.getLogger("adwright.service")


@dataclass(kw_only=True)
class EndpointState:
    """What all endpoints share. callers: who they are, by their keys."""

    metrics: ServiceMetrics
    clock: Clock
    callers: Callers
    draining: bool = False

    def now(self) -> int:
        """Seconds since 1970."""
        return int(self.clock.now().timestamp())


async def _state(request: Request) -> EndpointState:
    state: EndpointState = request.app.state.service
    return state


def endpoint_app(
    title: str,
    description: str,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
    config: EndpointConfig,
    state: EndpointState,
    routers: Iterable[APIRouter],
    *,
    guarded: tuple[str, ...] = ("/v1/",),
) -> FastAPI:
    """An application that speaks the OpenAI protocol, behind its gate. guarded: see `Gate`."""
    app = FastAPI(
        title=title,
        version=__version__,
        description=description,
        lifespan=lifespan,
        # Their pages would load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = state
    for one in routers:
        app.include_router(one)
    add_lm_errors(app)
    # Nobody reads it; it is for the counters.
    answers(app, Gone, lambda *_: Response(status_code=499))
    limits = config.gate()
    app.state.connections = Connections(limits, state.metrics)
    app.add_middleware(
        Gate,
        limits=limits,
        metrics=state.metrics,
        clock=state.clock,
        authenticate=by_key(state.callers) if config.key or config.keys else None,
        respond=respond,
        guarded=guarded,
    )
    return app


probes = APIRouter()


@probes.get("/healthz")
async def health() -> JSONResponse:
    """Say that the process lives."""
    return JSONResponse({"status": "ok"})


@probes.get("/metrics")
async def metrics(state: Annotated[EndpointState, Depends(_state)]) -> Response:
    """Measures for Prometheus."""
    return Response(state.metrics.text(), media_type=CONTENT_TYPE)


def model_told(name: str, engine: str, context: int) -> dict[str, Any]:
    """A model in the form of the protocol."""
    told = {"id": name, "object": "model", "created": 0, "owned_by": "adwright"}
    return told | {"engine": engine, "context": context}


class Answering(Protocol):
    """The answers of one request, as they are written. told: what the first events say beside."""

    @property
    def told(self) -> Mapping[str, Any]:
        """What the events that begin a stream say beside."""

    async def begun(self) -> AsyncGenerator[Piece, None]:
        """Their pieces, once the first is there: what is wrong with the request shows by then, and
        can still be answered with its status."""

    def used(self) -> Usage:
        """What all pieces have used."""

    def end(self) -> None:
        """Nobody is told any more."""


async def streamed(writer: ReplyWriter, answers: Answering) -> Response:
    """The answers as server-sent events. Raises what beginning them does."""
    found = await answers.begun()

    async def events() -> AsyncIterator[bytes]:
        try:
            for event in writer.opening():
                yield writer.line({**event, **answers.told})
            async with aclosing(found):
                async for piece in found:
                    for event in writer.events(*piece):
                        yield writer.line(event)
        except Gone:
            return
        except (AdwrightError, TimeUp) as error:
            _log.error("a stream failed: %s", error)
            yield writer.line(writer.broken())
            return
        finally:
            answers.end()
        for event in writer.ending(answers.used()):
            yield writer.line(event)
        if writer.last:
            yield writer.last

    return StreamingResponse(events(), media_type="text/event-stream")
