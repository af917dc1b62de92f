"""A report of an audit on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from adwright.cli.shared import show_table

if TYPE_CHECKING:
    from adwright.audit.report.audit_report import AuditReport
    from adwright.metrics.bootstrap import Interval


def show_report(report: AuditReport) -> None:
    """Print its first sentences, and a table of the tiers."""
    from adwright.audit.report.audit_report import visible

    for sentence in report.sentences()[:2]:
        typer.echo(sentence)
    header = ("tier", "texts", "net", "best run", "first before", "first after", "others lost")
    rows = [
        (
            visible(one.tier, 40),
            str(one.runs),
            _points(one.net),
            "" if one.best is None else _points(one.best),
            f"{one.first_before.value:.0%}",
            f"{one.first_after.value:.0%}",
            f"{one.harm.value:.2f}",
        )
        for one in report.tiers
    ]
    show_table(header, rows, unbroken=True)


def _points(one: Interval) -> str:
    value, low, high = 100 * one.value, 100 * one.low, 100 * one.high
    return f"{value:.1f} ({low:.1f} to {high:.1f})"
