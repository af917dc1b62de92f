"""adwright agent report."""

from __future__ import annotations

from pathlib import Path

import typer

from adwright.cli.shared import allowed_to_replace, show_facts


def report(
    folder: Path,
    *,
    mark: str = "",
    out: Path | None = None,
    force: bool = False,
) -> None:
    """Read a run again: check that nothing of it was changed, and write its page.

    Every step holds the hash of the one before, and the run's own file the hashes of trace and
    pictures; a change of any of them is told. Who changed all of them at once is found out by the
    mark, where somebody has noted it.

        adwright agent report runs/agent/20260105-101500-000000

    Options:
        folder: Folder of a run.
        mark: The mark that was printed when the run ended.
        out: Write the page, with its pictures, there.
    """
    from adwright.agent.operate.policy_file import read_run, write_report

    run = read_run(folder, mark)
    found = run.report
    facts = {
        "task": run.task.task,
        "script by": f"{run.task.source} {run.task.name}".strip(),
        "verdict": found.verdict,
        "steps": f"{len(found.steps)}, unchanged since the run",
        "sent": f"{len(found.written)} writes, {len(found.would_send)} held back",
        "tokens": f"{run.task.tokens_in:,} read, {run.task.tokens_out:,} written",
        "mark": f"{run.mark}{'' if mark else ', not compared: nobody gave --mark'}",
    }
    show_facts(facts)
    for change in found.written:
        typer.echo(f"sent: {change.sentence()}")
    if found.problem is not None:
        typer.echo(f"problem: {found.problem.what}")
    path = folder / "report.html"
    if out is not None:
        allowed_to_replace(out, force=force)
        path = out
    write_report(path, run, folder)
    typer.echo(f"Saved {path}")
