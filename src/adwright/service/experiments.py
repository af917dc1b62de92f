"""GET /v1/experiments: what runs for a tenant, and what it says so far."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from adwright.core.config import to_jsonable
from adwright.core.errors import DataError
from adwright.delivery.experiment_reading import read_experiment
from adwright.service.decide.routes import Reads, State
from adwright.service.registry.experiments import ArmsDeployed
from adwright.web.bodies import BodyRoute
from adwright.web.errors import error_docs

router = APIRouter(route_class=BodyRoute)
#: What users did before the start is read so far back.
_BEFORE = timedelta(weeks=4)


class ExperimentsOut(BaseModel):
    """The experiment that runs, as this process knows it."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(description="Null where none runs.")
    started: datetime | None = None
    experiment: dict[str, Any] | None = Field(default=None, description="As serving.toml has it.")
    back: list[str] = Field(default=[], description="Arms that were taken back.")
    reading: dict[str, Any] | None = Field(
        default=None,
        description="Arms beside the first, with always-valid intervals; null at first.",
    )
    verdicts: list[str] = Field(default=[], description="The same in sentences.")


@router.get(
    "/v1/experiments",
    summary="What the experiment says",
    responses=error_docs(401, 403, 422, 429, 503),
    tags=["models"],
)
async def experiments(
    tenant: Reads,
    state: State,
    segment: Annotated[
        str,
        Query(pattern=r"^[\w .:-]{0,64}$", description="A key of the context, to read it by, too."),
    ] = "",
) -> ExperimentsOut:
    """The running experiment, read off what is in the store. `adwright experiment` starts and stops
    it."""
    status = state.models.status(tenant)
    deployed = None if status is None else status.deployed
    if not isinstance(deployed, ArmsDeployed) or deployed.running is None:
        return ExperimentsOut(name=None)
    running, now = deployed.running, state.clock.now()
    events = await state.read_store(
        tenant, partial(state.store.events, tenant, since=running.started - _BEFORE)
    )
    told: dict[str, Any] = {}
    try:
        found = await asyncio.to_thread(read_experiment, events, running, now=now, segment=segment)
        told = {"reading": to_jsonable(found), "verdicts": found.lines()}
    except DataError as error:
        told = {"verdicts": [error.what]}
    return ExperimentsOut(
        name=running.settings.name,
        started=running.started,
        experiment=to_jsonable(running.settings),
        back=sorted(running.back),
        **told,
    )
