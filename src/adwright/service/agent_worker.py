"""A run of the agent in a process of its own: `python -P -m adwright.service.agent_worker`.

What a page holds is read, compared and drawn there, below the priority of the service and within a
bound of memory, which its browser keeps to as well; whatever becomes of it is no matter of other
tenants. It takes one connection on its socket file, says on it in lines of JSON how the run stands,
and ends with its lifeline:

    {"told": {...}}                    what is known of the run by now
    {"ask": {...}}                     a change that waits; answered {"yes": true} or {"yes": false}
    {"error": "...", "fault": "..."}   why it could not be done
    {"end": true}                      what came of it lies in its folder

A lock on the file beside that folder tells other processes that the run is under way.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import resource
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from adwright.agent.document.text_format import read_document
from adwright.agent.generate.ladder import FoundScript
from adwright.agent.generate.writing import ENDPOINT_BEAM
from adwright.agent.language.script import print_script
from adwright.agent.operate.policy_file import (
    AgentPolicy,
    AskedEffects,
    KeptTask,
    PatientClock,
    keep_run,
    load_policy,
    set_aside,
)
from adwright.agent.operate.screens import OpenFetching, open_screens
from adwright.agent.operate.tasks import (
    HeldRun,
    PreparedTask,
    find_scripts,
    prepare_task,
    run_in_turn,
)
from adwright.agent.policy.confirmation import CapLedger, PendingChange
from adwright.agent.run.runner import MacroBook, RunPolicy, RunReport, run_on_screen
from adwright.core.child_process import JsonLines, WorkerProcess, take_up
from adwright.core.clock import Clock, SystemClock
from adwright.core.config import from_jsonable, settings, to_jsonable
from adwright.core.errors import AdwrightError, DataError, ResourceError
from adwright.lm.engine.generation import LanguageModel
from adwright.lm.open_model import LmSpec, open_lm

DOCUMENT, POLICY, MACROS, RUNS = "document.txt", "policy.toml", "macros", "runs"
_MODULE = "adwright.service.agent_worker"
_OPEN_SECONDS, _CLOSE_SECONDS = 60.0, 5.0
#: Of memory that a process of a run writes to: its own, and each of its browser.
_MOST_BYTES = 4 << 30
_NICER = 10
#: Of a line: a page may have a field of any length, and nobody could read it.
_LONGEST = 1 << 20
_log = logging.getLogger("adwright.service")
#: Screens of a policy, as `open_screens` opens them.
OpenScreens: TypeAlias = Callable[[AgentPolicy, Clock], AbstractContextManager[OpenFetching]]


@settings
class ToldRun:
    """What is known of a run before it ends. script: empty until there is one. unsaid: words of the
    task that nothing in it stands for. doubts: what it does otherwise than the task reads."""

    app: str
    task: str
    dry_run: bool
    script: str = ""
    source: Literal["", "macro", "plan", "model"] = ""
    name: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    unsaid: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class AskedRun:
    """A run that is to be. home: the folder of the app. model_url, model: see `ServiceConfig`."""

    home: str
    run_id: str
    told: ToldRun
    model_url: str = ""
    model: str = ""

    @property
    def folder(self) -> Path:
        """Where the run is kept."""
        return Path(self.home) / RUNS / self.run_id


class RunDesk(Protocol):
    """What a run says of itself, and whom it asks."""

    def tell(self, told: Any) -> None:
        """Say how it stands."""
        ...

    def ask(self, change: PendingChange) -> bool:
        """Wait for an answer to this change."""
        ...


def do_task(asked: AskedRun, desk: RunDesk, clock: Clock, screens: OpenScreens) -> RunReport:
    """Do the task and keep what came of it. Raises what finding a script and opening a screen
    raise."""
    home, told = Path(asked.home), asked.told
    document, policy = read_document(home / DOCUMENT), load_policy(home / POLICY)
    # Nothing is sent that nobody has said yes to.
    policy = replace(policy, confirm=AskedEffects(bulk=1))
    patient = PatientClock(clock)
    rules = RunPolicy(
        policy.gate_rules(dry=told.dry_run),
        confirm=patient.patient(desk.ask),
        caps=CapLedger(home / "caps.json", policy.caps, clock=patient),
        secrets=policy.keeper(os.environ),
        heal=policy.heal,
    )
    scripts = find_scripts(
        told.task,
        document,
        macros=MacroBook(home / MACROS),
        open_model=_model(asked) if asked.model_url else None,
        config=ENDPOINT_BEAM,
        rules=policy.check_rules(),
    )

    def once(found: FoundScript) -> RunReport:
        ready = prepare_task(found, told.task, document)
        if (asked.folder / "run.json").exists():
            set_aside(asked.folder)
        desk.tell(_told(told, ready))
        with screens(policy, patient) as open_driver:
            report = run_on_screen(
                ready.checked,
                document,
                open_driver,
                rules,
                ready.arguments,
                clock=patient,
                folder=asked.folder,
                postconditions=ready.postconditions,
                budget=policy.budget,
                doubts=found.doubts,
            )
        said = tuple((name, str(value)) for name, value in ready.arguments.items())
        tokens = (found.tokens_in, found.tokens_out)
        kept = KeptTask(told.task, found.source, found.name, said, *tokens, dry=told.dry_run)
        keep_run(asked.folder, report, ready.checked.script, kept)
        return report

    return run_in_turn(told.task, scripts, once)[1]


@contextmanager
def holding(asked: AskedRun) -> Iterator[None]:
    """Hold the lock that says that a run is under way; its file stays, and says what was asked."""
    path = _beside(asked.folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        os.chmod(path, 0o600)
        fcntl.flock(file, fcntl.LOCK_SH)
        if not path.stat().st_size:
            file.write(json.dumps(to_jsonable(asked.told)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        yield


def is_held(folder: Path) -> tuple[ToldRun, bool] | None:
    """What was asked of the run of a folder, and whether a process does it; None of none."""
    try:
        with _beside(folder).open() as file:
            told = from_jsonable(ToldRun, json.loads(file.read(_LONGEST)))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return told, True
            return told, False
    except (OSError, ValueError, AdwrightError):
        return None


def run_in_process(asked: AskedRun, run: HeldRun, keep: Callable[[WorkerProcess], None]) -> None:
    """Do a run in a process of its own; what came of it lies in its folder. keep: gets the process.

    Raises DataError where it could not be done, ResourceError where its process died.
    """
    process = WorkerProcess(_MODULE, to_jsonable(asked))
    keep(process)
    try:
        process.ready(_OPEN_SECONDS, _refusal)
        with closing(JsonLines(process.connect())) as lines:
            if not _follow(lines, run, process):
                process.gone_within(_CLOSE_SECONDS)
                raise ResourceError(f"the process of the run {process.ending or 'broke off'}")
        process.gone_within(_CLOSE_SECONDS)
    finally:
        process.end()


def main() -> None:
    """Do one run, and end with it or with the lifeline."""
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_BYTES, _MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(_NICER)
    lifeline = take_up()
    settings = {one: lifeline.settings[one] for one in lifeline.settings.keys() - _OF_PROCESS}
    try:
        asked = from_jsonable(AskedRun, settings)
    except Exception as error:
        lifeline.failed(error)
    with closing(JsonLines(lifeline.connection())) as lines, holding(asked):
        line = _RunLine(lines)
        try:
            do_task(asked, line, SystemClock(), _browser)
        except AdwrightError as error:
            line.say({"error": error.what})
        except Exception:
            fault = "the run failed by a fault of the service"
            line.say({"error": fault, "fault": traceback.format_exc()[-4000:]})
        else:
            line.say({"end": True})


#: Settings of a worker that are none of the run's.
_OF_PROCESS = frozenset(("socket", "parent"))


class _RunLine:
    """The process's side of the connection; a `RunDesk`."""

    def __init__(self, lines: JsonLines) -> None:
        self._lines = lines

    def say(self, what: Mapping[str, Any]) -> None:
        if len(json.dumps(what)) >= _LONGEST:
            raise DataError("what would be sent is too long to be shown")
        self._lines.say(what)

    def tell(self, told: ToldRun) -> None:
        self.say({"told": to_jsonable(told)})

    def ask(self, change: PendingChange) -> bool:
        self.say({"ask": to_jsonable(change)})
        return bool(self._lines.next()["yes"])


def _follow(lines: JsonLines, run: HeldRun, process: WorkerProcess) -> bool:
    """Take what the process says, up to its end; whether it came to one."""
    with suppress(OSError, ValueError, EOFError):
        while True:
            match lines.next(_LONGEST):
                case {"told": told}:
                    run.tell(from_jsonable(ToldRun, told))
                case {"ask": change}:
                    pending = from_jsonable(PendingChange, change)
                    yes = run.ask(pending, goes_on=lambda: process.alive)
                    lines.say({"yes": yes})
                case {"error": str(error), **more}:
                    if more:
                        _log.error("the run %s failed: %s", run.run_id, more.get("fault"))
                    raise DataError(error)
                case _:
                    return True
    return False


@contextmanager
def _browser(policy: AgentPolicy, clock: Clock) -> Iterator[OpenFetching]:
    with open_screens(policy, environment=os.environ, clock=clock) as opened:
        yield opened


def _model(asked: AskedRun) -> Callable[[], AbstractContextManager[LanguageModel]]:
    @contextmanager
    def opened() -> Iterator[LanguageModel]:
        with closing(open_lm(LmSpec(asked.model, url=asked.model_url))) as model:
            yield model

    return opened


def _told(told: ToldRun, ready: PreparedTask) -> ToldRun:
    found = ready.found
    return replace(
        told,
        script=print_script(ready.checked.script),
        source=found.source,
        name=found.name,
        tokens_in=found.tokens_in,
        tokens_out=found.tokens_out,
        unsaid=found.unsaid,
        doubts=found.doubts,
    )


def _beside(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.asked")


def _refusal(told: str, log: Path) -> AdwrightError:
    return ResourceError(f"the process of the run did not begin: {told}", where=str(log))


if __name__ == "__main__":
    main()
