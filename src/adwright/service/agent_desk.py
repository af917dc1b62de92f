"""Runs of the agent for tenants: their folders, and the threads that operate their apps.

    AGENTS/TENANT/APP/document.txt        written by `adwright agent explore`
    AGENTS/TENANT/APP/policy.toml         what may be done there
    AGENTS/TENANT/APP/macros/             kept tasks
    AGENTS/TENANT/APP/runs/RUN/           what was done

Who operates the service writes documents and policies; a tenant can only ask for tasks, and say yes
or no to what a run would send. Over HTTP every write waits for a yes, whatever the policy says of
asking. A run is a browser of its own, in a thread of this process: where several processes serve,
only the one that began a run knows how it stands; ended ones are read from their folders by all.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from adwright.agent.document.elements import AppDocument
from adwright.agent.document.text_format import read_document
from adwright.agent.generate.ladder import FoundScript
from adwright.agent.language.printer import print_script
from adwright.agent.operate.held_runs import HeldRun, HeldRuns, HeldView
from adwright.agent.operate.policy_file import AgentPolicy, AskedEffects, load_policy
from adwright.agent.operate.run_folder import KeptTask, ReadRun, keep_run, read_run, set_aside
from adwright.agent.operate.screens import OpenFetching, open_screens
from adwright.agent.operate.tasks import PreparedTask, find_scripts, prepare_task
from adwright.agent.operate.turns import run_in_turn
from adwright.agent.operate.waiting import PatientClock
from adwright.agent.policy.caps import CapLedger
from adwright.agent.run.macros import MacroBook
from adwright.agent.run.runner import RunPolicy, RunReport, run_on_screen
from adwright.core.clock import Clock
from adwright.core.config import check_literals
from adwright.core.errors import AdwrightError
from adwright.lm.engine.http import HttpConfig
from adwright.lm.engine.language_model import LanguageModel
from adwright.service.config import ServiceConfig

__all__ = [
    "NAME",
    "RUN_ID",
    "AgentDesk",
    "DeskRun",
    "NoSuchAppError",
    "OpenScreens",
    "ToldRun",
]

#: Of apps and of runs.
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
RUN_ID = r"[0-9a-f]{24}"
_DOCUMENT, _POLICY, _MACROS, _RUNS = "document.txt", "policy.toml", "macros", "runs"
_MOST_APPS = 100
#: Screens of a policy, as `open_screens` opens them.
OpenScreens: TypeAlias = Callable[[AgentPolicy, Clock], AbstractContextManager[OpenFetching]]


class NoSuchAppError(AdwrightError):
    """A tenant has no app of this name."""


@dataclass(frozen=True)
class ToldRun:
    """What is known of a run before it ends. script: empty until there is one."""

    app: str
    task: str
    dry_run: bool
    script: str = ""
    source: Literal["", "macro", "plan", "model"] = ""
    name: str = ""
    tokens_in: int = 0
    tokens_out: int = 0

    def __post_init__(self) -> None:
        check_literals(self)


@dataclass(frozen=True)
class DeskRun:
    """A run as its tenant may see it. view: how it stands; kept: of an ended one, its folder."""

    run_id: str
    told: ToldRun
    view: HeldView
    kept: ReadRun | None = None
    folder: Path | None = None

    def __post_init__(self) -> None:
        check_literals(self)


class AgentDesk:
    """Begins runs, and finds them again. screens: opens browsers, given by tests."""

    def __init__(
        self, config: ServiceConfig, clock: Clock, *, screens: OpenScreens | None = None
    ) -> None:
        self._root = config.agents
        self._config = config
        self._clock = clock
        self._screens = screens or _browser
        self._runs = HeldRuns(most=config.agent_runs, patience=config.agent_confirm_seconds)

    def apps(self, tenant: str) -> list[str]:
        """The names of a tenant's apps that have a document and a policy, sorted."""
        folder = self._folder(tenant)
        try:
            found = [] if folder is None else [one.parent for one in folder.glob(f"*/{_DOCUMENT}")]
        except OSError:
            return []
        names = [one.name for one in found if (one / _POLICY).is_file()]
        return sorted(one for one in names if re.fullmatch(NAME, one))[:_MOST_APPS]

    def begin(self, tenant: str, app: str, task: str, *, dry_run: bool) -> HeldRun:
        """Begin a run of a task.

        Raises NoSuchAppError, RunsBusyError, and what reading document and policy raises.
        """
        folder = self._folder(tenant)
        if folder is None or app not in self.apps(tenant):
            raise NoSuchAppError("there is no such app")
        home = folder / app
        document, policy = read_document(home / _DOCUMENT), load_policy(home / _POLICY)
        policy.require(document)
        # Nothing is sent that nobody has said yes to.
        asked = replace(policy, confirm=AskedEffects(bulk=1))
        run_id = secrets.token_hex(12)
        told = ToldRun(app, task, dry_run)

        def work(run: HeldRun) -> RunReport:
            return self._run(run, home, document, asked, told)

        return self._runs.start(tenant, run_id, work, told=told)

    def find(self, tenant: str, run_id: str) -> DeskRun | None:
        """A run of a tenant; None where there is none, or its process died before it ended."""
        home = self._folder(tenant)
        if home is None or not re.fullmatch(RUN_ID, run_id):
            return None
        held = self._runs.find(tenant, run_id)
        view = HeldView("ended") if held is None else held.view()
        kept, folder = _kept(home, run_id) if view.state == "ended" else (None, None)
        told = view.told
        if kept is not None and folder is not None:
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
        if not isinstance(told, ToldRun):
            return None
        return DeskRun(run_id, told, view, kept, folder)

    def answer(self, tenant: str, run_id: str, key: str, *, yes: bool) -> bool:
        """Say yes or no to the change with this hash. Whether that is what waits."""
        held = self._runs.find(tenant, run_id)
        return held is not None and held.answer(key, yes=yes)

    def close(self, seconds: float) -> None:
        """Refuse what waits, and wait so long for the runs to end."""
        self._runs.close(seconds)

    def _folder(self, tenant: str) -> Path | None:
        return Path(self._root) / tenant if self._root and re.fullmatch(NAME, tenant) else None

    def _run(
        self, run: HeldRun, home: Path, document: AppDocument, policy: AgentPolicy, told: ToldRun
    ) -> RunReport:
        clock = PatientClock(self._clock)
        folder = home / _RUNS / run.run_id
        rules = RunPolicy(
            policy.gate_rules(dry=told.dry_run),
            confirm=clock.patient(run.ask),
            caps=CapLedger(home / "caps.json", policy.caps, clock=clock),
            secrets=policy.keeper(os.environ),
            heal=policy.heal,
        )
        scripts = find_scripts(
            told.task,
            document,
            macros=MacroBook(home / _MACROS),
            open_model=self._model if self._config.agent_model_url else None,
            rules=policy.check_rules(),
        )

        def once(found: FoundScript) -> RunReport:
            ready = prepare_task(found, told.task, document)
            if (folder / "run.json").exists():
                set_aside(folder)
            run.tell(_told(told, ready))
            with self._screens(policy, clock) as open_driver:
                report = run_on_screen(
                    ready.checked,
                    document,
                    open_driver,
                    rules,
                    ready.arguments,
                    clock=clock,
                    folder=folder,
                    postconditions=ready.postconditions,
                    budget=policy.budget,
                )
            said = tuple((name, str(value)) for name, value in ready.arguments.items())
            tokens = (found.tokens_in, found.tokens_out)
            kept = KeptTask(told.task, found.source, found.name, said, *tokens, dry=told.dry_run)
            keep_run(folder, report, ready.checked.script, kept)
            return report

        return run_in_turn(told.task, scripts, once)[1]

    @contextmanager
    def _model(self) -> Iterator[LanguageModel]:
        from adwright.lm.open_model import open_model

        asked = HttpConfig(self._config.agent_model_url, self._config.agent_model)
        with closing(open_model(asked)) as model:
            yield model


def _told(told: ToldRun, ready: PreparedTask) -> ToldRun:
    found = ready.found
    return replace(
        told,
        script=print_script(ready.checked.script),
        source=found.source,
        name=found.name,
        tokens_in=found.tokens_in,
        tokens_out=found.tokens_out,
    )


@contextmanager
def _browser(policy: AgentPolicy, clock: Clock) -> Iterator[OpenFetching]:
    with open_screens(policy, environment=os.environ, clock=clock) as opened:
        yield opened


def _kept(home: Path, run_id: str) -> tuple[ReadRun | None, Path | None]:
    """The run of a folder, checked; None where it has none, or was changed."""
    for folder in home.glob(f"*/{_RUNS}/{run_id}"):
        try:
            return read_run(folder), folder
        except (AdwrightError, OSError):
            return None, None
    return None, None
