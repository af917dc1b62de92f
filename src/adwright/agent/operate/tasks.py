"""A task from its words to a run with a verdict, and to a macro that does it again.

    scripts = find_scripts(task, document, macros=book, rules=policy.check_rules())
    found = next(scripts)                        # the others: see `run_in_turn`
    ready = prepare_task(found, task, document)
    report = run_on_screen(ready.checked, document, open_driver, run_policy, ready.arguments,
                           postconditions=ready.postconditions, clock=clock)
    keep_task("set_share", ready, report, book)

A script of a plan or a model is generalised before it runs: then the same words say what must be
true afterwards, and a run that did it is "verified" rather than "done".
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from itertools import islice
from typing import Any, Literal

from adwright.agent.document.elements import AppDocument
from adwright.agent.generate.ladder import (
    FirstAsked,
    FoundScript,
    GeneralScript,
    OpenLanguageModel,
    ScriptLadder,
    generalise,
    macro_arguments,
)
from adwright.agent.generate.reading import looked_for
from adwright.agent.generate.task import read_intent, read_task
from adwright.agent.generate.writing import BeamConfig
from adwright.agent.language.kinds import ArgumentValue, read_decimal
from adwright.agent.language.problems import ScriptError
from adwright.agent.language.script import ScriptParameter
from adwright.agent.language.statements import CheckedScript, CheckRules, check_script
from adwright.agent.policy.confirmation import PendingChange
from adwright.agent.run.runner import (
    Macro,
    MacroBook,
    Postconditions,
    RunReport,
    check_postconditions,
    macro_of,
)
from adwright.core.config import closest_name, settings, to_jsonable
from adwright.core.errors import AdwrightError, ConfigError
from adwright.core.hashing import content_hash

# --------------------------------------------------------------------------------------------------
# Scripts of a task in turn: the next where the one before found no such item and sent nothing.
#
#     found, report = run_in_turn('Rename "Own brand" to "House"', scripts, run)
#
# A script that looks for "Own brand" among the offers, where there is none, may have taken the
# wrong
# list: the next one looks among the ranges. It must look for the same item. What nobody finds at
# all
# is a name that was mistyped: nothing else is renamed, and nothing is made, in its place, but where
# the task asks for something new. Nothing is tried after a no of a person or of the policy, after
# an
# effect that was not foreseen, nor when anything may have left.

#: So many scripts of a task are run at most. Our choice.
MOST_TURNS = 4


def is_untouched(report: RunReport) -> bool:
    """Whether a run stopped because something was not there, and sent nothing."""
    sent = report.written or report.would_send
    stopped = report.verdict == "stopped" and report.problem is not None
    return stopped and not sent and report.problem.code == "not_found"  # type: ignore[union-attr]


def run_in_turn(
    task: str,
    scripts: Iterable[FoundScript],
    run: Callable[[FoundScript], RunReport],
) -> tuple[FoundScript, RunReport]:
    """The last script that was run, and what came of it.

    Raises what the iterable and `run` raise; ValueError for no script at all.
    """
    last: tuple[FoundScript, RunReport] | None = None
    for found in islice(_of_one_item(task, scripts), MOST_TURNS):
        report = run(found)
        last = (found, report)
        if not is_untouched(report):
            break
    if last is None:
        raise ValueError("there is no script")
    return last


def _of_one_item(task: str, scripts: Iterable[FoundScript]) -> Iterator[FoundScript]:
    """The first, and those after it that look for the same items, or make what is to be made."""
    wanted: frozenset[str] | None = None
    for found in scripts:
        items = frozenset(looked_for(found.script.script))
        if wanted is None:
            wanted = items
        elif items != wanted and (items or read_intent(read_task(task)).kind != "create"):
            continue
        yield found


@settings
class PreparedTask:
    """What is run. general: what would be kept as a macro; None of a macro, and of what cannot be
    looked up afterwards."""

    task: str
    found: FoundScript
    checked: CheckedScript
    arguments: Mapping[str, ArgumentValue] = field(default_factory=dict)
    postconditions: Postconditions | None = None
    general: GeneralScript | None = None


def find_scripts(
    task: str,
    document: AppDocument,
    *,
    macros: MacroBook | None = None,
    open_model: OpenLanguageModel | None = None,
    config: BeamConfig | None = None,
    rules: CheckRules | None = None,
    first: FirstAsked = "plans",
) -> Iterator[FoundScript]:
    """Scripts by the cheapest means, the likeliest first, see `ScriptLadder`."""
    ladder = ScriptLadder(
        document, macros=macros, open_model=open_model, config=config, rules=rules, first=first
    )
    return ladder.scripts(task)


def prepare_task(found: FoundScript, task: str, document: AppDocument) -> PreparedTask:
    """The script with what must be true after it. Raises ScriptError where it does not fit."""
    own = found.script
    if found.source == "macro":
        return PreparedTask(task, found, own, found.arguments, found.postconditions)
    general = generalise(own.script, task, document)
    wanted = general.postconditions
    if wanted is None:
        return PreparedTask(task, found, own)
    try:
        checked = check_script(general.script, document, own.rules)
        check_postconditions(wanted, document)
    except ScriptError:
        rest = Postconditions(wanted.requests) if wanted.requests else None
        return PreparedTask(task, found, own, postconditions=rest)
    like = Macro("task", general.task, document.app, document.version, general.script, wanted)
    # Words that do not give the values back make no macro; they are known all the same.
    kept = general if macro_arguments(like, read_task(task)) == general.arguments else None
    return PreparedTask(task, found, checked, general.arguments, wanted, kept)


def keep_task(name: str, ready: PreparedTask, report: RunReport, book: MacroBook) -> Macro:
    """Keep a verified run as a macro. Raises ConfigError for a run that is not, and what
    `keepable` raises."""
    general, wanted = keepable(name, ready)
    flows = ready.checked.rules.flows
    macro = macro_of(name, general.task, general.script, wanted, report, flows=flows)
    book.keep(macro, report.document)
    return macro


def keepable(name: str, ready: PreparedTask) -> tuple[GeneralScript, Postconditions]:
    """What would be kept as a macro of this name. Raises ConfigError where there is nothing to
    keep, which is better asked before a run than after it."""
    if ready.found.source == "macro":
        raise ConfigError(
            f"the run was by the macro {ready.found.name} already",
            where=f"--keep {name}",
            hint="leave --keep out",
        )
    if ready.general is None or ready.postconditions is None:
        raise ConfigError(
            "nothing of this task can be looked up afterwards, so no replay could be verified",
            where=f"--keep {name}",
            hint="name each value of the task once, in quotes",
        )
    return ready.general, ready.postconditions


def macro_values(macro: Macro, pairs: Mapping[str, str]) -> dict[str, ArgumentValue]:
    """The arguments of a macro out of texts. Raises ConfigError for one that is missing, unknown or
    of another kind."""
    kinds = {one.name: one for one in macro.script.parameters}
    for name in pairs:
        if name not in kinds:
            meant = closest_name(name, kinds)
            raise ConfigError(
                f"the macro has no parameter {name!r}",
                where=f"macro {macro.name}",
                hint=f"did you mean {meant}?" if meant else _takes(macro),
            )
    missing = [name for name in kinds if name not in pairs]
    if missing:
        raise ConfigError(
            f"the parameter {missing[0]!r} is missing",
            where=f"macro {macro.name}",
            hint=_takes(macro),
        )
    return {name: _value(kinds[name], text, macro) for name, text in pairs.items()}


def _value(parameter: ScriptParameter, text: str, macro: Macro) -> ArgumentValue:
    truths = {"true": True, "false": False}
    number = read_decimal(text)
    match parameter.kind:
        case "text":
            return text
        case "whole" if number is not None and number == number.to_integral_value():
            return int(number)
        case "number" if number is not None:
            return number
        case "truth" if text.lower() in truths:
            return truths[text.lower()]
    raise ConfigError(
        f"{text[:60]!r} is no {parameter.kind}",
        where=f"macro {macro.name}, {parameter.name}",
        hint=_takes(macro),
    )


def _takes(macro: Macro) -> str:
    parts = " ".join(f"{one.name}={one.kind.upper()}" for one in macro.script.parameters)
    return f"write {parts}" if parts else "it takes no parameters"


# --------------------------------------------------------------------------------------------------
# Runs on threads of their own that stop at each change until somebody says yes or no to it.
#
#     runs = HeldRuns(most=2, patience=300.0)
#     run = runs.start("acme", "run-1", work)      # work(run) asks by run.ask, and returns what
# came
#     run.view().pending, run.view().key           # the change that waits, and its hash
#     run.answer(key, yes=True)                    # False where that is not what waits
#     runs.close(10.0)
#
# A yes is to one change: it names its hash, of the request as it would be sent and of what stood
# there before, so that nobody says yes to what has become another one. Nothing is sent before it. A
# change that nobody answers in time is refused, and so is all that waits when the process ends. Of
# an owner one run is under way at a time, and what waits for an answer keeps no other owner from a
# run.

#: "unknown": the run was killed as it sent a change, of which nobody saw the answer.
HeldState = Literal["running", "waiting", "ended", "unknown"]
#: Ended runs that are remembered; their folders stay.
_REMEMBERED = 200
#: Runs that may wait for a yes, for each that may be under way: each keeps a screen open.
_WAITING = 4
_LOOK_SECONDS = 0.25
_log = logging.getLogger("adwright.agent")


class RunsBusyError(AdwrightError):
    """No further run can begin now. own: because the owner has one under way."""

    def __init__(self, what: str, *, own: bool, hint: str) -> None:
        super().__init__(what, hint=hint)
        self.own = own


@settings
class HeldView:
    """A run at one moment. pending, key: what waits for a yes, and its hash. told: what the run has
    said of itself so far; outcome: what its work returned; error: why it could not be done."""

    state: HeldState
    pending: PendingChange | None = None
    key: str = ""
    told: Any = None
    outcome: Any = None
    error: str = ""


def change_key(run_id: str, change: PendingChange) -> str:
    """The hash of a change of a run: of all that a person is shown, and its number in the run."""
    return content_hash({"run": run_id, "change": to_jsonable(change)})


class HeldRun:
    """One run. patience: seconds that a change waits for an answer."""

    def __init__(self, run_id: str, owner: str, patience: float, told: Any = None) -> None:
        self.run_id = run_id
        self.owner = owner
        self._patience = patience
        self._condition = threading.Condition()
        self._view = HeldView("running", told=told)
        self._answer: bool | None = None
        self._closed = False

    def view(self) -> HeldView:
        """How it stands now."""
        with self._condition:
            return self._view

    def tell(self, told: Any) -> None:
        """Say something of the run to who looks at it; called by its work."""
        with self._condition:
            self._view = HeldView("running", told=told)

    def ask(self, change: PendingChange, *, goes_on: Callable[[], bool] = lambda: True) -> bool:
        """Wait for an answer to this change; a `Confirmer`, called by its work. goes_on: whether
        somebody would still take a yes."""
        with self._condition:
            if self._closed:
                return False
            told, key = self._view.told, change_key(self.run_id, change)
            self._view = HeldView("waiting", change, key, told)
            self._answer = None
            ends = time.monotonic() + self._patience
            while self._answer is None and goes_on() and (left := ends - time.monotonic()) > 0:
                self._condition.wait(min(left, _LOOK_SECONDS))
            said = bool(self._answer)
            self._view = HeldView("running", told=told)
            return said

    def answer(self, key: str, *, yes: bool) -> bool:
        """Answer the pending change with this hash. False if this change is no longer pending."""
        with self._condition:
            waits = self._view.state == "waiting" and self._answer is None
            if not waits or key != self._view.key:
                return False
            self._answer = yes
            self._condition.notify_all()
            return True

    def end(self, outcome: Any, error: str = "") -> None:
        """It has ended."""
        with self._condition:
            told = self._view.told
            self._view = HeldView("ended", told=told, outcome=outcome, error=error)

    def close(self) -> None:
        """No to what waits, and to whatever it asks from now on."""
        with self._condition:
            self._closed = True
            self._answer = False
            self._condition.notify_all()


class HeldRuns:
    """The runs of a process. most: at work at a time, of all owners; of those that wait for a yes
    there may be four times as many besides."""

    def __init__(self, *, most: int, patience: float) -> None:
        self._most = most
        self._patience = patience
        self._lock = threading.RLock()
        self._runs: dict[str, HeldRun] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._closed = False

    def start(
        self, owner: str, run_id: str, work: Callable[[HeldRun], Any], *, told: Any = None
    ) -> HeldRun:
        """Begin a run. told: what there is to say of it from the start.

        Raises RunsBusyError where the owner has one, or there are too many.
        """
        run = HeldRun(run_id, owner, self._patience, told)
        with self._lock:
            self.require_room(owner)
            self._runs[run_id] = run
            thread = threading.Thread(
                target=self._work, args=(run, work), name=f"adwright-agent-{run_id}", daemon=True
            )
            self._threads[run_id] = thread
            self._forget()
        thread.start()
        return run

    def find(self, owner: str, run_id: str) -> HeldRun | None:
        """A run of an owner; None where there is none, or it ended long ago."""
        with self._lock:
            run = self._runs.get(run_id)
        return run if run is not None and run.owner == owner else None

    def close(self, seconds: float) -> None:
        """Refuse what waits, begin nothing more, and wait so long for the runs to end."""
        with self._lock:
            self._closed = True
            runs, threads = list(self._runs.values()), list(self._threads.values())
        for run in runs:
            run.close()
        ends = time.monotonic() + seconds
        for thread in threads:
            thread.join(max(0.0, ends - time.monotonic()))

    def require_room(self, owner: str) -> None:
        """Raise RunsBusyError where a run of the owner cannot begin now."""
        with self._lock:
            if self._closed:
                hint = "send it again to the next one"
                raise RunsBusyError("the service ends", own=False, hint=hint)
            under_way = [self._runs[one] for one in self._threads]
            if any(one.owner == owner for one in under_way):
                hint = "confirm or refuse what waits, or let it end"
                raise RunsBusyError("another run is under way", own=True, hint=hint)
            waiting = sum(one.view().state == "waiting" for one in under_way)
            hint = "send it again in a while"
            if len(under_way) - waiting >= self._most:
                raise RunsBusyError("too many runs are under way", own=False, hint=hint)
            if waiting >= _WAITING * self._most:
                raise RunsBusyError("too many changes wait for a yes", own=False, hint=hint)

    def _forget(self) -> None:
        ended = [one for one in self._runs if one not in self._threads]
        for one in ended[: max(0, len(ended) - _REMEMBERED)]:
            del self._runs[one]

    def _work(self, run: HeldRun, work: Callable[[HeldRun], Any]) -> None:
        outcome, error = None, ""
        try:
            outcome = work(run)
        except AdwrightError as problem:
            error = problem.what
        except Exception:
            _log.exception("the run %s failed", run.run_id)
            error = "the run failed by a fault of the service"
        with self._lock:
            del self._threads[run.run_id]
        run.end(outcome, error)
