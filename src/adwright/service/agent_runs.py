"""Tasks for the agent over HTTP, with the yes to each change as a step of its own.

    POST /v1/agent/runs {"app": "shop", "task": "Set the discount of \"Spring\" to 25"}
    GET  /v1/agent/runs/RUN                      state "waiting", and the pending change
    POST /v1/agent/runs/RUN/confirm {"hash": ...}    or /refuse
    GET  /v1/agent/runs/RUN/report               a page

Nothing that may write is sent before its yes, and a yes is to one request: it names the hash of
what was shown. A change that nobody answers in time is refused, and the run ends. Of a run whose
process was killed as it sent a change the state is "unknown", and `unknown` says what that was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi import Path as InPath
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from adwright.agent.document.elements import EffectClass
from adwright.agent.generate.task_values import LONGEST_TASK, read_task
from adwright.agent.operate.held_runs import HeldState, RunsBusyError
from adwright.agent.policy.confirmation import PendingChange
from adwright.agent.run.run_page import run_page
from adwright.agent.run.runner import RunVerdict
from adwright.campaigns.store.actions import ActionKind
from adwright.campaigns.store.keys import Caller
from adwright.campaigns.store.store import Store
from adwright.core.errors import AdwrightError, ConfigError, ResourceError
from adwright.service.agent_desk import NAME, RUN_ID, AgentDesk, DeskRun, NoSuchAppError
from adwright.service.decide.callers import Asks, Called, Confirms, FollowsRuns, Refuses
from adwright.service.decide.routes import State
from adwright.web.bodies import BodyRoute
from adwright.web.errors import ApiError, Busy, error_docs

__all__ = [
    "AgentAnswerIn",
    "AgentAppsOut",
    "AgentChangeOut",
    "AgentFieldOut",
    "AgentRunOut",
    "AgentTaskIn",
    "agent_apps",
    "agent_report",
    "agent_run",
    "begin_agent_run",
    "confirm_agent_run",
    "refuse_agent_run",
    "router",
]

router = APIRouter(route_class=BodyRoute)
_BUSY_SECONDS = 30.0
_PAGE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The page.", "content": {"text/html": {"schema": {"type": "string"}}}}
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_log = logging.getLogger("adwright.service")


class _AgentBody(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AgentAppsOut(_AgentBody):
    """The names of the tenant's apps."""

    apps: list[str]


class AgentTaskIn(_AgentBody):
    """A task."""

    app: Annotated[str, Field(pattern=f"^{NAME}$", description="One of GET /v1/agent/apps.")]
    task: Annotated[
        str,
        Field(
            min_length=1,
            max_length=LONGEST_TASK,
            description="In one or two sentences, its values in quotes.",
        ),
    ]
    dry_run: bool = Field(default=False, description="Send nothing that may write; say what.")


class AgentAnswerIn(_AgentBody):
    """A yes or no to the change that was shown."""

    hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="Of the pending change.")]


class AgentFieldOut(_AgentBody):
    """A field of a request. old: null where nobody saw what stood there."""

    name: str
    old: str | None
    new: str


class AgentChangeOut(_AgentBody):
    """A request that may write, as it would be sent or was; secrets are masked."""

    element: str
    effect: EffectClass
    method: str
    url: str
    fields: list[AgentFieldOut]
    record: str = Field(description="What the pages say of what it is done to.")
    number: int = Field(description="It is the number-th write of the run.")
    documented: bool = Field(description="The document knows this request of this element.")


class AgentRunOut(_AgentBody):
    """A run."""

    run_id: str
    app: str
    task: str
    dry_run: bool
    state: HeldState
    script: str = Field(description="Empty until there is one.")
    source: Literal["", "macro", "plan", "model"]
    tokens_in: int
    tokens_out: int
    pending: AgentChangeOut | None = Field(description="What waits for a yes.")
    hash: str = Field(description="Of the pending change, or the last of `unknown`; else empty.")
    verdict: RunVerdict | None = Field(description="Null until it has ended, and of an error.")
    problem: str = Field(description="Why it stopped, or could not begin; empty where it did not.")
    answers: list[str]
    written: list[AgentChangeOut]
    would_send: list[AgentChangeOut]
    unknown: list[AgentChangeOut] = Field(
        description="What may have been sent or not, as the process of the run was killed: look at "
        "the app before it is done again."
    )


async def _desk(request: Request) -> AgentDesk:
    desk: AgentDesk = request.app.state.agents
    return desk


Desk = Annotated[AgentDesk, Depends(_desk)]
RunId = Annotated[str, InPath(pattern=f"^{RUN_ID}$")]


@router.get(
    "/v1/agent/apps",
    summary="Which apps the agent may operate",
    responses=error_docs(401, 403, 429, 503),
    tags=["agent"],
)
async def agent_apps(tenant: FollowsRuns, state: State, desk: Desk) -> AgentAppsOut:
    """The tenant's apps, at most 100, in the order of their names."""
    return AgentAppsOut(apps=await state.read_store(tenant, partial(desk.apps, tenant)))


@router.post(
    "/v1/agent/runs",
    summary="Begin a task",
    status_code=202,
    responses=error_docs(400, 401, 403, 404, 408, 409, 413, 422, 429, 503),
    tags=["agent"],
)
async def begin_agent_run(
    body: AgentTaskIn, tenant: Asks, caller: Called, state: State, desk: Desk
) -> AgentRunOut:
    """Make a script of the task, and run it up to the first change that waits for a yes. Of a
    tenant one run is under way at a time."""
    try:
        read_task(body.task)
    except ConfigError as error:
        raise ApiError(422, error.what, hint=error.hint) from error

    run_id = desk.new_id()

    def note() -> None:
        desk.require(tenant, body.app)
        state.store.note(tenant, "agent ask", run_id, key_id=caller.key_id)

    def begin() -> DeskRun:
        desk.begin(tenant, body.app, body.task, dry_run=body.dry_run, run_id=run_id)
        return _found(desk, tenant, run_id)

    try:
        await state.write_store(tenant, note)  # nothing is done that is not in the log of actions
        found = await state.read_store(tenant, begin)
    except NoSuchAppError as error:
        raise ApiError(404, error.what, hint="see GET /v1/agent/apps") from error
    except RunsBusyError as error:
        if error.own:
            raise ApiError(409, error.what, hint=error.hint) from error
        raise Busy("agent_runs", _BUSY_SECONDS, what=error.what) from error
    except ResourceError:
        raise  # the store cannot be written: 503
    except AdwrightError as error:
        # Its operator's mistake, and nothing of the operator's files is for the tenant.
        _log.error("the app %s of %s cannot be operated: %s", body.app, tenant, error)
        raise ApiError(
            409, "the app cannot be operated now", hint="ask who operates the service"
        ) from error
    return _out(found)


@router.get(
    "/v1/agent/runs/{run_id}",
    summary="How a run stands",
    responses=error_docs(401, 403, 404, 422, 429, 503),
    tags=["agent"],
)
async def agent_run(run_id: RunId, tenant: FollowsRuns, state: State, desk: Desk) -> AgentRunOut:
    """Its script, what waits for a yes, and what came of it."""
    return _out(await state.read_store(tenant, partial(_found, desk, tenant, run_id)))


@router.post(
    "/v1/agent/runs/{run_id}/confirm",
    summary="Say yes to a change",
    responses=error_docs(400, 401, 403, 404, 408, 409, 413, 422, 429, 503),
    tags=["agent"],
)
async def confirm_agent_run(
    run_id: RunId, body: AgentAnswerIn, tenant: Confirms, caller: Called, state: State, desk: Desk
) -> AgentRunOut:
    """Let the pending change be sent: the one with this hash, and no other. Where the tenant wants
    two keys, with another key than the one that began the run."""
    answer = _answer(desk, state.store, caller, run_id, body.hash, yes=True)
    return await state.read_store(tenant, answer)


@router.post(
    "/v1/agent/runs/{run_id}/refuse",
    summary="Say no to a change",
    responses=error_docs(400, 401, 403, 404, 408, 409, 413, 422, 429, 503),
    tags=["agent"],
)
async def refuse_agent_run(
    run_id: RunId, body: AgentAnswerIn, tenant: Refuses, caller: Called, state: State, desk: Desk
) -> AgentRunOut:
    """Refuse the pending change; the run stops."""
    answer = _answer(desk, state.store, caller, run_id, body.hash, yes=False)
    return await state.read_store(tenant, answer)


@router.get(
    "/v1/agent/runs/{run_id}/report",
    summary="What a run did, as a page",
    responses=_PAGE | error_docs(401, 403, 404, 409, 422, 429, 503),
    tags=["agent"],
)
async def agent_report(
    run_id: RunId, tenant: FollowsRuns, state: State, desk: Desk
) -> HTMLResponse:
    """One page without scripts, with pictures, of a run that has ended."""

    def page() -> str:
        found = _found(desk, tenant, run_id)
        if found.kept is None:
            raise ApiError(409, "the run has no report", hint="it has not ended, or did not begin")
        kept = found.kept
        return run_page(kept.report, kept.script, title=found.told.task, folder=found.folder)

    return HTMLResponse(await state.read_store(tenant, page), headers=_HEADERS)


def _found(desk: AgentDesk, tenant: str, run_id: str) -> DeskRun:
    found = desk.find(tenant, run_id)
    if found is None:
        raise ApiError(404, "there is no such run", hint="or its folder was changed")
    return found


def _answer(
    desk: AgentDesk, store: Store, caller: Caller, run_id: str, key: str, *, yes: bool
) -> Callable[[], AgentRunOut]:
    tenant = caller.tenant

    def answer() -> AgentRunOut:
        waits = _found(desk, tenant, run_id).view.key == key
        if yes and caller.two_keys:
            asked = store.actions(tenant, what="agent ask", subject=run_id, limit=1)
            if not asked or asked[0].key_id == caller.key_id:
                raise ApiError(
                    403,
                    "the key that asked for a change cannot say yes to it",
                    hint="confirm it with another key of the scope agent:confirm",
                )
        what: ActionKind = "agent confirm" if yes else "agent refuse"
        if waits and yes:  # before anything is sent
            store.note(tenant, what, run_id, key_id=caller.key_id)
        if not desk.answer(tenant, run_id, key, yes=yes):
            raise ApiError(
                409, "no change with this hash waits", hint="look at the run, and at what waits now"
            )
        if not yes:
            store.note(tenant, what, run_id, key_id=caller.key_id)
        return _out(_found(desk, tenant, run_id))

    return answer


def _out(found: DeskRun) -> AgentRunOut:
    view, told = found.view, found.told
    report = found.kept.report if found.kept is not None else None
    problem = report.problem if report is not None else None
    return AgentRunOut(
        run_id=found.run_id,
        app=told.app,
        task=told.task,
        dry_run=told.dry_run,
        state=view.state,
        script=told.script,
        source=told.source,
        tokens_in=told.tokens_in,
        tokens_out=told.tokens_out,
        pending=None if view.pending is None else _change(view.pending),
        hash=view.key,
        verdict=None if report is None else report.verdict,
        problem=view.error if problem is None else problem.what,
        answers=[] if report is None else list(report.answers),
        written=[_change(one) for one in (found.left.sent if report is None else report.written)],
        would_send=[] if report is None else [_change(one) for one in report.would_send],
        unknown=[_change(one) for one in found.left.unknown],
    )


def _change(one: PendingChange) -> AgentChangeOut:
    return AgentChangeOut(
        element=one.element,
        effect=one.effect,
        method=one.method,
        url=one.url,
        fields=[AgentFieldOut(name=each.name, old=each.old, new=each.new) for each in one.fields],
        record=one.record,
        number=one.number,
        documented=one.documented,
    )
