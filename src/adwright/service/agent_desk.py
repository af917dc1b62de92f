"""Runs of the agent for tenants: their folders, and the threads that operate their apps.

    AGENTS/TENANT/APP/document.txt        written by `adwright agent explore`
    AGENTS/TENANT/APP/policy.toml         what may be done there
    AGENTS/TENANT/APP/macros/             kept tasks
    AGENTS/TENANT/APP/runs/RUN/           what was done

    AGENTS/TENANT/APP/runs/RUN.asked      what was asked; locked while a process does it

Who operates the service writes documents and policies; a tenant can only ask for tasks, and say yes
or no to what a run would send. Over HTTP every write waits for a yes, whatever the policy says of
asking. A run is a browser of its own, in a process of its own, see `agent_worker`: where several
processes serve, only the one that began a run knows how it stands; ended ones are read from their
folders by all, and so are those whose process died.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
from dataclasses import field
from pathlib import Path
from typing import Any

from adwright.agent.document.text_format import read_document
from adwright.agent.language.printer import print_script
from adwright.agent.operate.held_runs import HeldRun, HeldRuns, HeldView, change_key
from adwright.agent.operate.policy_file import load_policy
from adwright.agent.operate.run_folder import ReadRun, read_run
from adwright.agent.run.trace import SentChanges, read_sending
from adwright.core.child_process import WorkerProcess
from adwright.core.clock import Clock
from adwright.core.config import settings
from adwright.core.errors import AdwrightError
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
from adwright.service.config import ServiceConfig

__all__ = ["NAME", "RUN_ID", "AgentDesk", "DeskRun", "NoSuchAppError"]

#: Of apps and of runs.
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
RUN_ID = r"[0-9a-f]{24}"
_MOST_APPS = 100
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


class AgentDesk:
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
        folder = self._folder(tenant)
        try:
            found = [] if folder is None else [one.parent for one in folder.glob(f"*/{DOCUMENT}")]
        except OSError:
            return []
        names = [one.name for one in found if (one / POLICY).is_file()]
        return sorted(one for one in names if re.fullmatch(NAME, one))[:_MOST_APPS]

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
        return Path(self._root) / tenant if self._root and re.fullmatch(NAME, tenant) else None

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
