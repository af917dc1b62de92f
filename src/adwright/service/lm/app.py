"""Language models behind the OpenAI protocol, as an ASGI application.

    models = {"smollm2-135m-instruct": open_model(OpenVinoConfig())}
    app = create_lm_app(LmServiceConfig(), models)

Any client of that protocol can call it, `HttpModel` among them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from adwright.core.clock import Clock, SystemClock
from adwright.lm.engine.generation import LanguageModel
from adwright.service.lm.config import Callers, LmServiceConfig
from adwright.service.lm.endpoint import endpoint_app, probes
from adwright.service.lm.routes import (
    AdapterMeasures,
    Adapters,
    LmState,
    router,
)
from adwright.service.lm.work import LmShares, LmWork
from adwright.web.gate import ServiceMetrics

_DESCRIPTION = """
Language models behind the protocol of OpenAI: chats, completions, embeddings.

* What is not understood is refused, never ignored.
* A connection that is closed ends the work for it.
* When there is too much to do the answer is 429 with `Retry-After`.
"""


def create_lm_app(
    config: LmServiceConfig,
    models: Mapping[str, LanguageModel],
    *,
    adapters: Adapters | None = None,
    clock: Clock | None = None,
) -> FastAPI:
    """Make the application.

    models: by name. They stay open when the app ends, and their owner may exchange them while it
    runs: a request finds its model by one look into the mapping. adapters: where `models` are
    adapters of one base, they themselves, so that GET /v1/adapters can report on them. clock: the
    machine's own by default.
    """
    clock = SystemClock() if clock is None else clock
    measures = ServiceMetrics()
    callers = Callers(config.key, config.keys)
    shares: LmShares[Any] = LmShares(
        running=config.max_running,
        waiting=config.max_queue,
        several=callers.several,
        tenant_waiting=config.tenant_queue,
        tenant_tokens=config.tenant_tokens,
    )
    work = LmWork(shares, clock=clock, seconds=config.max_seconds)
    measures.gauge("lm_pending", "Requests for a model, in work or waiting.", lambda: work.pending)
    if adapters is not None:
        measures.registry.register(AdapterMeasures(adapters.models))
    state = LmState(config, models, work, adapters, metrics=measures, clock=clock, callers=callers)
    guarded = ("/v1/", "/tokenize", "/detokenize")
    told = ("adwright language models", _DESCRIPTION, _lifespan)
    return endpoint_app(*told, config, state, (router, probes), guarded=guarded)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: LmState = app.state.service
    try:
        yield
    finally:
        state.draining = True
        await asyncio.to_thread(state.work.close)
