"""Who says yes to a pending change: a person at the terminal, or a file of what is allowed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from adwright.agent.document.elements import AppDocument
    from adwright.agent.policy.confirmation import Confirmer, PendingChange


def confirmer(file: Path | None, document: AppDocument) -> Confirmer:
    """By the file, or by asking; where nobody can be asked the answer is no, and what a file would
    have to say is told."""
    from adwright.agent.operate.policy_file import load_allowances

    if file is not None:
        allowed = load_allowances(file)

        def by_file(change: PendingChange) -> bool:
            yes = allowed(change)
            _show(change, "allowed" if yes else "not allowed")
            if not yes:
                _suggest(change, document, str(file))
            return yes

        return by_file

    def by_person(change: PendingChange) -> bool:
        if sys.stdin.isatty():
            return ask_person(change)
        _show(change, "nobody can be asked here")
        _suggest(change, document, "a file for --confirm-file")
        return False

    return by_person


def ask_person(change: PendingChange) -> bool:
    """Show the pending request, and ask; only a yes is one, and Ctrl-C is a no."""
    _show(change, "waits for a yes; nothing is sent yet")
    try:
        return typer.confirm("Send it?", default=False)
    except typer.Abort:
        return False


def _show(change: PendingChange, what: str) -> None:
    head, *fields = change.lines()
    typer.echo(f"{what}: {head}", err=True)
    typer.echo(f"  by ${change.element}", err=True)
    for line in fields:
        typer.echo(f"  {line}", err=True)
    same = sum(one.old == one.new for one in change.fields)
    if same:
        typer.echo(f"  {same} fields as they were", err=True)


def _suggest(change: PendingChange, document: AppDocument, file: str) -> None:
    from adwright.agent.operate.policy_file import allowance_text

    element = document.by_name.get(change.element)
    text = allowance_text(change, element.requests if element else ())
    if text:
        typer.echo(f"to allow it once, in {file}:\n{text}", err=True)
