"""adwright agent do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from adwright.cli.agent.options import (
    AppFiles,
    ModelChoice,
)
from adwright.cli.agent.running import RunOptions, end_by_verdict, show_script
from adwright.cli.lm.serve import DEFAULT_MODEL
from adwright.core.config import Natural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adwright.agent.document.elements import AppDocument
    from adwright.agent.generate.ladder import FoundScript
    from adwright.agent.operate.policy_file import AgentPolicy, KeptTask
    from adwright.agent.operate.tasks import PreparedTask
    from adwright.agent.run.runner import RunReport


def do(
    task: str,
    *,
    document: Path,
    policy: Path | None = None,
    macros: Path | None = None,
    model: str = DEFAULT_MODEL,
    engine_url: str = "",
    adapter: Path | None = None,
    writer: Path | None = None,
    no_model: bool = False,
    threads: Natural = 0,
    offline: bool = False,
    confirm_file: Path | None = None,
    folder: Path | None = None,
    keep: str = "",
    phone: bool = False,
    dry_run: bool = False,
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

    Options:
        task: What is to be done, in one or two sentences; values in quotes.
        document: The app's document, which `explore` writes.
        policy: The app's policy; by default shop.policy.toml for shop.txt.
        macros: Folder of kept tasks; by default shop.macros for shop.txt.
        model: The default model, a folder, a .gguf file, OWNER/NAME on the hub, or a model of a
            server, http://HOST:PORT/v1#NAME; with settings as in FOLDER+adapter=FOLDER.
        engine_url (--url --engine-url): Ask the model of an OpenAI-compatible endpoint,
            http://HOST:PORT/v1, named by --model; its key is read from ADWRIGHT_LM_KEY or
            OPENAI_API_KEY.
        adapter: Answer with this saved adapter of the model: what `adwright tune run` wrote, or
            the `tuned` in it; on torch.
        writer: Ask --model with this adapter, which learned to write scripts; by default with
            the one that comes with adwright, if it does and no other model is named.
        no_model: Only kept tasks and plans; no model is asked.
        threads: Threads to compute with; 0 takes what fits.
        confirm_file: File of changes that are allowed beforehand, for runs that nobody watches;
            without it each is asked about on the terminal, and refused where there is none.
        folder (--out): For the run: trace, pictures, page; by default a new one.
        keep: Keep a verified run under this name, for `replay`.
        phone: In the viewport of a phone, emulated by Chromium.
        dry_run: Run it, but let no request leave that may write; say what would have been sent.
            Signing in is sent.
    """
    from adwright.agent.operate.tasks import (
        find_scripts,
        keep_task,
        keepable,
        prepare_task,
        run_in_turn,
    )

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
    from adwright.agent.operate.policy_file import KeptTask

    found = ready.found
    said = tuple((name, str(value)) for name, value in ready.arguments.items())
    tokens = (sum(one.tokens_in for one in tried), sum(one.tokens_out for one in tried))
    return KeptTask(ready.task, found.source, found.name, said, *tokens, dry=dry)
