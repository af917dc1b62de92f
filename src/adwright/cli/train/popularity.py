"""adwright train popularity."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adwright.cli.recommenders import LogName, opened_task
from adwright.cli.shared import (
    DryRun,
    Force,
    Offline,
    Seed,
    allowed_to_replace,
    show_facts,
    show_table,
)

__all__ = ["popularity", "register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("popularity")(popularity)


def popularity(
    log: LogName,
    out: Annotated[Path, typer.Option("--out", help="Folder for the report and the model.")] = Path(
        "runs/popularity"
    ),
    seed: Seed = 0,
    offline: Offline = False,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Count what is taken most, of all time or lately, measure it and save it: the same order for
    everybody, in seconds.

    Whether events of long ago count less is chosen on validation. The model can be published and
    served at once, for who is new and for who wants a first answer before any model is trained.
    """
    from adwright.delivery.counted import train_popularity

    found = opened_task(log, offline=offline)
    task = found.task
    if dry_run:
        show_facts(
            {
                "users": f"{len(task.users):,}",
                "items": f"{len(task.items.ids):,}",
                "events": f"{len(task.item):,}",
                "model": str(out / "model"),
            }
        )
        return
    replacing = allowed_to_replace(out / "model", force=force)
    result = train_popularity(
        task,
        out,
        repeats=found.choices.repeats,
        log=log,
        seed=seed,
        overwrite=replacing or force,
    )
    typer.echo(f"Default: {result.why}")
    comparison = result.comparison
    typer.echo(comparison.verdict())
    show_table(comparison.header(), comparison.rows(), title="Test; 95% intervals over users")
    typer.echo(f"Saved in {result.folder / 'model'} as {result.id[:16]}")
    typer.echo(f"Next: adwright publish {result.folder / 'model'} --models models --tenant shop")
