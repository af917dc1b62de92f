"""adwright author status."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from pathlib import Path

import typer

from adwright.cli.shared import show_facts, show_table

_SHOWN = 10


def status(
    folder: Path,
    *,
    as_json: bool = False,
) -> None:
    """Say what a job has written, what waits for a decision, and what failed and why.

    A job may be running meanwhile.

    Options:
        folder: Folder that `adwright author write` wrote to.
        as_json (--json): As one JSON object.
    """
    from adwright.authoring.writer.drafts import JOURNAL, Drafts
    from adwright.authoring.writer.job import REPORT

    with closing(Drafts.open(folder, reading_only=True)) as drafts:
        counts: dict[str, Counter[str]] = {}
        damaged = drafts.damaged()
        for key, state in drafts.states().items():
            if key in damaged:
                continue
            own = counts.setdefault(key[1], Counter())
            own[state.status] += 1
            own["with findings"] += bool(state.errors or state.warnings)
        failures = drafts.failures()
    path = folder / REPORT
    report = json.loads(path.read_text("utf-8")) if path.is_file() else None
    if as_json:
        told = {
            "slots": {slot: dict(own) for slot, own in counts.items()},
            "failures": [
                {"product": one.product, "slot": one.slot, "variant": one.variant}
                | {"reason": one.reason, "attempts": one.attempts}
                for one in failures
            ],
            "damaged": [
                {"product": product, "slot": slot, "variant": variant, "reason": error.what}
                for (product, slot, variant), error in damaged.items()
            ],
            "report": report,
        }
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2))
        return
    names = ("unreviewed", "approved", "edited", "rejected", "with findings")
    rows = [[slot, *(f"{own[name]:,}" for name in names)] for slot, own in counts.items()]
    show_table(["slot", *names], rows)
    for one in failures[:_SHOWN]:
        where = f"{one.product}, {one.slot}, variant {one.variant}"
        typer.echo(f"failed: {where}: {one.reason}")
    if len(failures) > _SHOWN:
        typer.echo(f"and {len(failures) - _SHOWN:,} more failed: --json names them all")
    for (product, slot, variant), error in list(damaged.items())[:_SHOWN]:
        typer.echo(f"damaged: {product}, {slot}, variant {variant}: {error.what}")
    if damaged:
        typer.echo(
            f"{len(damaged):,} texts cannot be read: take their lines out of {folder / JOURNAL}, "
            "and `adwright author write` writes them anew"
        )
    if report is not None:
        show_facts(
            {
                "last run": f"{report['end']}, {report['written']:,} written, {report['left']:,} "
                f"left, by {report['model']} on {report['engine']}"
            }
        )
