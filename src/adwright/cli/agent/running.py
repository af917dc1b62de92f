"""Run a script on the screen of an app, and tell what came of it: what `do` and `replay` share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from adwright.cli.agent.confirming import confirmer
from adwright.cli.agent.options import AppFiles, new_run_folder
from adwright.cli.shared import show_facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adwright.agent.document.elements import AppDocument
    from adwright.agent.language.kinds import ArgumentValue
    from adwright.agent.language.statements import CheckedScript
    from adwright.agent.operate.policy_file import AgentPolicy, KeptTask
    from adwright.agent.run.runner import Postconditions, RunReport

#: Exit codes beside 0, of a run that is verified, done or dry: somebody, or the policy, said no;
#: it stopped; what it did did not come true.
REFUSED, STOPPED, CONTRADICTED = 1, 3, 4


@dataclass(frozen=True)
class RunOptions:
    """The options of a run."""

    files: AppFiles
    confirm_file: Path | None = None
    folder: Path | None = None
    dry: bool = False
    phone: bool = False

    def run(
        self,
        document: AppDocument,
        policy: AgentPolicy,
        checked: CheckedScript,
        arguments: Mapping[str, ArgumentValue],
        postconditions: Postconditions | None,
        task: KeptTask,
    ) -> RunReport:
        """Run it, keep it in its folder, and tell what came of it."""
        from adwright.agent.drivers.chromium import DriverSettings
        from adwright.agent.operate.policy_file import PatientClock, keep_run
        from adwright.agent.operate.screens import open_screens
        from adwright.agent.policy.confirmation import CapLedger
        from adwright.agent.run.runner import RunPolicy, run_on_screen
        from adwright.core.clock import SystemClock

        clock = PatientClock(SystemClock())
        folder = new_run_folder(self.folder, clock)
        rules = RunPolicy(
            policy.gate_rules(dry=self.dry),
            confirm=clock.patient(confirmer(self.confirm_file, document)),
            caps=CapLedger(self.files.caps_path, policy.caps, clock=clock),
            secrets=policy.keeper(os.environ),
            heal=policy.heal,
        )
        settings = DriverSettings(screen="phone" if self.phone else "desktop")
        with open_screens(
            policy, environment=os.environ, settings=settings, clock=clock
        ) as open_driver:
            report = run_on_screen(
                checked,
                document,
                open_driver,
                rules,
                arguments,
                clock=clock,
                folder=folder,
                postconditions=postconditions,
                budget=policy.budget,
            )
        mark = keep_run(folder, report, checked.script, task)
        _show_report(report, folder, mark)
        _keep_healed(report, document, folder)
        return report


def show_script(
    checked: CheckedScript, source: str, arguments: Mapping[str, ArgumentValue]
) -> None:
    """Print a script, where it comes from, and what it may do."""
    from adwright.agent.language.script import print_script

    typer.echo(f"script, {source}:")
    for line in print_script(checked.script).splitlines():
        typer.echo(f"  {line}")
    for name, value in arguments.items():
        typer.echo(f"  {name} = {value}")
    writes = [one for one in checked.effects if one.effect not in ("read", "navigate", "draft")]
    may = ", ".join(f"{one.effect} by ${one.element or 'enter'}" for one in writes)
    typer.echo(f"may write: {may or 'nothing'}")


def end_by_verdict(report: RunReport) -> None:
    """Leave with the exit code of a run; return where that is 0."""
    if report.verdict == "contradicted":
        raise typer.Exit(CONTRADICTED)
    if report.verdict == "stopped":
        said_no = report.problem is not None and report.problem.code in ("refused", "cap")
        raise typer.Exit(REFUSED if said_no else STOPPED)


def _show_report(report: RunReport, folder: Path, mark: str) -> None:
    for answer in report.answers:
        typer.echo(f"answer: {answer}")
    for change in report.written:
        typer.echo(f"sent: {change.sentence()}")
    for change in report.would_send:
        typer.echo(f"would send: {change.sentence()}")
    problem = report.problem
    if problem is not None:
        typer.echo(f"problem: {problem.what}{f' ({problem.where})' if problem.where else ''}")
        if problem.hint:
            typer.echo(f"  to do: {problem.hint}")
    facts = {
        "verdict": report.verdict,
        "acts": f"{report.acts}, {len(report.written)} writes, {report.seconds:.1f} s",
        "page": str(folder / "report.html"),
        "mark": mark,
    }
    show_facts(facts)


def _keep_healed(report: RunReport, before: AppDocument, folder: Path) -> None:
    """A document with healed elements is written beside the run, for a person to take over."""
    from adwright.agent.document.text_format import write_document
    from adwright.agent.run.locate import healing_text

    if report.document is before or not report.healed:
        return
    path = folder / "document.txt"
    write_document(path, report.document)
    typer.echo("elements were found elsewhere; review this, and take it over if it is right:")
    typer.echo(healing_text(before, report.document), nl=False)
    typer.echo(f"  in {path}")
