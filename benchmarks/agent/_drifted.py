"""One known script on one variant of an app's pages."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

from adwright.agent.document.elements import AppDocument
from adwright.agent.drivers.protocol import RequestGate, ScreenDriver
from adwright.agent.generate.ladder import ScriptLadder
from adwright.agent.language.problems import RunBudget
from adwright.agent.operate.tasks import PreparedTask, prepare_task
from adwright.agent.policy.gate import GateRules
from adwright.agent.policy.origins import OriginRules, matching_shape
from adwright.agent.run.runner import RunPolicy, RunReport, run_on_screen
from adwright.core.clock import SystemClock
from benchmarks.agent.tasks._apps import TaskApp
from tests.support.agent.drift.kinds import Drift
from tests.support.agent.drift.proxy import DriftingProxy

_BUDGET = RunBudget(acts=60, writes=6, seconds=120.0)


def known_script(text: str, document: AppDocument) -> PreparedTask:
    """A task's script by rules, with what must be true after it. Raises ScriptError where there is
    none."""
    return prepare_task(ScriptLadder(document).script(text), text, document)


class DriftRun:
    """app: lives at the proxy."""

    def __init__(self, app: TaskApp, proxy: DriftingProxy, drift: Drift) -> None:
        self._app, self._proxy, self._drift = app, proxy, drift

    def run(self, script: PreparedTask) -> dict[str, Any]:
        """What came of it."""
        with ExitStack() as stack:
            # Signing in is not drifted: it is told by the names of its fields.
            self._proxy.drift = Drift()

            def opened(gate: RequestGate) -> ScreenDriver:
                driver = self._app.open(gate, stack)
                self._proxy.drift = self._drift
                self._proxy.arrived.clear()
                return driver

            report = run_on_screen(
                script.checked,
                self._app.document,
                opened,
                RunPolicy(
                    GateRules(OriginRules((self._app.url,))), confirm=lambda change: True, heal=True
                ),
                script.arguments,
                clock=SystemClock(),
                postconditions=script.postconditions,
                budget=_BUDGET,
            )
        return self._told(script, report)

    def _told(self, script: PreparedTask, report: RunReport) -> dict[str, Any]:
        names = [one.element for one in script.checked.effects if one.element]
        shapes = [shape for one in names for shape in self._app.document.by_name[one].requests]
        # A request that no document knows is the task's own where a person said yes to it.
        own = {
            (one.method, urlsplit(one.url).path) for one in report.written if one.element in names
        }
        wrong = [
            one
            for one in self._proxy.arrived
            if matching_shape(one.method, one.path, shapes) is None
            and (one.method, one.path.partition("?")[0]) not in own
        ]
        return {
            "verdict": report.verdict,
            "answers": report.answers,
            "problem": str(report.problem or ""),
            "healed": len(report.healed),
            "writes": len(self._proxy.arrived),
            "wrong_acts": len(wrong),
            "acts": report.acts,
            "seconds": report.seconds,
        }
