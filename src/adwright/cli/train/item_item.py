"""adwright train item-item."""

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

__all__ = ["item_item", "register"]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    verb(app, "item-item")(item_item)


def item_item(
    log: str,
    *,
    out: Path = Path("runs/item-item"),
    seed: Natural = 0,
    offline: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Count which items are taken near each other, measure it and save it: a model in seconds.

    What a user took lately is looked up, and what is usually taken with it is recommended. Nothing
    is trained but a few settings, which are searched on validation. The model can be published and
    served at once, and is the rule that any network should beat first.

    Options:
        log: An imported log, the file that would be imported, a folder with sequences.txt, or a
            public log by name: complete-journey, movielens, open-bandit.
        out: Folder for the report and the model.
    """
    from adwright.data.history_kinds import again_in_words
    from adwright.data.schema import ACTION_KINDS
    from adwright.delivery.counted import train_item_item
    from adwright.delivery.training_log import open_history
    from adwright.training.dry_run import check_out
    from adwright.training.sequential.runfile import sequence_data

    data = sequence_data(opened_task(log, offline=offline))
    if dry_run:
        check_out(out, "model", (), resume=False, overwrite=force)
        sequences = data.sequences
        show_facts(
            {
                "users": f"{len(sequences):,}",
                "items": f"{sequences.items:,}",
                "events": f"{len(sequences.item):,}",
                "items come again": "yes" if data.allow_repeats else "no",
                "model": str(out / "model"),
            }
        )
        return
    replacing = allowed_to_replace(out / "model", force=force)
    known = open_history(log, ACTION_KINDS, offline=offline, tell=False).events
    result = train_item_item(
        data, out, log=log, events=known, seed=seed, overwrite=replacing or force
    )
    for line in again_in_words(result.again):
        typer.echo(f"Learned: {line}")
    comparison = result.comparison
    typer.echo(comparison.verdict())
    show_table(comparison.header(), comparison.rows(), title="Test; 95% intervals over users")
    typer.echo(f"Saved in {result.folder / 'model'} as {result.id[:16]}")
    typer.echo(f"Next: adwright publish {result.folder / 'model'} --models models --tenant shop")
