"""Who solves a task: a plan without a model, a macro of an earlier run, a model's script, or steps.

    done = solve("plan", task, app)      # a Solved: verdict, answers, tokens, seconds, problem

What a run would write is confirmed: the person who set the task is taken to say yes. So nothing
but the end state tells whether it was right.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Literal, TypeAlias, get_args

from adwright.agent.drivers.protocol import RequestGate, ScreenDriver
from adwright.agent.generate.beam import BeamConfig, write_scripts
from adwright.agent.generate.generalise import generalise
from adwright.agent.generate.ladder import FoundScript, ScriptLadder
from adwright.agent.generate.retrieve import ElementIndex
from adwright.agent.language.budgets import RunBudget
from adwright.agent.language.checker import CheckedScript
from adwright.agent.language.printer import print_script
from adwright.agent.language.problems import ScriptError
from adwright.agent.policy.confirmation import PendingChange
from adwright.agent.policy.gate import GateRules
from adwright.agent.policy.origins import OriginRules
from adwright.agent.policy.secrets import SecretKeeper, SecretRule
from adwright.agent.run.runner import RunPolicy, RunReport, run_on_screen
from adwright.agent.synthesis.tuned_writer import WRITER_BEAM, ScriptWriter
from adwright.core.clock import SystemClock
from adwright.lm.engine.language_model import LanguageModel
from benchmarks.agent.tasks._apps import TaskApp
from benchmarks.agent.tasks._kinds import AgentTask
from benchmarks.agent.tasks._solved import Solved
from benchmarks.agent.tasks._steps import take_steps

__all__ = ["SYSTEMS", "SystemName", "solve"]

#: "model": a model's script, tuned to write them where there is such a writer; "untuned": the model
#: as it is. "ladder": a plan, else the model.
SystemName: TypeAlias = Literal["plan", "macro", "model", "untuned", "ladder", "steps"]
SYSTEMS: tuple[SystemName, ...] = get_args(SystemName)
_SECRET = "a secret of eleven words"
_BUDGET = RunBudget(acts=60, writes=6, seconds=120.0)


def solve(
    system: SystemName, task: AgentTask, app: TaskApp, models: Sequence[LanguageModel] = ()
) -> Solved:
    """One task on an app that was put back before."""
    clock = SystemClock()
    start = clock.monotonic()
    if system == "steps":
        return take_steps(task.text, app, models[0])
    try:
        found = _found(system, task.text, app, models)
    except ScriptError as error:
        return Solved(
            "none", problem=str(error.problems[0]), model_seconds=clock.monotonic() - start
        )
    seconds = clock.monotonic() - start
    if system == "macro":
        return _again(found, task, app)
    return _run(found, app, seconds)


def _found(
    system: SystemName, text: str, app: TaskApp, models: Sequence[LanguageModel]
) -> FoundScript:
    # A model is asked as it learned, see `ScriptWriter`.
    config = WRITER_BEAM if isinstance(next(iter(models), None), ScriptWriter) else BeamConfig()
    if system not in ("model", "untuned"):
        wanted = models if system == "ladder" else ()
        return ScriptLadder(app.document, models=wanted, config=config).script(text)
    retrieved = ElementIndex(app.document).retrieve(text, config.retrieve)
    written = write_scripts(models[0], text, app.document, retrieved, config=config)
    if written.best is None:
        raise ScriptError(written.scripts[0].problems)
    return FoundScript(
        written.best, "model", tokens_in=written.tokens_in, tokens_out=written.tokens_out
    )


def _run(found: FoundScript, app: TaskApp, seconds: float) -> Solved:
    report, confirmed = _on_screen(found, app)
    return Solved(
        report.verdict,
        report.answers,
        str(report.problem or ""),
        print_script(found.script.script),
        found.source,
        found.tokens_in,
        found.tokens_out,
        seconds,
        report.seconds,
        report.acts,
        confirmed,
        len(report.written),
    )


def _on_screen(found: FoundScript, app: TaskApp) -> tuple[RunReport, int]:
    asked: list[PendingChange] = []

    def yes(change: PendingChange) -> bool:
        asked.append(change)
        return True

    with ExitStack() as stack:

        def opened(gate: RequestGate) -> ScreenDriver:
            return app.open(gate, stack)

        report = run_on_screen(
            found.script,
            app.document,
            opened,
            RunPolicy(GateRules(OriginRules((app.url,))), confirm=yes, secrets=_secrets(app)),
            found.arguments,
            clock=SystemClock(),
            postconditions=found.postconditions,
            budget=_BUDGET,
        )
    return report, len(asked)


def _again(found: FoundScript, task: AgentTask, app: TaskApp) -> Solved:
    """The task's script as a macro of its own, run on an app that was put back again."""
    general = generalise(found.script.script, task.text, app.document)
    checked = CheckedScript(
        general.script,
        app.document.app,
        app.document.version,
        found.script.effects,
        found.script.elements,
        found.script.rules,
    )
    again = FoundScript(checked, "macro", {}, general.postconditions)
    return _run(again, app, 0.0)


def _secrets(app: TaskApp) -> SecretKeeper:
    """Those that tasks speak of go into the fields for passwords of the app, and nowhere else."""
    fields = tuple(one.name for one in app.document.elements if one.value_type == "secret")
    if not fields:
        return SecretKeeper()
    rule = SecretRule("shop", (app.url,), fields)
    return SecretKeeper((rule,), value_of=lambda name: _SECRET)
