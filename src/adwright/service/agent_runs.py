"""Tasks for the agent over HTTP, with the yes to each change as a step of its own.

    POST /v1/agent/runs {"app": "shop", "task": "Set the discount of "Spring" to 25"}
    GET  /v1/agent/runs/RUN                      state "waiting", and the pending change
    POST /v1/agent/runs/RUN/confirm {"hash": ...}    or /refuse
    GET  /v1/agent/runs/RUN/report               a page

Nothing that may write is sent before its yes, and a yes is to one request: it names the hash of
what was shown. A change that nobody answers in time is refused, and the run ends. Of a run whose
process was killed as it sent a change the state is "unknown", and `unknown` says what that was.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi import Path as InPath
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from adwright.agent.document.elements import EffectClass
from adwright.agent.document.text_format import read_document
from adwright.agent.generate.task import LONGEST_TASK, read_task
from adwright.agent.language.script import print_script
from adwright.agent.operate.policy_file import ReadRun, load_policy, read_run
from adwright.agent.operate.tasks import (
    HeldRun,
    HeldRuns,
    HeldState,
    HeldView,
    RunsBusyError,
    change_key,
)
from adwright.agent.run.runner import RunVerdict, run_page
from adwright.agent.run.trace import SentChanges, read_sending
from adwright.campaigns.store.keys import ActionKind, Caller
from adwright.campaigns.store.store import Store
from adwright.core.child_process import WorkerProcess
from adwright.core.clock import Clock
from adwright.core.config import settings
from adwright.core.errors import AdwrightError, ConfigError, ResourceError
from adwright.service.agent_worker import (
    DOCUMENT,
    POLICY,
    RUNS,
    AskedRun,
    OpenScreens,
    ToldRun,
    do_task,
    holding,
    is_held,
    run_in_process,
)
from adwright.service.audits import NAME, folder_of, names_in
from adwright.service.config import ServiceConfig
from adwright.service.decide.routes import Asks, Called, Confirms, FollowsRuns, Refuses, State
from adwright.web.bodies import BodyRoute
from adwright.web.errors import ApiError, Busy, error_docs

# --------------------------------------------------------------------------------------------------
# Runs of the agent for tenants: their folders, and the threads that operate their apps.
#
#     AGENTS/TENANT/APP/document.txt        written by `adwright agent explore`
#     AGENTS/TENANT/APP/policy.toml         what may be done there
#     AGENTS/TENANT/APP/macros/             kept tasks
#     AGENTS/TENANT/APP/runs/RUN/           what was done
#
#     AGENTS/TENANT/APP/runs/RUN.asked      what was asked; locked while a process does it
#
# Who operates the service writes documents and policies; a tenant can only ask for tasks, and say
# yes or no to what a run would send. Over HTTP every write waits for a yes, whatever the policy
# says of asking. A run is a browser of its own, in a process of its own, see `agent_worker`: where
# several processes serve, only the one that began a run knows how it stands; ended ones are read
# from their folders by all, and so are those whose process died.

#: Of runs.
RUN_ID = r"[0-9a-f]{24}"
_log = logging.getLogger("adwright.service")


class NoSuchAppError(AdwrightError):
    """A tenant has no app of this name."""


@settings
class DeskRun:
    """A run as its tenant may see it. view: how it stands; kept: of an ended one, its folder. left:
    of one whose process died, what it sent, and what it may have sent."""

    run_id: str
    told: ToldRun
    view: HeldView
    kept: ReadRun | None = None
    folder: Path | None = None
    left: SentChanges = field(default_factory=SentChanges)


class AgentRuns:
    """Begins runs, and finds them again. screens: opens screens in this process, for tests; else
    each run is a process."""

    def __init__(
        self, config: ServiceConfig, clock: Clock, *, screens: OpenScreens | None = None
    ) -> None:
        self._root = config.agents
        self._config = config
        self._clock = clock
        self._screens = screens
        self._processes: dict[str, WorkerProcess] = {}
        self._runs = HeldRuns(most=config.agent_runs, patience=config.agent_confirm_seconds)
        if config.agents and os.geteuid() == 0:
            _log.warning(
                "the agent's browsers have no sandbox of their own, as this runs as root: "
                "run the service as another user"
            )

    def apps(self, tenant: str) -> list[str]:
        """The names of a tenant's apps that have a document and a policy, sorted."""
        return names_in(self._folder(tenant), DOCUMENT, POLICY)

    def new_id(self) -> str:
        """Of a run to come."""
        return secrets.token_hex(12)

    def require(self, tenant: str, app: str) -> Path:
        """The folder of an app in which a run can begin now.

        Raises NoSuchAppError, RunsBusyError, and what reading document and policy raises.
        """
        folder = self._folder(tenant)
        if folder is None or app not in self.apps(tenant):
            raise NoSuchAppError("there is no such app")
        home = folder / app
        load_policy(home / POLICY).require(read_document(home / DOCUMENT))
        self._runs.require_room(tenant)
        return home

    def begin(
        self, tenant: str, app: str, task: str, *, dry_run: bool, run_id: str | None = None
    ) -> HeldRun:
        """Begin a run of a task, by this id, or a new one. Raises as `require`."""
        home = self.require(tenant, app)
        told = ToldRun(app, task, dry_run)
        asked = AskedRun(
            str(home),
            run_id or self.new_id(),
            told,
            self._config.agent_model_url,
            self._config.agent_model,
        )
        return self._runs.start(tenant, asked.run_id, lambda run: self._work(asked, run), told=told)

    def find(self, tenant: str, run_id: str) -> DeskRun | None:
        """A run of a tenant; None where there is none."""
        home = self._folder(tenant)
        if home is None or not re.fullmatch(RUN_ID, run_id):
            return None
        held = self._runs.find(tenant, run_id)
        view = HeldView("ended") if held is None else held.view()
        if view.state != "ended":
            return DeskRun(run_id, view.told, view)
        for folder in (one / RUNS / run_id for one in home.glob("*/")):
            if (folder / "run.json").exists():
                return _kept(folder, view)
            asked = is_held(folder)
            if asked is not None:
                return _left(folder, view, *asked)
        return None if held is None else DeskRun(run_id, view.told, view)

    def answer(self, tenant: str, run_id: str, key: str, *, yes: bool) -> bool:
        """Say yes or no to the change with this hash. Whether that is what waits."""
        held = self._runs.find(tenant, run_id)
        return held is not None and held.answer(key, yes=yes)

    def close(self, seconds: float) -> None:
        """Refuse what waits, wait so long for the runs to end, and end those that have not."""
        self._runs.close(seconds)
        for process in list(self._processes.values()):
            process.end()

    def _folder(self, tenant: str) -> Path | None:
        return folder_of(self._root, tenant)

    def _work(self, asked: AskedRun, run: HeldRun) -> Any:
        with holding(asked):
            if self._screens is not None:
                return do_task(asked, run, self._clock, self._screens)
            try:
                run_in_process(
                    asked, run, lambda process: self._processes.update({run.run_id: process})
                )
            finally:
                self._processes.pop(run.run_id, None)


def _kept(folder: Path, view: HeldView) -> DeskRun | None:
    """The run of a folder, checked; None where it was changed."""
    try:
        kept = read_run(folder)
    except (AdwrightError, OSError):
        return None
    task = kept.task
    told = ToldRun(
        folder.parent.parent.name,
        task.task,
        task.dry,
        print_script(kept.script),
        "macro" if task.source == "replay" else task.source,
        task.name,
        task.tokens_in,
        task.tokens_out,
    )
    return DeskRun(folder.name, told, view, kept, folder)


def _left(folder: Path, view: HeldView, told: ToldRun, under_way: bool) -> DeskRun:
    """A run that came to no end: another process does it, or none any more."""
    if under_way and view.told is None:
        return DeskRun(folder.name, told, HeldView("running"))
    left = read_sending(folder / "trace.jsonl")
    if not left.unknown:
        error = view.error or "its process ended before it did"
        return DeskRun(folder.name, told, HeldView("ended", error=error), left=left)
    error = "its process ended as it sent a change: whether that was done nobody knows; look"
    unknown = HeldView("unknown", key=change_key(folder.name, left.unknown[-1]), error=error)
    return DeskRun(folder.name, told, unknown, left=left)


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


class _AgentBody(BaseModel):
    model_config = ConfigDict(extra="forbid", from_attributes=True)


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


async def _desk(request: Request) -> AgentRuns:
    desk: AgentRuns = request.app.state.agents
    return desk


Desk = Annotated[AgentRuns, Depends(_desk)]
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


def _found(desk: AgentRuns, tenant: str, run_id: str) -> DeskRun:
    found = desk.find(tenant, run_id)
    if found is None:
        raise ApiError(404, "there is no such run", hint="or its folder was changed")
    return found


def _answer(
    desk: AgentRuns, store: Store, caller: Caller, run_id: str, key: str, *, yes: bool
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
    names = ("app", "task", "dry_run", "script", "source", "tokens_in", "tokens_out")
    known: dict[str, Any] = {name: getattr(told, name) for name in names}
    known |= {
        "run_id": found.run_id,
        "state": view.state,
        "pending": view.pending,
        "hash": view.key,
        "verdict": None if report is None else report.verdict,
        "problem": view.error if problem is None else problem.what,
        "answers": () if report is None else report.answers,
        "written": found.left.sent if report is None else report.written,
        "would_send": () if report is None else report.would_send,
        "unknown": found.left.unknown,
    }
    return AgentRunOut.model_validate(known)
