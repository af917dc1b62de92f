"""What the verbs of recommenders share: the task of a log, and the table of what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.shared import PUBLIC_LOGS, show_table

if TYPE_CHECKING:
    from adwright.data.tasks.own.next_item import NextItem
    from adwright.delivery.funnel.report import FunnelReport

__all__ = ["LogName", "evaluate_recommender", "opened_task", "show_report"]

LogName = Annotated[
    str,
    typer.Argument(
        help="An imported log, the file that would be imported, a folder with sequences.txt, or a "
        f"public log by name: {PUBLIC_LOGS}."
    ),
]


def evaluate_recommender(
    model: Path, log: str, *, split: str, draws: int, seed: int, offline: bool = False
) -> str:
    """Measure a saved cascade, retriever, sequence model or rule on the visits of a log, and print
    the table; returns the report as JSON."""
    from adwright.delivery.funnel.evaluate import evaluate_model

    found = opened_task(log, offline=offline)
    report = evaluate_model(
        model,
        found.task,
        repeats=found.choices.repeats,
        split="valid" if split == "valid" else "test",
        draws=draws,
        seed=seed,
    )
    show_report(report)
    return report.to_json()


def show_report(report: FunnelReport) -> None:
    """Print the first line and the table of a report."""
    typer.echo(report.first)
    title = (
        f"{report.split}: {report.visits:,} visits of {report.users:,} users; 95% intervals over "
        "users"
    )
    show_table(report.header(), report.rows(), title=title)


def opened_task(log: str, *, offline: bool) -> NextItem:
    """The task of a log; what was decided for it is printed."""
    from adwright.data.tasks.own.next_item import open_next_item

    found = open_next_item(log, offline=offline)
    for line in found.choices.lines():
        typer.echo(f"Default: {line}")
    return found
