"""adwright agent do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.agent.options import (
    AppFiles,
    ConfirmFile,
    DocumentFile,
    EngineUrl,
    MacroFolder,
    ModelChoice,
    NoModel,
    Phone,
    PolicyFile,
    RunFolder,
    Writer,
)
from adwright.cli.agent.running import RunOptions, end_by_verdict, show_script
from adwright.cli.lm.adapters import Adapter
from adwright.cli.lm.serve import DEFAULT_MODEL, Model, Threads
from adwright.cli.shared import Offline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adwright.agent.document.elements import AppDocument
    from adwright.agent.generate.ladder import FoundScript
    from adwright.agent.operate.policy_file import AgentPolicy
    from adwright.agent.operate.run_folder import KeptTask
    from adwright.agent.operate.tasks import PreparedTask
    from adwright.agent.run.runner import RunReport

__all__ = ["do"]


def do(  # noqa: PLR0913, PLR0917 - one argument per option
    task: Annotated[
        str, typer.Argument(help="What is to be done, in one or two sentences; values in quotes.")
    ],
    document: DocumentFile,
    policy: PolicyFile = None,
    macros: MacroFolder = None,
    model: Model = DEFAULT_MODEL,
    engine_url: EngineUrl = "",
    adapter: Adapter = None,
    writer: Writer = None,
    no_model: NoModel = False,
    threads: Threads = 0,
    offline: Offline = False,
    confirm_file: ConfirmFile = None,
    folder: RunFolder = None,
    keep: Annotated[
        str,
        typer.Option("--keep", help="Keep a verified run under this name, for `replay`."),
    ] = "",
    phone: Phone = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Run it, but let no request leave that may write; say what would have been sent. "
            "Signing in is sent.",
        ),
    ] = False,
) -> None:
    """Make a script of a task, and run it in a browser.

    A kept task of the same words is taken first, then a plan made by rules; a model is asked only
    where neither fits. The script is checked against the document, and printed, before anything is
    tapped. Where it stops because a list has no such item, and nothing was sent, the next one looks
    in another, four in all; with --folder run, in run-2 and so on. Each change that the policy
    names waits until you say yes to the request itself, field by field. Afterwards the app
    is asked by another way whether it is so.

        adwright agent do 'Set the discount of "Spring" to 25' --document shop.txt --dry-run

        adwright agent do 'Set the discount of "Spring" to 25' --document shop.txt --keep discount

    Exit codes: 0 where it is verified, done or dry; 1 where you or the policy said no; 3 where it
    stopped; 4 where the app contradicts it; 2 for a mistake, and where no script fits the task.
    """
    from adwright.agent.operate.tasks import find_scripts, keep_task, keepable, prepare_task
    from adwright.agent.operate.turns import run_in_turn

    files = AppFiles(document, policy, macros)
    app, rules = files.open()
    named = ["" if one is None else str(one) for one in (adapter, writer)]
    chosen = ModelChoice(model, engine_url, named[0], threads, offline, no_model, named[1])
    options = RunOptions(files, confirm_file, folder, dry_run, phone)
    tried: list[PreparedTask] = []

    def run(found: FoundScript) -> RunReport:
        tried.append(prepare_task(found, task, app))
        _show(tried)
        if keep and not dry_run:
            keepable(keep, tried[-1])
        return _run(tried, options, app, rules)

    scripts = find_scripts(
        task,
        app,
        macros=files.book,
        open_model=chosen.opener,
        config=chosen.beam,
        rules=rules.check_rules(),
    )
    _, report = run_in_turn(task, scripts, run)
    if keep and report.verdict == "verified":
        macro = keep_task(keep, tried[-1], report, files.book)
        typer.echo(f"kept as {macro.name}: {macro.task}")
    end_by_verdict(report)


def _numbered(folder: Path, number: int) -> Path:
    """Of the second script run-2, for run."""
    whole = folder.resolve()
    return folder if number == 1 else whole.with_name(f"{whole.name}-{number}")


def _run(
    tried: Sequence[PreparedTask], options: RunOptions, app: AppDocument, policy: AgentPolicy
) -> RunReport:
    """Run the last one."""
    ready, folder = tried[-1], options.folder
    if folder is not None:
        options = replace(options, folder=_numbered(folder, len(tried)))
    kept = _kept(ready, [one.found for one in tried], dry=options.dry)
    return options.run(app, policy, ready.checked, ready.arguments, ready.postconditions, kept)


def _show(tried: Sequence[PreparedTask]) -> None:
    ready = tried[-1]
    if len(tried) > 1:
        typer.echo("nothing was sent, and another script may fit:")
    found = ready.found
    tokens = f"{found.tokens_in:,} tokens read and {found.tokens_out:,} written"
    named = f"{found.source} {found.name}".strip()
    show_script(ready.checked, f"by {named}, {tokens}", ready.arguments)


def _kept(ready: PreparedTask, tried: Sequence[FoundScript], *, dry: bool) -> KeptTask:
    from adwright.agent.operate.run_folder import KeptTask

    found = ready.found
    said = tuple((name, str(value)) for name, value in ready.arguments.items())
    tokens = (sum(one.tokens_in for one in tried), sum(one.tokens_out for one in tried))
    return KeptTask(ready.task, found.source, found.name, said, *tokens, dry=dry)
