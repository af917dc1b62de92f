"""The application: what it consists of, how it begins and how it ends.

    store = Store.open("sqlite:///adwright.db")
    models = FolderModels("models", load_deployed, SystemClock())
    app = create_app(ServiceConfig(), store, models)

The same app runs under uvicorn (`server`) and in replicas of Ray Serve (`on_ray`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.types import Scope

from adwright.campaigns.store.keys import Caller
from adwright.campaigns.store.store import Events, Store
from adwright.core.clock import Clock, SystemClock
from adwright.core.version import __version__
from adwright.service import agent_runs, audits, creatives, experiments
from adwright.service.agent_runs import AgentRuns
from adwright.service.config import ServiceConfig
from adwright.service.decide import routes
from adwright.service.decide.ads import Ads
from adwright.service.decide.decider import Decider
from adwright.service.decide.following import Followed
from adwright.service.decide.routes import CALLER
from adwright.service.decide.state import ServiceState, StopList
from adwright.service.decide.tenant_metrics import TenantMetrics
from adwright.service.registry.registry import Models
from adwright.web.errors import ApiError, add_error_handlers
from adwright.web.gate import Authenticate, Gate, ServiceMetrics, header
from adwright.web.key_cache import KeyCache
from adwright.web.server import Connections
from adwright.web.turns import AdaptiveConcurrency

_DESCRIPTION = """
Decides who sees what, and logs what it decides.

* Each call carries the key of a tenant in `X-API-Key`, and sees that tenant's data alone. A key
  opens what its scopes name; for anything else the answer is 403, with the scope that it lacks.
* A decision comes within its deadline. Where time is short, its slate comes from the coarse
  order, then from popularity, and `stage` says so.
* What is acknowledged is stored durably. It is safe to send anything again: a `request_id` is
  decided once, an `event_id` counts once.
* When there is too much to do the answer is 429 with `Retry-After`.
"""


def create_app(
    config: ServiceConfig, store: Store, models: Models, *, clock: Clock | None = None
) -> FastAPI:
    """The service as an ASGI application.

    store: shared by all replicas; it stays open when the app ends. models: which model decides
    for which tenant; the app starts and stops them. clock: the machine's own by default.
    """
    clock = SystemClock() if clock is None else clock
    metrics = ServiceMetrics()
    turns = AdaptiveConcurrency(clock)
    stops = StopList(store, clock, seconds=config.stops_poll_seconds)
    followed = Followed(store, models, clock, seconds=config.events_poll_seconds)
    ads = Ads(store, models, stops.of, clock, seconds=config.stops_poll_seconds)
    asked: dict[str, Any] = {"heed": stops.heeded, "shown": ads.shown}
    asked |= {"told": ads.tell, "settled": ads.settle}
    if config.tenant_metrics:
        tenants = TenantMetrics(store, models, ads)
        metrics.registry.register(tenants)

        def told(tenant: str, events: Events) -> None:
            tenants.tell(tenant, events)
            ads.tell(tenant, events)

        asked |= {"told": told, "decided": tenants.decided}
    state = ServiceState(
        config=config,
        store=store,
        models=models,
        decider=Decider(config, models, followed, metrics, clock, late=turns.beat, **asked),
        followed=followed,
        keys=KeyCache(
            store.callers_of_keys,
            clock,
            seconds=config.key_seconds,
            stale_seconds=config.key_stale_seconds,
        ),
        metrics=metrics,
        clock=clock,
        stops=stops,
        ads=ads,
    )
    metrics.gauge("stopped_items", "Items that are stopped.", lambda: stops.total)
    metrics.gauge("creatives_live", "Creatives that may be shown.", lambda: ads.total)
    metrics.gauge("stops_age_seconds", "Since the stops were looked at.", lambda: stops.age)
    metrics.gauge("turns_waiting", "Requests that wait for a turn.", lambda: turns.waiting)
    metrics.gauge("models_loaded", "Models that decide.", lambda: state.counts()[0])
    metrics.gauge("models_refused", "Newer models that were refused.", lambda: state.counts()[1])
    app = FastAPI(
        title="adwright",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=_lifespan,
        # Their pages would load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = state
    app.state.agents = AgentRuns(config, clock)
    app.state.connections = Connections(config, metrics)
    app.include_router(routes.router)
    app.include_router(routes.clicks)
    app.include_router(audits.router)
    app.include_router(creatives.router)
    app.include_router(experiments.router)
    app.include_router(agent_runs.router)
    add_error_handlers(app)
    app.add_middleware(
        Gate,
        limits=config,
        metrics=metrics,
        clock=clock,
        authenticate=_by_key(state.keys),
        turns=turns,
        short=routes.short_ways(state),
    )
    return app


def _by_key(keys: KeyCache[Caller]) -> Authenticate:
    """Find the tenant by the header X-API-Key; what the key opens is for the endpoints."""

    async def authenticate(scope: Scope) -> str:
        key = header(scope, b"x-api-key")
        caller = await keys.caller(key) if key else None
        if caller is None:
            raise ApiError(
                401,
                "the key is not known" if key else "the header X-API-Key is missing",
                hint="send the key of a tenant in X-API-Key",
                headers={"WWW-Authenticate": "ApiKey"},
            )
        scope[CALLER] = caller
        return caller.tenant

    return authenticate


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: ServiceState = app.state.service
    await asyncio.to_thread(state.followed.begin)
    await asyncio.to_thread(state.models.start)
    await asyncio.to_thread(state.stops.start)
    await asyncio.to_thread(state.ads.start)
    state.followed.start()
    state.decider.start()
    try:
        yield
    finally:
        state.draining = True
        await asyncio.to_thread(app.state.agents.close, state.config.stop_seconds)
        await asyncio.to_thread(state.decider.stop)
        await asyncio.to_thread(state.followed.stop, state.config.stop_seconds)
        await asyncio.to_thread(state.ads.stop, state.config.stop_seconds)
        await asyncio.to_thread(state.stops.stop, state.config.stop_seconds)
        await asyncio.to_thread(state.models.stop)
