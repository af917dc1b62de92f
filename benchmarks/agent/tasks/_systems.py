"""Who solves a task: a plan without a model, a macro of an earlier run, a model's script, or steps.

    done = solve("plan", task, app)      # a Solved: verdict, answers, tokens, seconds, problem

All but steps go the way of `adwright agent do`: scripts in turn, and a look afterwards whether it
is so. What a run would write is confirmed: the person who set the task is taken to say yes. So
nothing but the end state tells whether it was right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from typing import Literal, TypeAlias, get_args

from adwright.agent.drivers.protocol import RequestGate, ScreenDriver
from adwright.agent.generate.ladder import FoundScript, ScriptLadder
from adwright.agent.generate.writing import WRITER_BEAM, BeamConfig
from adwright.agent.language.problems import RunBudget, ScriptError
from adwright.agent.language.script import print_script
from adwright.agent.language.statements import check_script
from adwright.agent.operate.tasks import PreparedTask, prepare_task, run_in_turn
from adwright.agent.policy.confirmation import PendingChange, SecretKeeper, SecretRule
from adwright.agent.policy.gate import GateRules
from adwright.agent.policy.origins import OriginRules
from adwright.agent.run.runner import RunPolicy, RunReport, run_on_screen
from adwright.core.clock import SystemClock
from adwright.lm.engine.generation import LanguageModel
from benchmarks.agent.tasks._apps import TaskApp
from benchmarks.agent.tasks._kinds import AgentTask
from benchmarks.agent.tasks._solved import Solved
from benchmarks.agent.tasks._steps import take_steps

#: "model": a model's script, tuned to write them where there is such a writer; "untuned": the model
#: as it is. "ladder": a plan, else the model.
SystemName: TypeAlias = Literal["plan", "macro", "model", "untuned", "ladder", "steps"]
SYSTEMS: tuple[SystemName, ...] = get_args(SystemName)
_SECRET = "a secret of eleven words"
_BUDGET = RunBudget(acts=60, writes=6, seconds=120.0)


def solve(
    system: SystemName,
    task: AgentTask,
    app: TaskApp,
    models: Sequence[LanguageModel] = (),
    *,
    tuned: bool = False,
) -> Solved:
    """One task on an app that was put back before. tuned: the model has learned to write scripts,
    and is asked as it learned."""
    if system == "steps":
        return take_steps(task.text, app, models[0])
    opener = (lambda: nullcontext(models[0])) if models else None
    config = WRITER_BEAM if tuned else BeamConfig()
    ladder = ScriptLadder(app.document, open_model=opener, config=config)
    is_alone = system in ("model", "untuned")
    scripts = _Timed(ladder.written(task.text) if is_alone else ladder.scripts(task.text))
    runs: list[tuple[RunReport, int]] = []

    def run(found: FoundScript) -> RunReport:
        ready = prepare_task(found, task.text, app.document)
        ready = _as_macro(ready, app) if system == "macro" else ready
        runs.append(_on_screen(ready, app))
        return runs[-1][0]

    try:
        found, report = run_in_turn(task.text, scripts, run)
    except ScriptError as error:
        tokens = ladder.tokens_in, ladder.tokens_out
        why = str(error.problems[0])
        return Solved("none", (), why, "", "", *tokens, model_seconds=scripts.seconds)
    is_macro = system == "macro"
    return Solved(
        report.verdict,
        report.answers,
        str(report.problem or ""),
        print_script(found.script.script),
        "macro" if is_macro else found.source,
        ladder.tokens_in,
        ladder.tokens_out,
        0.0 if is_macro else scripts.seconds,
        sum(one.seconds for one, _ in runs),
        sum(one.acts for one, _ in runs),
        sum(asked for _, asked in runs),
        len(report.written),
        turns=len(runs),
    )


class _Timed:
    """Scripts in turn. seconds: that were spent on finding them so far."""

    def __init__(self, scripts: Iterator[FoundScript]) -> None:
        self._scripts = scripts
        self._clock = SystemClock()
        self.seconds = 0.0

    def __iter__(self) -> Iterator[FoundScript]:
        return self

    def __next__(self) -> FoundScript:
        start = self._clock.monotonic()
        try:
            return next(self._scripts)
        finally:
            self.seconds += self._clock.monotonic() - start


def _on_screen(ready: PreparedTask, app: TaskApp) -> tuple[RunReport, int]:
    asked: list[PendingChange] = []

    def yes(change: PendingChange) -> bool:
        asked.append(change)
        return True

    with ExitStack() as stack:

        def opened(gate: RequestGate) -> ScreenDriver:
            return app.open(gate, stack)

        report = run_on_screen(
            ready.checked,
            app.document,
            opened,
            RunPolicy(GateRules(OriginRules((app.url,))), confirm=yes, secrets=_secrets(app)),
            ready.arguments,
            clock=SystemClock(),
            postconditions=ready.postconditions,
            budget=_BUDGET,
        )
    return report, len(asked)


def _as_macro(ready: PreparedTask, app: TaskApp) -> PreparedTask:
    """As it would be kept and found again by the same words, with its arguments, where it can be;
    else as it is."""
    if ready.general is None:
        return ready
    rules = ready.checked.rules
    checked = check_script(ready.general.script, app.document, rules)
    found = FoundScript(checked, "macro", ready.arguments, ready.postconditions)
    return PreparedTask(ready.task, found, checked, ready.arguments, ready.postconditions)


def _secrets(app: TaskApp) -> SecretKeeper:
    """Those that tasks speak of go into the fields for passwords of the app, and nowhere else."""
    fields = tuple(one.name for one in app.document.elements if one.value_type == "secret")
    if not fields:
        return SecretKeeper()
    rule = SecretRule("shop", (app.url,), fields)
    return SecretKeeper((rule,), value_of=lambda name: _SECRET)
