"""adwright train popularity."""

from __future__ import annotations

from pathlib import Path

import typer

from adwright.cli.recommenders import opened_task
from adwright.cli.shared import (
    allowed_to_replace,
    show_facts,
    show_table,
)
from adwright.cli.verbs import verb
from adwright.core.config import Natural

__all__ = ["popularity", "register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    verb(app, "popularity")(popularity)


def popularity(
    log: str,
    *,
    out: Path = Path("runs/popularity"),
    seed: Natural = 0,
    offline: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Count what is taken most, of all time or lately, measure it and save it: the same order for
    everybody, in seconds.

    Whether events of long ago count less is chosen on validation. The model can be published and
    served at once, for who is new and for who wants a first answer before any model is trained.

    Options:
        log: An imported log, the file that would be imported, a folder with sequences.txt, or a
            public log by name: complete-journey, movielens, open-bandit.
        out: Folder for the report and the model.
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
