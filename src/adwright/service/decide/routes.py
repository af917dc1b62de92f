"""The endpoints: check who calls, pass on, and put the answer into words. No logic lives here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from html import escape
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.security import APIKeyHeader
from starlette.types import Scope

from adwright.campaigns.store.keys import Caller, KeyScope
from adwright.campaigns.store.tables import Recorded
from adwright.core.version import __version__
from adwright.delivery import decision
from adwright.service.decide.schemas import (
    MAX_CAMPAIGNS,
    MAX_PLACES,
    MAX_STOPS,
    MAX_WAIT,
    ActionOut,
    ActionsOut,
    CampaignIn,
    CampaignOut,
    CampaignsOut,
    DecideIn,
    DecideOut,
    EventsIn,
    EventsOut,
    HealthOut,
    Id,
    ModelOut,
    ModelsOut,
    ReadyOut,
    SimilarItem,
    SimilarOut,
    StopsInForce,
    StopsOut,
    decision_answer,
    event_row,
    stops_out,
)
from adwright.service.decide.state import ServiceState
from adwright.web.bodies import BodyRoute, ShortWay
from adwright.web.errors import ApiError, error_docs
from adwright.web.gate import CONTENT_TYPE, waited

# --------------------------------------------------------------------------------------------------
# Who calls an endpoint, and whether the key opens it: a parameter of every one below /v1/.
#
#     async def stops(tenant: Watches, ...)
#
# What a key opens is said in `adwright.campaigns.store.keys`.

#: Where the gate leaves the caller, in the scope of ASGI.
CALLER = "adwright.caller"
_key_header = APIKeyHeader(
    name="X-API-Key", auto_error=False, description="The key of a tenant; it is shown once."
)


async def _called(request: Request) -> Caller:
    caller: Caller = request.scope[CALLER]
    return caller


Called = Annotated[Caller, Depends(_called)]


def require_scope(caller: Caller, *scopes: KeyScope) -> None:
    """Raise ApiError 403 unless the key has one of these scopes."""
    if caller.scopes.isdisjoint(scopes):
        wanted = " or ".join(scopes)
        raise ApiError(
            403,
            f"the key lacks the scope {wanted}",
            hint=f"use a key that has it: `adwright key TENANT --scope {scopes[0]}` makes one",
        )


def tenant_of(*scopes: KeyScope) -> Callable[..., Awaitable[str]]:
    """What an endpoint depends on: the tenant of a key that has one of these scopes."""

    async def tenant(caller: Called, _: Annotated[str | None, Depends(_key_header)]) -> str:
        # The gate has looked at the key; the header stands here for the OpenAPI.
        require_scope(caller, *scopes)
        return caller.tenant

    return tenant


#: The tenant of a key that has one of these scopes.
Sends = Annotated[str, Depends(tenant_of("events", "stops"))]
Decides = Annotated[str, Depends(tenant_of("decide"))]
Reads = Annotated[str, Depends(tenant_of("read"))]
Watches = Annotated[str, Depends(tenant_of("read", "stops"))]
Administers = Annotated[str, Depends(tenant_of("admin"))]
Asks = Annotated[str, Depends(tenant_of("agent:ask"))]
Confirms = Annotated[str, Depends(tenant_of("agent:confirm"))]
Refuses = Annotated[str, Depends(tenant_of("agent:confirm", "agent:ask"))]
FollowsRuns = Annotated[str, Depends(tenant_of("read", "agent:ask", "agent:confirm"))]


# --------------------------------------------------------------------------------------------------
# What a person sees who opens the service in a browser: where to go, and what each call takes.
#
# The page is written from the OpenAPI, with no script and nothing from elsewhere.

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}"
    "pre{background:#f4f4f4;padding:.7rem;overflow-x:auto}td,th{text-align:left;padding:.2rem 1rem "
    ".2rem 0;vertical-align:top}h2{margin-top:2.5rem}code{font-size:.95em}"
)


def front(version: str) -> dict[str, str]:
    """What `GET /` answers: what this is, and where it is described."""
    return {
        "service": "adwright",
        "version": version,
        "openapi": "/openapi.json",
        "docs": "/docs",
        "ready": "/readyz",
        "key": "send the key of a tenant in X-API-Key; `adwright key TENANT` makes one",
    }


def docs_page(openapi: Mapping[str, Any]) -> str:
    """HTML that lists the calls of an OpenAPI document: fields, an example, a curl."""
    return "\n".join(_page(openapi))


def _page(openapi: Mapping[str, Any]) -> Iterator[str]:
    info = openapi["info"]
    title = escape(f"{info['title']} {info['version']}")
    yield '<!doctype html><html lang="en"><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width">'
    yield f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>"
    yield f"<pre>{escape(info.get('description', '').strip())}</pre>"
    yield '<p>The same for programs: <a href="openapi.json">openapi.json</a></p>'
    schemas = openapi.get("components", {}).get("schemas", {})
    for path, calls in openapi["paths"].items():
        for method, call in calls.items():
            yield from _call(method.upper(), path, call, schemas)
    yield "</html>"


def _call(
    method: str, path: str, call: Mapping[str, Any], schemas: Mapping[str, Any]
) -> Iterator[str]:
    yield f"<h2><code>{method} {escape(path)}</code></h2>"
    yield f"<p>{escape(call.get('summary', ''))}. {escape(call.get('description', ''))}</p>"
    rows = [
        (one["name"], "needed" if one.get("required") else "", one.get("description", ""))
        for one in call.get("parameters", [])
    ]
    schema = _body(call, schemas)
    needed = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        rows.append((name, "needed" if name in needed else "", field.get("description", "")))
    if rows:
        cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
        yield f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
    for example in schema.get("examples", [])[:1]:
        body = json.dumps(example, indent=1)
        yield f"<pre>{escape(_curl(method, path, body))}</pre>"


def _body(call: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a call's body; empty where it has none."""
    content = call.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    found: Mapping[str, Any] = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
    return found


def _curl(method: str, path: str, body: str) -> str:
    return (
        f"curl -X {method} http://127.0.0.1:8000{path} -H 'X-API-Key: KEY' \\\n"
        f"  -H 'Content-Type: application/json' -d '{body}'"
    )


_SLICE = 128
#: What happened cannot be later than now, but for the clock and the zone of whoever tells it.
_AHEAD = timedelta(days=1)
router, clicks = APIRouter(route_class=BodyRoute), APIRouter()


async def _state(request: Request) -> ServiceState:
    state: ServiceState = request.app.state.service
    return state


State = Annotated[ServiceState, Depends(_state)]


def _not_ahead(time: datetime, what: str, state: ServiceState) -> None:
    """Raise ApiError for what is dated after now."""
    now = state.clock.now()
    if time > now + _AHEAD:
        raise ApiError(
            422,
            f"{what} is dated {time.isoformat()}, and it is {now.isoformat(timespec='seconds')}",
            hint="correct the clock that says so; a day ahead is taken",
        )


@router.post(
    "/v1/decide",
    summary="Choose what to show",
    response_model=DecideOut,
    responses=error_docs(400, 401, 403, 408, 409, 413, 422, 429, 503),
    tags=["delivery"],
)
async def decide(body: DecideIn, tenant: Decides, state: State, asking: Request) -> Response:
    """Fill `k` places for somebody, in time, and log the choice with its propensities."""
    return await _decided(body, tenant, state, waited(asking.scope))


def short_ways(state: ServiceState) -> dict[tuple[str, str], ShortWay]:
    """What is answered past the framework: decisions."""

    async def answer(body: DecideIn, scope: Scope) -> Response:
        caller: Caller = scope[CALLER]
        require_scope(caller, "decide")
        return await _decided(body, caller.tenant, state, waited(scope))

    path = "/v1/decide"
    return {("POST", path): ShortWay(path, DecideIn, answer)}


async def _decided(body: DecideIn, tenant: str, state: ServiceState, late: float) -> Response:
    """The answer to a request. late: seconds for which it has waited."""
    if body.time is not None:
        _not_ahead(body.time, f"request {body.request_id}", state)
    asked = state.config.deadline_ms if body.deadline_ms is None else body.deadline_ms
    seconds = min(asked, state.config.max_deadline_ms) / 1e3 - late
    now = state.clock.now()
    request = decision.Request(
        request_id=body.request_id,
        user_id=body.user_id,
        # A caller whose clock is ahead draws on no budget and no campaign of tomorrow.
        time=now if body.time is None else min(body.time, now),
        k=body.k,
        context=body.context,
        exclude=frozenset(body.exclude),
        candidates=None if body.candidates is None else tuple(body.candidates),
    )
    decided = await state.decider.decide(tenant, request, seconds)
    if decided.request.user_id != body.user_id:
        raise ApiError(
            409,
            "this request_id was decided for another user_id",
            hint="give each request its own id",
        )
    shown: Sequence[Mapping[str, Any] | None] = ()
    if decided.shown and state.ads.ready(tenant, decided):
        shown = state.ads.answers(tenant, decided)
    elif decided.shown:
        shown = await state.read_store(tenant, partial(state.ads.answers, tenant, decided))
    return Response(decision_answer(decided, shown), media_type="application/json")


@clicks.get(
    "/click/{token}",
    summary="A click on an ad",
    status_code=303,
    response_class=Response,
    responses={
        **error_docs(404, 422, 429, 503),
        204: {"description": "Noted; the ad leads to no page."},
        303: {"description": "Noted; on to the page of the ad."},
    },
    tags=["delivery"],
)
async def click(token: Annotated[str, Path(max_length=1_000)], state: State) -> Response:
    """Note the click of somebody who was shown an ad, once, and lead on to its page. Needs no key:
    the token is that of an answer of `/v1/decide`, and says which ad this was."""
    found = await asyncio.to_thread(state.ads.clicked, token)
    if found is None:
        raise ApiError(404, "this is no token of an ad that was shown", hint="take it as it came")
    tenant, decided, place, landing = found
    row = {
        **decided.impressions()[place - 1],
        "event_id": f"{decided.request.request_id}-{place}-click",
        "time": state.clock.now(),
        "kind": "click",
        "propensity": None,
    }
    await state.decider.record(tenant, [row])
    away = {"Location": landing} if landing else {}
    return Response(status_code=303 if landing else 204, headers=away)


@router.post(
    "/v1/events",
    summary="Store what happened",
    response_model=EventsOut,
    response_model_exclude_unset=True,
    responses=error_docs(400, 401, 403, 408, 409, 413, 422, 429, 503),
    tags=["delivery"],
)
async def events(
    body: EventsIn,
    tenant: Sends,
    caller: Called,
    state: State,
    wait: Annotated[
        float,
        Query(ge=0, le=MAX_WAIT, description="Seconds to wait until all processes obey a stop."),
    ] = 0.0,
) -> EventsOut:
    """Store a batch of events; the answer comes when they are durable. A stop among them needs the
    scope `stops`. It counts from then on, and in other processes within a second or so; `stops`
    says in how many, and `wait` has it wait for them."""
    rows, stops = list[dict[str, Any]](), list[dict[str, Any]]()
    for number, event in enumerate(body.events):
        if event.kind != "stop":
            _not_ahead(event.time, f"event {event.event_id}", state)
        if number % _SLICE == _SLICE - 1:
            await asyncio.sleep(0)  # other callers wait for the event loop
        (stops if event.kind == "stop" else rows).append(event_row(event))
    if stops:
        require_scope(caller, "stops")
    if rows:
        require_scope(caller, "events")
        await _of_ads(tenant, rows, state)
    result = Recorded(0, 0)
    if stops:
        result = await state.store_stops(caller, stops)
        # Whatever becomes of the rest.
        seen, lives = await state.heed_stops(tenant, result.stops, wait)
    if rows:
        try:
            more = await state.decider.record(tenant, rows)
        except ApiError as error:
            if not stops:
                raise
            raise ApiError(
                error.status,
                f"{error.message}; the stops of the batch are stored and count",
                code=error.code,
                hint=error.hint,
                headers=error.headers,
            ) from error
        result = Recorded(
            result.accepted + more.accepted,
            result.duplicates + more.duplicates,
            result.conflicting + more.conflicting,
            stops=result.stops,
        )
    counted = EventsOut(
        accepted=result.accepted, duplicates=result.duplicates, conflicts=result.conflicting
    )
    if not stops:
        return counted
    known = state.stops.of(tenant)
    named = sorted({row["item_id"] for row in stops})
    hidden = [item for item in named if known is not None and item in known.items]
    force = StopsInForce(in_force=seen == lives, replicas=seen, of=lives, hidden=hidden)
    return counted.model_copy(update={"stops": force})


async def _of_ads(tenant: str, rows: Sequence[Mapping[str, Any]], state: State) -> None:
    """Refuse events of ads that are none of the tenant's, or that nobody has let live."""
    named = {row["creative_id"] for row in rows if row.get("creative_id")}
    unknown = await asyncio.to_thread(state.ads.never_live, tenant, named) if named else []
    if unknown:
        raise ApiError(
            422,
            f"no ad {unknown[0]!r} of this tenant was ever live, so nothing can have come of it",
            hint="send the creative_id of an answer of /v1/decide; `adwright creatives` enters ads "
            "and makes them live",
        )


@router.get(
    "/v1/stops",
    summary="What is stopped",
    response_model=StopsOut,
    responses=error_docs(401, 403, 422, 429, 503),
    tags=["delivery"],
)
async def stops(
    tenant: Watches,
    state: State,
    limit: Annotated[int, Query(ge=1, le=MAX_STOPS)] = 100,
    after: Annotated[Id | None, Query(description="Begin after this item_id.")] = None,
) -> Response:
    """The items that decisions leave out, and the creatives that are stopped, as this process
    knows them: by item, `limit` at a time."""

    def page() -> bytes:
        """The body, made beside the event loop: a long one would hold it up."""
        at = state.clock.now() - timedelta(seconds=state.stops.age)
        found = stops_out(state.stops.of(tenant), at, after=after, limit=limit)
        return found.model_dump_json().encode()

    async with state.aside:
        body = await asyncio.to_thread(page)
    return Response(body, media_type="application/json")


@router.get(
    "/v1/items/{item_id:path}/similar",
    summary="Items like this one",
    responses=error_docs(401, 403, 404, 409, 422, 429, 503),
    tags=["delivery"],
)
async def similar(
    item_id: Annotated[Id, Path()],
    tenant: Decides,
    state: State,
    k: Annotated[int, Query(ge=1, le=MAX_PLACES)] = 10,
) -> SimilarOut:
    """The nearest items by the model's own vectors, less those that are stopped."""
    status = state.models.status(tenant)
    deployed = None if status is None else status.deployed
    if deployed is None or deployed.similar is None:
        raise ApiError(
            409,
            "no model of this tenant knows similar items",
            code="no_model",
            hint="deploy one with item vectors",
        )
    hidden = state.stops.items(tenant)
    async with state.aside:
        found = await asyncio.to_thread(deployed.similar, item_id, k + len(hidden))
    if found is None:
        raise ApiError(404, "the model does not know this item")
    shown = [(other, score) for other, score in found if other not in hidden][:k]
    items = [SimilarItem(item_id=other, score=float(score)) for other, score in shown]
    return SimilarOut(item_id=item_id, items=items)


@router.get(
    "/v1/campaigns",
    summary="List campaigns",
    response_model=CampaignsOut,
    responses=error_docs(401, 403, 422, 429, 503),
    tags=["campaigns"],
)
async def campaigns(
    tenant: Reads,
    state: State,
    limit: Annotated[int, Query(ge=1, le=MAX_CAMPAIGNS)] = 100,
    after: Annotated[Id | None, Query(description="Begin after this id.")] = None,
) -> Response:
    """The tenant's campaigns by id, `limit` at a time."""

    def page() -> bytes:
        """The body, made beside the event loop: a long one would hold it up."""
        rows = state.store.campaigns(tenant, after=after, limit=limit).iter_rows(named=True)
        spent = dict(state.store.spend(tenant).select("campaign_id", "spent").iter_rows())
        shown = [CampaignOut(**row, spent=spent.get(row["campaign_id"], 0.0)) for row in rows]
        return CampaignsOut(campaigns=shown).model_dump_json().encode()

    return Response(await state.read_store(tenant, page), media_type="application/json")


@router.post(
    "/v1/campaigns",
    summary="Store a campaign",
    responses=error_docs(400, 401, 403, 408, 413, 422, 429, 503),
    tags=["campaigns"],
)
async def put_campaign(
    body: CampaignIn, tenant: Administers, caller: Called, state: State
) -> CampaignOut:
    """Create the campaign, or replace the one of this id."""
    put = partial(state.store.put_campaign, tenant, body.model_dump(), key_id=caller.key_id)
    await state.write_store(tenant, put)
    spend = await state.read_store(tenant, partial(state.store.spend, tenant))
    spent = dict(spend.select("campaign_id", "spent").iter_rows()).get(body.campaign_id, 0.0)
    return CampaignOut(**body.model_dump(), spent=spent)


@router.get(
    "/v1/models",
    summary="Which model decides",
    responses=error_docs(401, 403, 429, 503),
    tags=["models"],
)
async def models(tenant: Reads, state: State) -> ModelsOut:
    """The tenant's model, and whether a newer one was refused."""
    status = state.models.status(tenant)
    if status is None:
        return ModelsOut(models=[])
    deployed = status.deployed
    model = ModelOut(
        name=None if deployed is None else deployed.name,
        id=None if deployed is None else deployed.artifact_id,
        kind=None if deployed is None else deployed.kind,
        since=status.since,
        refused=status.refused or None,
        reason=status.reason or None,
        hung=deployed is not None and state.decider.is_hung(tenant, deployed),
    )
    return ModelsOut(models=[model])


@router.get(
    "/v1/actions",
    summary="Who did what",
    response_model=ActionsOut,
    responses=error_docs(401, 403, 422, 429, 503),
    tags=["operation"],
)
async def actions(
    tenant: Administers,
    state: State,
    limit: Annotated[int, Query(ge=1, le=MAX_CAMPAIGNS)] = 100,
    before: Annotated[
        int | None, Query(ge=1, description="Those of a smaller number.", le=2**53)
    ] = None,
) -> ActionsOut:
    """Keys made and revoked, stops, campaigns, models and the agent's runs: the newest first."""
    found = await state.read_store(
        tenant, partial(state.store.actions, tenant, before=before, limit=limit)
    )
    return ActionsOut(actions=[ActionOut(**asdict(one)) for one in found])


@router.get("/", include_in_schema=False)
async def home() -> dict[str, str]:
    """What this is, and where it is described."""
    return front(__version__)


@router.get("/docs", include_in_schema=False)
async def docs(asking: Request) -> Response:
    """The calls, for people to read."""
    return Response(docs_page(asking.app.openapi()), media_type="text/html; charset=utf-8")


@router.get("/healthz", summary="Is it alive", tags=["operation"])
async def health() -> HealthOut:
    """The process answers. Says nothing of the store and the models."""
    return HealthOut(status="ok")


@router.get(
    "/readyz",
    summary="Should it be sent requests",
    responses={503: {"model": ReadyOut, "description": "Not now."}},
    tags=["operation"],
)
async def ready(state: State, response: Response) -> ReadyOut:
    """Ready once the start is over, while the store answers and takes writes, a model is loaded
    and the service is not about to end."""
    loaded, refused = state.counts()
    store = await state.store_answers()
    at_work = state.decider.calm and not state.draining and not state.decider.stalled
    fine = store and loaded > 0 and at_work
    response.status_code = 200 if fine else 503
    return ReadyOut(
        status="ready" if fine else "not_ready",
        store=store,
        models=loaded,
        refused=refused,
        hung=state.decider.hung,
        draining=state.draining,
    )


@router.get(
    "/metrics",
    summary="Measures for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus's text format."}},
    tags=["operation"],
)
async def metrics(state: State) -> Response:
    """Counts and times of this process."""
    return Response(state.metrics.text(), media_type=CONTENT_TYPE)
