"""The ads of a tenant over HTTP: drafts come in, and move through review to be shown.

    GET  /v1/creatives              by state and item, a page at a time
    POST /v1/creatives              drafts, all or none
    POST /v1/creatives/{id}/move    {"state": "approved"}
    GET  /v1/creatives/{id}/moves   its history

What may follow a state is said in `data.creatives.MOVES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
from datetime import datetime
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field, StringConstraints

from adwright.campaigns.store.creatives import Scores
from adwright.core.errors import DataError
from adwright.data.creatives import Creative, CreativeState
from adwright.service.decide.routes import Called, State, tenant_of
from adwright.service.decide.schemas import Id, StrictBody, example_of
from adwright.service.decide.state import ServiceState
from adwright.web.bodies import BodyRoute
from adwright.web.errors import ApiError, error_docs

T = TypeVar("T")
router = APIRouter(route_class=BodyRoute)
MAX_CREATIVES = 1_000
_LONGEST = 5_000
Looks = Annotated[str, Depends(tenant_of("read", "creatives"))]
Keeps = Annotated[str, Depends(tenant_of("creatives", "admin"))]

# No other sign of control than the end of a line.
_Text = Annotated[
    str,
    StringConstraints(strict=True, max_length=_LONGEST, pattern=r"^[^\x00-\x09\x0b-\x1f\x7f]*$"),
]
_CreativeId = Annotated[Id, Path()]


class CreativeIn(StrictBody):
    """An ad. What it advertises is needed, unless the store has its parent."""

    creative_id: Id | None = Field(default=None, description="Null: a hash of the content.")
    item_id: Id | None = None
    campaign_id: Id | None = Field(default=None, description="Who pays for it.")
    headline: _Text = ""
    description: _Text = ""
    body: _Text = ""
    call_to_action: _Text = ""
    brand: _Text = ""
    image_hash: str = Field(
        default="", pattern=r"^([0-9a-f]{64})?$", description="SHA-256 of the image file."
    )
    landing: _Text = Field(default="", description="Where a click leads: http or https.")
    parent: Id | None = Field(default=None, description="The ad that it was made from.")
    edit: _Text = Field(default="", description="What was done to that.")
    maker: _Text = Field(default="", description="model:NAME or person:NAME.")
    checks_passed: list[Id] = Field(default=[], max_length=100)

    def creative(self) -> Creative:
        """As the store takes it."""
        given = {name: value for name, value in self.model_dump().items() if value}
        return Creative(**{**given, "checks_passed": tuple(self.checks_passed)})


class CreativesIn(StrictBody):
    """Ads to be kept as drafts, all or none. It is safe to send them again."""

    model_config = example_of(
        {
            "creatives": [
                {
                    "item_id": "1082185",
                    "campaign_id": "summer-18",
                    "headline": "Ripe today",
                    "maker": "person:ann",
                }
            ],
            "submit": True,
        }
    )
    creatives: Annotated[list[CreativeIn], Field(min_length=1, max_length=MAX_CREATIVES)]
    submit: bool = Field(default=False, description="They are in review at once.")
    author: Id | None = Field(default=None, description="Who enters them; null: the key.")


class CreativesKept(StrictBody):
    """All are kept; `duplicates` were there before, in a state of their own."""

    accepted: int
    duplicates: int
    creative_ids: list[str] = Field(description="In the order of the request.")


class ScoreOut(StrictBody):
    """What a judge predicts, and its interval."""

    value: float
    low: float
    high: float


class CreativeOut(StrictBody):
    """An ad. Empty is what it does not have."""

    creative_id: str
    item_id: str
    campaign_id: str
    headline: str
    description: str
    body: str
    call_to_action: str
    brand: str
    image_hash: str
    landing: str
    parent: str
    edit: str
    maker: str
    checks_passed: list[str]
    state: str = Field(description="Empty: nobody has moved it yet; no decision shows it.")
    label: str = Field(description='"AI" where a model made it, or what it was edited from.')
    scores: dict[str, ScoreOut] = Field(description="By judge.")


class CreativesOut(StrictBody):
    """A page of the tenant's ads, by id."""

    creatives: list[CreativeOut]


class MoveIn(StrictBody):
    """Where an ad is to go."""

    model_config = example_of({"state": "approved", "author": "ann"})
    state: CreativeState
    author: Id | None = Field(default=None, description="Who says so; null: the key.")
    why: _Text = ""


class MovedOut(StrictBody):
    """Where an ad is now."""

    creative_id: str
    state: str
    moved: bool = Field(description="False: it was there already.")


class MoveOut(StrictBody):
    """An ad came into a state."""

    number: int
    time: datetime
    state: str
    author: str
    why: str


class MovesOut(StrictBody):
    """The history of an ad, the oldest first."""

    creative_id: str
    moves: list[MoveOut]


@router.get(
    "/v1/creatives",
    summary="List ads",
    responses=error_docs(401, 403, 422, 429, 503),
    tags=["creatives"],
)
async def creatives(
    tenant: Looks,
    state: State,
    of_state: Annotated[
        list[CreativeState] | None, Query(alias="state", description="Of these states alone.")
    ] = None,
    item_id: Annotated[Id | None, Query(description="Of this item alone.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_CREATIVES)] = 100,
    after: Annotated[Id | None, Query(description="Begin after this id.")] = None,
) -> CreativesOut:
    """The tenant's ads by id, `limit` at a time."""

    def page() -> CreativesOut:
        items = None if item_id is None else [item_id]
        found = state.store.creatives_full(
            tenant, states=of_state, item_ids=items, after=after, limit=limit
        )
        scores = state.store.creative_scores(tenant, [one.creative_id for one in found])
        shown = [_out(one, scores.get(one.creative_id, {})) for one in found]
        return CreativesOut(creatives=shown)

    return await state.read_store(tenant, page)


@router.post(
    "/v1/creatives",
    summary="Store drafts",
    responses=error_docs(400, 401, 403, 408, 413, 422, 429, 503),
    tags=["creatives"],
)
async def write_creatives(
    body: CreativesIn, tenant: Keeps, caller: Called, state: State
) -> CreativesKept:
    """Keep ads as drafts, or in review, all of them or none."""

    def write() -> CreativesKept:
        made = [one.creative() for one in body.creatives]
        done = state.store.write_creatives(
            *(tenant, made),
            author=body.author or f"key {caller.key_id}",
            submit=body.submit,
            key_id=caller.key_id,
        )
        ids = [one.creative_id for one in made]
        return CreativesKept(accepted=done.accepted, duplicates=done.duplicates, creative_ids=ids)

    return await _written(state, tenant, write)


@router.post(
    "/v1/creatives/{creative_id:path}/move",
    summary="Move an ad to another state",
    responses=error_docs(400, 401, 403, 404, 408, 413, 422, 429, 503),
    tags=["creatives"],
)
async def move(
    creative_id: _CreativeId, body: MoveIn, tenant: Keeps, caller: Called, state: State
) -> MovedOut:
    """Submit, approve, publish (live), pause, stop or retire an ad. What may follow its state is
    said where the move is refused."""

    def write() -> MovedOut:
        _require(state, tenant, creative_id)
        done = state.store.move_creatives(
            *(tenant, [creative_id], body.state),
            author=body.author or f"key {caller.key_id}",
            why=body.why,
            key_id=caller.key_id,
        )
        return MovedOut(creative_id=creative_id, state=body.state, moved=done.accepted == 1)

    return await _written(state, tenant, write)


@router.get(
    "/v1/creatives/{creative_id:path}/moves",
    summary="The history of an ad",
    responses=error_docs(401, 403, 404, 422, 429, 503),
    tags=["creatives"],
)
async def moves(creative_id: _CreativeId, tenant: Looks, state: State) -> MovesOut:
    """Who moved an ad when and why, the oldest first."""

    def read() -> MovesOut:
        _require(state, tenant, creative_id)
        found = [asdict(one) for one in state.store.creative_moves(tenant, creative_id)]
        names = MoveOut.model_fields
        history = [MoveOut(**{name: one[name] for name in names}) for one in found]
        return MovesOut(creative_id=creative_id, moves=history)

    return await state.read_store(tenant, read)


def _require(state: ServiceState, tenant: str, creative_id: str) -> None:
    if not state.store.creatives_full(tenant, ids=[creative_id]):
        raise ApiError(404, "there is no such creative", hint="see GET /v1/creatives")


def _out(one: Creative, scores: Scores) -> CreativeOut:
    parts = {each.name: getattr(one, each.name) for each in fields(one) if each.name != "inherited"}
    parts["checks_passed"] = list(one.checks_passed)
    judged = {judge: ScoreOut(**asdict(score)) for judge, score in scores.items()}
    return CreativeOut(**parts, label=one.label, scores=judged)


async def _written(state: ServiceState, tenant: str, write: Callable[[], T]) -> T:
    try:
        return await state.write_store(tenant, write)
    except DataError as error:
        row = "" if error.row is None else f" (creative {error.row})"
        what = f"{error.column}: {error.what}{row}" if error.column else error.what
        raise ApiError(422, what, hint=error.hint) from error
