"""Runs a macro as a task that was kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from adwright.agent.document.elements import AppDocument
from adwright.agent.language.kinds import ArgumentValue
from adwright.agent.language.problems import RunBudget
from adwright.agent.language.statements import CheckRules, check_script
from adwright.agent.run.runner import Macro, OpenDriver, RunPolicy, RunReport, run_on_screen
from adwright.core.clock import Clock


def run_macro(
    macro: Macro,
    document: AppDocument,
    open_driver: OpenDriver,
    policy: RunPolicy,
    arguments: Mapping[str, ArgumentValue],
    *,
    clock: Clock,
    folder: Path | None = None,
    budget: RunBudget | None = None,
) -> RunReport:
    """Run it and check its postconditions."""
    checked = check_script(macro.script, document, CheckRules(flows=macro.flows))
    return run_on_screen(
        checked,
        document,
        open_driver,
        policy,
        arguments,
        clock=clock,
        folder=folder,
        postconditions=macro.postconditions,
        budget=budget,
    )
