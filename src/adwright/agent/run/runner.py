"""Run a checked script on a screen, from the start of the app to a verdict.

    report = run_on_screen(checked, document, open_driver, RunPolicy(GateRules(origins)),
                           {"code": "SPRING"}, clock=SystemClock(), folder=Path("run"))
    report.verdict         # "verified", "done", "dry", "stopped" or "contradicted"

"verified" is said only where postconditions hold on pages loaded anew; without any, or where a form
adds what it does not show again, a script that came to its end is "done". No model is called here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeAlias

from adwright.agent.document.elements import AppDocument
from adwright.agent.drivers.protocol import DriverError, RequestGate, ScreenDriver
from adwright.agent.language.budgets import RunBudget
from adwright.agent.language.checker import CheckedScript
from adwright.agent.language.interpreter import RunOutcome, run_script
from adwright.agent.language.problems import ScriptError, ScriptProblem
from adwright.agent.language.tree import Act
from adwright.agent.language.values import ArgumentValue
from adwright.agent.policy.caps import CapLedger
from adwright.agent.policy.confirmation import Confirmer, PendingChange
from adwright.agent.policy.gate import GateRules, PolicyGate
from adwright.agent.policy.secrets import SecretKeeper
from adwright.agent.run.heal import HealedElement, apply_healings
from adwright.agent.run.postconditions import (
    Postconditions,
    check_postconditions,
    compared_fields,
    missing_requests,
    own_arguments,
    renamed_arguments,
)
from adwright.agent.run.screen_world import ScreenWorld, WorldSettings
from adwright.agent.run.trace import RunTrace, TraceStep
from adwright.core.atomic import atomic_write_bytes
from adwright.core.clock import Clock
from adwright.core.config import settings

__all__ = ["OpenDriver", "RunPolicy", "RunReport", "RunVerdict", "run_on_screen"]

RunVerdict = Literal["verified", "done", "dry", "stopped", "contradicted"]
#: Opens a screen whose requests this gate decides on.
OpenDriver: TypeAlias = Callable[[RequestGate], ScreenDriver]


@settings
class RunPolicy:
    """What a run may do. confirm: asked about writes, None says no. heal: look for elements that
    moved; those that may write only in a run with postconditions. sign_in: a script without
    parameters, run where the start of the app shows something else; what it commits is sent in a
    dry run too."""

    gate: GateRules
    confirm: Confirmer | None = None
    caps: CapLedger | None = None
    secrets: SecretKeeper | None = None
    heal: bool = False
    sign_in: CheckedScript | None = None


@settings
class RunReport:
    """What came of a run.

    problem: why it stopped, or what contradicts it. written: what was let through; would_send: what
    a dry run would have. healed: elements that were found elsewhere; document: with them where the
    run is verified, else as it was. seconds: from the opening of the screen to its closing.
    """

    verdict: RunVerdict
    answers: tuple[str, ...]
    problem: ScriptProblem | None
    steps: tuple[TraceStep, ...]
    written: tuple[PendingChange, ...]
    would_send: tuple[PendingChange, ...]
    healed: tuple[HealedElement, ...]
    document: AppDocument
    acts: int
    seconds: float


def run_on_screen(
    checked: CheckedScript,
    document: AppDocument,
    open_driver: OpenDriver,
    policy: RunPolicy,
    arguments: Mapping[str, ArgumentValue],
    *,
    clock: Clock,
    folder: Path | None = None,
    postconditions: Postconditions | None = None,
    budget: RunBudget | None = None,
) -> RunReport:
    """Run the script, then check the postconditions; a run that stops is reported, not raised.

    folder: gets trace.jsonl and pictures; None keeps the trace in memory. Raises ScriptError for
    postconditions that would write, and ResourceError where the folder cannot be written.
    """
    check = None if postconditions is None else check_postconditions(postconditions, document)
    started = clock.monotonic()
    trace = _trace(folder)
    gate = PolicyGate(
        policy.gate,
        document,
        confirm=policy.confirm,
        caps=policy.caps,
        secrets=policy.secrets,
        note=trace.about_to_send,
    )
    run = _ScreenRun(document, gate, trace, policy, folder, clock)
    verdict, problem = run.run(
        open_driver, checked, arguments, budget, heal_writes=postconditions is not None
    )
    if verdict == "done" and not gate.written and _ends_in_a_write(checked, document):
        hint = "look at the page, it may have changed"
        problem = ScriptProblem(
            "wrong_state", "the script is to write, and nothing was sent", 0, 0, hint
        )
        verdict = "stopped"
    if postconditions is not None and verdict == "done":
        problem = run.verify(postconditions, check, arguments)
        done: RunVerdict = "verified" if run.is_looked_up or check is None else "done"
        verdict = "contradicted" if problem else done
    run.close()
    trace.end(verdict)
    return RunReport(
        verdict,
        tuple(map(gate.secrets.mask, run.outcome.answers)) if run.outcome else (),
        problem,
        tuple(trace.steps),
        tuple(gate.written),
        tuple(gate.would_send),
        run.healed,
        apply_healings(document, run.healed) if verdict == "verified" else document,
        run.outcome.acts if run.outcome else sum(one.how != "route" for one in trace.steps),
        clock.monotonic() - started,
    )


def _ends_in_a_write(checked: CheckedScript, document: AppDocument) -> bool:
    """Whether a script without branches ends in what writes by a request that nobody knows, in an
    app that stores by requests."""
    acts = [one for one in checked.script.body if isinstance(one, Act)]
    goal = document.by_name.get(checked.effects[-1].element) if checked.effects else None
    if len(acts) != len(checked.script.body) or goal is None or not goal.writes or goal.requests:
        return False
    is_last = checked.effects[-1].line in (0, acts[-1].at.line)
    return is_last and any(one.requests for one in document.elements)


class _ScreenRun:
    def __init__(
        self,
        document: AppDocument,
        gate: PolicyGate,
        trace: RunTrace,
        policy: RunPolicy,
        folder: Path | None,
        clock: Clock,
    ) -> None:
        self.outcome: RunOutcome | None = None
        self.is_looked_up = False
        self._document = document
        self._gate = gate
        self._trace = trace
        self._policy = policy
        self._folder = folder
        self._clock = clock
        self._driver: ScreenDriver | None = None
        self._world: ScreenWorld | None = None

    @property
    def healed(self) -> tuple[HealedElement, ...]:
        return tuple(self._world.healed) if self._world else ()

    def run(
        self,
        open_driver: OpenDriver,
        checked: CheckedScript,
        arguments: Mapping[str, ArgumentValue],
        budget: RunBudget | None,
        *,
        heal_writes: bool,
    ) -> tuple[RunVerdict, ScriptProblem | None]:
        """The verdict before anything is checked, and why it stopped."""
        settings = WorldSettings(heal=self._policy.heal, heal_writes=heal_writes)
        try:
            driver = self._driver = open_driver(self._gate.decide)
            world = self._world = ScreenWorld(
                self._document,
                driver,
                self._gate,
                self._trace,
                settings,
                keep_picture=self._keep_picture if self._folder else None,
            )
            self._start(world)
            self.outcome = self._script(world, checked, arguments, budget)
            world.look()
        except ScriptError as error:
            return "stopped", error.problems[0]
        except DriverError as error:
            return "stopped", ScriptProblem("driver", str(error))
        return "dry" if self._policy.gate.dry else "done", None

    def verify(
        self,
        wanted: Postconditions,
        check: CheckedScript | None,
        arguments: Mapping[str, ArgumentValue],
    ) -> ScriptProblem | None:
        """Why the postconditions do not hold; pages are loaded anew, and nothing can write."""
        world = self._world
        if world is None:
            return ScriptProblem("driver", "there is no screen")
        missing = missing_requests(wanted, world.acts.seen)
        fields = compared_fields(check.script) if check else frozenset()
        self.is_looked_up = check is not None and not fields & world.adding
        if missing or check is None or not self.is_looked_up:
            return missing[0] if missing else None
        try:
            own = own_arguments(check.script, arguments)
            try:
                self._look_up(world, check, own)
            except ScriptError as error:
                if error.code not in ("not_found", "index"):
                    raise
                self._look_up_renamed(world, check, own, error)
        except ScriptError as error:
            first = error.problems[0]
            what = f"the check after the run: {first.what}"
            return ScriptProblem(first.code, what, first.line, first.column, first.hint)
        except DriverError as error:
            return ScriptProblem("driver", f"the check after the run: {error}")
        return None

    def _look_up(
        self, world: ScreenWorld, check: CheckedScript, own: Mapping[str, ArgumentValue]
    ) -> None:
        with self._gate.during("reading"):
            world.line = 0
            world.go_home()
            self._script(world, check, own, None)
            world.look()

    def _look_up_renamed(
        self,
        world: ScreenWorld,
        check: CheckedScript,
        own: Mapping[str, ArgumentValue],
        error: ScriptError,
    ) -> None:
        """The item is no longer there under its name: it may have been given another."""
        for renamed in renamed_arguments(check.script, own):
            with suppress(ScriptError):
                self._look_up(world, check, renamed)
                return
        raise error

    def close(self) -> None:
        """Give the screen back."""
        if self._driver is not None:
            with suppress(DriverError):
                self._driver.close()

    def _start(self, world: ScreenWorld) -> None:
        if self._policy.sign_in is None:
            world.go_home()
            return
        world.go_home(strict=False)
        if not world.is_at_start():
            with self._gate.during("signing_in"):
                self._script(world, self._policy.sign_in, {}, None)
            world.line = 0
            world.go_home()

    def _script(
        self,
        world: ScreenWorld,
        checked: CheckedScript,
        arguments: Mapping[str, ArgumentValue],
        budget: RunBudget | None,
    ) -> RunOutcome:
        def on_line(line: int) -> None:
            world.line = line

        return run_script(
            checked,
            self._document,
            world,
            arguments,
            clock=self._clock,
            budget=budget,
            on_line=on_line,
        )

    def _keep_picture(self, number: int, data: bytes) -> str:
        name = f"step-{number:03d}.png"
        atomic_write_bytes((self._folder or Path()) / name, data, mode=0o600)
        return name


def _trace(folder: Path | None) -> RunTrace:
    if folder is None:
        return RunTrace()
    folder.mkdir(parents=True, exist_ok=True)
    return RunTrace(folder / "trace.jsonl")
